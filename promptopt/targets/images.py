"""Images as PIL images in RGB: those of examples, which are a file, a PIL image, an array or a picture, and outputs."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..attachments import picture_of
from ..core import Example, Picture
from ..errors import BrokenFile, UserError, require
from ..pictures import FORMATS, MOST_PIXELS
from .views import View, changed

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["BROKEN", "image_bytes", "names_image", "open_image", "open_picture"]

BROKEN = "broken files"
"""Why an example is unscored; coverage counts by it."""
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}


def open_image(example: Example) -> Image:
    """An example's image, decoded, in RGB.

    Its input is a path, a PIL image, a uint8 array ``(height, width)`` or ``(height, width, 3)``, an encoded picture,
    or a view of one.

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
    if isinstance(given, Picture):
        return open_picture(given)
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
            "Allowed: a path, a PIL image, a uint8 array, or an encoded picture."
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


def open_picture(picture: Picture) -> Image:
    """An encoded picture, decoded, in RGB; what is transparent in it is white.

    PNG, JPEG, WebP and GIF are taken, whatever ``picture.type`` says: SVG and HTML, which can hold programs, never are.

    Raises:
        BrokenFile: it is none of these, damaged, larger than 64 million pixels, or moves; in a few words, of which
            those before a colon say what kind of trouble it is.
        MissingExtra: Pillow is not installed.
    """
    images = require("PIL.Image", extra="vlm")
    if picture_of(picture.data) is None:
        raise BrokenFile(f"no picture: {_kind(picture.data)}")
    try:
        image = images.open(io.BytesIO(picture.data), formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise images.DecompressionBombError
        frames = getattr(image, "n_frames", 1)
        still = _on_white(image) if frames == 1 else image
    except (images.DecompressionBombError, images.DecompressionBombWarning):
        raise BrokenFile(f"huge picture: more than {MOST_PIXELS:,} pixels") from None
    except Exception as error:  # decoders raise nearly anything on damaged files
        unknown = type(error).__name__ == "UnidentifiedImageError"
        raise BrokenFile(f"broken picture: {'it cannot be decoded' if unknown else error}") from None
    if frames > 1:
        raise BrokenFile(f"animated picture: {frames} frames")
    return still


def _kind(data: bytes) -> str:
    """What encoded data is that is no picture, for people."""
    beginning = data[:1_000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not beginning:
        return "it is empty"
    if b"<svg" in beginning:
        return "SVG is never opened"
    if beginning.startswith((b"<!doctype", b"<html", b"<head", b"<body")):
        return "HTML is never opened"
    return "it is neither PNG, JPEG, WebP nor GIF"


def _on_white(image: Image) -> Image:
    if not image.has_transparency_data:
        return _rgb(image)
    images = require("PIL.Image", extra="vlm")
    layer = image.convert("RGBA")
    white = images.new("RGBA", layer.size, "white")
    return _rgb(images.alpha_composite(white, layer))


def names_image(value: Any) -> bool:
    """Whether a text is the name of an image file that exists."""
    if not isinstance(value, str) or "\n" in value or "\0" in value or len(value) > 1_000:
        return False
    return Path(value).suffix.lower() in SUFFIXES and Path(value).is_file()


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
