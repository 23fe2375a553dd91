"""The contract suite of proposers holds for ours; a part that breaks it fails in the test meant for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from promptopt.core import Message
from promptopt.optimizers import ChatProposer, LexicalProposer
from promptopt.optimizers.proposers import Proposer, Scored
from promptopt.testing import ScriptedModel
from promptopt.testing.contracts import ProposerContract

WORDS = "small large blurry clean drawing painting toy plastic".split()


def one_hole(text: str) -> str | None:
    return None if text.count("{}") == 1 else "it needs one {}"


# ── Our proposers ─────────────────────────────────────────────────────────────────────────────────────────────────


class Templates(ProposerContract):
    def problem_with(self, text: str) -> str | None:
        return one_hole(text)


class TestLexical(Templates):
    def make(self) -> Proposer:
        return LexicalProposer(phrases={"adjectives": WORDS}, conversation="continued")


class TestLexicalForTexts(ProposerContract):
    shown = ("Answer the question.", "Answer.", "Answer the question. Be brief.", "Say something.")

    def make(self) -> Proposer:
        return LexicalProposer(phrases=["Be brief.", "Give reasons.", "Answer in one word.", "Be polite."])


class TestChat(Templates):
    def make(self) -> Proposer:
        return ChatProposer(model=ScriptedModel(_reply), conversation="continued", random=2)


def _reply(messages: Sequence[Message]) -> str:
    """A list that depends on the conversation, with repeats, shown prompts and unusable ones in it."""
    size = sum(len(message.text) for message in messages)
    new = [f"- a {WORDS[(size + i) % 8]} {WORDS[(size * i) % 8]} {{}}" for i in range(6)]
    return "\n".join(["- a photo of a {}", "- no hole", new[0], *new])


# ── Broken proposers ──────────────────────────────────────────────────────────────────────────────────────────────


class Sound:
    """A drawn word in front of a good prompt."""

    words: Sequence[str] = tuple(f"{word}{i}" for i in range(4) for word in WORDS)

    def begin(self, setup: Any, /) -> None:
        self.setup, self.rng = setup, setup.rng()
        self.reset()

    def reset(self) -> None:
        self.turn = 0

    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> list[str]:
        self.turn += 1
        return [f"{self.words[i]} {good[0].text}" for i in self.order()[:n]]

    def order(self) -> Any:
        return self.rng.permutation(len(self.words))


class SoundContract(Templates):
    part: Any = Sound

    def make(self) -> Any:
        return self.part()


class Silent(Sound):
    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> list[str]:
        return []


class Generous(Sound):
    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> list[str]:
        return super().propose(good, bad, n=n + 1)


class Repeats(Sound):
    words = ("new",) * 8


class Echoes(Sound):
    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> list[str]:
        return [bad[-1].text, *super().propose(good, bad, n=n)][:n] if bad else super().propose(good, bad, n=n)


class Unusable(Sound):
    words = ("{}", *Sound.words[:3])


class NeedsBadOnes(Sound):
    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> list[str]:
        bad[0]
        return super().propose(good, bad, n=n)


class GlobalNumpy(Sound):
    def order(self) -> Any:
        return np.random.permutation(len(self.words))


class RemembersTheLastRun(Sound):
    begun = 0

    def begin(self, setup: Any, /) -> None:
        self.begun += 1
        super().begin(setup)

    def order(self) -> Any:
        return np.roll(super().order(), self.begun)


class Hashes(Sound):
    """Goes through a set, whose order changes from process to process."""

    def order(self) -> Any:
        return [self.words.index(word) for word in set(self.words)]


class HashesContract(SoundContract):
    """By its own name, so that a fresh process finds it."""

    part = Hashes


BROKEN = [
    ("test_proposes_at_most_as_many_texts_as_wanted", Silent),
    ("test_proposes_at_most_as_many_texts_as_wanted", Generous),
    ("test_proposes_different_texts_that_are_new", Repeats),
    ("test_proposes_different_texts_that_are_new", Echoes),
    ("test_every_text_suits_the_target", Unusable),
    ("test_does_without_bad_prompts", NeedsBadOnes),
    ("test_same_seed_same_texts", GlobalNumpy),
    ("test_begin_starts_afresh", RemembersTheLastRun),
    ("test_same_texts_in_a_fresh_process_with_another_hash_seed", Hashes),
]


@pytest.mark.parametrize(("test", "part"), BROKEN)
def test_a_broken_proposer_fails_the_test_meant_for_it(test: str, part: Any) -> None:
    getattr(SoundContract(), test)()
    suite = HashesContract() if part is Hashes else SoundContract()
    suite.part = part
    with pytest.raises((AssertionError, IndexError)):
        getattr(suite, test)()


def test_every_proposer_test_has_a_part_that_fails_it() -> None:
    assert {name for name in dir(ProposerContract) if name.startswith("test_")} == {test for test, _ in BROKEN}
