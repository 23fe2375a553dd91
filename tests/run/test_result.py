"""What a run gives back."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from promptopt.core import Duel, Preference, Prompt, Rate, Rating
from promptopt.errors import MissingExtra
from promptopt.record.verdict import Verdict
from promptopt.run.budget import Costs
from promptopt.run.recorder import Step
from promptopt.run.result import Candidate, Result

BEST = 'be "clear" \n\u2028 [bold] 😀'
RATED = Prompt(BEST, {"parents": ["start", "other"], "step": "0.1"})


def result(verdict: Verdict | None = None, run: Path | None = None) -> Result:
    ratings = {RATED: Rating(0.75, 0.5, np.array([1.0, math.nan])), Prompt("start"): Rating(0.25)}
    return Result(
        best=BEST,
        start="start",
        candidates=tuple(Candidate(p, r) for p, r in [*ratings.items(), (Prompt("odd"), Rating(math.nan))]),
        verdict=verdict,
        transfers={},
        belief=None,
        stop_reason="converged",
        costs=Costs(questions=3, calls=2, input_tokens=10, output_tokens=5, dollars=0.01, seconds=1.23456),
        counts={"unparsable replies": 2},
        notes=("note",),
        warnings=("warning",),
        seed=0,
        run=run,
        steps=(
            *(Step(i, "search", Rate(p), r) for i, (p, r) in enumerate(ratings.items())),
            Step(2, "search", Duel(RATED, Prompt("start")), Preference("a")),
        ),
    )


def test_scores_by_text() -> None:
    found = result()
    assert (found.score(BEST), found.score("start")) == (0.75, 0.25)
    assert found.score("odd") is None
    assert found.score("never seen") is None
    assert str(found) == BEST


def test_candidates_know_their_parents() -> None:
    assert [candidate.parents for candidate in result().candidates] == [("start", "other"), (), ()]


def test_history_has_one_row_per_answer() -> None:
    rows = result().history()
    assert [row["n"] for row in rows] == [0, 1, 2]
    assert rows[0]["prompt"] == BEST
    assert (rows[0]["value"], rows[0]["per_example"]) == (0.75, [1, None])
    assert (rows[2]["ask"], rows[2]["a"], rows[2]["winner"]) == ("duel", BEST, "a")
    json.dumps(rows, allow_nan=False)


def test_history_as_a_data_frame() -> None:
    pytest.importorskip("pandas")
    frame = result().to_pandas()
    assert len(frame) == 3
    assert frame["value"].tolist()[:2] == [0.75, 0.25]


def test_a_missing_pandas_is_offered_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"promptopt-toolkit\[pandas\]"):
        result().to_pandas()


@pytest.mark.parametrize(
    "verdict",
    [
        None,
        Verdict(0.2, 0.6, 0.4, 0.1, 0.7, examples=40, unscored=1),
        Verdict(math.nan, math.nan, math.nan, None, None, examples=0, unscored=40),
    ],
)
def test_the_summary_is_one_line_of_json(verdict: Verdict | None) -> None:
    text = result(verdict, Path("runs/x")).to_json()
    assert "\n" not in text
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["start"]["prompt"] == "start"
    assert found["best"]["prompt"] == BEST
    assert (found["start"]["train"], found["best"]["train"]) == (0.25, 0.75)
    assert (found["questions"], found["seconds"], found["seed"], found["run"]) == (3, 1.235, 0, "runs/x")
    assert found["stop_reason"] == "converged"
    if verdict is None:
        assert found["verdict"] is None
        assert found["best"]["test"] is None
    elif verdict.examples:
        assert found["best"]["test"] == 0.6
        assert {key: found["verdict"][key] for key in ("difference", "low", "high", "significant")} == {
            "difference": 0.4,
            "low": 0.1,
            "high": 0.7,
            "significant": True,
        }
    else:
        assert found["verdict"]["difference"] is None
        assert found["verdict"]["significant"] is False


def test_without_a_folder_the_run_is_null() -> None:
    assert json.loads(result().to_json())["run"] is None
