"""Images of examples: a file, a PIL image or an array, as a PIL image in RGB."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core import Example
from ..errors import BrokenFile, UserError, require
from .views import View, changed

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["BROKEN", "image_bytes", "open_image"]

BROKEN = "broken files"
"""Why an example is unscored; coverage counts by it."""


def open_image(example: Example) -> Image:
    """An example's image, decoded, in RGB.

    Its input is a path, a PIL image, a uint8 array ``(height, width)`` or ``(height, width, 3)``, or a view of one.

    Raises:
        BrokenFile: the file cannot be decoded; the message names it.
        UserError: there is no such file, or the input is no image; the message names it.
        MissingExtra: Pillow is not installed.
    """
    images = require("PIL.Image", extra="vlm")
    given = example.input
    if isinstance(given, View):
        return changed(open_image(replace(example, input=given.image)), given.number)
    if isinstance(given, images.Image):
        return _rgb(given)
    if isinstance(given, np.ndarray):
        if given.dtype != np.uint8 or not (given.ndim == 2 or (given.ndim == 3 and given.shape[2] == 3)):
            raise UserError(
                f"example {example.id!r}: an array of shape {given.shape} and type {given.dtype} is no image. "
                "Allowed: height x width or height x width x 3, uint8."
            )
        return _rgb(images.fromarray(given))
    if not isinstance(given, str | Path):
        raise UserError(
            f"example {example.id!r}: {type(given).__name__} is no image. "
            "Allowed: a path, a PIL image, or a uint8 array."
        )
    data = image_bytes(example)
    try:
        return _rgb(images.open(io.BytesIO(data)))
    except Exception as error:  # decoders raise nearly anything on damaged files
        unknown = type(error).__name__ == "UnidentifiedImageError"
        reason = "it is no image that Pillow knows" if unknown else error
        raise BrokenFile(
            f"example {example.id!r}: cannot decode {str(given)!r}: {reason}. Mend or remove it."
        ) from None


def _rgb(image: Image) -> Image:
    return image.convert("RGB")


def image_bytes(example: Example) -> bytes:
    """The bytes of an example's image file.

    Raises:
        UserError: it cannot be read; the message names it.
    """
    try:
        return Path(example.input).read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"example {example.id!r}: cannot read the image {str(example.input)!r}: {reason}. Mend or remove it."
        ) from None
