"""What a metric makes of one prompt's outputs: values, what failed and why.

One rule for every target and metric: what the prompt brings about counts. An output that came about but cannot be used
(refused, empty, cut off, unreadable) is *failed* and counts as the metric's worst value, so that no prompt gains by
breaking the replies that it would have got wrong. What fails for outside reasons has no value: NaN.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import Coverage, Example, Failed, FailedRule, HasWorst, Mark, Metric, Missing, ReadsCut
from ..errors import UserError
from ..stats import mean
from .marks import marks_of

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["Marking", "worst_of"]

REASONS = 5  # so many different reasons are told, in feedback and in coverage
OTHERS = "other reasons"
LONGEST = 100  # characters of a reason in coverage
EMPTY = "empty"


@dataclass(frozen=True)
class Marking:
    """A metric's marks for the outputs of one prompt.

    Attributes:
        values: ``(n_examples,)``; NaN where there is none.
        failed: the places of the failed outputs, each with the reason.
        unscored: likewise of those that have no value for outside reasons.
        feedback: the metric's reasons, by place; of a failed output, why it did.
    """

    values: Array
    failed: Mapping[int, str]
    unscored: Mapping[int, str]
    feedback: Mapping[int, str]

    @classmethod
    def of(cls, metric: Metric, outputs: Sequence[Any], examples: Sequence[Example], *, failed: FailedRule) -> Marking:
        """Mark outputs, one per example.

        Args:
            failed: ``worst`` counts failed outputs as the metric's worst value; ``leave-out`` leaves out those that the
                metric gives no number.

        Raises:
            UserError: the metric gave less than what it says, or is taken, to be its worst value.
        """
        broken, missing = _broken(outputs), _missing(outputs)
        shown = outputs
        if broken or missing:
            shown = [
                _readable(broken[i], metric) if i in broken else None if i in missing else one
                for i, one in enumerate(outputs)
            ]
        marks = marks_of(metric, shown, examples, failed=failed)
        values, worst = _numbers(marks), worst_of(metric) or 0.0
        if failed == "worst":
            _check(values, worst, metric, examples)
        reasons, unscored, feedback = {}, {}, {}
        for i in sorted(
            {*broken, *missing, *(i for i, mark in enumerate(marks) if mark is None or isinstance(mark, Mark))}
        ):
            told = mark.feedback if isinstance(mark := marks[i], Mark) else ""
            if i in missing:
                unscored[i] = told = missing[i]
                values[i] = math.nan
            elif i in broken and (shown[i] is None or _is_lost(mark, values[i], worst)):
                reasons[i] = broken[i].reason
                values[i] = math.nan
            elif isinstance(mark, Mark) and mark.failed:
                reasons[i] = told or "failed"
            elif math.isnan(values[i]):
                unscored[i] = told or ("no output" if outputs[i] is None else "no value")
            feedback[i] = reasons.get(i, told)
        if failed == "worst":
            values[list(reasons)] = worst
        return cls(values, reasons, unscored, {i: text for i, text in feedback.items() if text})

    def over_copies(self, n: int) -> Marking:
        """One mark for each example that stands in ``n`` copies, one after the other: the mean over its copies."""
        if n == 1:
            return self
        values = np.array([mean(copies) for copies in self.values.reshape(-1, n)])
        failed, unscored, feedback = (
            {i // n: text for i, text in list(told.items())[::-1]}
            for told in (self.failed, self.unscored, self.feedback)
        )
        return Marking(values, failed, {i: why for i, why in unscored.items() if math.isnan(values[i])}, feedback)

    @property
    def mean(self) -> float:
        """Mean over what has a value; NaN if nothing has."""
        return mean(self.values)

    @property
    def coverage(self) -> Coverage:
        """On how much of what was asked the mean rests; failed outputs that are left out are not among the scored."""
        reasons = Counter(_short(reason) for reason in (*self.failed.values(), *self.unscored.values()))
        told = dict(reasons.most_common(REASONS if len(reasons) <= REASONS else REASONS - 1))
        if rest := reasons.total() - sum(told.values()):
            told[OTHERS] = rest
        scored = ~np.isnan(self.values)
        return Coverage(len(scored), int(scored.sum()), int(scored[list(self.failed)].sum()), told)

    @property
    def told(self) -> str:
        """The first few different reasons, one a line."""
        return "\n".join(list(dict.fromkeys(self.feedback.values()))[:REASONS])


def _broken(outputs: Sequence[Any]) -> dict[int, Failed]:
    """Failed outputs by place; a blank text is one, but a metric may look at it."""
    if isinstance(outputs, np.ndarray):
        return {}
    found = {}
    for i, output in enumerate(outputs):
        if isinstance(output, Failed):
            found[i] = output
        elif isinstance(output, str) and not output.strip():
            found[i] = Failed(EMPTY, output, cut=True)
    return found


def _missing(outputs: Sequence[Any]) -> dict[int, str]:
    """Why outputs are missing for outside reasons, by place, where the target says so."""
    if isinstance(outputs, np.ndarray):
        return {}
    return {i: output.reason for i, output in enumerate(outputs) if isinstance(output, Missing)}


def _readable(output: Failed, metric: Metric) -> str | None:
    """What of a failed output the metric is shown: a cut-off text, unless it says that ``reads_cut`` is False."""
    reads = metric.reads_cut if isinstance(metric, ReadsCut) else True
    return output.text if output.cut and reads else None


def _is_lost(mark: float | Mark | None, value: float, worst: float) -> bool:
    """Whether the metric could not read its answer in what there is of a failed output."""
    return (isinstance(mark, Mark) and mark.failed) or value <= worst


def _numbers(marks: Sequence[float | Mark | None]) -> Array:
    """(n,) with NaN for None."""
    values = [mark.value if isinstance(mark, Mark) else mark for mark in marks]
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def worst_of(metric: Metric) -> float | None:
    """The worst value that a metric names, if it names one."""
    return float(metric.worst) if isinstance(metric, HasWorst) and metric.worst is not None else None


def _check(values: Array, worst: float, metric: Metric, examples: Sequence[Example]) -> None:
    """A failed output must not be better than one that is merely bad."""
    below = np.flatnonzero(values < worst - 1e-9)
    if len(below):
        name = getattr(metric, "__name__", type(metric).__name__)
        raise UserError(
            f"the metric {name} gave {values[below[0]]:g} for example {examples[below[0]].id!r}, but its worst value, "
            f"which failed outputs count as, is {worst:g}. Give the metric an attribute `worst` (the metric `function` "
            'takes it as an option), or say failed = "leave-out".'
        )


def _short(reason: str) -> str:
    return reason.partition(":")[0].strip()[:LONGEST] or "no reason given"
