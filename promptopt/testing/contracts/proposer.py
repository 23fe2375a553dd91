"""What every proposer must hold."""

from __future__ import annotations

from collections.abc import Sequence

from ...optimizers.proposers import Looks, Proposer, Scored
from ..setup import FakeSetup
from .fresh import in_a_fresh_process

__all__ = ["ProposerContract"]


class ProposerContract:
    """What optimizers rely on in a proposer.

    Attributes:
        shown: the texts that it is shown as good and as bad, at least four; the first is what the run starts from.
        turns: how often it is asked in one conversation.
    """

    shown: Sequence[str] = ("a photo of a {}", "a drawing of a {}", "a blurry photo of a {}", "{}")
    turns: int = 3

    def make(self) -> Proposer:
        """A new proposer, with whatever models it needs scripted."""
        raise AssertionError("say how to make the proposer: override make()")

    def problem_with(self, text: str) -> str | None:
        """What the tests' target says of a prompt; by default every text is fine."""
        return None

    def test_proposes_at_most_as_many_texts_as_wanted(self) -> None:
        for n in (1, 4):
            turns = self.conversation(self._begun(), n=n)
            assert any(turns), "it proposed nothing"
            assert all(len(texts) <= n for texts in turns)

    def test_proposes_different_texts_that_are_new(self) -> None:
        for texts in self.conversation(self._begun()):
            assert len(set(texts)) == len(texts)
            assert not set(texts).intersection(self.shown)

    def test_every_text_suits_the_target(self) -> None:
        for texts in self.conversation(self._begun()):
            assert all(isinstance(text, str) and self.problem_with(text) is None for text in texts)

    def test_does_without_bad_prompts(self) -> None:
        proposer = self._begun()
        assert any(proposer.propose(self._scored()[:2], [], n=4) for _ in range(self.turns))

    def test_same_seed_same_texts(self) -> None:
        assert self.conversation(self._begun()) == self.conversation(self._begun())

    def test_begin_starts_afresh(self) -> None:
        proposer = self._begun()
        first = self.conversation(proposer)
        assert self.conversation(self._begun(proposer)) == first

    def test_same_texts_in_a_fresh_process_with_another_hash_seed(self) -> None:
        assert in_a_fresh_process(self, "_new_conversation") == self._new_conversation()

    def conversation(self, proposer: Proposer, *, n: int = 4) -> list[list[str]]:
        """What it proposes, turn by turn; one more turn follows a reset."""
        scored = self._scored()
        half = len(scored) // 2
        turns: list[list[str]] = []
        for turn in range(self.turns + 1):
            if turn == self.turns:
                proposer.reset()
            if isinstance(proposer, Looks):
                proposer.look(scored)
            turns.append([*proposer.propose(scored[:half], scored[: half - 1 : -1], n=n)])
        return turns

    def _scored(self) -> list[Scored]:
        """Best first."""
        return [Scored(text, 1 / place) for place, text in enumerate(self.shown, 1)]

    def _begun(self, proposer: Proposer | None = None) -> Proposer:
        proposer = proposer or self.make()
        proposer.begin(FakeSetup(start=self.shown[:1], problem_with=self.problem_with))
        return proposer

    def _new_conversation(self) -> list[list[str]]:
        return self.conversation(self._begun())
