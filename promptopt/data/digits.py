"""Real handwritten digits that come with scikit-learn: 1,797 images of 8 x 8 pixels, no download."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import Dataset, Example
from ..errors import require
from .splits import few_shot

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits(*, shots: int = 16, seed: int = 0, dev: int = 0, rotated: bool = False) -> Dataset:
    """scikit-learn's ``load_digits`` as a few-shot task: PIL RGB images of 8 x 8 pixels, classes 'zero' to 'nine'.

    The 17 grey levels are scaled to 0..255, white on black. The images stay as small as they are: a CLIP's own
    preprocessing enlarges them, bicubically.

    Args:
        shots: training images per class.
        seed: of the draw.
        dev: dev images per class. All other images are the test split.
        rotated: turn every image by 180 degrees.

    Raises:
        UserError: a class has too few images; the smallest has 174.
        MissingExtra: scikit-learn or Pillow is not installed.
    """
    source = require("sklearn.datasets", extra="clip").load_digits()
    name = "digits-rotated" if rotated else "digits"
    pool = {label: np.flatnonzero(source.target == number).tolist() for number, label in enumerate(CLASSES)}
    splits = few_shot(pool, shots=shots, seed=seed, dev=dev, where=name)

    def examples(drawn: list[tuple[str, int]]) -> tuple[Example, ...]:
        return tuple(Example(f"{name}/{i}", _image(source.images[i], rotated), label) for label, i in drawn)

    return Dataset(name, examples(splits.train), examples(splits.dev), examples(splits.test), CLASSES)


def _image(levels: Any, rotated: bool) -> Any:
    """A PIL image from ``(8, 8)`` grey levels 0..16."""
    pixels = (levels * (255 / 16)).round().astype(np.uint8)
    if rotated:
        pixels = np.ascontiguousarray(pixels[::-1, ::-1])
    return require("PIL.Image", extra="clip").fromarray(pixels).convert("RGB")
