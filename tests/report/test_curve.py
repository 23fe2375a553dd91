"""One curve: terminal, picture and page draw the same points of it."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from promptopt.core import Rating
from promptopt.record.answers import Contest, Rated, leads
from promptopt.report.curve import SearchCurve, as_marks, as_picture, as_svg, legend
from promptopt.report.figures import LEFT, RIGHT, WIDTH

VALUES = [math.nan, 0.5, 0.2, math.nan, 0.7, 0.7]


def rating(n: int, value: float, *, whole: bool = True, per_example: Any = None) -> Rated:
    return Rated(f"prompt {n}", {}, Rating(value, per_example=per_example), None, whole, n)


def of(*values: float) -> SearchCurve:
    return SearchCurve.of_ratings([rating(n, value) for n, value in enumerate(values)])


def duels(*winners: str) -> SearchCurve:
    found = [Contest(n, "a", "b", winner, {}) for n, winner in enumerate(winners)]
    return SearchCurve.of_duels(found, leads(found))


def banded() -> SearchCurve:
    values = [np.array([0.0, 1.0] * 10), None, np.ones(20)]
    means = [0.5, 0.4, 1.0]
    return SearchCurve.of_ratings(
        [rating(n, mean, per_example=one) for n, (mean, one) in enumerate(zip(means, values, strict=True))]
    )


def test_the_best_so_far_holds_until_a_better_one() -> None:
    curve = of(*VALUES)
    assert curve.dots == [(1, 0.5), (2, 0.2), (4, 0.7), (5, 0.7)]
    assert curve.steps == [(1, 0.5), (4, 0.7)]
    assert curve.line == [(1, 0.5), (4, 0.7), (5, 0.7)]
    assert math.isnan(curve.at(0))
    assert [curve.at(n) for n in range(1, 6)] == [0.5, 0.5, 0.5, 0.7, 0.7]


def test_a_rating_on_a_part_is_no_point_where_another_is_on_the_whole() -> None:
    parts = [rating(0, 0.9, whole=False), rating(1, 0.5, whole=False)]
    assert SearchCurve.of_ratings(parts).steps == [(0, 0.9)]
    both = SearchCurve.of_ratings([*parts, rating(2, 0.4), rating(3, 0.8, whole=False)])
    assert both.dots == both.steps == [(2, 0.4)]
    assert both.line[-1] == (3, 0.4)


@pytest.mark.parametrize("values", [(), (math.nan, math.nan)])
def test_without_a_value_there_is_no_step(values: tuple[float, ...]) -> None:
    curve = of(*values)
    assert (curve.dots, curve.steps, curve.line, curve.band) == ([], [], [], [])


def test_the_lead_may_change_hands() -> None:
    curve = duels("a", "tie", "b", "b", "b", "a", "unknown")
    assert curve.steps == [(0, 1), (2, 0), (3, 1), (4, 2), (5, 1)]
    assert curve.dots == [(0, 1), (3, 1)]
    assert curve.line[-1] == (6, 1)


def test_the_interval_of_the_best_reaches_the_last_question() -> None:
    (first, low, high), *rest = banded().band
    assert first == 0
    assert 0.2 < low < 0.5 < high < 0.8
    assert rest == [(2, 1.0, 1.0), (2, 1.0, 1.0)]
    assert of(0.1, 0.2).band == []


def test_marks_rise_with_the_value_and_as_wide_as_asked() -> None:
    assert as_marks(of(*VALUES), "_#", width=5) == "___##"
    assert as_marks(of(0.1, 0.5, 0.9), "abc", width=9) == "aaaabbbbc"
    assert len(as_marks(of(0.5, 0.5), "_#")) == 60


@pytest.mark.parametrize("curve", [of(*VALUES), banded(), duels("a", "b", "b", "a", "a")])
def test_the_picture_and_the_page_have_the_same_points(curve: SearchCurve) -> None:
    pytest.importorskip("matplotlib")
    [axes] = as_picture(curve, "a $title$").axes
    dots, line = ([*zip(*one.get_data(), strict=True)] for one in axes.lines)
    assert (dots, line) == (curve.dots, curve.line)
    assert len(axes.collections) == bool(curve.band)
    svg = ElementTree.fromstring(as_svg(curve, "a caption"))
    at = [float(circle.get("cx", "")) for circle in svg.iter("circle")]
    share = [(x - LEFT) / (WIDTH - LEFT - RIGHT) * (curve.last + 1) - 0.5 for x in at]
    assert share == pytest.approx([n for n, _ in curve.dots], abs=0.01)
    kinds = {element.get("class") for element in svg}
    assert {"best" if curve.duels else "rated", "line best"} <= kinds
    assert ("band best" in kinds) == bool(curve.band) == (("band", "its 95% interval") in legend(curve))
    assert bool(legend(curve)) != curve.duels
    assert (axes.get_xlabel(), axes.get_ylabel()) == (curve.x, curve.y)
    assert {curve.x, curve.y} <= {text.text for text in svg.iter("text")}
