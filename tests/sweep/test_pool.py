from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from promptopt.core import Coverage, Prompt, Rate, Rating
from promptopt.errors import LockedRun
from promptopt.run.budget import Costs
from promptopt.sweep import pool
from promptopt.sweep.parts import Parts
from promptopt.sweep.pool import Job, _searched, do

FAILED = Coverage(4, 4, 1, {"empty": 1})


def result(*steps: Any) -> Any:
    """A result with the prompt "b" and a rating of it on the training split."""
    candidate = SimpleNamespace(prompt=Prompt("b"), rating=Rating(0.5, coverage=Coverage(6, 6)))
    return SimpleNamespace(
        best="b", score=lambda prompt: 0.5, candidates=(candidate,), steps=steps, costs=Costs(), stop_reason="converged"
    )


@pytest.mark.parametrize(
    ("steps", "score", "examples"),
    [
        ([], 0.5, 6),
        ([SimpleNamespace(stage="dev", question=Rate(Prompt("b")), answer=Rating(0.7, coverage=FAILED))], 0.7, 4),
        ([SimpleNamespace(stage="dev", question=Rate(Prompt("a")), answer=Rating(0.9, coverage=FAILED))], 0.5, 6),
    ],
)
def test_an_outcome_says_what_its_score_rests_on(steps: list[Any], score: float, examples: int) -> None:
    found = _searched(Job("task", 0, {"run": Path("x")}), result(*steps))
    assert found["score"] == score
    assert found["coverage"]["examples"] == examples
    assert found["coverage"]["failed"] == (examples == 4)


@pytest.mark.parametrize(("locked", "error", "waits"), [(3, "ValueError: ended", 3), (99, "LockedRun: in use", 7)])
def test_a_run_that_another_process_holds_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, locked: int, error: str, waits: int
) -> None:
    slept: list[float] = []

    def run(job: Job, parts: Any) -> Any:
        raise LockedRun("in use") if len(slept) < locked else ValueError("ended")

    monkeypatch.setattr(pool, "_run", run)
    monkeypatch.setattr("time.sleep", slept.append)
    assert do(Job("task", 0, {"run": Path("x")}), Parts()) == {"error": error}
    assert slept == [0.5, 1, 2, 4, 8, 8, 8][:waits]
