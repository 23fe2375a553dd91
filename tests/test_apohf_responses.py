"""The study of replies to several queries, in small, and its recipe."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from promptopt.embedders.ngrams import Ngrams

pytestmark = pytest.mark.study

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "apohf_responses"
FAST = ["random, together", "random, apart"]


@cache
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("apohf_responses_run", EXPERIMENT / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_quality_is_that_of_the_words() -> None:
    problem = script().Problem(seed=0)
    assert [len(replies) for replies in problem.replies.values()] == [50] * 10
    answers = script().REQUESTS
    right = [worth for text, worth in problem.quality.items() if answers[text.partition("\n\n")[0]] in text]
    assert 50 < len(right) < 150
    assert np.mean(right) > np.mean(list(problem.quality.values())) + 0.4
    best = {query: max(own, key=problem.quality.__getitem__) for query, own in problem.replies.items()}
    assert problem.regret(best) == 0
    assert 20 < problem.regret({query: own[0] for query, own in problem.replies.items()}) < 80


def test_searches_are_written_resumed_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs.jsonl"
    for seeds in ("1", "2"):
        script().main(["--out", str(out), "--seeds", seeds, "--duels", "50", "--arms", *FAST])
    runs = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len({(run["arm"], run["seed"]) for run in runs}) == len(runs) == 4
    mean = np.mean([run["regret"]["50"] for run in runs if run["arm"] == FAST[0]])
    assert f"| {FAST[0]} | {mean:.1f} | 2 |" in capsys.readouterr().out


def test_one_utility_learns_from_all_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script(), "REPLIES", 12)
    monkeypatch.setattr(script(), "CHECKPOINTS", (30,))
    problem = script().Problem(seed=0)
    kept = script().Kept(list(problem.quality), Ngrams())
    regret = {
        arm: script().search(arm, problem, kept, duels=30, seed=0)["regret"]["30"]
        for arm in ("apohf, together", "apohf, apart")
    }
    assert regret["apohf, together"] < regret["apohf, apart"]
