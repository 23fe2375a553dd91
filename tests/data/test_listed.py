"""Lists of examples, as they are given from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import promptopt
from promptopt.core import Example
from promptopt.data.listed import listed
from promptopt.errors import UserError
from promptopt.loading import heard

PAIRS = [(f"{i} + {i}", str(2 * i)) for i in range(11)]


def ids(examples: Any) -> set[str]:
    return {example.id for example in examples}


def test_half_is_searched_on_and_half_is_held_out() -> None:
    said: list[str] = []
    with heard(said.append):
        data = listed(examples=PAIRS, seed=3)
    assert (len(data.train), len(data.dev), len(data.test)) == (6, 0, 5)
    assert ids(data.train) | ids(data.test) == {f"examples/{i}" for i in range(11)}
    assert said == ["11 examples: 6 to search on, 5 held out for the verdict, drawn with seed 3"]
    assert data.classes == ()


def test_the_seed_decides_and_ids_stay() -> None:
    one, same, other = (listed(examples=PAIRS, seed=seed) for seed in (0, 0, 1))
    assert one == same != other
    inputs = {example.id: example.input for example in (*one.train, *one.test)}
    assert inputs == {example.id: example.input for example in (*other.train, *other.test)}
    assert inputs["examples/3"] == "3 + 3"


def test_sizes_can_be_given() -> None:
    data = listed(examples=PAIRS, train=3, dev=2)
    assert (len(data.train), len(data.dev), len(data.test)) == (3, 2, 6)
    assert len(listed(examples=PAIRS, test=0).train) == 11
    assert len(listed(examples=PAIRS, dev=3).train) == 4


def test_the_three_forms_mean_the_same() -> None:
    dicts = [{"input": x, "label": y} for x, y in PAIRS]
    objects = [Example(f"examples/{i}", x, y) for i, (x, y) in enumerate(PAIRS)]
    lists = [list(pair) for pair in PAIRS]
    assert listed(examples=PAIRS) == listed(examples=dicts) == listed(examples=objects) == listed(examples=lists)
    named = listed(examples=[{"id": 7, "input": "a", "label": "b"}, Example("x", "c", "d")], test=0)
    assert ids(named.train) == {"7", "x"}


def test_equal_inputs_stay_together() -> None:
    data = listed(examples=[("same", "a")] * 3 + [("other", "b"), ("third", "c"), ("fourth", "d")])
    assert not {e.input for e in data.train} & {e.input for e in data.test}


@pytest.mark.parametrize("make", [lambda i: f"{i}.PNG", lambda i: Path(f"{i}.jpg"), lambda i: np.full((2, 2), i)])
def test_labels_of_pictures_are_classes(make: Any) -> None:
    data = listed(examples=[(make(i), "ab"[i % 2]) for i in range(6)])
    assert data.classes == ("a", "b")
    assert listed(examples=[(make(0), "a"), (make(1), "b")], classes=["b", "a", "c"]).classes == ("b", "a", "c")


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ([], "at least two examples"),
        ([("a", "b")], "at least two examples"),
        ("ab", "at least two examples"),
        ([("a", "b"), ("c",)], r"examples\[1\] is \('c',\); give it as \(input, label\)"),
        ([("a", "b"), 3], r"examples\[1\] is 3"),
        ([{"input": "a"}, ("a", "b")], r"examples\[0\] has no 'label'"),
        ([Example("x", "a", "b"), Example("x", "c", "d")], "'x' stands twice"),
    ],
)
def test_what_is_no_list_of_examples(examples: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        listed(examples=examples)


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────


def adds(prompt: str, example: Example) -> str | None:
    left, _, right = example.input.partition(" + ")
    return str(int(left) + int(right)) if "sum" in prompt else "?"


def right(output: str, example: Example) -> float:
    return float(output == example.label)


RECIPE: dict[str, Any] = {
    "start": "answer",
    "target": adds,
    "metric": right,
    "data": PAIRS,
    "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": ["say it", "the sum", "the product"]}},
    "budget": 4,
}


def test_plain_functions_and_a_list_make_a_run(tmp_path: Path) -> None:
    result = promptopt.optimize(**RECIPE, run=tmp_path)
    assert result.best == "the sum"
    assert result.score("the sum") == 1.0
    assert result.verdict is not None
    assert (result.verdict.start, result.verdict.best, result.verdict.examples) == (0.0, 1.0, 5)
    again = promptopt.resume(tmp_path, target=adds, metric=right)
    assert again.best == "the sum"
    with pytest.raises(UserError, match=r"adds, in target\. Resume it from Python: promptopt\.resume"):
        promptopt.resume(tmp_path)


def test_a_function_can_be_a_tiebreak_and_a_target_of_its_own() -> None:
    result = promptopt.optimize(**{**RECIPE, "metric": lambda output, example: 0.0, "tiebreak": right}, run=None)
    assert result.best == "the sum"


def test_examples_as_objects_have_to_be_handed_over_again(tmp_path: Path) -> None:
    data = [Example(str(i), x, y) for i, (x, y) in enumerate(PAIRS)]
    promptopt.optimize(**{**RECIPE, "data": data}, run=tmp_path)
    with pytest.raises(UserError, match="in data"):
        promptopt.resume(tmp_path, target=adds, metric=right)
    assert promptopt.resume(tmp_path, target=adds, metric=right, data=data).best == "the sum"


def test_a_recipe_can_hold_a_list() -> None:
    data = {"name": "list", "examples": [list(pair) for pair in PAIRS], "train": 4}
    result = promptopt.optimize(**{**RECIPE, "data": data}, run=None)
    assert result.verdict is not None
    assert result.verdict.examples == 7
