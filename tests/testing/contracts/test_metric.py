"""The contract suite of metrics holds for ours; a part that breaks it fails in the test meant for it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from promptopt.core import Example, Mark, Metric
from promptopt.metrics import Accuracy, ExactMatch, FunctionMetric, LogProbability, MultipleChoice, Numeric, TokenF1
from promptopt.testing.contracts import MetricContract

# ── Our metrics ───────────────────────────────────────────────────────────────────────────────────────────────────


class Texts(MetricContract):
    def marked(self) -> list[tuple[Any, Example]]:
        paris = Example("1", "the capital of France", "Paris")
        rivers = Example("2", "rivers of Rome", ("Tiber", "the Tiber and the Aniene"))
        return [("Paris", paris), ("paris, I think", paris), ("Tiber", rivers), ("the Seine", rivers)]


class TestExactMatch(Texts):
    def make(self) -> Metric:
        return ExactMatch()


class TestTokenF1(Texts):
    def make(self) -> Metric:
        return TokenF1()


class TestNumeric(MetricContract):
    unreadable = ("quite a lot", "")

    def make(self) -> Metric:
        return Numeric()

    def marked(self) -> list[tuple[Any, Example]]:
        return [(text, Example(text, "6 x 7", "42")) for text in ("42", "It is 42.", "41")]


class TestMultipleChoice(MetricContract):
    unreadable = ("I cannot tell.",)

    def make(self) -> Metric:
        return MultipleChoice()

    def marked(self) -> list[tuple[Any, Example]]:
        return [(text, Example(text, "which?", "(B)")) for text in ("The answer is (B).", "b", "A")]


class Rows(MetricContract):
    def marked(self) -> list[tuple[Any, Example]]:
        rows = np.log([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
        return [(row, Example(str(i), None, "cat")) for i, row in enumerate(rows)]


class TestAccuracy(Rows):
    unreadable = ("a horse",)

    def make(self) -> Metric:
        return Accuracy(classes=["cat", "dog", "owl"])


class TestLogProbability(Rows):
    def make(self) -> Metric:
        return LogProbability(classes=["cat", "dog", "owl"])


class TestFunction(Texts):
    unreadable = ("?",)

    def make(self) -> Metric:
        return FunctionMetric(function=distance, worst=-50)


def distance(output: str, example: Example) -> float | Mark:
    return Mark(None, "a question mark", failed=True) if output == "?" else -abs(len(output) - 5)


# ── Broken metrics ────────────────────────────────────────────────────────────────────────────────────────────────


class Sound:
    """The length of a text, in hundreds of characters; question marks are no answer."""

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Any]:
        return [None if output is None else self.one(output) for output in outputs]

    def one(self, output: str) -> Any:
        return Mark(0.0, "a question", failed=True) if "?" in output else len(output) / 100


class SoundContract(MetricContract):
    part: Any = Sound
    unreadable = ("what?", "?")

    def make(self) -> Any:
        return self.part()

    def marked(self) -> list[tuple[Any, Example]]:
        return [(text, Example(text, text, text)) for text in ("a", "abc", "ab")]


class OneMark(Sound):
    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Any]:
        return super().__call__(outputs[:1], examples[:1])


class Infinite(Sound):
    def one(self, output: str) -> Any:
        return float("inf") if len(output) > 2 else super().one(output)


class NoValue(Sound):
    def one(self, output: str) -> Any:
        return None if output == "ab" else super().one(output)


class Constant(Sound):
    def one(self, output: str) -> Any:
        return 0.5


class Ranks(Sound):
    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Any]:
        marks = super().__call__(outputs, examples)
        return [sum(other <= mark for other in marks) / len(marks) for mark in marks]


class ByPlace(Sound):
    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Any]:
        return [float(place) for place, _ in enumerate(outputs)]


class Moody(Sound):
    def one(self, output: str) -> Any:
        return random.random()


class WearsOff(Sound):
    """Gives less each time, whatever it is given."""

    calls = 0

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Any]:
        self.calls += 1
        return [mark / self.calls for mark in super().__call__(outputs, examples)]


class ReadsNone(Sound):
    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Any]:
        return [self.one(str(output)) for output in outputs]


class TripsOverNone(Sound):
    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Any]:
        return [self.one(output) for output in outputs]


class BelowZero(Sound):
    def one(self, output: str) -> Any:
        return -len(output)


class BelowItsWorst(BelowZero):
    worst = -2


class NoWorst(Sound):
    worst = float("-inf")


class ReadsAnything(Sound):
    """Takes a question for an answer like any other."""

    def one(self, output: str) -> Any:
        return len(output) / 100


class FailsWithoutAWord(Sound):
    """Says None, as of an output that is missing, where the output is to blame."""

    def one(self, output: str) -> Any:
        return None if "?" in output else super().one(output)


BROKEN = [
    ("test_one_mark_per_output", OneMark),
    ("test_one_mark_per_output", Infinite),
    ("test_one_mark_per_output", NoValue),
    ("test_marks_tell_good_outputs_from_bad_ones", Constant),
    ("test_a_mark_does_not_depend_on_its_neighbours", Ranks),
    ("test_a_mark_does_not_depend_on_its_neighbours", ByPlace),
    ("test_the_same_outputs_have_the_same_marks", Moody),
    ("test_the_same_outputs_have_the_same_marks", WearsOff),
    ("test_an_output_that_is_none_has_no_mark", ReadsNone),
    ("test_an_output_that_is_none_has_no_mark", TripsOverNone),
    ("test_no_mark_is_below_the_worst", BelowZero),
    ("test_no_mark_is_below_the_worst", BelowItsWorst),
    ("test_no_mark_is_below_the_worst", NoWorst),
    ("test_failed_outputs_count_as_the_worst", ReadsAnything),
    ("test_failed_outputs_count_as_the_worst", FailsWithoutAWord),
]


@pytest.mark.parametrize(("test", "part"), BROKEN)
def test_a_broken_metric_fails_the_test_meant_for_it(test: str, part: Any) -> None:
    suite = SoundContract()
    getattr(suite, test)()
    suite.part = part
    with pytest.raises((AssertionError, TypeError)):
        getattr(suite, test)()


def test_every_metric_test_has_a_part_that_fails_it() -> None:
    assert {name for name in dir(MetricContract) if name.startswith("test_")} == {test for test, _ in BROKEN}
