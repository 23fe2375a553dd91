"""Random search: rate prompts drawn from a pool. The baseline of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ..core import Begins, Prompt, Prompted, Rate, Rating, Setup
from ..vocabulary import check
from .pools import Pool
from .steps import Ratings


class RandomSearch:
    """Rates the starting prompts and then the pool's, in random order, until the pool or the budget is used up.

    Args:
        pool: where prompts come from.
        batch: prompts asked at a time.
    """

    question = Rate

    def __init__(self, *, pool: Pool, batch: int = 10) -> None:
        self.pool = pool
        self.batch = batch

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        self._ratings = Ratings(setup.start)
        check(self.pool, setup)
        if isinstance(self.pool, Begins):
            self.pool.begin(setup)
        drawn = (Prompt(text, {"step": "pool"}) for text in self.pool.draw(setup.rng()))
        usable = (p for p in drawn if p not in self._ratings and setup.problem_with(p) is None)
        self._batches = iter(lambda: list(islice(usable, self.batch)), [])
        self._start: list[Prompt] | None = list(setup.start)

    def check(self, run: Prompted, /) -> None:
        """Whether the pool suits the prompts.

        Raises:
            UserError: it does not.
        """
        check(self.pool, run)

    def ask(self) -> Sequence[Rate]:
        """The starting prompts first, then a batch from the pool."""
        prompts, self._start = self._start or next(self._batches, []), None
        return [Rate(p) for p in prompts]

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take ratings."""
        self._ratings.add(answered)

    def best(self) -> Prompt:
        """The highest rated so far; before any rating, the first starting prompt."""
        return self._ratings.best
