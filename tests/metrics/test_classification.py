"""Accuracy, log-probability and margin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from promptopt.core import Example, Mark
from promptopt.errors import UserError
from promptopt.metrics.classification import Accuracy, LogProbability, Margin
from promptopt.recipe.build import build

CLASSES = ("dog", "cat", "Fire engine")
ROWS = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.25, 0.25, 0.5], [0.4, 0.4, 0.2]], dtype=np.float32))
LABELS = ("dog", "cat", "Fire engine", "cat")
METRICS = [Accuracy, LogProbability, Margin]


def examples(labels: Any = LABELS) -> list[Example]:
    return [Example(f"e{i}", None, label) for i, label in enumerate(labels)]


def test_accuracy_takes_the_first_of_equals() -> None:
    assert Accuracy(classes=CLASSES)(ROWS, examples()) == [1.0, 0.0, 1.0, 0.0]


def test_log_probability_is_that_of_the_true_class() -> None:
    found = LogProbability(classes=CLASSES)(ROWS, examples())
    assert found == pytest.approx([math.log(p) for p in (0.7, 0.4, 0.5, 0.4)], rel=1e-6)


def test_margin_is_to_the_best_other_class() -> None:
    found = Margin(classes=CLASSES)(ROWS, examples())
    assert found == pytest.approx([math.log(r) for r in (0.7 / 0.2, 0.4 / 0.5, 0.5 / 0.25, 1.0)], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_may_come_as_an_array_or_one_by_one(metric: Any) -> None:
    measure = metric(classes=CLASSES)
    assert measure(ROWS, examples()) == measure(list(ROWS), examples()) == measure(ROWS.tolist(), examples())


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_missing_stays_unscored(metric: Any) -> None:
    measure = metric(classes=CLASSES)
    torn = ROWS.copy()
    torn[1] = np.nan
    whole = measure(ROWS, examples())
    assert measure(torn, examples()) == measure([ROWS[0], None, *ROWS[2:]], examples()) == [whole[0], None, *whole[2:]]
    assert measure([None] * 4, examples()) == [None] * 4


@pytest.mark.parametrize("metric", METRICS)
def test_no_outputs(metric: Any) -> None:
    assert metric(classes=CLASSES)([], []) == []
    assert metric(classes=CLASSES)(np.empty((0, 3), np.float32), []) == []


@pytest.mark.parametrize("metric", METRICS)
def test_outputs_are_not_changed(metric: Any) -> None:
    rows = ROWS.astype(np.float64)
    kept = rows.copy()
    metric(classes=CLASSES)(rows, examples())
    assert np.array_equal(rows, kept)


def test_accuracy_of_texts() -> None:
    outputs = [" Dog\n", "dog", "FIRE ENGINE", None]
    assert Accuracy(classes=CLASSES)(outputs, examples()) == [1.0, 0.0, 1.0, None]
    assert Accuracy(classes=CLASSES)(["no idea"], examples(["dog"])) == [Mark(0.0, "no class: 'no idea'", failed=True)]


def test_log_probabilities_and_margins_have_a_floor() -> None:
    rows = [[0.0, -np.inf, -np.inf], [-np.inf, 0.0, -np.inf], [-250.0, 0.0, -1.0]]
    first = examples([CLASSES[0]] * 3)
    assert LogProbability(classes=CLASSES)(rows, first) == [0.0, -100.0, -100.0]
    assert Margin(classes=CLASSES)(rows, first) == [100.0, -100.0, -100.0]
    assert LogProbability.worst == Margin.worst == -100.0


@pytest.mark.parametrize("metric", [LogProbability, Margin])
def test_texts_have_no_probability(metric: Any) -> None:
    with pytest.raises(UserError, match="measured with accuracy"):
        metric(classes=CLASSES)(["dog"] * 4, examples())


@pytest.mark.parametrize("metric", METRICS)
def test_classes_and_scores_must_be_as_many(metric: Any) -> None:
    with pytest.raises(UserError, match="2 scores for 3 classes"):
        metric(classes=CLASSES)(ROWS[:, :2], examples())


@pytest.mark.parametrize("metric", METRICS)
def test_an_unknown_label_is_named(metric: Any) -> None:
    with pytest.raises(UserError, match=r"'e1' has the label 'wolf'.*dog, cat, Fire engine"):
        metric(classes=CLASSES)(ROWS[:2], examples(["dog", "wolf"]))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("classes", [(), "dog", ("dog", "dog")])
def test_classes_that_are_none(metric: Any, classes: Any) -> None:
    with pytest.raises(UserError, match="classes"):
        metric(classes=classes)


def test_a_margin_needs_another_class() -> None:
    with pytest.raises(UserError, match="allowed is a list of two or more different names"):
        Margin(classes=["dog"])


@pytest.mark.parametrize("name", ["accuracy", "log-probability", "margin"])
def test_a_recipe_names_them(name: str) -> None:
    measure = build("metrics", name, where="metric", offered={"classes": CLASSES})
    assert len(measure(ROWS, examples())) == 4


@pytest.mark.parametrize("bad", ["dog", {}, [0.0], ["x", "y", "z"], [[0], [0, 1]], 5, [10**400, 0, 0]])
@pytest.mark.parametrize("metric", [LogProbability, Margin])
def test_an_output_that_is_no_row_among_others_has_failed(metric: Any, bad: Any) -> None:
    marks = metric(classes=CLASSES)([ROWS[0].tolist(), bad, None], examples(CLASSES[:1] * 3))
    assert marks[0] == metric(classes=CLASSES)(ROWS[:1], examples(CLASSES[:1]))[0]
    assert isinstance(marks[1], Mark)
    assert marks[1].failed
    assert marks[1].feedback.startswith("no row of 3 numbers: ")
    assert marks[2] is None


@pytest.mark.parametrize("bad", [{"label": "dog"}, ["dog"], [0.0, -1.0, -2.0]])
def test_other_json_than_text_is_no_class(bad: Any) -> None:
    good, mark = Accuracy(classes=CLASSES)([CLASSES[0], bad], examples(CLASSES[:1] * 2))
    assert good == 1
    assert mark.failed
    assert mark.feedback.startswith("no class: ")
