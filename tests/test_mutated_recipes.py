"""Recipes with mistakes in them: ``promptopt run --check`` says what is wrong, in one message, whatever it is.

Seeded mutations of good recipes. The long run is a study: ``pytest -m study tests/test_mutated_recipes.py``.
"""

from __future__ import annotations

import copy
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from promptopt import cli
from promptopt.sweep.space import Choice
from promptopt.trust import ALLOW

SLOWEST = 20.0  # seconds that a check may take at the most
SHORT, LONG = 100, 600  # mutated recipes

GOOD: dict[str, dict[str, Any]] = {
    "text": {
        "start": "Answer {}",
        "seed": 0,
        "data": {"name": "reasoning", "task": "arithmetic", "train": 4, "dev": 4, "test": 4},
        "target": {
            "name": "http",
            "url": "http://127.0.0.1:9/?q={prompt}",
            "body": {"x": "{input}"},
            "headers": {"a": "b"},
        },
        "metric": {"name": "match"},
        "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": ["a", "b"]}},
        "budget": {"questions": 30, "seconds": 5.0},
    },
    "parts": {
        "start": ["answer {}", "say {}"],
        "data": {"name": "run_parts:toy_data"},
        "target": "run_parts:ToyTarget",
        "transfer": {"other": "run_parts:ToyTarget"},
        "optimizer": {
            "name": "hill-climb",
            "k": 3,
            "iterations": 2,
            "per_call": 4,
            "proposer": {"name": "lexical", "phrases": ["clear", "short"]},
        },
        "budget": 40,
        "finalists": 2,
        "shorten": 3,
    },
    "duels": {
        "start": "answer {}",
        "scorer": {"name": "bradley-terry", "scorer": "run_parts:Words"},
        "optimizer": {"name": "random-duel", "pool": {"name": "list", "prompts": ["a", "b", "c"]}},
        "budget": 20,
    },
}
ODD: list[Any] = [
    *(0, -1, 1, 2.5, float("nan"), float("inf"), 10**30, -(10**30), True, "", " ", "x", "{}", "a" * 20_000, [], {}),
    *([[]], [{}], ["a", 1], {"name": "x"}, {"name": 3}, {"": ""}, "\x1b[31m\x00\u202e", "\ud7ff", "../..", "/", "nan"),
    *(
        "os:system",
        "os:getcwd",
        "builtins:dict",
        "os:",
        ":",
        "a:b:c",
        "os.path:join",
        "run_parts:chance",
        "run_parts:START",
    ),
    *(
        "clip",
        "digits",
        "list",
        "file",
        "function",
        "random-search",
        "chat",
        "http",
        "human",
        "openai",
        "http://[",
        "${HOME}",
    ),
]
TIMES = ["2026-01-01", "12:00:00", "2026-01-01T12:00:00Z"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a nested table."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(one for key, held in inside for one in places(held, (*path, key)))]


def mutated(rng: random.Random) -> str:
    """A recipe with one to three mistakes, as TOML."""
    recipe = copy.deepcopy(GOOD[rng.choice(sorted(GOOD))])
    for _ in range(rng.randint(1, 3)):
        *above, last = rng.choice(places(recipe)[1:])
        table: Any = recipe
        for key in above:
            table = table[key]
        what = rng.random()
        if what < 0.1:
            del table[last]
        elif what < 0.2 and isinstance(table, dict):
            table[f"{last}x"] = table.pop(last)
        elif what < 0.3 and isinstance(table, dict):
            table[rng.choice(["name", "sweep", "k", "function", "model", "allow_env", "x" * 5_000])] = rng.choice(ODD)
        else:
            table[last] = copy.deepcopy(rng.choice(ODD))
    text = tomli_w.dumps(recipe)
    if rng.random() < 0.05:
        text = text.replace("30", rng.choice(TIMES), 1)
    return text if rng.random() > 0.03 else text[: rng.randrange(len(text))]


Check = Callable[[str], None]


@pytest.fixture
def everything_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Checks a recipe: exit 0 or 2, one message, no traceback, in time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ALLOW, "")
    monkeypatch.setattr(sys, "argv", ["promptopt", "run", "recipe.toml", "--check"])

    def check(text: str) -> None:
        Path("recipe.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
        begun = time.perf_counter()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        seconds, said = time.perf_counter() - begun, capsys.readouterr().err
        code = ended.value.code or 0
        assert code in (0, 2), (text, said)
        messages = [line for line in said.split("\n") if line.startswith("promptopt: ")]
        assert len(messages) == (code == 2), (text, said)
        assert len(said.partition("promptopt: ")[2]) < 1000, said
        assert not {*said} & {"\x1b", "\x00", "\u202e"}
        assert seconds < SLOWEST, text

    return check


@pytest.mark.parametrize("seed", range(4))
def test_mutated_recipes_end_with_one_message(seed: int, everything_is_said: Check) -> None:
    rng = random.Random(seed)
    for _ in range(SHORT // 4):
        everything_is_said(mutated(rng))


@pytest.mark.study
def test_many_mutated_recipes_end_with_one_message(everything_is_said: Check) -> None:
    rng = random.Random(12)
    for _ in range(LONG):
        everything_is_said(mutated(rng))


@pytest.mark.parametrize(
    "text",
    [
        'start = "a"\noptimizer = "os:getcwd"\nscorer = "run_parts:Words"',
        'start = "a"\nscorer = "run_parts:Words"\n[optimizer]\nname = "random-search"\npool = "builtins:dict"',
        'start = "a"\nscorer = "builtins:dict"',
        'start = "a"\nscorer = "run_parts:Words"\npatience = 12:00:00',
        f'start = "a"\nscorer = "{"x" * 20_000}"',
        f'start = "a"\nscorer = "{"x" * 20_000}:Name"',
        f'start = "a"\nscorer = "run_parts:{"x" * 20_000}"',
        'start = "a"\nscorer = "run_parts:Words"\n[data]\nname = "reasoning"\ntask = "arithmetic"\n'
        "dev = 1000000000000000000000000000000",
    ],
    ids=lambda text: text[:40],
)
def test_what_ended_in_a_traceback_once(text: str, everything_is_said: Check) -> None:
    everything_is_said(text)


def test_a_choice_of_a_sweep_without_a_name_is_taken_as_it_is() -> None:
    assert {*Choice("x", [{"k": 1}, {"name": "a"}, 3], where="x").values} == {'{"k": 1}', "a", 3}
