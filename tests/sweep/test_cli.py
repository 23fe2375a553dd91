from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from promptopt.errors import UserError
from promptopt.sweep.cli import command

RECIPE = """
start = "go"
metric = "sweep_parts:Value"
target = "sweep_parts:Longer"
budget = 30

[data]
name = "sweep_parts:words"

[sweep]
name = "letters"

[sweep.optimizers.random-search]
optimizer.pool.name = "sweep_parts:Letters"
optimizer.pool.most = [3, 14]
"""


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(command)
    return made


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("letters.toml").write_text(RECIPE, encoding="utf-8")


def test_a_sweep_prints_its_table_and_leaves_it_in_files(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["letters.toml", "sweep.seeds=2"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "random-search pool.most=14" in done.stdout
    assert "Every task and run: sweeps/letters/table.md" in done.stdout
    assert "search 2/2 complete" in done.stderr
    assert {path.name for path in Path("sweeps/letters").glob("table.*")} == {"table.md", "table.csv", "table.json"}
    again = CliRunner().invoke(app, ["--join", "letters", "--json"], catch_exceptions=False)
    assert [row["setting"] for row in json.loads(again.stdout)["rows"]] == [1, 0]
    assert again.stderr.startswith("Code from elsewhere is run")
    assert again.stderr.count("\n") == 1


def test_check_runs_nothing(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["letters.toml", "--check", "sweep.seeds=5"], catch_exceptions=False)
    assert done.stdout == "letters.toml is in order: 2 settings x 1 tasks x 5 seeds, 10 runs.\n"
    assert not Path("sweeps").exists()


def test_when_every_setting_fails_so_does_the_command(app: typer.Typer) -> None:
    Path("fails").touch()
    target = "target={name='sweep_parts:Longer', fails='fails'}"
    arguments = ["letters.toml", target, "sweep.space.start=['aaaaaaaaaaaa']"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 1
    assert "failed" in done.stderr


def test_one_of_recipe_and_join(app: typer.Typer) -> None:
    for arguments in ([], ["letters.toml", "--join", "letters"]):
        with pytest.raises(UserError, match="--join STUDY"):
            CliRunner().invoke(app, arguments, catch_exceptions=False)
