"""Metrics of classification: accuracy, log-probability of the true class, margin.

An output is the row ``(n_classes,)`` of a target's log-probabilities, in the order of ``classes``, or the name of a
class that knows them (:class:`promptopt.core.HasLogProbabilities`); all outputs together may be one array
``(n_examples, n_classes)``. None and NaN are outputs that could not be had, and stay unscored. The
label of an example is a class name.

A probability of 0 has no logarithm, and a failed output no probability. What is below -100 nats counts as -100, and
so do failed outputs.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_argument
from ..core import Example, HasLogProbabilities, Mark
from ..errors import UserError
from .text import shown

FLOOR = -100.0
"""Nats; lower than what a model that works gives a class."""


class _Classification:
    """What the metrics here share: the order of the classes.

    Args:
        classes: the class names, in the order of the target's scores.

    Raises:
        UserError: there are no classes, or two are the same.
    """

    def __init__(self, *, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._place = {name: i for i, name in enumerate(self.classes)}
        holds = not isinstance(classes, str) and 1 <= len(self.classes) == len(self._place)
        check_argument("classes", classes, allowed="a list of one or more different names", holds=holds)

    def _true(self, examples: Sequence[Example]) -> NDArray[np.int64]:
        """The place of each example's class: ``(n_examples,)``."""
        places = [self._place.get(example.label, -1) for example in examples]
        if -1 in places:
            wrong = examples[places.index(-1)]
            known = ", ".join(self.classes[:20]) + (", ..." if len(self.classes) > 20 else "")
            raise UserError(
                f"example {wrong.id!r} has the label {wrong.label!r}, which is none of the classes: {known}."
            )
        return np.array(places, dtype=np.int64)

    def _rows(self, outputs: Sequence[Any]) -> tuple[NDArray[np.float64], Mapping[int, Mark]]:
        """Log-probabilities ``(n_examples, n_classes)``, NaN where there are none; and which outputs are no row.

        Raises:
            UserError: none is a row, or all together are an array of another shape.
        """
        if not len(outputs):
            return np.empty((0, len(self.classes))), {}
        unknown = np.full(len(self.classes), np.nan)
        if not isinstance(outputs, np.ndarray):
            outputs = [self._by_class(one) if isinstance(one, HasLogProbabilities) else one for one in outputs]
        rows = outputs if isinstance(outputs, np.ndarray) else [unknown if one is None else one for one in outputs]
        try:
            return self._scores(rows), {}
        except UserError:
            if isinstance(outputs, np.ndarray):
                raise
        single = [self._row(one) for one in rows]
        bad = {i: rows[i] for i, row in enumerate(single) if row is None}
        if len(bad) == sum(one is not None for one in outputs):
            return self._scores(rows), {}  # which says what is wrong
        no_row = f"no row of {len(self.classes)} numbers"
        marks = {i: Mark(None, f"{no_row}: {shown(str(one))}", failed=True) for i, one in bad.items()}
        return np.stack([unknown if row is None else row for row in single]), marks

    def _by_class(self, output: HasLogProbabilities) -> list[float]:
        return [output.log_probabilities.get(name, -math.inf) for name in self.classes]

    def _row(self, row: Any) -> NDArray[np.float64] | None:
        try:
            scores = self._scores([row])
        except UserError:
            return None
        return scores.reshape(-1)

    def _scores(self, rows: Any) -> NDArray[np.float64]:
        """Rows as an array.

        Raises:
            UserError: they are none, or have another length.
        """
        n_classes = len(self.classes)
        try:
            scores = np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)
        except (TypeError, ValueError, OverflowError):
            raise UserError(
                f"{type(self).__name__} needs a row of {n_classes} log-probabilities per example. "
                "A target that answers in text can be measured with accuracy."
            ) from None
        if scores.shape[1] != n_classes:
            raise UserError(
                f"an output has {scores.shape[1]} scores for {n_classes} classes; give both the same classes."
            )
        return scores


class Accuracy(_Classification):
    """1 where the most likely class is the true one, else 0; the first of equally likely classes counts.

    Outputs may also be texts, compared to the label without regard to case and surrounding space. A text that is none
    of the classes has failed, which is 0 as well.
    """

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        true = self._true(examples)
        if not isinstance(outputs, np.ndarray) and any(isinstance(output, str | dict) for output in outputs):
            known = {_plain(name) for name in self.classes}
            return [
                None if output is None else _compared(output, example.label, known)
                for output, example in zip(outputs, examples, strict=True)
            ]
        rows, bad = self._rows(outputs)
        hit = (rows.argmax(axis=1) == true).astype(np.float64)
        hit[np.isnan(rows).any(axis=1)] = np.nan
        return _numbers(hit, bad)


class LogProbability(_Classification):
    """Log-probability of the true class, in nats; at least -100."""

    worst = FLOOR

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        true, (rows, bad) = self._true(examples), self._rows(outputs)
        return _numbers(np.maximum(rows[np.arange(len(rows)), true], FLOOR), bad)


class Margin(_Classification):
    """Log-probability of the true class minus that of the most likely other one, from -100 to 100; positive where
    accuracy is 1.
    """

    worst = FLOOR

    def __init__(self, *, classes: Sequence[str]) -> None:
        super().__init__(classes=classes)
        holds = len(self.classes) >= 2
        check_argument("classes", self.classes, allowed="a list of two or more different names", holds=holds)

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        true, (rows, bad) = self._true(examples), self._rows(outputs)
        each = np.arange(len(rows))
        others = rows.copy()
        others[each, true] = -np.inf
        others[np.isnan(rows).any(axis=1)] = np.nan
        with np.errstate(invalid="ignore"):
            return _numbers(np.clip(rows[each, true] - others.max(axis=1), FLOOR, -FLOOR), bad)


def _compared(output: Any, label: Any, known: set[Any]) -> float | Mark:
    """1 or 0; of a text that is no class, that it failed."""
    said = _plain(output)
    if isinstance(output, Hashable) and said == _plain(label):
        return 1.0
    is_class = isinstance(output, Hashable) and said in known
    return 0.0 if is_class else Mark(0.0, f"no class: {shown(str(output))}", failed=True)


def _plain(text: Any) -> Any:
    return text.strip().casefold() if isinstance(text, str) else text


def _numbers(values: NDArray[np.float64], failed: Mapping[int, Mark]) -> list[float | Mark | None]:
    return [failed.get(i, None if math.isnan(value) else value) for i, value in enumerate(values.tolist())]
