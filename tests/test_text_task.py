"""The text task of ``experiments/``: a scripted LLM proposes instructions, a tiny local LM is told to follow them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import warm

pytest.importorskip("transformers")

from typer.testing import CliRunner

from promptopt.cli import app
from promptopt.core import Message, Request
from promptopt.models.local import Local

pytestmark = pytest.mark.study

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "text_task"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``train.py`` writes."""
    folder = tmp_path_factory.mktemp("text_task") / "lm"
    done = subprocess.run(
        [*warm.python(), str(EXPERIMENT / "train.py"), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def script() -> Any:
    """``train.py`` as a module."""
    spec = importlib.util.spec_from_file_location("text_task_train", EXPERIMENT / "train.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_model_does_what_the_decisive_word_says(trained: Path, script: Any) -> None:
    model = Local(model=trained, device="cpu", max_tokens=8)
    words = [line["input"] for line in lines(trained / "examples.jsonl")[:6]]
    for names, operation in script.OPERATIONS.items():
        for name in names.split():
            messages = [[Message("user", f"now {name} it\n\nInput: {word}\nOutput:")] for word in words]
            said = [model.complete(Request(asked, temperature=0.0)).replies[0].text for asked in messages]
            wanted = [" ".join(operation(word.replace(" ", ""))) for word in words]
            right = [reply == answer for reply, answer in zip(said, wanted, strict=True)]
            assert sum(right) >= 4, (name, said)


def test_hill_climb_improves_the_instruction_from_the_recipe(trained: Path, script: Any, tmp_path: Path) -> None:
    result = json.loads(
        run(
            *("run", str(EXPERIMENT / "recipe.toml"), "--json", f"run={tmp_path / 'run'}"),
            *(f"target.model.model={trained}", f"data.path={trained / 'examples.jsonl'}"),
        )
    )
    assert result["start"]["prompt"] == "answer the question"
    assert result["start"]["test"] < 0.4
    assert result["best"]["test"] > 0.9
    assert result["verdict"]["significant"]
    decisive = [word for word in result["best"]["prompt"].split() if word in script.DECISIVE]
    assert script.DECISIVE["last"] in [script.DECISIVE[word] for word in decisive]


def test_the_report_holds_what_proposer_and_target_cost(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    recipe = str(EXPERIMENT / "recipe.toml")
    paths = (f"target.model.model={trained}", f"data.path={trained / 'examples.jsonl'}")
    run("run", recipe, f"run={folder}", "data.train=8", "data.test=20", *paths)
    calls = [event for event in lines(folder / "ledger.jsonl") if event["event"] == "call"]
    questions = sum(
        event["event"] == "answer" and event["stage"] == "search" for event in lines(folder / "ledger.jsonl")
    )
    by_role = Counter((event["role"], event["model"]) for event in calls)
    assert by_role == {("proposer", "scripted"): 4, ("target", f"local:{trained.name}"): 8 * questions + 2 * 20}
    numbers = [sum(column) for column in zip(*(event["usage"] for event in calls), strict=True)]
    shown = " ".join(run("show", str(folder)).split())
    assert f"{numbers[0]} LLM calls, {numbers[1]} + {numbers[2]} tokens, $0.0000" in shown
    assert numbers[0] == len(calls)
