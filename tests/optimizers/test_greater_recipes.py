"""The recipes of [Das2025]: checked, and run on a small model with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from typer.testing import CliRunner

from promptopt.api import execute
from promptopt.cli import app
from promptopt.recipe.read import read_recipe

from ..targets.tiny_lms import saved

ROOT = Path(__file__).parents[2]
FILES = {
    "bbh": ["root=bbh"],
    "gsm8k": ["path=train.jsonl", "test_path=test.jsonl"],
    "folio": ["path=folio-train.jsonl", "test_path=folio-validation.jsonl"],
}
SMALL = ["data.train=6", "data.dev=2", "data.test=3"]


@pytest.fixture
def overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A small model that holds long documents, in the place of the weights, and few examples."""
    model = tmp_path / "llama"
    shutil.copytree(saved("llama", "byte-level", chat=True), model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return [f"target.model={model}", "target.dtype=float32", *SMALL]


def write_files(folder: Path) -> None:
    """A few cases of each task in its public format."""
    cases = [{"input": f"Take {n} steps. Do you return?\nOptions:\n- Yes\n- No", "target": "No"} for n in range(12)]
    (folder / "bbh").mkdir()
    (folder / "bbh" / "navigate.json").write_text(json.dumps({"canary": "", "examples": cases}))
    for first, sums, stories in ((0, "train", "folio-train"), (50, "test", "folio-validation")):
        some = range(first, first + 12)
        asked = [{"question": f"What is {n} + 1?", "answer": f"It is so.\n#### {n + 1}"} for n in some]
        told = [{"premises": [f"All {n} are odd."], "conclusion": f"{n} is odd.", "label": "True"} for n in some]
        for name, rows in ((sums, asked), (stories, told)):
            (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.parametrize("task", FILES)
def test_the_recipe_is_in_order(task: str, overrides: list[str]) -> None:
    recipe = ROOT / "experiments" / f"greater_{task}" / "recipe.toml"
    done = CliRunner().invoke(app, ["run", str(recipe), *overrides, *(f"data.{x}" for x in FILES[task]), "--check"])
    assert done.exit_code == 0, done.output
    assert "Greater, TaskLoss, 6 + 2 + 3 examples" in done.output


@pytest.mark.parametrize("task", FILES)
def test_the_recipe_runs_through(task: str, overrides: list[str]) -> None:
    fewer = ["target.max_tokens=6", "target.answer_tokens=3", "optimizer.steps=2", "budget.questions=14"]
    paths = [f"data.{path}" for path in FILES[task]]
    recipe = read_recipe(ROOT / "experiments" / f"greater_{task}" / "recipe.toml", [*overrides, *paths, *fewer])
    # an untrained LM hardly ever says a number, and a run without one readable answer has no verdict
    result = execute({**recipe, "run": None, "scorer": {**recipe["scorer"], "metric": "contains"}})
    assert result.counts["gradient passes"] == 12
    assert 4 <= len(result.candidates) <= 7  # the start and two shortlists, in which the current prompt may be
    assert all(candidate.prompt.text.startswith("Use") for candidate in result.candidates)
    assert result.verdict is not None
    assert result.verdict.examples + result.verdict.unscored == 3


@pytest.mark.parametrize("path", ["experiments/greater/recipe.toml", "promptopt/embedded/demo_greater.toml"])
def test_the_recipes_for_the_embedded_lm_are_in_order(path: str, overrides: list[str]) -> None:
    done = CliRunner().invoke(app, ["run", str(ROOT / path), *overrides, "data.dev=0", "--check"])
    assert done.exit_code == 0, done.output
    assert "Greater, TaskLoss, 6 + 0 + 3 examples" in done.output
