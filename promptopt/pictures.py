"""Pictures that come from elsewhere: what is wrong with one, and those that the user gives as references."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .attachments import picture_of
from .core import Example, Picture
from .errors import UserError, require

__all__ = ["FORMATS", "MOST_PIXELS", "flaw_of", "read_picture", "references_of", "size_of"]

MOST_PIXELS = 64_000_000
"""Width times height, of references and outputs. A file of a few kilobytes may unfold to more than the memory holds."""
LARGEST = 32 * 2**20
"""Bytes of a file."""
ALLOWED = "PNG, JPEG, WebP or GIF"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif")


def flaw_of(picture: Picture) -> str | None:
    """Why a picture is none to work with: it is broken, huge or animated; None where nothing is.

    It is decoded to the end. What it shows is not looked at. Without Pillow nothing is found.
    """
    try:
        images = importlib.import_module("PIL.Image")
    except ModuleNotFoundError:
        return None
    try:
        with images.open(io.BytesIO(picture.data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                return f"huge: {image.width:,} x {image.height:,} pixels, at most {MOST_PIXELS:,} in all"
            if _is_animated(image):
                return "animated"
            image.load()
    except (images.DecompressionBombError, images.DecompressionBombWarning):
        return f"huge: more than {MOST_PIXELS:,} pixels"
    except Exception as error:  # decoders raise nearly anything on damaged files
        unknown = type(error).__name__ == "UnidentifiedImageError"
        return f"broken: {'it is not what it begins like' if unknown else error}"
    return None


def size_of(picture: Picture) -> tuple[int, int] | None:
    """Width and height in pixels, without decoding it; None where they cannot be read, or Pillow is not installed."""
    try:
        images = importlib.import_module("PIL.Image")
        with images.open(io.BytesIO(picture.data), formats=FORMATS) as image:
            return int(image.width), int(image.height)
    except Exception:  # decoders raise nearly anything on damaged files
        return None


def _is_animated(image: Any) -> bool:
    """Whether it moves. Photos of some telephones hold a preview beside the picture, which is no movement."""
    return bool(getattr(image, "is_animated", False)) and image.format != "MPO"


def read_picture(path: str | Path, *, where: str) -> Picture:
    """A file that the user gives as a picture, decoded once to see that it can be.

    Args:
        where: what it is given as, for the message.

    Raises:
        UserError: it is not there, no PNG, JPEG, WebP or GIF (an SVG is a program and no picture), broken, huge or
            animated.
        MissingExtra: Pillow is not installed.
    """
    require("PIL.Image", extra="vlm")
    file = Path(path).expanduser()
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST + 1)
    except OSError as error:
        raise UserError(f"{where}: cannot read {str(path)!r}: {error.strerror or error}.") from None
    if len(data) > LARGEST:
        raise UserError(f"{where}: {str(path)!r} is larger than {LARGEST // 2**20} MiB. Make it smaller.")
    picture = picture_of(data)
    flaw = f"no {ALLOWED}" if picture is None else flaw_of(picture)
    if picture is None or flaw:
        raise UserError(f"{where}: {str(path)!r} is {flaw}. Give a still picture as {ALLOWED}.")
    return picture


def references_of(example: Example) -> tuple[Picture, ...]:
    """The pictures that an example's label is or names: pictures or paths, several or one; none of anything else.

    Raises:
        UserError: one of them cannot be read any more.
    """
    return tuple(_read(path, example) for path in _paths(example.label))


def _paths(label: Any) -> Iterator[str | Path | Picture]:
    """The pictures and the paths of pictures in a label; a text that merely looks like one is an answer."""
    if isinstance(label, list | tuple):
        if all(map(_looks_like_one, label)):
            yield from label
    elif isinstance(label, Picture) or (_looks_like_one(label) and Path(label).is_file()):
        yield label


def _looks_like_one(value: Any) -> bool:
    return isinstance(value, Picture) or (isinstance(value, str | Path) and str(value).lower().endswith(SUFFIXES))


def _read(path: str | Path | Picture, example: Example) -> Picture:
    if isinstance(path, Picture):
        return path
    try:
        found = picture_of(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise UserError(f"example {example.id!r}: cannot read {str(path)!r}: {error.strerror or error}.") from None
    if found is None:
        raise UserError(f"example {example.id!r}: {str(path)!r} is no {ALLOWED}.")
    return found
