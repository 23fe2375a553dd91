"""The rendered suite: the numbers zero to nine as seven segments, tally marks, dice and more, drawn on the spot.

All tasks share their class names, "zero" to "nine". What a good prompt for one task says, a good prompt for another
does not: a search that finds the right words for each is worth more than one that finds a single lucky template.

The images need Pillow and no download. They are rendered and look it: no claim about photographs follows from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..checks import at_least
from ..core import Dataset, Example
from ..errors import UnknownName, require

require("PIL", extra="clip")

from PIL import Image, ImageFont  # noqa: E402

from ..drawing import glyphs as _glyphs  # noqa: E402

if TYPE_CHECKING:
    from ..core import Array

SIZE = 32
_TRAIN, _TEST = 0, 1
_COLOURS = {
    "black": (15, 15, 15),
    "white": (245, 245, 245),
    "red": (215, 35, 35),
    "green": (40, 160, 60),
    "blue": (40, 70, 210),
    "yellow": (240, 220, 50),
    "cyan": (50, 200, 220),
    "brown": (120, 75, 35),
    "purple": (130, 50, 170),
}

Painter = Callable[[int, np.random.Generator], Image.Image]


@dataclass(frozen=True)
class Task:
    """One way of showing a number.

    Attributes:
        paint: number and random generator to a mask of ink.
        first: the smallest number that can be shown, 0 or 1.
        colours: pairs of ink and ground to choose from.
        key: enters the random stream; never changes once released.
    """

    paint: Painter
    first: int
    colours: tuple[tuple[str, str], ...]
    key: int

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in order."""
        return _glyphs.WORDS[self.first :]


@lru_cache(maxsize=1)
def _font() -> _glyphs.Font:
    return ImageFont.load_default(80)


def _printed(number: int, rng: np.random.Generator) -> Image.Image:
    return _glyphs.text(str(number), font=_font(), fill=rng.uniform(0.7, 1.0))


def _roman(number: int, rng: np.random.Generator) -> Image.Image:
    return _glyphs.text(_glyphs.ROMAN[number], font=_font(), fill=rng.uniform(0.75, 1.0))


def _counting(number: int, rng: np.random.Generator) -> Image.Image:
    return _glyphs.heap(number, rng, shape=str(rng.choice(_glyphs.SHAPES)))


_INKS = (("black", "white"), ("blue", "white"), ("brown", "yellow"), ("white", "black"))
TASKS: dict[str, Task] = {
    "seven-segment": Task(
        _glyphs.seven_segment, 0, (("red", "black"), ("green", "black"), ("cyan", "black"), ("black", "green")), 1
    ),
    "tally": Task(_glyphs.tally, 1, (("white", "black"), *_INKS), 2),
    "roman": Task(_roman, 1, _INKS, 3),
    "dice": Task(
        _glyphs.dice,
        1,
        (("white", "red"), ("white", "green"), ("white", "blue"), ("red", "white"), ("white", "black")),
        4,
    ),
    "printed": Task(_printed, 0, _INKS, 5),
    "clock": Task(_glyphs.clock, 1, (("black", "white"), ("brown", "yellow"), ("white", "blue")), 6),
    "counting": Task(
        _counting,
        0,
        (("red", "white"), ("blue", "white"), ("yellow", "black"), ("purple", "white"), ("white", "green")),
        7,
    ),
}


def rendered(*, task: str, shots: int = 16, seed: int = 0, test: int = 500) -> Dataset:
    """Draw one task of the suite.

    Every image has its own random stream, keyed by seed, task, split, class and number: the same call gives the same
    images, bit for bit, in any process, and more shots leave the earlier ones as they are.

    Args:
        task: one of TASKS.
        shots: training images per class.
        seed: of the images.
        test: test images in all, spread evenly over the classes.

    Returns:
        Examples whose input is an RGB image of 32 x 32 pixels and whose label is a word, ``"three"``.

    Raises:
        UnknownName: there is no such task.
        UserError: shots, seed or test is negative, or shots is 0.
    """
    if task not in TASKS:
        raise UnknownName("rendered task", task, TASKS)
    at_least(1, where="rendered", shots=shots)
    at_least(0, where="rendered", test=test, seed=seed)
    n_classes = len(TASKS[task].classes)
    per_class = [test // n_classes + (i < test % n_classes) for i in range(n_classes)]
    return Dataset(
        name=f"rendered:{task}",
        train=_split(task, _TRAIN, [shots] * n_classes, seed),
        test=_split(task, _TEST, per_class, seed),
        classes=TASKS[task].classes,
    )


def _split(task: str, split: int, per_class: list[int], seed: int) -> tuple[Example, ...]:
    spec, name = TASKS[task], ("train", "test")[split]
    return tuple(
        Example(
            id=f"{task}/{name}/{label}/{i}",
            input=_draw(spec, spec.first + k, np.random.default_rng([seed, spec.key, split, k, i])),
            label=label,
        )
        for k, label in enumerate(spec.classes)
        for i in range(per_class[k])
    )


def _draw(task: Task, number: int, rng: np.random.Generator) -> Image.Image:
    """One finished image of ``number``."""
    mask = jittered(task.paint(number, rng), rng)
    return coloured(mask, task.colours[rng.integers(len(task.colours))], rng=rng)


def coloured(
    mask: Image.Image, colours: tuple[str, str], *, rng: np.random.Generator, tint: float = 8.0, noise: float = 4.0
) -> Image.Image:
    """An RGB image of ``SIZE x SIZE`` pixels from a mask of ink and the names of ink and ground.

    ``tint`` is the standard deviation by which the two colours are off, ``noise`` that of every pixel; both of 255.
    """
    ink, ground = (_tinted(name, tint, rng) for name in colours)
    small = mask.resize((SIZE, SIZE), Image.Resampling.BOX)
    alpha = np.asarray(small, dtype=np.float64)[:, :, None] / 255
    pixels = alpha * ink + (1 - alpha) * ground + rng.normal(0, noise, (SIZE, SIZE, 3))
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def jittered(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Tilted by a few degrees, a little larger or smaller, a little off the centre."""
    angle, scale = rng.normal(0, 0.06), rng.uniform(1.0, 1.15)
    shift = rng.normal(0, 1.5, 2)
    cos, sin, middle = scale * np.cos(angle), scale * np.sin(angle), _glyphs.CANVAS / 2
    offset_x = middle - cos * middle + sin * middle + shift[0]
    offset_y = middle - sin * middle - cos * middle + shift[1]
    matrix = (cos, -sin, offset_x, sin, cos, offset_y)
    return mask.transform(mask.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _tinted(name: str, tint: float, rng: np.random.Generator) -> Array:
    """``(3,)`` red, green and blue, near the named colour."""
    return np.asarray(_COLOURS[name], dtype=np.float64) + rng.normal(0, tint, 3)
