"""What searches share that rate prompts on a few training examples at a time, and are told what happened on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core import Case, Example, Prompt, Rate, Rating, Setup
from ..stats import mean
from .proposers.showing import by_id
from .racing import Runner
from .steps import Ratings, RatingSearch, Search

if TYPE_CHECKING:
    from ..core import Indices

__all__ = ["Tries", "TriesSearch", "looks"]


class Tries(Runner):
    """A prompt and what is known of it on single examples.

    Attributes:
        seen: ``(n_examples,)``, whether it was asked about.
        known: ``(n_examples,)``, whether that was answered.
        paired: whether all answers had a value for each example.
    """

    def __init__(self, prompt: Prompt, n_examples: int) -> None:
        super().__init__(prompt, n_examples)
        self.seen = np.zeros(n_examples, dtype=bool)
        self.known = np.zeros(n_examples, dtype=bool)
        self.paired = True

    def take(self, part: Indices, rating: Rating) -> bool:
        """Take a rating on some examples; whether it has a value for each of them."""
        self.known[part] = True
        self.paired &= super().take(part, rating)
        return self.paired

    def whole(self) -> Rating:
        """The rating on all examples, put together."""
        return self.rating(mean(self.values), per_example=self.paired)

    def cases_on(self, part: Indices) -> list[Case]:
        """What happened on some examples, as far as it was told."""
        return [self._cases[place] for place in part.tolist() if place in self._cases]


class TriesSearch(RatingSearch):
    """A search that asks about no prompt twice on an example, and always what happened.

    Prompts are compared as answers on all training examples only; ratings there are put together from those on a few.

    Args:
        examples: the training examples.

    Raises:
        UserError: there are none, or two share an id.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = by_id(examples)
        self._ids = list(self._examples)
        self._place = {name: i for i, name in enumerate(self._ids)}
        self._everything = np.arange(len(self._ids))

    def begin(self, setup: Setup, /) -> None:
        """Forget all ratings.

        Raises:
            UserError: there is no starting prompt.
        """
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._tries: dict[Prompt, Tries] = {}
        self._whole: dict[Prompt, Rating] = {}

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take ratings; a prompt that all training examples have been seen of is known as a whole.

        Raises:
            UserError: the scorer does not rate on the examples that it is asked about.
        """
        for question, rating in answered:
            tries = self._tried(question.prompt)
            tries.take(self._places(question.on), rating)
            if tries.known.all():
                self._whole[question.prompt] = tries.whole() if question.on else rating
                self._ratings.add([(question, self._whole[question.prompt])])

    def ratings(self) -> Mapping[Prompt, Rating]:
        """Ratings on all training examples, put together from those on a few."""
        return self._whole

    def _rate_on(self, prompts: Sequence[Prompt], places: Indices) -> Search:
        """Ask about prompts on those of some examples that they were not tried on."""
        if questions := [question for prompt in prompts for question in self._questions(prompt, places)]:
            yield questions

    def _questions(self, prompt: Prompt, places: Indices) -> list[Rate]:
        tries = self._tried(prompt)
        new = np.sort(places[~tries.seen[places]])
        tries.seen[new] = True
        on = () if len(new) == len(self._ids) else tuple(self._ids[i] for i in new)
        return [Rate(prompt, on, cases=True)] if len(new) else []

    def _places(self, on: Sequence[str]) -> Indices:
        return np.array([self._place[name] for name in on]) if on else self._everything

    def _tried(self, prompt: Prompt) -> Tries:
        if prompt not in self._tries:
            self._tries[prompt] = Tries(prompt, len(self._ids))
        return self._tries[prompt]


def looks(n_examples: int, *, least: int) -> list[int]:
    """After how many examples prompts are compared: all of them at the end, half of that before, down to ``least``."""
    ends = [n_examples]
    while ends[0] >= 2 * least:
        ends.insert(0, ends[0] // 2)
    return ends
