"""The study of prompts for pictures: its page says what its results say."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("open_clip")

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENT = ROOT / "experiments" / "pictures"


def script() -> ModuleType:
    """The script beside the results."""
    spec = importlib.util.spec_from_file_location("pictures_run", EXPERIMENT / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_says_what_the_results_say() -> None:
    run = script()
    runs = [json.loads(line) for line in (EXPERIMENT / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({(one["task"], one["seed"], one["method"]) for one in runs}) == len(runs) == 3 * 8 * len(run.METHODS)
    assert run.report(runs) in (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", [0, 5])
def test_what_is_hidden_is_not_in_the_start(seed: int) -> None:
    run = script()
    for task in run.TASKS.values():
        case = task(seed)
        said = run.facts_of(case.start)
        assert case.caption not in case.start
        assert not said.keys() & {"kind", "number"}


@pytest.mark.study
def test_a_row_is_measured_anew_as_it_stands_in_the_results() -> None:
    run = script()
    runs = [json.loads(line) for line in (EXPERIMENT / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    (again,) = run.runs_of("personalization", 0, ["interrogate"])
    (kept,) = [
        one for one in runs if (one["task"], one["seed"], one["method"]) == ("personalization", 0, "interrogate")
    ]
    assert {**again, "seconds": 0} == {**kept, "seconds": 0}
