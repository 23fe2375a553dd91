from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from promptopt.stats import holm
from promptopt.sweep.table import RUN, SweepTable, score, table

SCORES = {  # setting: scores of seeds 0 to 3 on task a, then on task b
    0: [0.50, 0.52, 0.49, 0.51, 0.30, 0.31, 0.29, 0.30],
    1: [0.60, 0.62, 0.61, 0.63, 0.40, 0.41, 0.42, 0.40],
    2: [0.61, 0.61, 0.61, 0.63, 0.39, 0.41, 0.42, 0.39],
}


def outcome(task: str, seed: int, value: float, split: str = "dev") -> dict[str, Any]:
    costs = {"questions": 10, "calls": 2, "tokens": 30, "dollars": 0.5, "seconds": 1.5}
    place = {"host": "here", "folder": "x", "stop_reason": "converged"}
    return {"task": task, "seed": seed, "score": value, "split": split, "best": "p", "train": 0.5, **costs, **place}


def study(scores: dict[int, list[float]] = SCORES) -> optuna.Study:
    """As a sweep leaves it, without having run one."""
    made = optuna.create_study(direction="maximize", study_name="made")
    made.set_user_attr("tasks", ["a", "b"])
    made.set_user_attr("seeds", [0, 1, 2, 3])
    for setting, values in scores.items():
        made.enqueue_trial({"k": setting}, user_attrs={"setting": setting})
        trial = made.ask()
        trial.suggest_int("k", 0, 9)
        trial.set_user_attr("optimizer", "climb" if setting < 2 else "other")
        for i, value in enumerate(values):
            task = "ab"[i // 4]
            split = "train" if task == "b" else "dev"
            trial.set_user_attr(f"{RUN}{task}-s{i % 4}", outcome(task, i % 4, value, split))
        made.tell(trial, sum(values) / len(values))
    return made


@pytest.fixture
def made() -> SweepTable:
    return table(study())


def test_rows_are_ordered_by_the_mean_and_hold_intervals(made: SweepTable) -> None:
    assert [row.setting for row in made.rows] == [1, 2, 0]
    assert made.best is made.rows[0]
    first = made.rows[0].score
    assert first
    assert (first.mean, first.n, first.seeds) == pytest.approx((sum(SCORES[1]) / 8, 8, 4))
    means = [(a + b) / 2 for a, b in zip(SCORES[1][:4], SCORES[1][4:], strict=True)]  # by seed
    low, high = stats.t.interval(
        0.95, 3, loc=special.logit(first.mean), scale=stats.sem(means) / first.mean / (1 - first.mean)
    )
    assert (first.low, first.high) == pytest.approx((special.expit(low), special.expit(high)))
    assert made.rows[0].tasks["b"].mean == pytest.approx(sum(SCORES[1][4:]) / 4)
    assert made.rows[0].label == "climb k=1"
    assert made.rows[0].cost("dollars") == 4.0


def test_differences_are_paired_and_corrected(made: SweepTable) -> None:
    near, far = made.rows[1].difference, made.rows[2].difference
    assert made.rows[0].difference is None
    assert near
    assert far
    assert far.p == 2 / 2**8  # all eight differences have the same sign
    assert far.p_holm == 2 * far.p
    assert far.significant
    assert not near.significant
    assert near.p_holm >= near.p
    gaps = [b - a for a, b in zip(SCORES[1], SCORES[0], strict=True)]
    interval = stats.ttest_1samp(
        [(a + b) / 2 for a, b in zip(gaps[:4], gaps[4:], strict=True)], 0
    ).confidence_interval()
    assert (far.low, far.high) == pytest.approx((interval.low, interval.high), abs=0.001)  # far from -1: hardly bent
    assert (far.low, far.high) != (interval.low, interval.high)


def test_the_best_of_every_optimizer_is_chosen(made: SweepTable) -> None:
    assert [row.setting for row in made.rows if row.chosen] == [1, 2]


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("runs", [[(0, 0.5)], [(0, 0.5), (1, 0.9)], [(0, 0.5), (0, 0.6), (0, 0.7)]])
def test_fewer_than_three_seeds_have_no_interval(runs: list[tuple[int, float]]) -> None:
    found = score(runs, within=(0, 1))
    assert (found.low, found.high) == (None, None)
    assert found.n == len(runs)


def test_a_seed_that_has_not_run_on_every_task_gives_none() -> None:
    runs = [(seed, 0.1 * seed) for seed in range(4)]
    assert score([*runs, *runs]).low is not None
    assert score([*runs, *runs[:3]]).low is None


@given(st.lists(st.floats(0, 1), min_size=3, max_size=9))
def test_the_interval_of_shares_lies_inside_and_around_the_mean(values: list[float]) -> None:
    found = score([*enumerate(values)], within=(0, 1))
    assert found.low is not None
    assert found.high is not None
    assert -1e-9 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= 1 + 1e-9


def test_accuracies_near_one_that_differ_much_between_tasks() -> None:
    """A t interval over two runs of 0.866 and 0.752 ends at 1.53."""
    found = table(study({0: [0.866, 0.87, 0.85, 0.98, 0.752, 0.7, 0.99, 0.72]})).rows[0].score
    assert found
    assert found.low is not None
    assert found.high is not None
    assert 0.6 < found.low < found.mean < found.high < 0.95


@pytest.mark.parametrize(("n", "a", "b"), [(3, 8, 2), (3, 40, 2), (5, 18, 2), (10, 3, 3)])
def test_the_interval_covers_the_mean_as_often_as_it_says(n: int, a: float, b: float) -> None:
    """Seeds' accuracies drawn from a beta distribution; 0.92 leaves room for skewed ones and for 1000 draws."""
    drawn = np.random.default_rng(0).beta(a, b, size=(1000, n))
    found = [score([*enumerate(values)], within=(0, 1)) for values in drawn]
    covered = np.mean(
        [one.low <= a / (a + b) <= one.high for one in found if one.low is not None and one.high is not None]
    )
    assert 0.92 < covered < 0.99


def test_scores_that_are_no_shares_keep_the_t_interval() -> None:
    found = table(study({0: [-5.0, -4.0, -6.0, -5.0, -7.0, -6.5, -8.0, -7.5]})).rows[0].score
    assert found
    means = [-6.0, -5.25, -7.0, -6.25]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(means), scale=stats.sem(means))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_a_tie_is_shown_as_one() -> None:
    other = [SCORES[1][i] for i in (1, 0, 3, 2, 5, 4, 7, 6)]  # the same mean, in another order
    found = table(study({0: SCORES[0], 1: SCORES[1], 2: other}))
    assert [row.setting for row in found.tied] == [1, 2]
    lines = found.to_markdown().splitlines()
    assert [line.count("tied best") for line in lines[2:5]] == [1, 1, 0]
    assert [row["tied"] for row in json.loads(found.to_json())["rows"]] == [True, True, False]
    assert table(study()).tied == ()


def test_what_scores_rest_on_is_noted() -> None:
    made = study({0: SCORES[0]})
    assert not any("failed" in note for note in table(made).notes)
    [trial] = made.trials
    key = f"{RUN}a-s0"
    coverage = {"examples": 20, "scored": 20, "failed": 3, "reasons": {"empty": 3}}
    made.add_trial(
        optuna.trial.create_trial(
            value=0.1,
            params={"k": 7},
            distributions=trial.distributions,
            user_attrs={**trial.user_attrs, "setting": 1, key: trial.user_attrs[key] | {"coverage": coverage}},
        )
    )
    found = table(made)
    assert "In 1 of 16 runs some outputs of the chosen prompt failed or had no score." in found.notes
    assert [run.covered for run in found.rows[0].outcomes + found.rows[1].outcomes].count(False) == 1


def test_two_seeds_are_said_to_be_too_few() -> None:
    made = study({0: [0.5, 0.6], 1: [0.4, 0.9]})
    assert "No intervals: 2 seeds are too few; they need 3." in table(made).notes
    assert not any("No intervals" in note for note in table(study()).notes)
    assert "(" not in table(made).to_markdown().splitlines()[2].split("|")[2]


def test_a_setting_called_like_a_formula_is_text_in_csv() -> None:
    made = study({0: SCORES[0]})
    [trial] = made.trials
    made.add_trial(
        optuna.trial.create_trial(
            value=0.9,
            params={"=cmd()": "@x"},
            distributions={"=cmd()": optuna.distributions.CategoricalDistribution(["@x", "-1"])},
            user_attrs={**trial.user_attrs, "setting": 1, "optimizer": "+climb"},
        )
    )
    rows = list(csv.DictReader(io.StringIO(table(made).to_csv())))
    texts = [one for row in rows for one in (*row, *row.values())]
    assert "'=cmd()" in texts
    assert "'@x" in texts
    assert "'+climb" in texts
    assert not any(one.startswith(("=", "+", "@")) for one in texts)


def test_every_format_holds_the_same_numbers(made: SweepTable) -> None:
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    assert [float(row["score"]) for row in rows] == [row.score.mean for row in made.rows if row.score]
    assert [row["k"] for row in rows] == ["1", "2", "0"]
    whole = json.loads(made.to_json())
    assert whole["rows"][2]["difference"]["p_holm"] == 2 * 2 / 2**8
    assert whole["rows"][2]["significant"] is True
    assert len(whole["rows"][0]["outcomes"]) == 8
    lines = made.to_markdown().splitlines()
    assert lines[0].startswith("| setting | score | a | b |")
    assert "| climb k=1 | 0.511 (" in lines[2]
    assert "0.016 *" in lines[4]
    assert "- b: no dev split, so the score is that on the training split." in lines


def test_settings_under_way_and_repeated_ones() -> None:
    made = study({0: SCORES[0], 1: SCORES[1]})
    made.enqueue_trial({"k": 5}, user_attrs={"setting": 2})
    made.enqueue_trial({"k": 1}, user_attrs={"setting": 3})
    made.enqueue_trial({"k": 6}, user_attrs={"setting": 4})
    repeated, under_way = made.ask(), None
    under_way = made.ask()
    for trial, setting in ((repeated, 5), (under_way, 1)):
        trial.suggest_int("k", 0, 9)
        trial.set_user_attr("optimizer", "climb")
        assert setting in trial.params.values()
    for i, value in enumerate(SCORES[1]):
        under_way.set_user_attr(f"{RUN}{'ab'[i // 4]}-s{i % 4}", outcome("ab"[i // 4], i % 4, value))
    made.tell(under_way, 0.5)
    found = table(made)
    assert [(row.setting, row.state) for row in found.rows] == [
        (1, "complete"),
        (0, "complete"),
        (2, "running"),
        (4, "waiting"),
    ]
    assert not found.finished
    assert found.rows[3].params == {"k": 6}
    assert found.rows[3].score is None
    assert "NaN" not in found.to_json()
    assert math.isfinite(found.rows[0].cost("seconds"))
