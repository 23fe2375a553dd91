"""Random search: rate prompts drawn from a pool. The baseline of every comparison."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ..core import Begins, Prompt, Prompted, Rate, Setup
from ..vocabulary import check
from .pools import Pool
from .steps import Ratings, RatingSearch, Search


class RandomSearch(RatingSearch):
    """Rates the starting prompts and then the pool's, in random order, until the pool or the budget is used up.

    Args:
        pool: where prompts come from.
        batch: prompts asked at a time.
    """

    def __init__(self, *, pool: Pool, batch: int = 10) -> None:
        self.pool = pool
        self.batch = batch

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        self._ratings = Ratings(setup.start)
        check(self.pool, setup)
        if isinstance(self.pool, Begins):
            self.pool.begin(setup)
        self._search = self._batches(setup, self.pool.draw(setup.rng()))

    def check(self, run: Prompted, /) -> None:
        """Whether the pool suits the prompts.

        Raises:
            UserError: it does not.
        """
        check(self.pool, run)

    def _batches(self, setup: Setup, texts: Iterator[str]) -> Search:
        """The starting prompts first, then batches from the pool."""
        yield self._ratings.missing(setup.start)
        prompts = (Prompt(text, {"step": "pool"}) for text in texts)
        usable = (p for p in prompts if p not in self._ratings and setup.problem_with(p) is None)
        while batch := list(islice(usable, self.batch)):
            yield [Rate(p) for p in batch]
