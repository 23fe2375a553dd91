"""A run that cannot begin says so before it begins, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import promptopt
from promptopt.cli import app
from promptopt.errors import UserError
from promptopt.models.openai import OpenAI
from promptopt.targets.chat import ChatTarget

MODELS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*MODELS.values(), "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("provider", "variable"), MODELS.items())
def test_a_missing_key_is_told_by_check_and_before_a_run(provider: str, variable: str) -> None:
    arguments = {
        "start": "answer",
        "optimizer": {"name": "hill-climb", "proposer": {"name": "chat", "model": {"name": provider, "model": "m"}}},
        "score": len,
    }
    with pytest.raises(UserError, match=variable):
        promptopt.optimize(**arguments)  # type: ignore[arg-type]
    assert not Path("runs").exists()
    with pytest.raises(UserError, match=variable):
        promptopt.optimize(**arguments, run="mine")  # type: ignore[arg-type]
    assert not Path("mine").exists()


@pytest.mark.parametrize(("provider", "variable"), MODELS.items())
def test_check_names_the_variable(provider: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("recipe.toml")
    path.write_text(
        f"""
start = "reply"
optimizer = {{name = "random-search", pool = {{name = "list", prompts = ["a", "b"]}}}}
target = {{name = "chat", model = {{name = "{provider}", model = "m"}}}}
data = {{name = "reasoning", task = "boolean"}}
"""
    )
    refused = subprocess.run(
        [sys.executable, "-m", "promptopt", "run", str(path), "--check"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2, refused.stderr
    assert variable in refused.stderr
    assert "in order" not in refused.stdout
    monkeypatch.setenv(variable, "k" * 20)
    passed = CliRunner().invoke(app, ["run", str(path), "--check"])
    assert passed.exit_code == 0, passed.output
    monkeypatch.delenv(variable)
    server = CliRunner().invoke(app, ["run", str(path), "--check", "target.model.base_url=http://127.0.0.1:9"])
    assert server.exit_code == 0, server.output


def test_a_model_object_without_a_key_leaves_no_folder() -> None:
    data = promptopt.Dataset("d", train=(promptopt.Example("1", "x", "y"),))
    arguments: dict[str, Any] = {
        "start": "answer",
        "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": ["a", "b"]}},
        "target": ChatTarget(model=OpenAI(model="m")),
        "data": data,
    }
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        promptopt.optimize(**arguments, run="mine")
    assert not Path("mine").exists()
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        promptopt.optimize(**arguments)
    assert not list(Path("runs").iterdir())


def test_a_model_over_dspy_is_checked_too() -> None:
    pytest.importorskip("dspy")
    model = {"name": "dspy", "model": "openai/m"}
    arguments: dict[str, Any] = {
        "start": "answer",
        "optimizer": {"name": "hill-climb", "proposer": {"name": "chat", "model": model}},
        "score": len,
        "run": "mine",
    }
    with pytest.raises(UserError, match="dspy:openai/m needs a key: set the environment variable OPENAI_API_KEY"):
        promptopt.optimize(**arguments)
    assert not Path("mine").exists()


def test_a_folder_that_was_there_stays() -> None:
    Path("mine").mkdir()
    (Path("mine") / "notes.txt").write_text("mine")
    target = ChatTarget(model=OpenAI(model="m"))
    data = promptopt.Dataset("d", train=(promptopt.Example("1", "x", "y"),))
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        promptopt.optimize(
            start="a",
            optimizer={"name": "random-search", "pool": {"name": "list", "prompts": ["a", "b"]}},
            target=target,
            data=data,
            run="mine",
        )
    assert (Path("mine") / "notes.txt").exists()
