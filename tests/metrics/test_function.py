"""Any function as a metric."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

from promptopt.core import Example, Mark
from promptopt.errors import UserError
from promptopt.metrics.function import FunctionMetric
from promptopt.recipe.build import call

EXAMPLES = [Example("1", None, "abc"), Example("2", None, "x")]


def length(output: str, example: Example) -> float:
    return abs(len(output) - len(example.label))


def test_it_is_called_for_each_output_but_none() -> None:
    assert FunctionMetric(function=length)(["ab", None], EXAMPLES) == [1.0, None]


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (None, None),
        (math.nan, None),
        (Mark(0.25, "why"), Mark(0.25, "why")),
        (Mark(math.nan, "why"), Mark(None, "why")),
        (Mark(None, "why"), Mark(None, "why")),
        (Mark(None, "why", failed=True), Mark(None, "why", failed=True)),
    ],
)
def test_numbers_marks_and_none_may_be_returned(returned: Any, expected: Any) -> None:
    assert FunctionMetric(function=lambda output, example: returned)(["a"], EXAMPLES[:1]) == [expected]


@pytest.mark.parametrize("returned", ["1", [1.0], Mark("1")])  # type: ignore[arg-type]
def test_anything_else_is_an_error(returned: Any) -> None:
    with pytest.raises(UserError, match=r"returned '?\[?1.* for example '1'"):
        FunctionMetric(function=lambda output, example: returned)(["a"], EXAMPLES[:1])


def test_its_own_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        FunctionMetric(function=lambda output, example: 1 / 0)(["a"], EXAMPLES[:1])


def test_the_worst_value_is_an_option_or_the_functions_own() -> None:
    def minus_distance(output: str, example: Example) -> float:
        return -length(output, example)

    assert FunctionMetric(function=minus_distance).worst is None
    assert FunctionMetric(function=minus_distance, worst=-9).worst == -9
    minus_distance.worst = -10.0  # type: ignore[attr-defined]
    assert FunctionMetric(function=minus_distance).worst == -10.0
    with pytest.raises(UserError, match="worst is -inf"):
        FunctionMetric(function=minus_distance, worst=-math.inf)


def test_a_recipe_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "measures_of_tests", sys.modules[__name__])
    metric = call(FunctionMetric, {"function": "measures_of_tests:length"}, where="metric")
    assert metric(["ab"], EXAMPLES[:1]) == [1.0]
    for name, message in [
        ("length", "allowed is a function, or package.module:name of one"),
        ("measures_of_tests:width", "cannot load"),
    ]:
        with pytest.raises(UserError, match=message):
            call(FunctionMetric, {"function": name}, where="metric")
    with pytest.raises(UserError, match="function is 5; allowed is a function"):
        FunctionMetric(function=5)  # type: ignore[arg-type]


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="zip"):
        FunctionMetric(function=length)(["a"], EXAMPLES)
