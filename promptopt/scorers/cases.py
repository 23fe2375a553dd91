"""What happened on each example, in words that fit into a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..attachments import picture_file
from ..core import Case, Example, Failed, HasLogProbabilities, InWords, Missing, Picture
from .marking import Marking

__all__ = ["LONGEST", "cases"]

LONGEST = 2_000
"""Characters of an output, and of a reason, where nobody says otherwise."""


def cases(
    outputs: Sequence[Any],
    examples: Sequence[Example],
    marking: Marking,
    *,
    classes: Sequence[str] = (),
    longest: int = LONGEST,
    keep: Callable[[Picture], str] = picture_file,
) -> tuple[Case, ...]:
    """One case per example, in order.

    Args:
        classes: an output that is a vector of as many scores is told as the class it predicts.
        longest: characters of an output, and of a reason.
        keep: keeps a picture, and returns its name; by default none is kept.
    """
    why = {**marking.feedback, **marking.unscored}
    values = marking.values.tolist()
    told = [described(output, classes, keep=keep) for output in outputs]
    outs = [
        text if text is None or isinstance(output, Picture) else _cut(text, longest)
        for output, text in zip(outputs, told, strict=True)
    ]
    return tuple(
        Case(example.id, outs[i], values[i], _cut(str(why.get(i, "")), longest)) for i, example in enumerate(examples)
    )


def described(output: Any, classes: Sequence[str] = (), *, keep: Callable[[Picture], str] = picture_file) -> str | None:
    """An output as text; a picture by its name, an array in a few words. None where there is none."""
    if isinstance(output, Failed):
        return described(output.text, classes)
    if output is None or isinstance(output, Missing):
        return None
    if isinstance(output, InWords):
        return output.in_words
    if isinstance(output, HasLogProbabilities):
        each = sorted(output.log_probabilities.items(), key=lambda one: -one[1])
        return f"{output} ({', '.join(f'{name} {log:.2f}' for name, log in each)})"
    if isinstance(output, str):
        return str(output)
    if isinstance(output, Picture):
        return keep(output)
    if classes and (scores := _scores(output, len(classes))) is not None:
        return classes[int(scores.argmax())]
    if isinstance(output, dict | list | tuple | int | float):
        return _as_json(output)
    shape = getattr(output, "shape", None) or getattr(output, "size", None)
    return type(output).__name__ + (f" of {' x '.join(map(str, shape))}" if isinstance(shape, tuple) else "")


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _scores(output: Any, n_classes: int) -> Any:
    """The output as an array ``(n_classes,)``, if it is one without NaN."""
    try:
        scores = np.asarray(output, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return scores if scores.shape == (n_classes,) and not np.isnan(scores).any() else None


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return type(value).__name__
