"""The main job as a newcomer runs it: ``promptopt demo`` in processes of its own, the embedded model on real images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import warm

from promptopt.api import prepare
from promptopt.recipe.read import read_recipe

ROOT = Path(__file__).parent.parent
RECIPES = [ROOT / "promptopt/embedded/demo.toml", *sorted(ROOT.glob("experiments/*/recipe.toml"))]
ELSEWHERE = {"greater_bbh", "greater_folio", "greater_gsm8k", "text_task", "apohf_instructions", "apohf_responses"}


def demo(
    folder: Path, *options: str, python: Sequence[str] = (sys.executable,), **env: str
) -> tuple[dict[str, Any], str]:
    """The result of a demo in a process of its own, and what it printed."""
    done = subprocess.run(
        [*python, "-m", "promptopt", "demo", *options, f"run={folder}"],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result, done.stdout


def test_the_demo_finds_a_better_prompt_without_filler_and_shows_what_it_has_to_beat(tmp_path: Path) -> None:
    result, printed = demo(tmp_path, python=warm.python())
    assert result["start"]["prompt"] == "a photo of a {}"
    assert result["verdict"]["significant"]
    assert result["best"]["test"] - result["start"]["test"] >= 0.15
    assert result["verdict"]["low"] <= result["verdict"]["difference"] <= result["verdict"]["high"]
    assert {"questions", "seconds", "stop_reason", "seed", "run"} <= result.keys()
    best = (tmp_path / "best.txt").read_text(encoding="utf-8").strip()
    assert len(best.split()) <= 8
    beside = printed.partition("Beside it")[2].splitlines()[1:]
    assert [line.split(":")[0].split(maxsplit=1)[1] for line in beside] == [
        "written by hand",
        "random search, 300 questions",
    ]
    assert "a handwritten {}" in beside[0]
    assert all(0.5 < float(line.split()[0]) < 1 for line in beside)


@pytest.mark.study
def test_the_demo_finds_it_again(tmp_path: Path) -> None:
    first, again = (demo(tmp_path / seed, "--json", PYTHONHASHSEED=seed) for seed in ("0", "4711"))
    assert json.loads(first[1]) == first[0]
    for result, _ in (first, again):
        del result["seconds"], result["costs"]["seconds"], result["run"]
    assert again[0] == first[0]


@pytest.mark.study
def test_the_demo_of_greater_finds_a_better_prompt(tmp_path: Path) -> None:
    result, _ = demo(tmp_path / "run", "--optimizer", "greater", "budget.questions=60", "data.test=100")
    assert result["start"]["prompt"] == "Please answer the question."
    assert result["verdict"]["significant"]
    assert result["counts"]["gradient passes"] > 0


@pytest.mark.parametrize(
    "recipe", [path for path in RECIPES if path.parent.name not in ELSEWHERE], ids=lambda path: path.parent.name
)
def test_shipped_recipes_are_in_order(recipe: Path) -> None:
    assert prepare(read_recipe(recipe)).data is not None
