"""Metrics of pictures, which a target of pictures gives as outputs.

An output is a :class:`promptopt.core.Picture`; a PIL image, an array or a path of a target of your own does too. One
that cannot be opened, is too large, moves, or is no picture at all has failed, with the reason. SVG and HTML are never
opened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...attachments import picture_of
from ...core import Example, Mark, Picture
from ...errors import BrokenFile, UserError
from ...targets.images import SUFFIXES, names_image, open_image

__all__ = ["UNTIMED", "Reference", "images_of", "pictured", "references", "wish_of"]

UNTIMED = math.inf
"""Seconds that a metric with a model may take: a slow machine is no fault of the pictures."""
Reference = str | Path | Picture
"""A text, or a picture: encoded, or by the path of its file."""


def pictured(output: Any) -> Any:
    """An output as :func:`~promptopt.targets.images.open_image` takes it; a Mark where it is no picture, None of None.

    A path, which no text from a model can be, is read.
    """
    if output is None or isinstance(output, Picture):
        return output
    if isinstance(output, Path):
        try:
            data = output.read_bytes()
        except OSError as error:
            return Mark(None, f"no picture: cannot read {str(output)!r}: {error.strerror}", failed=True)
        return picture_of(data) or Picture(data)
    if isinstance(output, np.ndarray) or hasattr(output, "__array_interface__"):
        return output
    return Mark(None, f"no picture: the target gave {type(output).__name__}", failed=True)


def images_of(outputs: Sequence[Any]) -> list[Any]:
    """Outputs as PIL images in RGB; a Mark where one cannot be used, None where there is none."""
    return [_opened(pictured(output)) for output in outputs]


def _opened(given: Any) -> Any:
    if given is None or isinstance(given, Mark):
        return given
    try:
        return open_image(Example("output", given, None))
    except BrokenFile as error:
        return Mark(None, str(error), failed=True)
    except UserError as error:  # an array that is no image
        return Mark(None, f"no picture: {error}", failed=True)


def references(example: Example, *, given: Sequence[Reference] = ()) -> tuple[Reference, ...]:
    """What an example's output is compared with: texts and pictures, those of the metric's options before its label.

    Raises:
        UserError: there are none, one is neither, or names an image file that is not there.
    """
    label = given or (example.label if isinstance(example.label, list | tuple) else [example.label])
    if not label or not all(isinstance(one, Reference) for one in label):
        raise UserError(
            f"example {example.id!r} has the label {example.label!r}; this metric compares pictures with a text or "
            "with other pictures. Give a text, paths or pictures as the label, or as the metric's option."
        )
    return tuple(_found(one, example) for one in label)


def wish_of(example: Example) -> str:
    """What is wished for, in words: the label where it is a text, and else the input.

    Raises:
        UserError: neither is a text.
    """
    for said in (example.label, example.input):
        if isinstance(said, str) and said.strip() and not names_image(said):
            return said
    raise UserError(
        f"example {example.id!r} says in no words what is wished for. Give a text as its label or input, or as the "
        "option text."
    )


def _found(reference: Reference, example: Example) -> Reference:
    """The reference; the name of an image file becomes a path."""
    if isinstance(reference, Picture):
        return reference
    if names_image(reference) or isinstance(reference, Path):
        path = Path(reference)
        if not path.is_file():
            raise UserError(f"example {example.id!r}: there is no file {str(path)!r} to compare with.")
        return path
    if Path(reference).suffix.lower() in SUFFIXES and len(reference.split()) == 1:
        raise UserError(f"example {example.id!r}: there is no file {reference!r} to compare with.")
    return reference
