"""What rating optimizers share: a search written as a generator, answered through ask and tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from ..core import NO_START, Prompt, Rate, Rating
from ..errors import UserError

Search: TypeAlias = Iterator[list[Rate]]
"""A search as a generator: a yield asks a batch, and resumes when the answers are in."""


class Ratings:
    """Every rating so far, and the incumbent: the first prompt that no later one has beaten.

    Args:
        start: the prompts that the search starts from; the first is the incumbent until something is rated.
        alone: whether the search can do without any; the empty prompt is then the incumbent until something is rated.

    Raises:
        UserError: there are none, and it cannot.
    """

    def __init__(self, start: Sequence[Prompt], *, alone: bool = False) -> None:
        if not start and not alone:
            raise UserError("there is no prompt to start from. Give a starting prompt.")
        self.best = start[0] if start else NO_START
        self._of: dict[Prompt, Rating] = {}

    def __contains__(self, prompt: Prompt) -> bool:
        return prompt in self._of

    def __getitem__(self, prompt: Prompt) -> Rating:
        return self._of[prompt]

    def add(self, answered: Iterable[tuple[Rate, Rating]]) -> None:
        """Take answers. A tie does not displace the incumbent."""
        for question, rating in answered:
            self._of[question.prompt] = rating
            incumbent = self._of.get(self.best)
            if incumbent is None or rating.rank > incumbent.rank:
                self.best = question.prompt

    def ranked(self, prompts: Iterable[Prompt]) -> list[Prompt]:
        """Those of the prompts that could be scored, best first; equals keep their order."""
        scored = [p for p in prompts if p in self._of and self._of[p].value == self._of[p].value]
        return sorted(scored, key=lambda p: self._of[p].rank, reverse=True)

    def missing(self, prompts: Sequence[Prompt]) -> list[Rate]:
        """Questions about the prompts that have not been rated."""
        return [Rate(p) for p in dict.fromkeys(prompts) if p not in self._of]


class RatingSearch:
    """What rating optimizers are to a run. Their ``begin`` sets the ratings and the search."""

    question = Rate
    _ratings: Ratings
    _search: Search

    def ask(self) -> Sequence[Rate]:
        """The search's next batch; empty when it is done."""
        return next(self._search, [])

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take ratings."""
        self._ratings.add(answered)

    def best(self) -> Prompt:
        """The highest rated so far; before any rating, the first starting prompt."""
        return self._ratings.best

    def _rate(self, prompts: Sequence[Prompt]) -> Search:
        """Ask about those that have not been rated."""
        if questions := self._ratings.missing(prompts):
            yield questions
