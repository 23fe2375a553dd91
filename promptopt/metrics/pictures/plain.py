"""Metrics of pictures that need no model, for tests, demonstrations, and as another pair of eyes in a verdict."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...checks import above_zero, not_empty
from ...core import Example, Mark
from ...errors import UserError, require
from . import images_of

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CompressedSize", "Palette"]

SIDE = 256  # pixels of the longer side at most; a larger picture is made smaller first


class _Plain(ABC):
    """Marks pictures one by one, made smaller where they are larger than 256 pixels; a subclass says how."""

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One number per output; None where the output is None.

        Raises:
            UserError: an example's label cannot be used.
        """
        opened = images_of(outputs)
        return [
            one if one is None or isinstance(one, Mark) else self.value(_pixels(one), example)
            for one, example in zip(opened, examples, strict=True)
        ]

    @abstractmethod
    def value(self, pixels: NDArray[np.uint8], example: Example) -> float:
        """The number for a picture's pixels, ``(height, width, 3)``."""


class CompressedSize(_Plain):
    """How much of a picture is detail: what DEFLATE leaves of the size of its pixels, from 0 to 1.

    The compressibility of [Black2024] by a lossless method, so that it depends on no encoder's quality. A smooth area
    is near 0, noise near 1. The label plays no part.

    Args:
        prefer: ``large`` rewards detail; ``small`` is 1 minus that, and rewards what is smooth and plain.
    """

    def __init__(self, *, prefer: Literal["large", "small"] = "large") -> None:
        self._small = prefer == "small"

    def value(self, pixels: NDArray[np.uint8], example: Example) -> float:
        """The share, in [0, 1]."""
        share = min(1.0, len(zlib.compress(pixels.tobytes(), 9)) / pixels.size)
        return 1 - share if self._small else share


class Palette(_Plain):
    """Whether a picture is in the wanted colours, all alike: 1 where each fills an equal share of it, 0 where none is.

    The histogram intersection [Swain1991] of the picture with equal shares: each pixel counts for the nearest wanted
    colour, if that is within ``tolerance``, and the value is the sum over the n colours of min(share, 1 / n).

    Args:
        colours: names as of CSS, or ``#rrggbb``; by default each example's label, a colour or a list of them.
        tolerance: the most that a pixel's colour may lie off, as a Euclidean distance in RGB, of 441 at most.

    Raises:
        UserError: a colour is unknown.
        MissingExtra: Pillow is not installed.
    """

    def __init__(self, *, colours: Sequence[str] | None = None, tolerance: float = 80.0) -> None:
        above_zero(tolerance=tolerance)
        self._tolerance = tolerance
        self._given = None if colours is None else _colours(colours, where="colours")

    def value(self, pixels: NDArray[np.uint8], example: Example) -> float:
        """The intersection, in [0, 1]."""
        wanted = self._given if self._given is not None else _colours(example.label, where=f"example {example.id!r}")
        distances = np.linalg.norm(pixels.reshape(-1, 1, 3).astype(np.float32) - wanted, axis=-1)  # (n_pixels, n)
        nearest = distances.argmin(axis=1)[distances.min(axis=1) <= self._tolerance]
        shares = np.bincount(nearest, minlength=len(wanted)) / len(distances)
        return float(np.minimum(shares, 1 / len(wanted)).sum())


def _pixels(image: Image) -> NDArray[np.uint8]:
    image.thumbnail((SIDE, SIDE))
    return np.asarray(image)


def _colours(names: Any, *, where: str) -> NDArray[np.float32]:
    """Colours in RGB, ``(n, 3)``."""
    colours = require("PIL.ImageColor", extra="vlm")
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list | tuple) or not all(isinstance(name, str) for name in listed):
        raise UserError(f"{where}: {names!r} is no colour; give names of colours, or #rrggbb.")
    not_empty(colours=listed)
    try:
        return np.array([colours.getrgb(name)[:3] for name in dict.fromkeys(listed)], dtype=np.float32)
    except ValueError as error:
        raise UserError(f"{where}: {error}. Give names of colours as of CSS, or #rrggbb.") from None
