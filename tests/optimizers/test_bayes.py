from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from promptopt.api import optimize
from promptopt.core import Prompt, Rate, Rating
from promptopt.errors import UserError
from promptopt.optimizers.bayes import Bayes
from promptopt.optimizers.pools.templates import Grammar
from promptopt.optimizers.random_search import RandomSearch
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import OptimizerContract
from promptopt.vocabulary.phrases import Phrases

ADJECTIVES = "small large blurry clean toy plastic red green blue dark".split()
PHRASES = {"frames": ["a photo of a", "a drawing of a"], "adjectives": ADJECTIVES, "suffixes": ["in a box", "at home"]}
SENTENCES = ["Be brief.", "Think step by step.", "Answer in French.", "Be polite.", "Cite your sources.", "Use tables."]


def one_hole(text: str) -> str | None:
    return None if text.count("{}") == 1 else "it needs one {}"


def small(**options: Any) -> Bayes:
    return Bayes(**{"phrases": PHRASES, "design": 8, "batch": 4, "candidates": 40, "elite": 4, **options})


class TestTemplates(OptimizerContract):
    def make(self) -> Bayes:
        return small()

    def problem_with(self, text: str) -> str | None:
        return one_hole(text)


class TestTexts(OptimizerContract):
    start = ("You answer questions.\n- Never promise refunds.",)

    def make(self) -> Bayes:
        return small(phrases=SENTENCES)


class TestPool(OptimizerContract):
    def make(self) -> Bayes:
        return small(pool=Grammar(phrases=PHRASES))

    def problem_with(self, text: str) -> str | None:
        return one_hole(text)


def search(optimizer: Any, score: Any, *, questions: int, start: str = "a photo of a {}", seed: int = 0) -> list[str]:
    """The prompts asked, in order."""
    problem = one_hole if "{}" in start else lambda text: None
    optimizer.begin(FakeSetup(start=[start], seed=seed, problem_with=problem))
    asked: list[str] = []
    while len(asked) < questions and (batch := optimizer.ask()):
        asked += [question.prompt.text for question in batch]
        optimizer.tell([(q, score(q.prompt.text)) for q in batch])
    return asked


def likes(*wanted: str) -> Any:
    return lambda text: Rating(sum(word in text for word in wanted) - 0.01 * len(text.split()))


def test_finds_what_counts_sooner_than_chance() -> None:
    """Three of forty phrases raise the score, every other one lowers it."""
    phrases = {"adjectives": [f"word{i}" for i in range(40)]}
    value = likes("word3 ", "word17 ", "word29 ")
    for seed in range(3):
        guided, chance = small(phrases=phrases), RandomSearch(pool=Grammar(phrases=phrases, adjectives=4))
        for optimizer in (guided, chance):
            search(optimizer, value, questions=120, seed=seed, start="{}")
        assert value(guided.best().text).value >= 2.5 > value(chance.best().text).value


def test_like_phrases_share_strength() -> None:
    """Once 'red' is known to help, 'crimson' is tried before phrases of which nothing is known."""

    class Colours:
        name = "colours"

        def embed(self, texts: Sequence[str], /) -> Any:
            words = np.array([[1.0, "red" in t or "crimson" in t, *(w in t for w in ADJECTIVES[:5])] for t in texts])
            return words / np.linalg.norm(words, axis=1, keepdims=True)

    phrases = {"adjectives": [*ADJECTIVES[:5], "red", "crimson"]}
    optimizer = small(phrases=phrases, embedder=Colours(), design=1, batch=1)
    optimizer.begin(FakeSetup(start=["a photo of a {}"], problem_with=one_hole))
    optimizer.ask()
    rated = {"a photo of a {}": 0.0, "red {}": 1.0, **{f"{word} {{}}": -1.0 for word in ADJECTIVES[:5]}}
    optimizer._asked = {text: Phrases(phrases).contents(text) for text in rated}
    optimizer.tell([(Rate(Prompt(text)), Rating(value)) for text, value in rated.items()])
    posterior = optimizer._fitted([Prompt(text) for text in rated])
    draws = posterior.draws([["crimson"], ["blurry", "clean"]], n=200, rng=np.random.default_rng(0))
    assert draws[:, 0].mean() > draws[:, 1].mean() + 0.5


def test_a_text_keeps_its_lines_and_rules() -> None:
    start = "You answer questions.\n- Never promise refunds.\n- Stay calm."
    for text in search(small(phrases=SENTENCES), likes("French", "brief"), questions=60, start=start):
        assert "- Never promise refunds." in text.splitlines()
        for sentence in SENTENCES:
            rest = text.replace(sentence, "")
            assert not any(word in rest for word in sentence.rstrip(".").split()[1:] if len(word) > 4)


def test_a_text_without_phrases_is_told_what_to_give() -> None:
    with pytest.raises(UserError, match="phrases"):
        Bayes().begin(FakeSetup(start=["Answer the question."]))


def test_no_prompt_is_asked_twice_and_few_phrases_end_the_search() -> None:
    asked = search(small(phrases={"adjectives": ["red", "blue"]}, design=2, batch=3), likes("red"), questions=500)
    assert len(asked) == len(set(asked)) < 100


def test_its_first_questions_lie_apart() -> None:
    """Of ten phrases the embedder notices two; the design has both."""

    class Two:
        name = "two"

        def embed(self, texts: Sequence[str], /) -> Any:
            rows = np.array([[1.0, 2.0 * ("toy" in text), 2.0 * ("dark" in text)] for text in texts])
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    asked = search(small(embedder=Two(), design=4), likes(), questions=4)
    assert any("toy" in text and "dark" not in text for text in asked)
    assert any("dark" in text and "toy" not in text for text in asked)


def test_scores_that_are_all_equal_and_no_answers_go_on() -> None:
    assert len(set(search(small(), lambda text: Rating(0.5), questions=60))) >= 60


@pytest.mark.parametrize("option", ["design", "batch", "candidates", "elite"])
def test_numbers_below_one(option: str) -> None:
    with pytest.raises(UserError, match=f"{option} is 0"):
        Bayes(**{option: 0})


def test_a_share_above_one() -> None:
    with pytest.raises(UserError, match="fresh is 2"):
        Bayes(fresh=2)


def test_a_plain_function_is_optimised() -> None:
    words = ["clearly", "briefly", "politely"]
    result = optimize(
        start="Answer.",
        score=lambda text: float("briefly" in text),
        optimizer={"name": "bayes", "phrases": words},
        budget=10,
        run=None,
    )
    assert "briefly" in result.best
    assert any("no LLM" in note for note in result.notes)


@pytest.mark.study
def test_a_fit_stays_fast_when_very_much_was_rated() -> None:
    optimizer = small(phrases=None, batch=60)
    asked = search(optimizer, lambda text: Rating(len(text) % 17), questions=700)
    began = time.monotonic()
    optimizer.ask()
    assert len(asked) >= 700
    assert time.monotonic() - began < 10


def test_the_targets_own_embedding_is_used() -> None:
    class Own:
        def problem_with(self, prompt: Prompt, /) -> str | None:
            return None

        def run(self, prompt: Prompt, examples: Any, /) -> list[Any]:
            return []

        def embed(self, texts: Sequence[str], /) -> Any:
            return np.ones((len(texts), 1))

    target = Own()
    assert Bayes(target=target).embedder is target
