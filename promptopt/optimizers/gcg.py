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

As in the paper, the search goes on from the best of a step's candidates even if that is worse than what it had, and the
gradient is that of the mean loss; the answer is the best rated of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..checks import above_zero, at_least, not_empty
from ..core import Example, Prompt, Setup, Target
from .steps import Ratings, RatingSearch, Search
from .token_search import (
    ALLOWED,
    Average,
    directions,
    drawn,
    pattern,
    takeable,
    usable_tokens,
    white_box,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Gcg(RatingSearch):
    """Exchanges single tokens of a prompt of fixed length, at random among those with the best gradients.

    Every step takes the gradient at every position over all tokens allowed; the ``k`` most negative of each position
    are its pool. A candidate takes a random token from the pool of a random position. The best of a step's candidates
    is the next prompt, even where it is worse than the current one.

    Gradients are counted as ``gradient passes``: one forward and one backward pass on one example and position each.

    Args:
        target: a local LM; that of the run.
        examples: the training examples; those of the run.
        steps: how often the gradient is taken.
        k: tokens in the pool of a position.
        candidates: prompts that are rated at each step.
        perplexity_weight: what the prompt's own mean negative log-likelihood counts in the gradient; 0 in the paper.
        answer_temperature: what the answer's logits are divided by in the gradient's loss.
        average: how examples' gradients are put together: as they are, or each at length 1.
        reasoning: take the gradient through the reasoning.
        downhill: go on from the best of a step's candidates even where it is worse; else from the best of all.
        allowed: a regular expression that all of a token's text must match.
        batch: training examples that a gradient is taken on, drawn anew at each step; all by default.

    Raises:
        UserError: the target shows no gradient, there are no examples, or a number is out of range.
    """

    def __init__(
        self,
        *,
        target: Target,
        examples: Sequence[Example],
        steps: int = 100,
        k: int = 256,
        candidates: int = 32,
        perplexity_weight: float = 0.0,
        answer_temperature: float = 1.0,
        average: Average = "summed",
        reasoning: bool = True,
        downhill: bool = True,
        allowed: str = ALLOWED,
        batch: int | None = None,
    ) -> None:
        at_least(1, steps=steps, k=k, candidates=candidates, batch=batch)
        above_zero(answer_temperature=answer_temperature)
        not_empty(examples=examples)
        self.target = white_box(target, needed_by="gcg")
        self.examples = tuple(examples)
        self.steps = steps
        self.k = k
        self.candidates = candidates
        self.perplexity_weight = perplexity_weight
        self.answer_temperature = answer_temperature
        self.average = average
        self.reasoning = reasoning
        self.downhill = downhill
        self.allowed = pattern(allowed)
        self.batch = batch

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._usable = np.flatnonzero(usable_tokens(self.target.vocabulary, self.allowed))
        self._search = self._descend()

    # ── The search ────────────────────────────────────────────────────────────────────────────────────────────────

    def _descend(self) -> Search:
        """The search of the paper."""
        yield from self._rate(self._setup.start)
        current = self._ratings.best.text
        for step in range(self.steps):
            rng = self._setup.rng(step)
            texts = self._substituted(current, self._pools(current, rng), rng)
            yield from self._rate([Prompt(text, {"parents": [current], "step": step}) for text in texts])
            current = self._next(current, texts)

    def _next(self, current: str, texts: Sequence[str]) -> str:
        """The prompt that the search goes on from."""
        if not self.downhill:
            return self._ratings.best.text
        ranked = self._ratings.ranked(map(Prompt, texts))
        return ranked[0].text if ranked else current

    def _pools(self, text: str, rng: np.random.Generator) -> list[NDArray[np.intp]]:
        """The tokens with the most negative gradients, position by position."""
        examples = drawn(self.examples, self.batch, rng)
        return [self._pool(text, position, examples) for position in range(len(self.target.tokens(text)))]

    def _pool(self, text: str, position: int, examples: Sequence[Example]) -> NDArray[np.intp]:
        seen = self.target.step(
            text,
            position,
            examples,
            with_reasoning=self.reasoning,
            perplexity_weight=self.perplexity_weight,
            answer_temperature=self.answer_temperature,
        )
        self._setup.count("gradient passes", len(examples))
        order = np.argsort(
            directions(seen, [int(token) for token in self._usable], average=self.average), kind="stable"
        )
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
