"""The options of parts, for people and for editors: read off the signatures that recipes are checked against."""

from __future__ import annotations

import inspect
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from promptopt.api import optimize
from promptopt.errors import UnknownName
from promptopt.recipe.build import parameters_of
from promptopt.recipe.options import documented, part, schema
from promptopt.registry import TABLE, load

ROOT = Path(__file__).resolve().parents[2]
OWN = [(kind, name) for kind in TABLE for name in TABLE[kind]]
RECIPES = [
    path
    for path in sorted((ROOT / "experiments").rglob("*.toml"))
    + sorted((ROOT / "promptopt" / "embedded").glob("demo*.toml"))
    if "start" in tomllib.loads(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("kind", "name"), OWN)
def test_every_option_of_every_part_is_described(kind: str, name: str) -> None:
    described = part(kind, name)
    assert [option.name for option in described.options] == [*parameters_of(load(kind, name))]
    assert described.summary
    for option in described.options:
        assert option.help, f"{name}.{option.name} has no line in its docstring"
        assert "\n" not in option.line


def test_a_line_tells_type_default_and_what_it_is() -> None:
    lines = [*part("data" + "sets", "table").lines()]
    assert lines[0] == "table  (promptopt.data.tables:table)"
    assert "  path: str | Path (must be given)  # the file with the training examples." in lines
    assert "  seed: int = 0  # of the draw." in lines
    clip = "\n".join(part("targets", "clip").lines())
    assert "  classes: Sequence[str] (given by the run)" in clip
    with pytest.raises(UnknownName, match="Did you mean 'table'"):
        part("datasets", "tabel")


def test_docstrings_are_read() -> None:
    def function(a: int, b: int, c: int) -> None:
        """What it does.

        Args:
            a, b: two numbers
                that go on.
            c: a third.

        Raises:
            UserError: never.
        """

    assert documented(function) == (
        "What it does.",
        {"a": "two numbers that go on.", "b": "two numbers that go on.", "c": "a third."},
    )


# ── The schema ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    found = json.loads(json.dumps(schema(optimize)))
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_recipes_of_this_repository_fit(path: Path, validator: Any) -> None:
    recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    errors = [f"{'.'.join(map(str, e.path))}: {e.message}" for e in validator.iter_errors(recipe)]
    assert errors == []


GOOD = {"start": "a {}", "optimizer": "hill-climb", "target": "clip", "data": "digits", "budget": 5}


@pytest.mark.parametrize(
    "change",
    [
        {"budget": {"questions": 5, "dollars": 1.5}},
        {"start": ["a {}", "b {}"]},
        {"optimizer": {"name": "hill-climb", "proposer": {"name": "lexical", "phrases": ["x"]}, "feedback": "good"}},
        {"target": {"name": "my_package.targets:Mine", "whatever": 3}},
        {"scorer": "my_package:Scorer"},
        {"transfer": {"big": {"name": "clip", "model": "ViT-B-32", "pretrained": "openai"}}},
        {"verdict": False},
        {"verdict": "cheapest"},
        {"verdict": {"metric": {"name": "palette", "colours": ["red"]}, "cheapest": True}},
        {"verdict": {"scorer": {"name": "judge-rating", "model": "openai"}}},
    ],
)
def test_good_recipes_fit(change: dict[str, Any], validator: Any) -> None:
    assert validator.is_valid({**GOOD, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"optimiser": "hill-climb"},
        {"optimizer": "hillclimb"},
        {"optimizer": {"name": "hill-climb", "kk": 3}},
        {"optimizer": {"name": "hill-climb", "k": "3"}},
        {"optimizer": {"name": "hill-climb", "feedback": "bad"}},
        {"optimizer": {"name": "hill-climb", "proposer": {"name": "chat"}}},
        {"optimizer": {"k": 3}},
        {"budget": {"question": 3}},
        {"seed": "0"},
        {"transfer": {"big": {"name": "klip"}}},
        {"score": "len"},
        {"verdict": "dearest"},
        {"verdict": {"metric": "palete"}},
        {"verdict": {"metrik": "palette"}},
    ],
)
def test_wrong_recipes_do_not(change: dict[str, Any], validator: Any) -> None:
    assert not validator.is_valid({**GOOD, **change})


def test_the_schema_knows_every_part_and_its_defaults() -> None:
    found = schema(optimize)
    assert {f"{kind}.{name}" for kind, name in OWN} <= set(found["$defs"])
    climb = found["$defs"]["optimizers.hill-climb"]["properties"]
    default = inspect.signature(load("optimizers", "hill-climb")).parameters["k"].default
    assert climb["k"]["default"] == default
    assert climb["k"]["description"] == "how many good and how many bad prompts are shown."
    assert climb["proposer"]["$ref"] == "#/$defs/proposers"
