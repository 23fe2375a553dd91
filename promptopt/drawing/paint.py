"""Pictures of facts: a sign in its colours, turned, placed, and treated as its style has it."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter, ImageFont

from ..core import Picture
from . import glyphs
from .facts import ASPECTS, COLOURS, NUMBERS, Facts
from .strokes import handwritten

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["painted"]

SIZE = glyphs.CANVAS  # pixels of a picture's side
GRAIN = 32  # a side's pixels of noise and dust, as the embedded CLIP takes pictures
FILL = {"small": (0.36, 0.46), "large": (0.86, 0.98)}  # of a side that a sign takes
BOARD = (31, 46, 38)  # a blackboard
ROMAN = ("N", *glyphs.ROMAN[1:])  # of old, nulla stood for none

Sign = Callable[[int, np.random.Generator], Image.Image]


@lru_cache(maxsize=1)
def _font() -> glyphs.Font:
    return ImageFont.load_default(80)


def _text(content: str) -> Image.Image:
    return glyphs.text(content, font=_font(), fill=0.94)


def _heap(shape: str) -> Sign:
    return lambda number, rng: glyphs.heap(number, rng, shape=shape)


SIGNS: dict[str, Sign] = {
    "handwritten": lambda number, rng: handwritten(number, rng, school=str(rng.choice(["european", "american"]))),
    "printed": lambda number, rng: _text(str(number)),
    "seven segment": glyphs.seven_segment,
    "circles": _heap("circle"),
    "squares": _heap("square"),
    "stars": _heap("star"),
    "triangles": _heap("triangle"),
    "hearts": _heap("heart"),
    "dice": glyphs.dice,
    "tally": glyphs.tally,
    "clock": glyphs.clock,
    "roman": lambda number, rng: _text(ROMAN[number]),
    "spelled": lambda number, rng: _text(NUMBERS[number]),
}


def painted(facts: Facts, seed: int) -> Picture:
    """A PNG of ``SIZE x SIZE`` pixels; equal facts and seeds, equal pictures.

    Args:
        facts: a value for every aspect.
        seed: of all that facts leave open: the hand, where things lie, tints.
    """
    rng = np.random.default_rng([seed, len(ASPECTS)])
    mask = SIGNS[facts["kind"]](NUMBERS.index(facts["number"]), rng)
    mask = _thickened(_placed(_turned(mask, facts["turn"], rng), facts, rng), facts["style"])
    pixels = _coloured(_degraded(mask, facts["style"], rng), facts, rng)
    out = io.BytesIO()
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(out, "PNG", compress_level=1)
    return Picture(out.getvalue(), "image/png")


def _turned(mask: Image.Image, turn: str, rng: np.random.Generator) -> Image.Image:
    """As it is to be seen, and a few degrees off."""
    if turn == "mirrored":
        mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = {"upside down": 180, "sideways": 90}.get(turn, 0) + rng.normal(0, 3)
    return mask.rotate(angle, Image.Resampling.BILINEAR)


def _placed(mask: Image.Image, facts: Facts, rng: np.random.Generator) -> Image.Image:
    """Made smaller, and put where it is to be; what is large stays partly there."""
    side = round(SIZE * rng.uniform(*FILL[facts["size"]]))
    room = max(SIZE - side, SIZE // 4)
    across = {"left": -0.5, "right": 0.5}.get(facts["place"].split()[-1], 0.0)
    down = {"top": -0.5, "bottom": 0.5}.get(facts["place"].split()[0], 0.0)
    x, y = ((SIZE - side) / 2 + 0.9 * room * towards + rng.normal(0, 1.5) for towards in (across, down))
    canvas = Image.new("L", (SIZE, SIZE))
    canvas.paste(mask.resize((side, side), Image.Resampling.BILINEAR), (round(x), round(y)))
    return canvas


def _thickened(mask: Image.Image, style: str) -> Image.Image:
    if style == "bold":
        return mask.filter(ImageFilter.MaxFilter(5))
    return Image.blend(mask, mask.filter(ImageFilter.MinFilter(5)), 0.6) if style == "thin" else mask


def _degraded(mask: Image.Image, style: str, rng: np.random.Generator) -> Array:
    """The share of ink ``(SIZE, SIZE)`` at each pixel."""
    if style == "blurry":
        mask = mask.filter(ImageFilter.GaussianBlur(5))
    if style == "pixelated":
        mask = mask.resize((8, 8), Image.Resampling.BOX).resize((SIZE, SIZE), Image.Resampling.NEAREST)
    ink: Array = np.asarray(mask, dtype=np.float64) / 255
    if style == "in chalk":
        ink = ink * _grain(np.clip(0.45 + 0.75 * rng.random((GRAIN, GRAIN)), 0, 1))
    return ink


def _coloured(ink: Array, facts: Facts, rng: np.random.Generator) -> Array:
    """Pixels ``(SIZE, SIZE, 3)`` in 0 to 255."""
    style = facts["style"]
    board = style == "in chalk" and facts["ground"] == "black"
    front = np.array(COLOURS[facts["ink"]]) + rng.normal(0, 8, 3)
    back = np.array(BOARD if board else COLOURS[facts["ground"]]) + rng.normal(0, 8, 3)
    alpha = ink[:, :, None]
    pixels: Array = alpha * front + (1 - alpha) * back
    if style == "neon":
        lit = np.where(ink > 0.4, ink, 0)  # what is dim on a display does not shine
        glow = Image.fromarray((255 * lit).astype(np.uint8)).filter(ImageFilter.GaussianBlur(6))
        shine = np.asarray(glow, dtype=np.float64)[:, :, None] / 255
        pixels = np.clip(pixels + 1.3 * shine * front + 100 * alpha, 0, 255)
    noise = _grain(rng.normal(0, 38 if style == "noisy" else 3, (GRAIN, GRAIN, 3)))
    noisy: Array = pixels + noise
    return noisy


def _grain(values: Array) -> Array:
    """``(GRAIN, GRAIN)`` values, or rows of them, at ``(SIZE, SIZE)`` pixels."""
    return values.repeat(SIZE // GRAIN, axis=0).repeat(SIZE // GRAIN, axis=1)
