"""What ``promptopt doctor`` says is here, and what a recipe needs."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from promptopt.cli import app
from promptopt.doctor import extras, needed

KEY = "sk-never-shown-0123456789"


def doctor(*words: str) -> list[str]:
    done = CliRunner().invoke(app, ["doctor", *words])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def without(*packages: str, version: str | None = None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if packages were missing, or there in another version."""
    real = metadata.version

    def found(name: str) -> str:
        if name in packages and version is None:
            raise metadata.PackageNotFoundError(name)
        return version if name in packages and version else real(name)

    monkeypatch.setattr("promptopt.doctor.metadata.version", found)


def test_extras_hold_those_that_they_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy", 'promptopt-toolkit[b]; extra == "a"', 'one>=1; extra == "a"', 'two>=2; extra == "b"']
    monkeypatch.setattr("promptopt.doctor.metadata.requires", lambda _: lines)
    monkeypatch.setattr("promptopt.doctor.metadata.metadata", lambda _: Names())
    without("one", "two", version="1.5", monkeypatch=monkeypatch)
    assert extras() == {"a": {"two": None, "one": "1.5"}, "b": {"two": None}}  # two is there, but too old


class Names:
    def get_all(self, _: str) -> list[str]:
        return ["a", "b", "all"]


def test_what_is_missing_has_its_remedy_and_keys_are_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    without("anthropic", monkeypatch=monkeypatch)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    said = doctor()
    lines = [" ".join(line.split()) for line in said]
    assert '- anthropic lacks anthropic: pip install "promptopt-toolkit[anthropic]"' in lines
    assert any(line.startswith("+ openai openai ") for line in lines)
    assert "keys OPENAI_API_KEY is set; ANTHROPIC_API_KEY is not set" in lines
    assert KEY not in "".join(said)


def test_caches_are_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path))
    (tmp_path / "replies").write_bytes(bytes(2_500_000))
    assert [line for line in doctor() if line.startswith("caches")] == [f"caches     {tmp_path} (2.5 MB)"]


def recipe(**model: Any) -> dict[str, Any]:
    chat = {"name": "anthropic", "model": "some"}
    return {
        "start": "Say it.",
        "target": {"name": "chat", "model": {"name": "openai", "model": "some", **model}},
        "optimizer": {"name": "hill-climb", "proposer": {"name": "chat", "model": chat}},
    }


def test_a_recipe_lacks_what_parts_within_its_parts_need(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert needed(recipe()) == []
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.setitem(sys.modules, "anthropic", None)
    openai, anthropic = sorted(needed(recipe()), reverse=True)
    assert "promptopt-toolkit[openai]" in openai
    assert "promptopt-toolkit[anthropic]" in anthropic


def test_a_recipe_with_other_mistakes_and_strange_parts_is_examined_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('start = "a {}"\ntarget = "no_such_module:Target"\nmetric = {name = "code", nothing = 1}\n')
    assert doctor(str(file))[-1] == "  Every package that its parts need is installed."
