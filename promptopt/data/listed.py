"""Examples that are given as they are: a list of pairs, of dicts, or of :class:`promptopt.core.Example`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core import Dataset, Example
from ..errors import UserError
from ..loading import say
from .text_splits import split

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
NAME = "examples"
FORMS = "(input, label), {'input': ..., 'label': ...} or Example(id, input, label)"


def listed(
    *,
    examples: Sequence[Any],
    train: int | None = None,
    dev: int | None = None,
    test: int | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> Dataset:
    """A list of labelled examples, split at random.

    Without sizes half of them, rounded up, are searched on and the other half is held out for the verdict. Examples
    with equal inputs go into the same split.

    Args:
        examples: pairs of input and label, dicts with ``input``, ``label`` and maybe ``id``, or Example objects; at
            least two. Ids are made of the place in the list where none is given.
        train: training examples; None means half, or what the other splits leave.
        dev: dev examples; None means none.
        test: test examples; None means what the other splits leave. 0 holds nothing out, and there is no verdict.
        classes: the class names, for a target that classifies; by default the labels in the order of their first
            appearance where the inputs are pictures, and none elsewhere.
        seed: of the draw.

    Raises:
        UserError: there are too few examples, or one of them is in none of the three forms.
    """
    if isinstance(examples, str) or len(examples) < 2:
        raise UserError(f"{NAME}: give a list of at least two examples, each as {FORMS}.")
    pool = [_example(given, f"{NAME}/{place}", where=f"{NAME}[{place}]") for place, given in enumerate(examples)]
    if train is None and test is None:
        train = max(1, (len(pool) - (dev or 0) + 1) // 2)
    if classes is None:
        classes = [*dict.fromkeys(str(e.label) for e in pool)] if all(_is_picture(e.input) for e in pool) else []
    data = split(NAME, pool, train=train, dev=dev, test=test, seed=seed, classes=tuple(classes))
    parts = {"to search on": data.train, "for the final choice": data.dev, "held out for the verdict": data.test}
    sizes = ", ".join(f"{len(part)} {what}" for what, part in parts.items() if part)
    say(f"{len(pool)} {NAME}: {sizes}, drawn with seed {seed}")
    return data


def _example(given: Any, default_id: str, *, where: str) -> Example:
    if isinstance(given, Example):
        return given
    if isinstance(given, Mapping):
        for key in ("input", "label"):
            if key not in given:
                raise UserError(f"{where} has no {key!r}; give it as {FORMS}.")
        return Example(str(given.get("id", default_id)), given["input"], given["label"])
    if isinstance(given, tuple | list) and len(given) == 2:
        return Example(default_id, *given)
    shown = repr(given)
    raise UserError(f"{where} is {shown if len(shown) <= 60 else shown[:57] + '...'}; give it as {FORMS}.")


def _is_picture(value: Any) -> bool:
    """A path with a picture's ending, an array or a PIL image."""
    if isinstance(value, str | Path):
        return str(value).lower().endswith(PICTURES)
    return hasattr(value, "__array_interface__")
