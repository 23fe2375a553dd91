"""Value against cost: who is on the front, how sure the differences are, and who may stand in for the best."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.core import Rating
from promptopt.record.fields import problem
from promptopt.record.front import Front, Point, front_of, undominated
from promptopt.stats import t_interval

RIGHT = np.array([1.0] * 16 + [0.0] * 4)


def rating(values: np.ndarray | list[float]) -> Rating:
    array = np.array(values, dtype=np.float64)
    return Rating(float(np.nanmean(array)), per_example=array)


def made(values: dict[str, Rating], *, best: str, **options: object) -> Front:
    costs = {text: {"prompt-tokens": float(len(text))} for text in values}
    front = front_of(values, costs, objectives=["prompt-tokens"], best=best, **options)  # type: ignore[arg-type]
    assert front is not None
    return front


rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 4), st.integers(0, 4)), max_size=30)


@settings(max_examples=100, deadline=None)
@given(rows)
def test_nothing_on_the_front_is_dominated_and_everything_left_out_is(found: list[tuple[int, ...]]) -> None:
    ranks = np.array([row[:2] for row in found], dtype=float).reshape(-1, 2)
    costs = np.array([row[2:] for row in found], dtype=float).reshape(-1, 2)
    kept = undominated(ranks, costs)

    def covers(i: int, j: int) -> bool:
        """Whether i is at least as good as j in everything."""
        return tuple(ranks[i]) >= tuple(ranks[j]) and bool((costs[i] <= costs[j]).all())

    assert not [(i, j) for i in range(len(found)) for j in kept if i != j and covers(i, j) and not covers(j, i)]
    assert all(any(covers(i, j) for i in kept) for j in range(len(found)) if j not in kept)
    assert len({found[i] for i in kept}) == len(kept)
    assert kept == sorted(kept, key=lambda i: tuple(-ranks[i]))


def test_of_equals_the_first_is_kept() -> None:
    ranks, costs = np.array([[0.5, 0.0]] * 3), np.array([[2.0], [2.0], [3.0]])
    assert undominated(ranks, costs) == [0]


def test_each_point_is_paired_with_the_best() -> None:
    other = RIGHT.copy()
    other[[0, 1, 17]] = [0.0, math.nan, 1.0]
    front = made({"the best one": rating(RIGHT), "short": rating(other)}, best="the best one")
    best, point = front.points
    assert (best.difference, best.low, best.high, best.examples) == (0.0, 0.0, 0.0, 20)
    both = np.isfinite(other)
    assert (point.low, point.high) == t_interval((other - RIGHT)[both])
    assert point.difference == pytest.approx((other - RIGHT)[both].mean())
    assert point.examples == 19


def test_that_no_difference_is_seen_is_not_enough() -> None:
    """With few examples none ever is: a prompt that loses 4 of 16 right answers may have lost them by chance."""
    worse = RIGHT.copy()
    worse[:4] = 0.0
    worse[16] = 1.0
    values = {"a start that is long": rating([0.5] * 20), "the best one": rating(RIGHT), "bad": rating(worse)}
    front = made(values, best="the best one", gain=0.3)
    point = next(point for point in front.points if point.prompt == "bad")
    assert point.low is not None
    assert point.high is not None
    assert point.low < -0.15 < 0 < point.high
    assert not front.saves
    assert "No prompt with fewer prompt tokens is shown to be good enough" in " ".join(front.sentences())


def test_the_cheapest_is_shown_to_do_as_well() -> None:
    values = {"the best one": rating(RIGHT), "same": rating(RIGHT), "not": rating(1 - RIGHT)}
    front = made(values, best="the best one", gain=0.4)
    assert (front.cheapest.prompt, front.saves, front.margin, front.margin_given) == ("same", True, 0.2, False)
    assert [point.prompt for point in front.points] == [
        "same",
        "not",
    ]  # the best is dominated
    said = " ".join(front.sentences())
    assert "4 prompt tokens instead of 12, 0.800 instead of 0.800" in said
    assert "not significantly worse, at least half of the gain kept (difference +0.000" in said
    assert "3 prompts were looked at, 2 of them are on the front, so the choice flatters it." in said


def test_a_margin_of_the_users_is_what_may_be_lost() -> None:
    n = 400
    best, slightly = np.ones(n), np.ones(n)
    slightly[:20] = 0.0  # significantly worse, by 0.05, and for sure by less than 0.08
    values = {"the best one": rating(best), "short": rating(slightly)}
    assert not made(values, best="the best one", gain=1.0).saves
    assert not made(values, best="the best one", margin=0.05).saves
    front = made(values, best="the best one", margin=0.08)
    assert front.cheapest.prompt == "short"
    assert "worse by less than 0.08 (" in " ".join(front.sentences())


def test_without_an_interval_the_value_must_not_be_lower() -> None:
    values = {"the best one": Rating(2.0), "equal": Rating(2.0), "less": Rating(1.9)}
    front = made(values, best="the best one", gain=1.0, margin=0.5)
    assert front.cheapest.prompt == "equal"
    assert front.cheapest.low is None
    assert "no lower, and without an interval" in " ".join(front.sentences())


def test_of_equal_costs_the_best_itself_is_the_cheapest() -> None:
    values = {"best": rating(RIGHT), "also": rating(RIGHT)}
    assert not made(values, best="best").saves


def test_prompts_of_unknown_cost_are_counted_and_not_compared() -> None:
    values = {"best": Rating(1.0), "new": Rating(1.0), "lost": Rating(math.nan)}
    front = front_of(values, {"best": {"dollars": 0.1}, "new": {}}, objectives=["dollars"], best="best")
    assert front is not None
    assert (front.candidates, front.unknown) == (1, 1)
    assert front_of(values, {}, objectives=["dollars"], best="lost") is None
    nothing = front_of(values, {}, objectives=["dollars"], best="best")
    assert nothing is not None
    assert (nothing.points, nothing.cheapest.prompt, nothing.saves) == ((), "best", False)


def test_the_cheapest_is_so_by_the_first_objective() -> None:
    values = {"best": Rating(1.0), "few": Rating(1.0), "cheap": Rating(1.0)}
    costs = {"best": {"a": 3, "b": 3.0}, "few": {"a": 1, "b": 2.0}, "cheap": {"a": 2, "b": 1.0}}
    found = [front_of(values, costs, objectives=names, best="best") for names in (["a", "b"], ["b", "a"])]
    assert [front.cheapest.prompt for front in found if front] == ["few", "cheap"]


@pytest.mark.parametrize("text", ["plain", 'quotes " and \n lines', "\ud83d half"])
def test_a_front_goes_through_a_ledger(text: str) -> None:
    many = {f"{i:03}": Rating(i / 1000) for i in range(900)}
    front = made({**many, text * 4: rating(RIGHT), text: rating(RIGHT)}, best=text * 4, gain=0.5, tokens="counted")
    told = json.loads(json.dumps(front.to_json(), allow_nan=False))
    assert Front.from_json(told) == front
    assert len(front.dominated) == 400
    assert problem({"event": "stop", "reason": "", "best": "", "front": told}) is None


@pytest.mark.parametrize(
    "change", [{"objectives": []}, {"points": [{"prompt": "x"}]}, {"dominated": [[1.0]]}, {"margin": None}, {"more": 1}]
)
def test_a_damaged_front_is_noticed(change: dict[str, object]) -> None:
    told = made({"best": Rating(1.0), "b": Rating(0.5), "other": Rating(0.2)}, best="best").to_json() | change
    event = {"event": "stop", "reason": "", "best": "", "front": json.loads(json.dumps(told))}
    assert "its front is" in (problem(event) or "")


def test_a_point_is_measured_up_to_rounding() -> None:
    tiny = Point("p", 1.0, {}, -1e-17, -1e-17, -1e-17, 20)
    assert tiny.passes(0.0, given=False)
    assert not Point("p", 1.0, {}, -1e-3, -1e-3, -1e-3, 20).passes(0.0, given=True)


def test_the_cheapest_seldom_gives_away_more_than_half_of_the_gain() -> None:
    """60 prompts of known accuracy on 20 examples, 100 times. Were it enough to see no difference, it often would."""
    rng, names, kept = np.random.default_rng(0), [str(i) for i in range(60)], {"shown": 0, "unseen": 0}
    for _ in range(100):
        truth = np.r_[0.5, rng.uniform(0.4, 0.8, 59)]
        values = (rng.random((60, 20)) < truth[:, None]).astype(float)
        rated = dict(zip(names, map(rating, values), strict=True))
        best = max(names, key=lambda name: rated[name].value)
        costs = {name: {"words": float(cost)} for name, cost in zip(names, rng.integers(5, 100, 60), strict=True)}
        gain = rated[best].value - rated["0"].value
        front = front_of(rated, costs, objectives=["words"], best=best, gain=gain)
        assert front is not None
        unseen = [point for point in (front.best, *front.points) if point.high is not None and point.high >= 0]
        picks = {"shown": front.cheapest, "unseen": min(unseen, key=lambda point: point.objectives["words"])}
        for rule, point in picks.items():
            kept[rule] += (truth[int(point.prompt)] - 0.5) >= (truth[int(best)] - 0.5) / 2
    assert kept["shown"] >= 95
    assert kept["unseen"] < 80
