"""The contract suite of pools holds for ours; a part that breaks it fails in the test meant for it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from promptopt.core import Example, Message
from promptopt.optimizers.pools import Distinct, Grammar, ListPool, Pool, Written
from promptopt.testing import ScriptedModel
from promptopt.testing.contracts import PoolContract

WORDS = "small large blurry clean drawing painting toy plastic".split()


def one_hole(text: str) -> str | None:
    return None if text.count("{}") == 1 else "it needs one {}"


# ── Our pools ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Templates(PoolContract):
    def problem_with(self, text: str) -> str | None:
        return one_hole(text)


class TestList(Templates):
    def make(self) -> Pool:
        return ListPool(prompts=[f"a {word} {{}}" for word in WORDS * 2])


class TestGrammar(Templates):
    def make(self) -> Pool:
        return Grammar(phrases={"frames": ["a photo of a"], "adjectives": WORDS, "suffixes": [", indoors"]})


class TestDistinct(Templates):
    def make(self) -> Pool:
        return Distinct(pool=TestGrammar().make(), threshold=0.8)


class TestWritten(Templates):
    def make(self) -> Pool:
        examples = [Example(word, word, word.upper()) for word in WORDS]
        return Written(model=ScriptedModel(_reply), examples=examples, subset=2)


def _reply(messages: Sequence[Message]) -> str:
    """Two prompts that depend on the question, and one that cannot be used."""
    size = sum(map(ord, messages[-1].text))
    return f"- a {WORDS[size % 8]} {{}}\n- no hole\n- {WORDS[size % 8]} {WORDS[size % 3]} {{}}"


# ── Broken pools ──────────────────────────────────────────────────────────────────────────────────────────────────


class Sound:
    texts: Sequence[str] = tuple(f"a {word} {{}}" for word in WORDS)

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        return (self.texts[i] for i in self.order(rng))

    def order(self, rng: np.random.Generator) -> Any:
        return rng.permutation(len(self.texts))


class SoundContract(Templates):
    part: Any = Sound

    def make(self) -> Any:
        return self.part()


class Empty(Sound):
    texts = ()


class Repeats(Sound):
    texts = (*Sound.texts, *Sound.texts)


class Unusable(Sound):
    texts = (*Sound.texts, "no hole")


class Endless(Sound):
    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        return (f"a photo {i} of a {{}}" for i in itertools.count())


class GlobalNumpy(Sound):
    def order(self, rng: np.random.Generator) -> Any:
        return np.random.permutation(len(self.texts))


class GoesOn(Sound):
    """Draws what was not drawn before."""

    def __init__(self) -> None:
        self.left = list(self.texts)

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        while self.left:
            yield self.left.pop(int(rng.integers(len(self.left))))


class Hashes(Sound):
    """Goes through a set, whose order changes from process to process."""

    def order(self, rng: np.random.Generator) -> Any:
        return [self.texts.index(text) for text in set(self.texts)]


class HashesContract(SoundContract):
    """By its own name, so that a fresh process finds it."""

    part = Hashes


BROKEN = [
    ("test_draws_different_texts", Empty),
    ("test_draws_different_texts", Repeats),
    ("test_every_text_suits_the_target", Unusable),
    ("test_ends", Endless),
    ("test_same_rng_same_texts", GlobalNumpy),
    ("test_every_draw_starts_afresh", GoesOn),
    ("test_same_texts_in_a_fresh_process_with_another_hash_seed", Hashes),
]


@pytest.mark.parametrize(("test", "part"), BROKEN)
def test_a_broken_pool_fails_the_test_meant_for_it(test: str, part: Any) -> None:
    getattr(SoundContract(), test)()
    suite = HashesContract() if part is Hashes else SoundContract()
    suite.part = part
    with pytest.raises(AssertionError):
        getattr(suite, test)()


def test_every_pool_test_has_a_part_that_fails_it() -> None:
    assert {name for name in dir(PoolContract) if name.startswith("test_")} == {test for test, _ in BROKEN}
