"""Searches for demonstrations in whole runs: stopped and resumed, on every kind of budget, from recipes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from promptopt import optimize
from promptopt.api import prepare
from promptopt.core import Message
from promptopt.parts import parts_of
from promptopt.run.estimate import estimate
from promptopt.run.result import Result

from .like_examples import DATA, KINDS, START, TEST, TRAIN, Likes, Stopped, kind

POOL = {"name": "list", "prompts": ["Say how.", "Think.", "Look."]}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "random": {"name": "demonstrations", "sets": 5, "minibatch": 8},
    "exchange": {"name": "demonstrations", "search": "exchange", "sets": 2, "batch": 3, "minibatch": 8},
    "bootstrap": {"name": "demonstrations", "search": "exchange", "sets": 2, "k": 2, "bootstrap": True},
    "mipro": {"name": "mipro", "pool": POOL, "k": 2, "sets": 4, "minibatch": 8, "full": 3},
}


class Knows(Likes):
    """Knows fruits; the rest it reads off demonstrations."""

    def reply(self, messages: Sequence[Message]) -> str:
        return KINDS["fruit"] if kind(messages[-1].text) == "fruit" else super().reply(messages)


def searched(name: str, run: Path | None, *, model: Likes | None = None, **options: Any) -> Result:
    given: dict[str, Any] = {"start": START, "budget": 30, "data": DATA, "metric": "exact-match", "run": run}
    given["target"] = {"name": "chat", "model": model or Knows(), "workers": 1}
    return optimize(optimizer=OPTIMIZERS[name], watch=False, **{**given, **options})


def told(result: Result) -> Any:
    """What has to be the same."""
    return result.history(), result.best, str(result.verdict), result.stop_reason, dict(result.counts)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_killed_run_goes_on_with_the_same_result(name: str, tmp_path: Path) -> None:
    whole = searched(name, tmp_path / "whole", budget=16)
    with pytest.raises(Stopped):
        searched(name, tmp_path / "killed", model=Knows(kill=77), budget=16)
    assert told(searched(name, tmp_path / "killed", budget=16)) == told(whole)
    again = Knows()
    assert told(searched(name, tmp_path / "killed", model=again, budget=16)) == told(whole)
    assert not again.calls


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "budget", [{"questions": 5}, {"calls": 90}, {"tokens": 4_000}, {"dollars": 0.9}, {"seconds": 1e-9}], ids=str
)
def test_it_ends_cleanly_on_every_budget(name: str, budget: dict[str, Any]) -> None:
    model = Knows(dollars=0.01)
    result = searched(name, None, model=model, budget=budget)
    spent = result.costs
    assert result.stop_reason == f"budget: {next(iter(budget))}"
    assert spent.questions <= budget.get("questions", spent.questions)
    assert spent.calls == len(model.calls) <= budget.get("calls", spent.calls)
    assert spent.input_tokens + spent.output_tokens <= budget.get("tokens", 10**9)
    assert spent.dollars <= budget.get("dollars", 10**9) + 1e-9
    assert list(parts_of(result.best)) == list(START)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_of_the_test_split_is_shown_and_nothing_that_is_asked(name: str) -> None:
    model = Knows()
    result = searched(name, None, model=model)
    known = {example.input for example in TRAIN}
    shown = [[m.text.rpartition("Input: ")[2].partition("\n")[0] for m in c.messages[::2]] for c in model.calls]
    assert max(map(len, shown)) > 1
    for *before, asked in shown:
        assert known.issuperset(before)
        assert asked not in before
    assert {asked for *_, asked in shown} == known | {example.input for example in TEST}
    assert result.verdict is not None
    assert result.verdict.best >= result.verdict.start


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_frozen_stays(name: str) -> None:
    result = searched(name, None, start={"rules": "Never lie.", **START}, frozen=["rules"], target=Rules())
    assert {parts_of(candidate.prompt.text)["rules"] for candidate in result.candidates} == {"Never lie."}
    assert len(result.candidates) > 2
    assert not [what for what in result.counts if "not asked about" in what]


class Rules:
    """A target of any parts."""

    takes_parts = None

    def problem_with(self, prompt: Any, /) -> str | None:
        return None

    def run(self, prompt: Any, examples: Any, /) -> list[str]:
        return [e.label if e.id[-1] < str(len(prompt.text) % 5) else "?" for e in examples]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_cost_is_known_beforehand(name: str) -> None:
    model = Knows()
    given = {"start": START, "data": DATA, "metric": "exact-match", "budget": 20, "optimizer": OPTIMIZERS[name]}
    guess = estimate(prepare({**given, "target": {"name": "chat", "model": model}}))
    assert guess.shares["target"].expected.calls > 24
    assert not [note for note in guess.notes if "broke off" in note]
    assert not model.calls


def test_who_wants_outputs_asks_for_cases_once(tmp_path: Path) -> None:
    searched("bootstrap", tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    search = [line for line in lines if line["event"] == "answer" and line["stage"] == "search"]
    assert ["cases" in line for line in search] == [True] + [False] * (len(search) - 1)
