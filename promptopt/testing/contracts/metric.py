"""What every metric must hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...core import Example, Failed, Mark, Metric
from ...scorers.marking import Marking, worst_of

__all__ = ["MetricContract"]


class MetricContract:
    """What scorers rely on in a metric.

    Attributes:
        unreadable: outputs in which the metric can find no answer, for the first of the examples; may be none.
    """

    unreadable: Sequence[Any] = ()

    def make(self) -> Metric:
        """A new metric."""
        raise AssertionError("say how to make the metric: override make()")

    def marked(self) -> Sequence[tuple[Any, Example]]:
        """At least three outputs that it can mark, each with its example; good ones and bad ones."""
        raise AssertionError("say what the metric can mark: override marked()")

    def test_one_mark_per_output(self) -> None:
        outputs, examples = self._asked()
        marks = self.make()(outputs, examples)
        assert len(marks) == len(outputs)
        for value in self._values(outputs, examples):
            assert value is not None, "an output of marked() has no mark"
            assert math.isfinite(value)

    def test_marks_tell_good_outputs_from_bad_ones(self) -> None:
        assert len(set(self._values(*self._asked()))) > 1

    def test_a_mark_does_not_depend_on_its_neighbours(self) -> None:
        outputs, examples = self._asked()
        together = self._values(outputs, examples)
        _assert_close(self._values(outputs[::-1], examples[::-1])[::-1], together)
        _assert_close([self._values([o], [e])[0] for o, e in zip(outputs, examples, strict=True)], together)

    def test_the_same_outputs_have_the_same_marks(self) -> None:
        metric = self.make()
        first = self._values(*self._asked(), metric=metric)
        _assert_close(self._values(*self._asked(), metric=metric), first)
        _assert_close(self._values(*self._asked()), first)

    def test_an_output_that_is_none_has_no_mark(self) -> None:
        outputs, examples = self._asked()
        marks = self._values([None, *outputs[1:]], examples)
        assert marks[0] is None
        _assert_close(marks[1:], self._values(outputs, examples)[1:])
        assert self._values([None] * len(outputs), examples) == [None] * len(outputs)

    def test_no_mark_is_below_the_worst(self) -> None:
        worst = worst_of(self.make()) or 0.0
        assert math.isfinite(worst)
        outputs, examples = self._asked()
        unread = self._values(self.unreadable, [examples[0]] * len(self.unreadable))
        assert all(value is None or value >= worst for value in [*self._values(outputs, examples), *unread])

    def test_failed_outputs_count_as_the_worst(self) -> None:
        metric, (_, examples) = self.make(), self._asked()
        outputs = [Failed("refused"), *self.unreadable]
        marking = Marking.of(metric, outputs, [examples[0]] * len(outputs), failed="worst")
        assert sorted(marking.failed) == [*range(len(outputs))], "an unreadable output is no Mark with failed=True"
        assert marking.values.tolist() == [worst_of(metric) or 0.0] * len(outputs)
        assert all(marking.failed.values())

    def _asked(self) -> tuple[list[Any], list[Example]]:
        marked = self.marked()
        return [output for output, _ in marked], [example for _, example in marked]

    def _values(
        self, outputs: Sequence[Any], examples: Sequence[Example], *, metric: Metric | None = None
    ) -> list[float | None]:
        """The numbers, None for NaN too, as scorers take them."""
        marks = (metric or self.make())(outputs, examples)
        values = [mark.value if isinstance(mark, Mark) else mark for mark in marks]
        return [None if value is None or math.isnan(value) else float(value) for value in values]


def _assert_close(one: Sequence[float | None], other: Sequence[float | None]) -> None:
    for a, b in zip(one, other, strict=True):
        assert a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5))
