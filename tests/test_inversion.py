"""The demo of inversion: captions are hidden, prompts are found, and the comparison says by how much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("open_clip")

from typer.testing import CliRunner

from promptopt.cli import INVERSION_DEMO, app
from promptopt.data.painted import hidden_caption
from promptopt.inversion import Found, as_json, lines, searched
from promptopt.recipe.read import read_recipe


def test_each_picture_has_a_search_of_its_own_that_draws_so_many_pictures() -> None:
    recipe = read_recipe(INVERSION_DEMO, ["budget.questions=14"])
    found = [*searched(recipe, pictures=2)]
    assert [one.caption for one in found] == [hidden_caption(number, seed=0) for number in range(2)]
    assert all(one.start == "a picture" and one.best.startswith("a picture") and one.pictures == 56 for one in found)
    assert [*searched(recipe, pictures=1)] == found[:1]
    assert json.loads(json.dumps(as_json(found)))[0]["caption"] == found[0].caption


def test_the_comparison_has_an_interval_where_there_are_pictures_enough() -> None:
    found = [Found("three stars", "a picture", "stars", 40, (0.1 * (n % 2), 0.5)) for n in range(12)]
    said = [*lines(found)]
    assert "of 12 pictures" in said[0]
    assert "0.050  the start: a picture" in said[1]
    assert "0.500  the prompts found, +0.450 (+0.4" in said[2]
    assert "40 pictures" in said[3]
    assert [*lines(found[:3])][2].endswith("the prompts found")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--optimizer", "interrogate"], "--task inversion as well"),
        (["--task", "inversion", "--optimizer", "greater"], "hill-climb, interrogate or pez"),
        (["--task", "inversion", "--llm"], "Leave one of the two out"),
    ],
)
def test_what_does_not_go_together_is_said(options: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["demo", *options])
    assert done.exit_code != 0
    assert said in f"{done.output}{done.exception}"


@pytest.mark.study
@pytest.mark.parametrize("optimizer", ["hill-climb", "interrogate"])
def test_the_demo_finds_more_of_the_captions_than_the_start_says(optimizer: str) -> None:
    command = [sys.executable, "-m", "promptopt", "demo", "--task", "inversion", "--optimizer", optimizer]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert sum("hidden: " in line for line in shown) == 20
    (found,) = [line for line in shown if "the prompts found" in line]
    assert float(found.partition("(")[2].split()[0]) > 0.1  # the interval's lower end
