"""Hill-climbing with positive and negative feedback [Liu2024].

Liu et al., *Language Models as Black-Box Optimizers for Vision-Language Models*, CVPR 2024, arXiv 2309.05950.

A proposer, in the paper a chat LLM, is shown the best and the worst prompts so far and writes new ones. Restarts draw a
new sample from the pool; resets begin a new conversation from the same sample.

============ ================= ============== ==============================================
parameter    paper             default here   why it differs
============ ================= ============== ==============================================
restarts     20                2              the default finishes in minutes
resets       50                2              likewise
iterations   10                10
sample       100 (code: 80)    50             likewise
k            15 (code: 3)      10             in proportion to the sample
per_call     not stated        10             one call is asked for a list
temperature  1 (code)          1              set on the chat proposer
============ ================= ============== ==============================================

We differ from the released code, which scores the test split at every step, pays for duplicates before it drops them,
dies of a reply without the expected bullet and breaks ties by position: here the test split is out of reach, prompts
rated before are not asked again, replies are parsed tolerantly and equal ratings are told apart by their tiebreak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

from ..checks import at_least
from ..core import Begins, Prompt, Prompted, Setup
from ..vocabulary import check
from .pools import Pool
from .proposers import Looks, Proposer, Scored
from .proposers.lexical import LexicalProposer
from .steps import Ratings, RatingSearch, Search


class HillClimb(RatingSearch):
    """Hill-climbing on the proposals of an LLM, or of a lexical stand-in, shown good and bad prompts.

    Args:
        proposer: writes new prompts; ``lexical`` by default, which needs no LLM. Whether a conversation goes on or is
            fresh at each iteration is the proposer's ``conversation``.
        pool: where the initial sample is drawn from; without one, the starting prompts are the sample.
        restarts: how many initial samples are drawn.
        resets: conversations begun from each sample.
        iterations: turns of a conversation.
        sample: size of an initial sample, the starting prompts included.
        k: how many good and how many bad prompts are shown.
        per_call: prompts asked for in one turn.
        feedback: show good and bad prompts, or good ones alone (the paper's ablation).

    Raises:
        UserError: a number is smaller than 1.
    """

    def __init__(
        self,
        *,
        proposer: Proposer | None = None,
        pool: Pool | None = None,
        restarts: int = 2,
        resets: int = 2,
        iterations: int = 10,
        sample: int = 50,
        k: int = 10,
        per_call: int = 10,
        feedback: Literal["good", "good+bad"] = "good+bad",
    ) -> None:
        at_least(1, restarts=restarts, resets=resets, iterations=iterations, sample=sample, k=k, per_call=per_call)
        self.proposer = proposer or LexicalProposer()
        self.pool = pool
        self.restarts = restarts
        self.resets = resets
        self.iterations = iterations
        self.sample = sample
        self.k = k
        self.per_call = per_call
        self.feedback = feedback

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        self._setup = setup
        self._ratings = Ratings(setup.start)
        check(self.pool, setup)
        if isinstance(self.pool, Begins):
            self.pool.begin(setup)
        self._pool = self._draws()
        self._search = self._climb()
        self.proposer.begin(setup)

    def check(self, run: Prompted, /) -> None:
        """Whether the proposer and the pool suit the prompts.

        Raises:
            UserError: they do not; for example there are no phrases for texts.
        """
        check(self.proposer, run)
        check(self.pool, run)

    @property
    def most(self) -> int:
        """The most ratings that a whole search asks for; fewer where prompts come again or the pool is used up."""
        return self.restarts * (self.sample + self.resets * self.iterations * self.per_call)

    def _climb(self) -> Search:
        """The search of the paper."""
        for restart in range(self.restarts):
            sample = self._sample(first=restart == 0)
            yield from self._rate(sample)
            for reset in range(self.resets):
                self.proposer.reset()
                seen = list(sample)
                for iteration in range(self.iterations):
                    good, bad = self._extremes(seen)
                    if isinstance(self.proposer, Looks):
                        self.proposer.look(self._scored(self._ratings.ranked(seen)))
                    new = self._propose(good, bad, step=f"{restart}.{reset}.{iteration}")
                    yield from self._rate(new)
                    seen += new

    def _sample(self, *, first: bool) -> list[Prompt]:
        """New prompts from the pool, at first beside the starting prompts; these again when the pool is used up."""
        start = list(self._setup.start) if first else []
        drawn = list(islice(self._pool, max(0, self.sample - len(start))))
        return start + drawn or list(self._setup.start)

    def _draws(self) -> Iterator[Prompt]:
        if self.pool is None:
            return
        for text in self.pool.draw(self._setup.rng(0)):
            prompt = Prompt(text, {"step": "pool"})
            if prompt not in self._setup.start and self._setup.problem_with(prompt) is None:
                yield prompt

    def _extremes(self, seen: Sequence[Prompt]) -> tuple[list[Prompt], list[Prompt]]:
        """The k best, best first, and the k worst, worst first; no prompt is both."""
        ranked = self._ratings.ranked(dict.fromkeys(seen))
        k = min(self.k, max(1, len(ranked) // 2))
        good, bad = ranked[:k], ranked[k:][::-1][:k]
        return good, bad if self.feedback == "good+bad" else []

    def _propose(self, good: Sequence[Prompt], bad: Sequence[Prompt], *, step: str) -> list[Prompt]:
        """New prompts that the target can take; those known already keep their origin and rating."""
        texts = self.proposer.propose(self._scored(good), self._scored(bad), n=self.per_call)
        origin = {"step": step, "parents": [p.text for p in good]}
        new = [Prompt(text, origin) for text in dict.fromkeys(texts)]
        return [p for p in new if self._setup.problem_with(p) is None]

    def _scored(self, prompts: Sequence[Prompt]) -> list[Scored]:
        return [Scored(p.text, self._ratings[p].value) for p in prompts]
