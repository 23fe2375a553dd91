"""What an LLM is shown of cases: which ones, how much, and marked as data."""

from __future__ import annotations

import math

import pytest

from promptopt.core import Case, Example
from promptopt.errors import UserError
from promptopt.optimizers.proposers import showing
from promptopt.optimizers.proposers.showing import by_id, fields, told, wrong

EXAMPLES = {f"e{i}": Example(f"e{i}", f"input {i}", f"label {i}") for i in range(9)}


def case(name: str = "e0", value: float = 0.0, output: str | None = "said", reason: str = "") -> Case:
    return Case(name, output, value, reason)


def test_wrong_is_what_has_a_value_below_the_perfect_one() -> None:
    cases = [case("e0", 1.0), case("e1", 0.0), case("e2", 0.9), case("e3", math.nan), case("e4", 0.0, None, "refused")]
    assert [one.example for one in wrong(cases, perfect=1.0)] == ["e1", "e2", "e4"]
    assert [one.example for one in wrong(cases, perfect=0.5)] == ["e1", "e4"]


def test_what_happened_is_told_as_far_as_it_is_known() -> None:
    assert fields(case(reason="too long"), EXAMPLES["e0"]) == {
        "Input": "input 0",
        "Output": "said",
        "Right answer": "label 0",
        "Reason": "too long",
    }
    assert fields(case(output=None), Example("e0", "x", None)) == {"Input": "x", "Output": "(none)"}
    assert fields(case(output=""), Example("e0", "x", None)) == {"Input": "x"}


def test_every_text_and_all_together_are_bounded() -> None:
    long = Example("e0", "i" * 50_000, ["l" * 50_000])
    shown = fields(case(output="o" * 2_000, reason="r" * 2_000), long)
    assert [len(text) for text in shown.values()] == [showing.LONGEST] * 4
    many = told([case("e0", output="o" * 2_000)] * 50, {"e0": long})
    assert showing.MOST - 3_000 < sum(len(text) for _, text in many) <= showing.MOST
    assert len(told([case("e0")] * 3, {"e0": long}, most=10)) == 3  # the first one, always


def test_cases_are_numbered_in_their_order() -> None:
    titled = told([case("e3"), case("e1", reason="why")], EXAMPLES)
    assert titled == [
        ("Input 1", "input 3"),
        ("Output 1", "said"),
        ("Right answer 1", "label 3"),
        ("Input 2", "input 1"),
        ("Output 2", "said"),
        ("Right answer 2", "label 1"),
        ("Reason 2", "why"),
    ]
    assert told([], EXAMPLES) == []


def test_examples_need_ids_of_their_own() -> None:
    assert list(by_id([*EXAMPLES.values()])) == [*EXAMPLES]
    with pytest.raises(UserError, match="no training examples, and this search learns from what happened on each"):
        by_id([])
    with pytest.raises(UserError, match="two training examples have the same id"):
        by_id([EXAMPLES["e0"], EXAMPLES["e0"]])
