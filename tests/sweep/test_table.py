from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import optuna
import pytest
from scipy import stats

from promptopt.sweep.table import RUN, SweepTable, holm, score, table

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
    low, high = stats.t.interval(0.95, 7, loc=sum(SCORES[1]) / 8, scale=stats.sem(SCORES[1]))
    assert (first.mean, first.low, first.high, first.n) == pytest.approx((sum(SCORES[1]) / 8, low, high, 8))
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
    interval = stats.ttest_1samp(gaps, 0).confidence_interval()
    assert (far.low, far.high) == pytest.approx((interval.low, interval.high))


def test_the_best_of_every_optimizer_is_chosen(made: SweepTable) -> None:
    assert [row.setting for row in made.rows if row.chosen] == [1, 2]


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_value_has_no_interval() -> None:
    assert score([0.5]).low is None


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
