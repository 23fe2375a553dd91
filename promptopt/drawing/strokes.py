"""Handwritten digits from jittered pen strokes.

A digit has several ways of being written; each is a list of strokes, each stroke a list of points in the unit square,
y downwards. Points are shaken, the whole is slanted, bent and tilted, and a spline is drawn through the points.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from . import glyphs

if TYPE_CHECKING:
    from ..core import Array

Point = tuple[float, float]
Stroke = tuple[Point, ...]
Way = tuple[Stroke, ...]

WAYS: tuple[tuple[Way, ...], ...] = (
    (  # 0
        (((.5, .05), (.22, .2), (.12, .5), (.2, .8), (.5, .95), (.8, .8), (.88, .5), (.78, .2), (.5, .05)),),
        (((.62, .08), (.35, .12), (.15, .45), (.2, .8), (.5, .95), (.8, .75), (.85, .4), (.7, .12), (.48, .06)),),
        (((.5, .05), (.32, .2), (.27, .5), (.32, .8), (.5, .95), (.68, .8), (.73, .5), (.68, .2), (.5, .05)),),
    ),
    (  # 1
        (((.5, .05), (.5, .95)),),
        (((.3, .28), (.5, .05)), ((.5, .05), (.5, .95))),
        (((.25, .3), (.52, .05)), ((.52, .05), (.52, .95)), ((.28, .95), (.78, .95))),
        (((.35, .22), (.55, .05)), ((.55, .05), (.45, .95))),
        (((.2, .4), (.55, .05)), ((.55, .05), (.52, .95))),
    ),
    (  # 2
        (((.2, .25), (.3, .08), (.55, .05), (.75, .18), (.72, .4), (.5, .65), (.2, .93)), ((.2, .93), (.85, .93))),
        (((.2, .2), (.45, .05), (.72, .15), (.7, .45), (.45, .78), (.22, .93), (.2, .8), (.4, .82), (.85, .95)),),
        (((.22, .12), (.5, .06), (.7, .2), (.65, .45), (.4, .72), (.18, .92)), ((.18, .92), (.5, .88), (.85, .92))),
    ),
    (  # 3
        (((.2, .12), (.5, .05), (.75, .2), (.65, .4), (.42, .48)),
         ((.42, .48), (.75, .58), (.8, .78), (.55, .95), (.2, .88))),
        (((.2, .07), (.75, .07)), ((.75, .07), (.45, .42)),
         ((.45, .42), (.75, .52), (.8, .75), (.55, .95), (.2, .9))),
        (((.22, .1), (.6, .05), (.72, .25), (.5, .47), (.75, .65), (.68, .88), (.4, .95), (.18, .88)),),
    ),
    (  # 4
        (((.3, .05), (.2, .55)), ((.2, .55), (.85, .55)), ((.65, .3), (.62, .95))),
        (((.65, .95), (.65, .05)), ((.65, .05), (.15, .65)), ((.15, .65), (.88, .65))),
        (((.28, .05), (.2, .35), (.25, .52), (.55, .52), (.75, .45)), ((.75, .05), (.72, .5), (.65, .95))),
        (((.5, .05), (.15, .6)), ((.15, .6), (.85, .6)), ((.6, .4), (.58, .95))),
    ),
    (  # 5
        (((.75, .07), (.3, .07)), ((.3, .07), (.27, .45)),
         ((.27, .45), (.5, .38), (.75, .5), (.78, .75), (.55, .95), (.2, .88))),
        (((.8, .07), (.35, .09)), ((.35, .09), (.3, .42)), ((.3, .42), (.6, .45), (.7, .68), (.55, .9), (.22, .95))),
        (((.78, .05), (.4, .07), (.3, .3), (.45, .45), (.7, .55), (.7, .82), (.45, .95), (.2, .9)),),
    ),
    (  # 6
        (((.65, .05), (.35, .3), (.2, .65), (.3, .9), (.55, .95), (.78, .78), (.7, .58), (.45, .55), (.23, .7)),),
        (((.45, .05), (.25, .4), (.22, .75), (.4, .95), (.65, .92), (.75, .72), (.6, .58), (.35, .65), (.25, .8)),),
        (((.75, .1), (.5, .07), (.28, .3), (.2, .65), (.35, .93), (.65, .92), (.75, .7), (.55, .55), (.25, .68)),),
    ),
    (  # 7
        (((.15, .08), (.82, .08)), ((.82, .08), (.55, .5), (.4, .95))),
        (((.15, .08), (.82, .08)), ((.82, .08), (.5, .95)), ((.35, .5), (.78, .5))),
        (((.15, .2), (.2, .08), (.8, .06)), ((.8, .06), (.6, .45), (.5, .95)), ((.3, .48), (.8, .45))),
        (((.2, .1), (.5, .14), (.8, .08)), ((.8, .08), (.62, .5), (.55, .95))),
    ),
    (  # 8
        (((.7, .15), (.5, .05), (.28, .15), (.3, .35), (.5, .48), (.72, .65), (.7, .88), (.5, .95), (.28, .86),
          (.28, .65), (.5, .48), (.7, .33), (.7, .15)),),
        (((.75, .12), (.45, .06), (.28, .25), (.5, .45), (.68, .68), (.6, .9), (.42, .94), (.32, .75), (.5, .5),
          (.72, .3), (.72, .12)),),
        (((.5, .05), (.3, .25), (.5, .45), (.7, .25), (.5, .05)),
         ((.5, .45), (.25, .7), (.5, .95), (.75, .7), (.5, .45))),
    ),
    (  # 9
        (((.75, .3), (.6, .08), (.35, .08), (.22, .28), (.35, .48), (.6, .45), (.75, .25)),
         ((.75, .25), (.72, .6), (.6, .95))),
        (((.72, .2), (.45, .05), (.25, .25), (.4, .48), (.7, .4), (.75, .2), (.74, .65), (.55, .93), (.25, .92)),),
        (((.75, .12), (.4, .06), (.25, .28), (.45, .46), (.72, .35), (.75, .12)), ((.75, .12), (.72, .55), (.7, .95))),
    ),
)  # fmt: skip

# Digits of eastern scripts: Arabic ones, and the Bengali four and seven. Some look like other Western digits: five is a
# ring, six nearly a seven, the Bengali four an eight, the Bengali seven a nine.
EASTERN: tuple[tuple[Way, ...], ...] = (
    ((((.49, .49), (.51, .51)),),),
    ((((.42, .05), (.54, .45), (.55, .95)),), (((.5, .05), (.5, .95)),)),
    ((((.2, .08), (.3, .3), (.55, .3), (.8, .1)), ((.2, .08), (.35, .5), (.35, .95))),),
    ((((.12, .08), (.22, .3), (.4, .28), (.48, .08)), ((.48, .08), (.58, .3), (.75, .28), (.85, .08)),
      ((.12, .08), (.28, .5), (.28, .95))),),
    ((((.75, .08), (.4, .1), (.3, .28), (.6, .42)), ((.6, .42), (.3, .5), (.22, .8), (.5, .95), (.8, .88))),
     (((.75, .08), (.55, .45), (.28, .7), (.5, .95), (.74, .75), (.5, .48), (.25, .25), (.3, .08)),),
     (((.7, .06), (.68, .3), (.5, .48), (.28, .7), (.5, .95), (.72, .7), (.5, .48), (.3, .3), (.3, .06)),)),
    ((((.5, .08), (.2, .4), (.2, .75), (.5, .94), (.8, .75), (.8, .4), (.5, .08)),),
     (((.5, .05), (.3, .22), (.22, .5), (.3, .8), (.5, .95), (.72, .8), (.78, .5), (.7, .2), (.5, .05)),)),
    ((((.2, .08), (.4, .14), (.75, .1)), ((.75, .1), (.68, .5), (.7, .95))),
     (((.2, .1), (.8, .08)), ((.8, .08), (.62, .5), (.6, .95)))),
    ((((.15, .05), (.5, .95)), ((.5, .95), (.85, .05))),
     (((.72, .28), (.5, .08), (.26, .26), (.45, .48), (.7, .3)), ((.72, .2), (.74, .6), (.72, .95))),
     (((.75, .15), (.42, .06), (.25, .3), (.48, .45), (.73, .25)), ((.74, .2), (.7, .95)))),
    ((((.15, .95), (.5, .05)), ((.5, .05), (.85, .95))),),
    ((((.7, .25), (.5, .06), (.28, .25), (.45, .45), (.7, .35)), ((.7, .25), (.72, .95))),),
)  # fmt: skip

# Digits that are written differently in different places: the ways of each school. The others are shared.
SCHOOLS: dict[str, dict[int, tuple[int, ...]]] = {
    "european": {1: (1, 3, 4), 4: (0, 3), 7: (1, 2), 9: (1,)},
    "american": {1: (0, 0, 2), 4: (1, 2), 7: (0, 3), 9: (0, 2)},
}
DOT = 0.3  # the share of the canvas that an eastern zero fills


def handwritten(number: int, rng: np.random.Generator, *, school: str) -> Image.Image:
    """A mask of ``CANVAS x CANVAS`` pixels with one digit, filling it as a scanner's crop would."""
    allowed = SCHOOLS[school].get(number, tuple(range(len(WAYS[number]))))
    way = WAYS[number][allowed[rng.integers(len(allowed))]]
    return _stretched(_written(way, rng, wide=number == 1, fill=rng.uniform(0.82, 1.0)), rng)


def eastern(number: int, rng: np.random.Generator) -> Image.Image:
    """The same for the digits of eastern scripts, whose zero is a dot."""
    ways = EASTERN[number]
    fill = rng.uniform(0.82, 1.0) if number else DOT
    return _stretched(_written(ways[rng.integers(len(ways))], rng, wide=number == 1, fill=fill), rng)


def _written(way: Way, rng: np.random.Generator, *, wide: bool, fill: float) -> Image.Image:
    image, pen = glyphs.blank()
    thickness = rng.uniform(5, 19)
    for stroke in _shaken(way, rng, wide=wide):
        _draw(pen, 0.5 * glyphs.CANVAS + 70 * spline(stroke, steps=6), thickness)
    return glyphs.fit(image, fill)


def _shaken(way: Way, rng: np.random.Generator, *, wide: bool) -> list[Array]:
    """The strokes, each ``(n_points, 2)`` around the origin. A point that strokes share stays shared."""
    width = rng.uniform(0.5, 1.1) * (rng.uniform(0.9, 2.0) if wide else 1)
    slant, tilt, bend = rng.normal(0, 0.18), rng.normal(0, 0.12), rng.normal(0, 0.05, 4)
    shake = rng.uniform(0.01, 0.05)
    offsets = {point: rng.normal(0, shake, 2) for stroke in way for point in stroke}
    linear = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]]) @ [[width, -slant], [0, 1]]
    return [_bent(np.array([offsets[p] + p for p in stroke]) - 0.5, bend) @ linear.T for stroke in way]


def _bent(points: Array, bend: Array) -> Array:
    x, y = points.T
    x = x + bend[0] * np.sin(6 * y) + bend[1] * y**2
    y = y + bend[2] * 2 * x**2 + bend[3] * np.sin(5 * x)
    return np.stack([x, y], axis=1)


def spline(points: Array, *, steps: int) -> Array:
    """A Catmull-Rom curve through ``(n, 2)`` points, ``steps`` per segment; a straight line for two points."""
    if len(points) < 3:
        return points
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = [_segment(padded[i : i + 4], t) for i in range(len(points) - 1)]
    return np.vstack([*pieces, points[-1:]])


def _segment(points: Array, t: Array) -> Array:
    """``(len(t), 2)`` points between the second and the third of four."""
    a, b, c, d = points
    curve: Array = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - 3 * c + d - a) * t**3)
    return curve


def _draw(pen: ImageDraw.ImageDraw, curve: Array, thickness: float) -> None:
    points, radius = [(float(x), float(y)) for x, y in curve], thickness / 2
    pen.line(points, fill=255, width=int(thickness), joint="curve")
    for x, y in (points[0], points[-1]):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def _stretched(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Half of the digits wider or narrower, cut to the canvas."""
    if rng.random() < 0.5:
        return mask
    size = glyphs.CANVAS
    width = int(size * rng.uniform(0.75, 1.35))
    left = (width - size) // 2
    return mask.resize((width, size), Image.Resampling.BILINEAR).crop((left, 0, left + size, size))
