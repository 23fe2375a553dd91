"""What every pool must hold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from ...core import Begins
from ...optimizers.pools import Pool
from ..setup import FakeSetup
from .fresh import in_a_fresh_process

__all__ = ["PoolContract"]


class PoolContract:
    """What optimizers rely on in a pool.

    Attributes:
        start: the texts that the run starts from.
        most: the pool is used up before so many texts; make a small one for the tests.
    """

    start: Sequence[str] = ("a photo of a {}",)
    most: int = 2000

    def make(self) -> Pool:
        """A new pool, with whatever models it needs scripted."""
        raise AssertionError("say how to make the pool: override make()")

    def problem_with(self, text: str) -> str | None:
        """What the target that the pool is for says of a prompt; by default every text is fine."""
        return None

    def test_draws_different_texts(self) -> None:
        drawn = self.drawn(self._begun())
        assert drawn, "it drew nothing"
        assert all(isinstance(text, str) for text in drawn)
        assert len(set(drawn)) == len(drawn)

    def test_every_text_suits_the_target(self) -> None:
        assert not [text for text in self.drawn(self._begun()) if self.problem_with(text)]

    def test_ends(self) -> None:
        assert len(self.drawn(self._begun())) < self.most

    def test_same_rng_same_texts(self) -> None:
        assert self.drawn(self._begun()) == self.drawn(self._begun())

    def test_every_draw_starts_afresh(self) -> None:
        pool = self._begun()
        begun = pool.draw(np.random.default_rng(1))
        next(begun)
        assert self.drawn(pool) == self.drawn(pool) == self.drawn(self._begun())

    def test_same_texts_in_a_fresh_process_with_another_hash_seed(self) -> None:
        assert in_a_fresh_process(self, "_newly_drawn") == self._newly_drawn()

    def drawn(self, pool: Pool) -> list[str]:
        """All that it draws, or as many as it should not have."""
        return [*islice(pool.draw(np.random.default_rng(0)), self.most)]

    def _begun(self) -> Pool:
        pool = self.make()
        if isinstance(pool, Begins):
            pool.begin(FakeSetup(start=self.start, problem_with=self.problem_with))
        return pool

    def _newly_drawn(self) -> list[str]:
        return self.drawn(self._begun())
