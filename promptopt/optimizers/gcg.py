"""Greedy coordinate gradient: random substitutions among the tokens with the best gradients.

Zou et al., *Universal and Transferable Adversarial Attacks on Aligned Language Models*, 2023, arXiv 2307.15043; here as
prompt optimization uses it, as the baseline that looks into the same target as ``greater`` does: it takes candidates
from the whole vocabulary, where ``greater`` takes what the model itself would say.

========== ========= ============ ==================================================================
parameter  paper     default here why it differs
========== ========= ============ ==================================================================
steps      500       100          a step costs as many ratings as it has candidates
k          256       256
candidates 512       32           a rating has the target reason on every training example
========== ========= ============ ==================================================================

We differ in two ways. The paper goes on from the best of a step's candidates even if it is worse than what it had; here
the current prompt stays unless one is rated higher. And each example's gradient has length 1 before they are averaged,
as in ``greater``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core import Example, Prompt, Rate, Rating, Setup, Target
from .steps import Ratings, Search
from .token_search import ALLOWED, at_least, directions, drawn, pattern, takeable, usable_tokens, white_box

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Gcg:
    """Exchanges single tokens of a prompt of fixed length, at random among those with the best gradients.

    Every step takes the gradient at every position over all tokens allowed; the ``k`` most negative of each position
    are its pool. A candidate takes a random token from the pool of a random position. The best of a step's candidates
    is the next prompt if it is rated higher than the current one.

    Gradients are counted as ``gradient passes``: one forward and one backward pass on one example and position each.

    Args:
        target: a local LM; that of the run.
        examples: the training examples; those of the run.
        steps: how often the gradient is taken.
        k: tokens in the pool of a position.
        candidates: prompts that are rated at each step.
        perplexity_weight: what the prompt's own mean negative log-likelihood counts in the gradient; 0 in the paper.
        reasoning: take the gradient through the reasoning.
        allowed: a regular expression that all of a token's text must match.
        batch: training examples that a gradient is taken on, drawn anew at each step; all by default.

    Raises:
        UserError: the target shows no gradient, there are no examples, or a number is out of range.
    """

    question = Rate

    def __init__(
        self,
        *,
        target: Target,
        examples: Sequence[Example],
        steps: int = 100,
        k: int = 256,
        candidates: int = 32,
        perplexity_weight: float = 0.0,
        reasoning: bool = True,
        allowed: str = ALLOWED,
        batch: int | None = None,
    ) -> None:
        at_least(1, steps=steps, k=k, candidates=candidates, batch=batch, examples=len(examples))
        self.target = white_box(target, needed_by="gcg")
        self.examples = tuple(examples)
        self.steps = steps
        self.k = k
        self.candidates = candidates
        self.perplexity_weight = perplexity_weight
        self.reasoning = reasoning
        self.allowed = pattern(allowed)
        self.batch = batch

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        self._setup = setup
        self._ratings = Ratings(setup.start[0])
        self._usable = np.flatnonzero(usable_tokens(self.target.vocabulary, self.allowed))
        self._search = self._descend()

    def ask(self) -> Sequence[Rate]:
        """The starting prompts, then each step's candidates; empty after the last step."""
        return next(self._search, [])

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take ratings."""
        self._ratings.add(answered)

    def best(self) -> Prompt:
        """The highest rated so far; before any rating, the first starting prompt."""
        return self._ratings.best

    # ── The search ────────────────────────────────────────────────────────────────────────────────────────────────

    def _descend(self) -> Search:
        """The search of the paper; a yield asks, and resumes when the answers are in."""
        yield from self._rate(self._setup.start)
        for step in range(self.steps):
            rng = self._setup.rng(step)
            current = self._ratings.best.text
            texts = self._substituted(current, self._pools(current, rng), rng)
            yield from self._rate([Prompt(text, {"parents": [current], "step": step}) for text in texts])

    def _rate(self, prompts: Sequence[Prompt]) -> Search:
        if questions := self._ratings.missing(prompts):
            yield questions

    def _pools(self, text: str, rng: np.random.Generator) -> list[NDArray[np.intp]]:
        """The tokens with the most negative gradients, position by position."""
        examples = drawn(self.examples, self.batch, rng)
        return [self._pool(text, position, examples) for position in range(len(self.target.tokens(text)))]

    def _pool(self, text: str, position: int, examples: Sequence[Example]) -> NDArray[np.intp]:
        seen = self.target.step(
            text, position, examples, with_reasoning=self.reasoning, perplexity_weight=self.perplexity_weight
        )
        self._setup.count("gradient passes", len(examples))
        order = np.argsort(directions(seen, [int(token) for token in self._usable]), kind="stable")
        return self._usable[order[: self.k]]

    def _substituted(self, text: str, pools: Sequence[NDArray[np.intp]], rng: np.random.Generator) -> list[str]:
        """Distinct new prompts of one token exchanged, as many as wanted or as there are."""
        pairs = np.array([(place, token) for place, pool in enumerate(pools) for token in pool]).reshape(-1, 2)
        pairs = rng.permutation(pairs)
        new: dict[str, None] = {}
        while len(pairs) and (wanted := self.candidates - len(new)) > 0:
            part, pairs = pairs[:wanted], pairs[wanted:]
            for place in np.unique(part[:, 0]):
                tokens = [int(token) for token in part[part[:, 0] == place, 1]]
                new |= dict.fromkeys(takeable(self.target, self._setup, text, int(place), tokens).values())
            new.pop(text, None)
        return list(new)
