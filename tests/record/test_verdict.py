"""The verdict: a paired comparison that says what can be said, and no more."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from promptopt.core import Rating
from promptopt.record.verdict import Verdict, compare
from promptopt.stats import interval

NAN = math.nan


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rating(*values: float) -> Rating:
    return Rating(0.0, per_example=np.array(values, dtype=float))


def verdict(start: list[float], best: list[float]) -> Verdict:
    return compare(rating(*start), rating(*best), rng=rng())


def test_a_clear_gain_is_significant() -> None:
    found = verdict([0.0] * 30 + [1.0] * 10, [1.0] * 35 + [0.0] * 5)
    assert (found.start, found.best, found.difference) == (0.25, 0.875, 0.625)
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.difference < found.high < 1
    assert found.significant
    assert found.sentence().startswith("a significant gain: 0.250 → 0.875 on 40 held-out examples")


def test_a_loss_is_called_one() -> None:
    found = verdict([1.0] * 40, [0.0] * 30 + [1.0] * 10)
    assert not found.significant
    assert found.sentence().startswith("significantly worse: 1.000 → 0.250")


def test_no_gain_is_an_outcome() -> None:
    found = verdict([0.0, 1.0] * 20, [1.0, 0.0] * 20)
    assert (found.difference, found.significant) == (0.0, False)
    assert found.sentence().startswith("no significant gain")
    same = verdict([0.0, 1.0] * 20, [0.0, 1.0] * 20)
    assert (same.difference, same.low, same.high, same.significant) == (0.0, 0.0, 0.0, False)


@pytest.mark.parametrize(
    ("start", "best"), [([], []), ([0.0], [1.0]), ([0.0] * 9, [1.0] * 9), ([0.0] * 10, [1.0] * 9 + [NAN])]
)
def test_too_few_examples_have_no_interval(start: list[float], best: list[float]) -> None:
    found = verdict(start, best)
    assert (found.low, found.high, found.significant) == (None, None, False)
    assert "too few examples to tell a gain from chance" in found.sentence()


def test_ten_examples_are_enough() -> None:
    assert verdict([0.0] * 10, [1.0] * 10).significant


def test_chance_is_seldom_called_a_gain() -> None:
    """Two equally good prompts: a gain is found in about 2.5% of all cases, not in more."""
    source = np.random.default_rng(8)
    found = 0
    for _ in range(150):
        low, _ = interval(source.choice([-1.0, 0.0, 1.0], size=40, p=[0.15, 0.7, 0.15]), rng=source)
        assert low is not None
        found += low > 0
    assert stats.binomtest(found, 150, 0.025, alternative="greater").pvalue > 0.001


def test_pairs_that_could_not_be_scored_are_left_out_and_counted() -> None:
    found = verdict([0.0, NAN, 1.0, math.inf, 0.0], [1.0, 1.0, NAN, 1.0, 1.0])
    assert (found.examples, found.unscored, found.start, found.best) == (2, 3, 0.0, 1.0)


def test_ratings_without_examples_have_no_interval() -> None:
    found = compare(Rating(0.2), Rating(0.7), rng=rng())
    assert (found.start, found.best, found.difference) == (0.2, 0.7, pytest.approx(0.5))
    assert (found.low, found.significant) == (None, False)


def test_the_comparison_is_paired() -> None:
    """Examples differ far more than the prompts do; the pairs show it all the same."""
    hard = np.linspace(0, 1, 50)
    gain = np.where(np.arange(50) % 2, 0.01, 0.03)
    found = compare(Rating(0.5, per_example=hard), Rating(0.5, per_example=hard + gain), rng=rng())
    assert found.significant
    assert found.difference == pytest.approx(0.02)


def test_the_same_stream_gives_the_same_interval() -> None:
    values = rng().normal(size=50)
    assert interval(values, rng=rng()) == interval(values, rng=rng())
    assert interval(values, rng=rng()) != interval(values, rng=np.random.default_rng(1))


def test_the_interval_agrees_with_theory() -> None:
    """On many normal values the bootstrap comes close to the t interval."""
    values = np.random.default_rng(3).normal(0.1, 1.0, 400)
    low, high = interval(values, rng=rng())
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert low == pytest.approx(expected.low, abs=0.01)
    assert high == pytest.approx(expected.high, abs=0.01)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    source = np.random.default_rng(5)
    truth = 0.2
    covered = 0
    for _ in range(120):
        draws = source.choice([-1.0, 0.0, 1.0], size=60, p=[0.1, 0.6, 0.3])
        low, high = interval(draws, rng=source)
        assert low is not None
        assert high is not None
        covered += low <= truth <= high
    assert stats.binomtest(covered, 120, 0.95).pvalue > 0.001


@settings(max_examples=20)
@given(st.lists(st.floats(-1e6, 1e6), min_size=10, max_size=30))
def test_the_interval_lies_within_the_values(values: list[float]) -> None:
    low, high = interval(np.array(values), rng=rng())
    assert low is not None
    assert high is not None
    slack = 1e-9 * max(map(abs, values))
    assert min(values) - slack <= low <= high <= max(values) + slack


@pytest.mark.parametrize(("start", "best"), [([], []), ([0.0] * 20, [1.0] * 19 + [0.0]), ([NAN] * 3, [1.0] * 3)])
def test_a_verdict_survives_json(start: list[float], best: list[float]) -> None:
    found = verdict(start, best)
    again = Verdict.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert repr(again) == repr(found)
