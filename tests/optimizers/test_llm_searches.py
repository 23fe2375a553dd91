"""Searches whose prompts an LLM writes, in whole runs: stopped and resumed, on every kind of budget, from recipes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from promptopt import optimize
from promptopt.api import prepare
from promptopt.core import Completion, Dataset, Example, Message, Prompt, Request
from promptopt.optimizers import Ape, Behaviour, EvoPrompt, Opro
from promptopt.run.estimate import estimate
from promptopt.run.result import Result
from promptopt.testing import ScriptedModel

from .word_llm import WORDS, chance, words_for

TRAIN, TEST = (
    tuple(Example(f"{split}{i}", f"{split} question number {i} about a thing", f"{split} answer {i}") for i in range(8))
    for split in ("train", "test")
)
DATA = Dataset("words", TRAIN, (), TEST)


class Stopped(Exception):
    """What kills a run in these tests."""


class Words:
    """A target that answers an example rightly if the prompt has a word that helps with it.

    Args:
        kill: the call of ``run`` that ends the run.
    """

    def __init__(self, *, kill: int | None = None) -> None:
        self.left = kill

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Stopped
        words = {*prompt.text.split()} & {*WORDS}
        return [e.label if any(chance(word, e.id) < 0.1 for word in words) else "?" for e in examples]


class Llm(ScriptedModel):
    """Writes lists of one prompt, by what it is shown and the call's seed.

    Args:
        kill: the reply that ends the run.
    """

    def __init__(self, *, kill: int | None = None, dollars: float = 0.0) -> None:
        super().__init__(self._words, max_tokens=30, dollars=dollars)
        self._kill, self._replies = kill, 0

    def complete(self, request: Request, /) -> Completion:
        self._seed = request.seed or 0
        return super().complete(request)

    def _words(self, messages: Sequence[Message]) -> str:
        if self._replies == self._kill:
            raise Stopped
        self._replies, self._seed = self._replies + 1, self._seed + 1
        return f"- {words_for(messages, self._seed)}"


MAKERS: dict[str, Callable[..., Any]] = {
    "ape": lambda model: Ape(model=model, examples=TRAIN, candidates=5, per_call=2, subset=4, rounds=2),
    "ape, all examples": lambda model: Ape(model=model, examples=TRAIN, candidates=5, per_call=2, rounds=2, top=0.4),
    "behaviour": lambda model: Behaviour(model=model, examples=TRAIN, rounds=3, corrections=2),
    "evoprompt": lambda model: EvoPrompt(model=model, population=5, generations=3),
    "evoprompt ga": lambda model: EvoPrompt(model=model, algorithm="ga", population=5, generations=3),
    "opro": lambda model: Opro(model=model, examples=TRAIN, steps=6, per_step=3),
}


def searched(
    name: str, run: Path | None, *, model: ScriptedModel | None = None, target: Any = None, **options: Any
) -> Result:
    given: dict[str, Any] = {"start": "go", "budget": 30, "data": DATA, "metric": "exact-match", "run": run}
    optimizer = MAKERS[name](model or Llm())
    return optimize(optimizer=optimizer, target=target or Words(), watch=False, **{**given, **options})


def told(result: Result) -> Any:
    """What has to be the same."""
    return result.history(), result.best, str(result.verdict), result.stop_reason, dict(result.counts)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("who", "at"), [("model", 0), ("model", 5), ("target", 0), ("target", 5), ("target", 9)])
def test_a_killed_run_goes_on_with_the_same_result(name: str, who: str, at: int, tmp_path: Path) -> None:
    whole = searched(name, tmp_path / "whole")
    killed: dict[str, Any] = {"model": Llm(kill=at)} if who == "model" else {"target": Words(kill=at)}
    with pytest.raises(Stopped):
        searched(name, tmp_path / "killed", **killed)
    model = Llm()
    assert told(searched(name, tmp_path / "killed", model=model)) == told(whole)
    again = Llm()
    assert told(searched(name, tmp_path / "killed", model=again)) == told(whole)
    assert not again.calls


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    "budget",
    [{"questions": 5}, {"calls": 3}, {"tokens": 4_000}, {"dollars": 0.05}, {"questions": 30, "calls": 1}],
    ids=str,
)
def test_it_ends_cleanly_on_every_budget(name: str, budget: dict[str, Any]) -> None:
    model = Llm(dollars=0.01)
    result = searched(name, None, model=model, budget=budget)
    spent = result.costs
    assert result.stop_reason.partition(": ")[0] in ("budget", "converged")
    assert result.stop_reason.partition(": ")[2] in ("", *budget)
    assert spent.questions <= budget.get("questions", spent.questions)
    assert spent.calls == len(model.calls) <= budget.get("calls", spent.calls)
    assert spent.input_tokens + spent.output_tokens <= budget.get("tokens", 10**9)
    assert spent.dollars <= budget.get("dollars", 10**9) + 1e-9
    assert result.verdict is not None
    assert result.best in [step.question.prompt.text for step in result.steps if step.stage == "search"]


@pytest.mark.parametrize("name", MAKERS)
def test_a_budget_of_seconds_that_is_over_ends_it(name: str) -> None:
    result = searched(name, None, budget={"seconds": 1e-9})
    assert result.stop_reason == "budget: seconds"


@pytest.mark.parametrize("name", MAKERS)
def test_the_llm_is_shown_nothing_of_the_test_split(name: str) -> None:
    model = Llm()
    searched(name, None, model=model)
    said = "\n".join(message.text for call in model.calls for message in call.messages)
    assert said
    assert not [text for e in TEST for text in (e.input, e.label) if text in said]


@pytest.mark.parametrize("name", MAKERS)
def test_a_prompt_that_holds_a_training_example_is_warned_of(name: str) -> None:
    class Copied(Words):
        def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
            return [e.label if "question number" in prompt.text else "?" for e in examples]

    copies = ScriptedModel(lambda _: f"- {TRAIN[0].input}, say {chance(_)}")
    result = searched(name, None, model=copies, target=Copied())
    assert TRAIN[0].input in result.best
    assert "shares 5 words in a row with training examples: train0" in result.warnings[0]


@pytest.mark.parametrize("name", MAKERS)
def test_a_recipe_names_it_and_its_examples_are_the_training_split(name: str, tmp_path: Path) -> None:
    model = Llm()
    given: dict[str, Any] = {"target": Words(), "data": DATA, "metric": "exact-match", "budget": 12}
    optimizer = {"name": name.replace(",", " ").split()[0], "model": model}
    result = optimize(start=["go", "do"], optimizer=optimizer, run=tmp_path, watch=False, **given)
    assert model.calls
    assert any(set(c.prompt.text.split()) & set(WORDS) for c in result.candidates)
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert {line["role"] for line in lines if line["event"] == "call"} == {"proposer"}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("start", ["go", None])
def test_its_cost_is_known_beforehand(name: str, start: str | None) -> None:
    if start is None and not name.startswith("ape"):
        return
    model = Llm()
    given: dict[str, Any] = {"data": DATA, "metric": "exact-match", "target": Words(), "budget": 20}
    guess = estimate(prepare({**given, "start": start, "optimizer": MAKERS[name](model)}))
    assert guess.shares["proposer"].expected.calls >= 2
    assert not [note for note in guess.notes if "broke off" in note]
    assert not model.calls
