"""The experiment on regret over duels, in small: searches are resumed, and the report says what they found."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.study

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "apohf_regret"
FAST = ["random", "linear", "apohf, default"]


@pytest.fixture
def one_thread() -> Iterator[None]:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("apohf_regret_run", EXPERIMENT / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def line(problem: str, arm: str, seed: int, regret: dict[str, float]) -> dict[str, Any]:
    return {"problem": problem, "arm": arm, "seed": seed, "regret": regret, "held_out": {}}


def test_small_runs_are_written_resumed_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs.jsonl"
    words = ["--out", str(out), "--pool", "12", "--duels", "25", "--problems", "antonyms", "linear utility"]
    script().main([*words, "--seeds", "1", "--arms", *FAST])
    first = out.read_text(encoding="utf-8")
    script().main([*words, "--seeds", "2", "--arms", *FAST])
    again = out.read_text(encoding="utf-8")
    assert again.startswith(first)
    runs = [json.loads(one) for one in again.splitlines()]
    assert len({(run["problem"], run["arm"], run["seed"]) for run in runs}) == len(runs) == 2 * 2 * len(FAST)
    assert all(0 <= run["regret"]["25"] <= 100 for run in runs)
    script().main(["--report", str(out)])
    mean = np.mean(
        [run["regret"]["25"] for run in runs if (run["problem"], run["arm"]) == ("linear utility", "apohf, default")]
    )
    assert f"| apohf, default | {mean:.1f} (n = 2) |" in capsys.readouterr().out.split("| linear utility | 25 |")[1]


@pytest.mark.parametrize("arm", ["double-ts", "apohf, released"])
def test_the_slower_arms_play_too(arm: str) -> None:
    problem = script().linear(script().Size(pool=6), seed=0)
    found = script().search(arm, problem, duels=25, scale=10.0, seed=0)
    assert 0 <= found["regret"]["25"] < 50


@pytest.mark.usefixtures("one_thread")
def test_templates_are_rated_by_the_embedded_clip() -> None:
    pytest.importorskip("open_clip")
    problem = script().templates("roman", script().Size(pool=6, shots=2), seed=0)
    assert problem.vectors.shape == (6, 64)
    assert problem.held_out is not None
    assert np.ptp(problem.quality) > 0
    found = script().search("apohf, default", problem, duels=25, scale=10.0, seed=0)
    best = int(np.argmax(problem.quality))
    assert found["regret"]["25"] == 0
    assert found["held_out"]["25"] == pytest.approx(100 * problem.held_out[best])


def test_quality_of_an_instruction_is_its_likeness_to_a_reference() -> None:
    problem = script().instructions("antonyms", script().Size(pool=200), seed=0)
    ranked = [problem.texts[i] for i in np.argsort(-problem.quality)]
    assert "opposite" in " ".join(ranked[:3])
    assert not any("opposite" in text for text in ranked[-20:])
    assert problem.vectors.shape == (200, 384)


def test_the_paired_difference_is_taken_by_seed() -> None:
    runs = [line("linear utility", "apohf, default", seed, {"75": 2.0 * seed, "150": 0.0}) for seed in range(10)]
    runs += [line("linear utility", "apohf, released", seed, {"75": 9.0, "150": 2.0 * seed + 3}) for seed in range(10)]
    assert script().gaps(runs, "linear utility", "apohf, released", 75, 150) == [-3.0] * 10
    text = script().report(runs)
    assert "| linear utility | -3.0 (-3.0 to -3.0) |" in text
    assert "| apohf, default |  |  | 9.0 (5.4 to 12.6) |  | 0.0 (0.0 to 0.0) |" in text


def test_the_picture_has_a_curve_for_every_arm_and_no_date(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = [
        line("linear utility", arm, seed, {"25": 9.0 - seed, "75": 1.0})
        for arm in ("random", "apohf, default")
        for seed in range(10)
    ]
    script().draw(runs, tmp_path / "regret.svg")
    text = (tmp_path / "regret.svg").read_text(encoding="utf-8")
    assert all(word in text for word in ("apohf, default", "random", "linear utility"))
    assert "double-ts" not in text
    assert "dc:date" not in text


def test_one_of_out_and_report_must_be_given() -> None:
    with pytest.raises(SystemExit):
        script().main([])
