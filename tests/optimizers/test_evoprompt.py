"""EvoPrompt: its first population, whom the wheel takes, what is crossed with what, and who survives [Guo2023]."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptopt.core import Message, Prompt, Rate, Rating
from promptopt.errors import UserError
from promptopt.optimizers import EvoPrompt
from promptopt.optimizers.pools.listed import ListPool
from promptopt.testing import FakeSetup, ScriptedModel
from promptopt.testing.contracts import OptimizerContract

sys.path.insert(0, str(Path(__file__).parent))  # the contract runs this file in a fresh process
from word_llm import WORDS, quoted_in, searched, value, words_for


def breeds(messages: Sequence[Message]) -> str:
    """Paraphrases as a list, children behind their steps."""
    words = words_for(messages)
    if "<prompt>" not in messages[-1].text:
        return "\n".join(f"- {words} {word}" for word in WORDS[:6])
    return f"1. They differ in a word.\n2. Mutated.\n<prompt>old</prompt> becomes\n<prompt>\n{words}\n</prompt>"


class TestDE(OptimizerContract):
    start = ("be brief",)

    def make(self) -> EvoPrompt:
        return EvoPrompt(model=ScriptedModel(breeds), population=6)


class TestGA(OptimizerContract):
    start = ("be brief", "be clear")

    def make(self) -> EvoPrompt:
        return EvoPrompt(model=ScriptedModel(breeds), algorithm="ga", population=4, pool=ListPool(prompts=WORDS))


class TestTemplates(OptimizerContract):
    start = ("a photo of a {}",)

    def make(self) -> EvoPrompt:
        model = ScriptedModel(lambda messages: breeds(messages).replace("</", "{} </").replace("- ", "- {} "))
        return EvoPrompt(model=model, population=3)

    def problem_with(self, text: str) -> str | None:
        return None if text.count("{}") == 1 else "it needs one {}"


def test_the_better_half_of_the_given_prompts_is_filled_up_with_paraphrases() -> None:
    model = ScriptedModel(breeds)
    pool = ListPool(prompts=["bad", "good", "worse", "start"])
    scores = {"start": 0.4, "good": 0.9, "bad": 0.2, "worse": 0.1}
    optimizer = EvoPrompt(model=model, pool=pool, population=4, generations=0)
    given, *written = searched(optimizer, score=lambda text: scores.get(text, 0.5))
    assert {p.text for p in given} == set(scores)
    assert [quoted_in(call.messages[0].text)[0][1] for call in model.calls] == ["good", "start"]
    assert [p.origin["parents"] for batch in written for p in batch] == [["good"], ["start"]]


def test_one_start_alone_is_paraphrased_until_there_are_enough() -> None:
    batches = searched(EvoPrompt(model=ScriptedModel(breeds), population=7, generations=0))
    assert [len(batch) for batch in batches] == [1, 6]


@pytest.mark.parametrize("algorithm", ["de", "ga"])
def test_without_enough_prompts_to_breed_from_it_says_so_and_stops(algorithm: Any) -> None:
    model, setup = ScriptedModel(lambda _: "- start"), FakeSetup(start=["start"])
    assert [len(b) for b in searched(EvoPrompt(model=model, algorithm=algorithm), setup=setup)] == [1]
    assert len(model.calls) == 5
    assert setup.notes == ["evoprompt stopped: no more than 1 prompts were there to breed from."]


def begun(algorithm: Any, population: int = 5) -> EvoPrompt:
    optimizer = EvoPrompt(model=ScriptedModel(breeds), algorithm=algorithm, population=population)
    optimizer.begin(FakeSetup(start=["start"]))
    return optimizer


def test_the_wheel_takes_two_different_prompts_in_proportion_to_their_scores() -> None:
    optimizer = begun("ga")
    spins = [optimizer._two(np.array([0.0, 0.1, 0.3])) for _ in range(600)]
    assert all(a != b for a, b in spins)
    first = Counter(a for a, _ in spins)
    assert first[0] == 0
    assert 2 < first[2] / first[1] < 4.5
    negative = Counter(optimizer._spun(np.array([-3.0, -2.0, 0.0])) for _ in range(600))
    assert negative[0] == 0
    assert 2 < negative[2] / negative[1] < 4.5
    assert {optimizer._two(np.zeros(2)) for _ in range(30)} == {(0, 1), (1, 0)}


def test_ga_keeps_the_best_and_shows_two_parents() -> None:
    model = ScriptedModel(breeds)
    optimizer = EvoPrompt(model=model, algorithm="ga", population=4, generations=3)
    batches = searched(optimizer)
    population = sorted((p.text for batch in batches[:2] for p in batch), key=value, reverse=True)
    calls = [call for call in model.calls if "<prompt>" in call.messages[0].text]
    assert len(calls) == 12
    for generation, batch in enumerate(batches[2:]):
        for call in calls[4 * generation : 4 * generation + 4]:
            shown = [text for _, text in quoted_in(call.messages[0].text)]
            assert len(set(shown)) == 2
            assert set(shown) <= set(population)
        assert all(len(p.origin["parents"]) == 2 for p in batch)
        population = sorted({*population, *(p.text for p in batch)}, key=value, reverse=True)[:4]
    assert optimizer.best().text == population[0]


def test_de_shows_two_others_the_best_and_the_member() -> None:
    model = ScriptedModel(breeds)
    batches = searched(EvoPrompt(model=model, population=5, generations=1))
    population = sorted((p.text for batch in batches[:2] for p in batch), key=value, reverse=True)
    calls = [quoted_in(call.messages[0].text) for call in model.calls if "<prompt>" in call.messages[0].text]
    assert [[title for title, _ in call] for call in calls] == [
        ["The instruction A", "The instruction B", "The best instruction", "The present instruction"]
    ] * 5
    assert [call[3][1] for call in calls] == population
    assert {call[2][1] for call in calls} == {population[0]}
    assert all(len({call[0][1], call[1][1], call[3][1]}) == 3 for call in calls)


def test_de_a_child_replaces_its_own_member_alone_and_only_where_it_is_better() -> None:
    optimizer = begun("de", population=3)
    a, b, c, better, worse, equal = (Prompt(name) for name in ("a", "b", "c", "better", "worse", "equal"))
    values = {a: 0.9, b: 0.5, c: 0.1, better: 0.6, worse: 0.4, equal: 0.1}
    optimizer.tell([(Rate(prompt), Rating(score)) for prompt, score in values.items()])
    assert optimizer._survivors([a, b, c], [worse, better, equal]) == [a, better, c]
    assert optimizer._survivors([a, b, c], [None, Prompt("unrated"), better]) == [a, b, better]
    assert optimizer._survivors([a, b, c], [better, better, better]) == [a, better, c]


def test_a_generation_without_a_new_prompt_ends_it() -> None:
    same = ScriptedModel(lambda m: "<prompt>same</prompt>" if "<prompt>" in m[-1].text else "- p\n- q\n- r")
    assert [len(batch) for batch in searched(EvoPrompt(model=same, population=4))] == [1, 3, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"population": 2}, "population is 2; allowed is 3 or more"),
        ({"population": 1, "algorithm": "ga"}, "population is 1; allowed is 2 or more"),
        ({"generations": -1}, "generations is -1"),
        ({"temperature": -1}, "temperature is -1"),
        ({"algorithm": "pso"}, "unknown algorithm 'pso'.*de, ga"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        EvoPrompt(model=ScriptedModel([]), **options)


def test_the_pool_is_checked() -> None:
    from promptopt.optimizers.pools.templates import Grammar

    with pytest.raises(UserError, match="the prompts are texts"):
        EvoPrompt(model=ScriptedModel([]), pool=Grammar()).check(FakeSetup(start=["be brief"]))
