"""Numbers as pictures: seven segments, tally marks, dice, clocks, heaps of shapes, text.

Every painter returns a mask: an ``L`` image of ``CANVAS x CANVAS`` pixels, 255 where there is ink. Colour, tilt and
noise are the caller's. All variation is drawn from the generator that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CANVAS = 96
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ROMAN = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
SHAPES = ("circle", "square", "star", "triangle", "heart")

Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"
Point: TypeAlias = tuple[float, float]

_SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
_CORNERS = ((0, 0), (0, 2), (2, 0), (2, 2))
_SIDES = ((0, 1), (2, 1))
_PIPS: tuple[tuple[tuple[int, int], ...], ...] = (
    (),
    ((1, 1),),
    ((0, 0), (2, 2)),
    ((0, 0), (1, 1), (2, 2)),
    _CORNERS,
    (*_CORNERS, (1, 1)),
    (*_CORNERS, *_SIDES),
    (*_CORNERS, *_SIDES, (1, 1)),
    (*_CORNERS, *_SIDES, (1, 0), (1, 2)),
    tuple(product(range(3), range(3))),
)


def blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty mask and the pen to draw on it."""
    image = Image.new("L", (CANVAS, CANVAS))
    return image, ImageDraw.Draw(image)


def fit(mask: Image.Image, fill: float) -> Image.Image:
    """The ink of ``mask``, scaled so that its longer side takes the share ``fill`` of a canvas, and centred."""
    box = mask.point(lambda value: 255 * (value > 40)).getbbox()
    image, _ = blank()
    if box is None:
        return image
    ink = mask.crop(box)
    scale = CANVAS * fill / max(ink.size)
    ink = ink.resize((max(2, round(ink.width * scale)), max(2, round(ink.height * scale))), Image.Resampling.BILINEAR)
    image.paste(ink, ((CANVAS - ink.width) // 2, (CANVAS - ink.height) // 2))
    return image


def text(content: str, *, font: Font, fill: float) -> Image.Image:
    """A line of text, as large as ``fill`` allows. ``font`` should be about 80 pixels high."""
    left, top, right, bottom = font.getbbox(content)
    image = Image.new("L", (math.ceil(right - left) + 20, math.ceil(bottom - top) + 20))
    ImageDraw.Draw(image).text((10 - left, 10 - top), content, font=font, fill=255)
    return fit(image, fill)


def seven_segment(number: int, rng: np.random.Generator) -> Image.Image:
    """A digit on a segment display; now and then the unlit segments shimmer through."""
    image, pen = blank()
    width, thick, gap = rng.uniform(26, 44), int(rng.integers(6, 13)), int(rng.integers(0, 4))
    left, right = (CANVAS - width) / 2, (CANVAS + width) / 2
    top, middle, bottom = 6, CANVAS // 2, CANVAS - 6
    lines = {
        "a": (left + gap, top, right - gap, top),
        "b": (right, top + gap, right, middle - gap),
        "c": (right, middle + gap, right, bottom - gap),
        "d": (left + gap, bottom, right - gap, bottom),
        "e": (left, middle + gap, left, bottom - gap),
        "f": (left, top + gap, left, middle - gap),
        "g": (left + gap, middle, right - gap, middle),
    }
    dim = 45 if rng.random() < 0.3 else 0
    for line in lines.values():
        pen.line(line, fill=dim, width=thick)
    for name in _SEGMENTS[number]:
        pen.line(lines[name], fill=255, width=thick)
    return image


def tally(number: int, rng: np.random.Generator) -> Image.Image:
    """Strokes, every fifth across the four before it; from six on in two rows."""
    image, pen = blank()
    width = int(rng.integers(3, 7))
    rows = [number] if number <= 5 else [5, number - 5]
    height = CANVAS / len(rows)
    for row, strokes in enumerate(rows):
        top, bottom = row * height + 8, (row + 1) * height - 8
        for i in range(min(strokes, 4)):
            x = 18 + 18 * i + rng.normal(0, 1.5)
            pen.line((x + rng.normal(0, 2), top, x + rng.normal(0, 2), bottom), fill=255, width=width)
        if strokes == 5:
            pen.line((8, bottom - 6, 86, top + 6), fill=255, width=width)
    return image


def dice(number: int, rng: np.random.Generator) -> Image.Image:
    """One face with ``number`` pips, up to nine."""
    image, pen = blank()
    margin, radius = rng.uniform(4, 14), rng.uniform(6, 9)
    pen.rounded_rectangle((margin, margin, CANVAS - margin, CANVAS - margin), radius=14, fill=255)
    step, flip = (CANVAS - 2 * margin) / 4, rng.random() < 0.5
    for column, row in _PIPS[number]:
        x = margin + step * (1 + column)
        y = margin + step * (1 + (2 - row if flip else row))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    return image


def clock(number: int, rng: np.random.Generator) -> Image.Image:
    """A clock face at ``number`` o'clock."""
    image, pen = blank()
    centre, angle = CANVAS / 2, 2 * math.pi * number / 12 - math.pi / 2
    pen.ellipse((4, 4, CANVAS - 4, CANVAS - 4), outline=255, width=int(rng.integers(3, 7)))
    pen.line((centre, centre, centre, 14), fill=255, width=4)
    pen.line((centre, centre, centre + 24 * math.cos(angle), centre + 24 * math.sin(angle)), fill=255, width=7)
    return image


def heap(number: int, rng: np.random.Generator, *, shape: str) -> Image.Image:
    """``number`` copies of a shape, scattered without touching where there is room."""
    image, pen = blank()
    radius = rng.uniform(7, 10)
    placed: list[Point] = []
    for _ in range(number):
        x, y = _free_spot(placed, radius, rng)
        placed.append((x, y))
        paint_shape(pen, shape, (x, y), radius, tilt=rng.normal(0, 0.1))
    return image


def _free_spot(placed: Sequence[Point], radius: float, rng: np.random.Generator) -> Point:
    for _ in range(200):
        x, y = (float(v) for v in rng.uniform(radius, CANVAS - radius, 2))
        if all(math.hypot(x - px, y - py) > 2.3 * radius for px, py in placed):
            break
    return x, y


def paint_shape(pen: ImageDraw.ImageDraw, shape: str, centre: Point, radius: float, *, tilt: float) -> None:
    """Fill one of SHAPES."""
    if shape == "circle":
        x, y = centre
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    else:
        pen.polygon(_OUTLINES[shape](centre, radius, tilt), fill=255)


def polygon(centre: Point, radii: Sequence[float], *, corners: int, start: float) -> list[Point]:
    """The corners of a polygon whose radii alternate through ``radii``; ``start`` is the first corner's angle."""
    angles = [start + 2 * math.pi * i / corners for i in range(corners)]
    return [
        (centre[0] + radii[i % len(radii)] * math.cos(angle), centre[1] + radii[i % len(radii)] * math.sin(angle))
        for i, angle in enumerate(angles)
    ]


def _heart(centre: Point, radius: float, tilt: float) -> list[Point]:
    turns = [tilt + 2 * math.pi * i / 40 for i in range(40)]
    return [
        (
            centre[0] + radius * 16 / 17 * math.sin(t) ** 3,
            centre[1] - radius / 17 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)),
        )
        for t in turns
    ]


_OUTLINES: dict[str, Callable[[Point, float, float], list[Point]]] = {
    "square": lambda c, r, tilt: polygon(c, [r], corners=4, start=tilt + math.pi / 4),
    "triangle": lambda c, r, tilt: polygon(c, [r], corners=3, start=tilt - math.pi / 2),
    "star": lambda c, r, tilt: polygon(c, [r, 0.42 * r], corners=10, start=tilt - math.pi / 2),
    "heart": _heart,
}
