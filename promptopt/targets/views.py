"""Views of an image: copies of it, a little turned, shifted and stretched.

Few labelled images leave many prompts that get all of them right. How a prompt does on slightly changed copies tells
such prompts apart; CoOp trains on random crops for the same reason [Zhou2022]. The n-th view changes every image alike,
whatever the run's seed, so that features of views can be kept on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import require

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["View", "changed"]

LEAST = 32  # pixels a side; smaller images are enlarged first, so that turning them does not blot them out
ANGLE = 0.08  # radians, standard deviation
SHIFT = 0.05  # of the side, standard deviation
SCALE = 0.12  # of the logarithm, at the most
ASPECT = 0.08  # likewise; sides are stretched against each other


@dataclass(frozen=True, eq=False)
class View:
    """An example's input that is a view of an image.

    Attributes:
        image: the image, as an example's input gives it.
        number: which view, from 1.
    """

    image: Any
    number: int


def changed(image: Image, number: int) -> Image:
    """A view of an image in RGB. What comes in from outside has the border's colour; tiny images are enlarged."""
    images = require("PIL.Image", extra="vlm")
    if (short := min(image.size)) < LEAST:
        width, height = (max(LEAST, round(side * LEAST / short)) for side in image.size)
        image = image.resize((width, height), images.Resampling.BICUBIC)
    matrix = _matrix(image.size, np.random.default_rng(number))
    return image.transform(
        image.size, images.Transform.AFFINE, matrix, images.Resampling.BICUBIC, fillcolor=_border(image)
    )


def _matrix(size: tuple[int, int], rng: np.random.Generator) -> tuple[float, ...]:
    """Where the pixels of a view are taken from, as Pillow wants it: turned and stretched about the middle, shifted."""
    angle, scale, aspect = rng.normal(0, ANGLE), rng.uniform(-SCALE, SCALE), rng.uniform(-ASPECT, ASPECT)
    middle = np.array(size) / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn *= np.exp([[scale + aspect], [scale - aspect]])
    offset = middle - turn @ middle + rng.normal(0, SHIFT, 2) * size
    return (*turn[0].tolist(), float(offset[0]), *turn[1].tolist(), float(offset[1]))


def _border(image: Image) -> tuple[int, ...]:
    """The median colour of the outermost pixels."""
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(level) for level in np.median(border, axis=0))
