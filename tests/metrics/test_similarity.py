"""Cosine similarity through toy encoders."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from promptopt.core import Example, Mark
from promptopt.errors import MissingExtra, UserError
from promptopt.metrics.similarity import Similarity
from promptopt.recipe.build import call

SPACE = {"north": (0, 2), "south": (0, -3), "east": (1, 0), "north-east": (5, 5), "nowhere": (0, 0), "?": (np.nan, 1)}


class Compass:
    """Encodes the words of SPACE and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.asked.append(list(texts))
        return np.array([SPACE[text] for text in texts], dtype=np.float64)


def compass(texts: Sequence[str]) -> NDArray[np.float64]:
    return Compass()(texts)


def similar(outputs: Sequence[Any], labels: Sequence[Any], encoder: Any = compass) -> Any:
    examples = [Example(str(i), None, label) for i, label in enumerate(labels)]
    return Similarity(encoder=encoder)(outputs, examples)


def test_cosine_lies_between_minus_1_and_1_whatever_the_length() -> None:
    found = similar(["north", "south", "east", "north-east"], ["north"] * 4)
    assert found == pytest.approx([1, -1, 0, 0.5**0.5])
    assert all(-1 <= one <= 1 for one in found)


def test_the_closest_reference_counts() -> None:
    assert similar(["north-east"], [["south", "east"]]) == pytest.approx([0.5**0.5])


def test_an_output_without_direction_has_failed_and_without_a_reference_is_unscored() -> None:
    outputs = ["nowhere", "?", None, "east", "east"]
    labels = ["east", "east", "east", "nowhere", ["?", "east"]]
    marks = similar(outputs, labels)
    assert [mark.failed for mark in marks[:2]] == [True, True]
    assert [mark.value for mark in marks[:2]] == [None, None]
    assert marks[2:] == [None, None, 1.0]


def test_blank_text_has_failed() -> None:
    assert similar([" \n"], ["east"], lambda texts: np.ones((len(texts), 2)))[0].failed


def test_all_different_texts_are_encoded_together_once() -> None:
    encoder = Compass()
    similar(["north", "east", None, "north"], ["east", "north", "?", ["south", "north"]], encoder)
    assert encoder.asked == [["north", "east", "south"]]


def test_nothing_to_encode_asks_nothing() -> None:
    encoder = Compass()
    assert similar([None], ["east"], encoder) == [None]
    assert encoder.asked == []


@pytest.mark.parametrize("rows", [np.zeros(2), np.zeros((1, 3)), np.zeros((2, 2, 2))])
def test_a_wrong_shape_is_an_error(rows: Any) -> None:
    with pytest.raises(UserError, match=r"must be \(2, d\)"):
        similar(["a"], ["b"], lambda texts: rows)


def test_a_recipe_names_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "compass_of_tests", sys.modules[__name__])
    metric = call(Similarity, {"encoder": "compass_of_tests:compass"}, where="metric")
    assert metric(["north"], [Example("e", None, "north")]) == pytest.approx([1])
    with pytest.raises(UserError, match="cannot load 'compass_of_tests:kompass'"):
        Similarity(encoder="compass_of_tests:kompass")


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"promptopt-toolkit\[similarity\]"):
        Similarity(encoder="all-mpnet-base-v2")


def test_other_json_than_text_has_failed_and_is_not_encoded() -> None:
    encoder = Compass()
    found = similar([["north"], "north"], ["north"] * 2, encoder)
    assert found == [Mark(None, "no text: a list in JSON", failed=True), 1]
    assert encoder.asked == [["north"]]
