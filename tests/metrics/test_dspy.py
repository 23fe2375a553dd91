"""Metrics in DSPy's forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from promptopt.core import Example, Mark
from promptopt.errors import UserError
from promptopt.metrics.dspy import DSPyMetric
from promptopt.testing.contracts import MetricContract

dspy = pytest.importorskip("dspy")

EXAMPLES = [Example(str(i), {"question": f"{i}?"}, {"answer": str(i)}) for i in range(3)]


def right(example: Any, prediction: Any) -> bool:
    return bool(example.answer == prediction.answer)


class TestDSPyMetric(MetricContract):
    def make(self) -> DSPyMetric:
        return DSPyMetric(function=right)

    def marked(self) -> list[tuple[Any, Example]]:
        return [(dspy.Prediction(answer=answer), one) for answer, one in zip("012"[::-1], EXAMPLES, strict=True)]


def marks(function: Callable[..., Any]) -> Any:
    (mark,) = DSPyMetric(function=function)([dspy.Prediction(answer="0")], EXAMPLES[:1])
    return mark


@pytest.mark.parametrize(
    "function",
    [
        right,
        lambda example, prediction, trace=None: example.answer == prediction.answer and trace is None,
        lambda example, prediction, trace: example.answer == prediction.answer and trace is None,
        lambda gold, pred, trace, pred_name, pred_trace: (gold.answer == pred.answer) * 1.0,
        lambda gold, pred, trace=None, pred_name=None, pred_trace=None: 1,
    ],
)
def test_two_three_and_five_arguments(function: Callable[..., Any]) -> None:
    assert marks(function) == Mark(1.0)


@pytest.mark.parametrize(
    ("given", "mark"),
    [
        (0.25, Mark(0.25)),
        (False, Mark(0.0)),
        (float("nan"), Mark(None)),
        (None, None),
        (dspy.Prediction(score=0.5, feedback="half"), Mark(0.5, "half")),
        (dspy.Prediction(score=True), Mark(1.0)),
        ({"score": 0.5, "feedback": "half"}, Mark(0.5, "half")),
    ],
)
def test_what_it_may_return(given: Any, mark: Mark | None) -> None:
    assert marks(lambda example, prediction: given) == mark


def test_what_it_may_not_return() -> None:
    with pytest.raises(UserError, match="a number, a bool"):
        marks(lambda example, prediction: "good")


def test_other_arguments() -> None:
    with pytest.raises(UserError, match="pred_trace"):
        DSPyMetric(function=lambda one: 1.0)


def test_the_example_says_which_fields_are_inputs() -> None:
    assert marks(lambda example, prediction: [*example.inputs().keys()] == ["question"]) == Mark(1.0)


def test_plain_inputs_need_a_target_that_knows_their_fields() -> None:
    with pytest.raises(UserError, match="as tables"):
        DSPyMetric(function=right)([dspy.Prediction(answer="0")], [Example("0", "0?", "0")])
