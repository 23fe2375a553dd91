"""Gradients over reasoning [Das2025].

Das et al., *GReaTer: Gradients over Reasoning Makes Smaller Language Models Strong Prompt Optimizers*, ICLR 2025,
arXiv 2412.09722.

A prompt is improved token by token. The target, a local LM, proposes tokens for a position; the gradient of its task
loss, taken through the reasoning that it writes itself, says which of them are promising; those are rated, and the
best takes the place.

================= ============= ============ ==========================================================
parameter         paper         default here why it differs
================= ============= ============ ==========================================================
steps             105 (code)    105
k                 10-11 (code)  10
groups            3-5 (code)    3
group_size        5 (code)      5
mu                3 (code)      3
perplexity_weight 0.2 (code)    0.2
longest           none          64           a prompt that never comes to a full stop would grow for ever
================= ============= ============ ==========================================================

We differ from the released code, which goes through examples one by one and hands a cached candidate the loss of the
one before: here the choice is made by ordinary ratings, so that it is billed, recorded and made on the decoded text.
And nothing is exchanged for something worse: the current token stays unless a candidate is rated higher. So what was
rated before is known not to be better, and new candidates take its place on the shortlist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..core import Example, Prompt, Rate, Rating, Setup, Target
from .steps import Ratings, Search
from .token_search import (
    ALLOWED,
    Insight,
    at_least,
    directions,
    drawn,
    likeliest,
    pattern,
    takeable,
    usable_tokens,
    white_box,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENOUGH = 2  # candidates for each place on the shortlist; with fewer, the gradient would have nothing to say


class Greater:
    """Descends on a prompt, token by token, by the gradient of a local LM's task loss.

    At a position, every training example's ``k`` likeliest next tokens are looked at. Those that all examples of a
    group have in common are candidates, over several random groups; ``k`` grows until there are enough. Of the
    candidates, the ``mu`` with the most negative gradient are rated on the whole training split: by loss, accuracy or
    both, as the scorer says.

    Positions are taken from left to right. Behind the last one, a prompt that ends in a full stop is begun again;
    another one may first grow by a token. The prompt that is descended on is always the best rated one.

    Gradients are counted as ``gradient passes``: one forward and one backward pass on one example each.

    Args:
        target: a local LM; that of the run.
        examples: the training examples; those of the run.
        steps: positions that are looked at, one after another.
        k: likeliest tokens of each example.
        groups: groups of examples whose common tokens are united.
        group_size: examples in a group.
        mu: candidates that are rated at each step.
        perplexity_weight: the paper's lambda: what the prompt's own mean negative log-likelihood counts beside the task
            loss in the gradient. What it counts in the choice is the scorer's to say.
        reasoning: take the gradient through the reasoning; without it, through the bare answer (the paper's ablation).
        shortlist: choose the rated candidates by gradient, or at random, to see what the gradient is good for.
        order: of the positions.
        longest: a prompt of so many tokens does not grow; 0 keeps the length.
        allowed: a regular expression that all of a token's text must match.
        batch: training examples that a step looks at, drawn anew each time; all by default.

    Raises:
        UserError: the target shows no gradient, there are no examples, or a number is out of range.
    """

    question = Rate

    def __init__(
        self,
        *,
        target: Target,
        examples: Sequence[Example],
        steps: int = 105,
        k: int = 10,
        groups: int = 3,
        group_size: int = 5,
        mu: int = 3,
        perplexity_weight: float = 0.2,
        reasoning: bool = True,
        shortlist: Literal["gradient", "random"] = "gradient",
        order: Literal["forward", "random"] = "forward",
        longest: int = 64,
        allowed: str = ALLOWED,
        batch: int | None = None,
    ) -> None:
        at_least(1, steps=steps, k=k, groups=groups, group_size=group_size, mu=mu, batch=batch, examples=len(examples))
        at_least(0, longest=longest)
        self.target = white_box(target, needed_by="greater")
        self.examples = tuple(examples)
        self.steps = steps
        self.k = k
        self.groups = groups
        self.group_size = group_size
        self.mu = mu
        self.perplexity_weight = perplexity_weight
        self.reasoning = reasoning
        self.shortlist = shortlist
        self.order = order
        self.longest = longest
        self.allowed = pattern(allowed)
        self.batch = batch

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        self._setup = setup
        self._ratings = Ratings(setup.start[0])
        self._vocabulary = self.target.vocabulary
        self._usable = usable_tokens(self._vocabulary, self.allowed)
        self._search = self._descend()

    def ask(self) -> Sequence[Rate]:
        """The starting prompts, then each step's shortlist; empty after the last step."""
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
        position = 0
        for step in range(self.steps):
            rng = self._setup.rng(step)
            current = self._ratings.best.text
            text, position = self._place(current, position, rng)
            origin = {"parents": [current], "step": step, "position": position}
            texts = self._shortlisted(text, position, rng)
            texts += [text] if text != current else []
            yield from self._rate([Prompt(one, origin) for one in texts])
            position += 1

    def _rate(self, prompts: Sequence[Prompt]) -> Search:
        if questions := self._ratings.missing(prompts):
            yield questions

    def _place(self, text: str, position: int, rng: np.random.Generator) -> tuple[str, int]:
        """The position whose token is chosen next, and the prompt, one token longer if that is behind its end."""
        size = len(self.target.tokens(text))
        grown = self._grown(text, size) if position == size or self.order == "random" else None
        if self.order == "random":
            position = int(rng.integers(size + (grown is not None)))
        if position < size:
            return text, position
        return (grown, size) if grown else (text, 0)

    def _grown(self, text: str, size: int) -> str | None:
        """The prompt with a full stop put behind it, whose place another token may take; None if it is to end here."""
        if text.endswith(".") or size >= self.longest:
            return None
        stops = [token for token, said in enumerate(self._vocabulary) if said == "."]
        return next(iter(takeable(self.target, self._setup, text, size, stops).values()), None)

    def _shortlisted(self, text: str, position: int, rng: np.random.Generator) -> list[str]:
        """The prompts with the most promising tokens at a position."""
        seen = self.target.step(
            text,
            position,
            examples := drawn(self.examples, self.batch, rng),
            with_reasoning=self.reasoning,
            perplexity_weight=self.perplexity_weight,
        )
        self._setup.count("gradient passes", len(examples))
        candidates = self._candidates(seen, text, position, rng)
        tokens = [*candidates]
        if self.shortlist == "random":
            chosen = rng.permutation(len(tokens))
        else:
            chosen = np.argsort(directions(seen, tokens), kind="stable")
        return [candidates[tokens[i]] for i in chosen[: self.mu]]

    def _candidates(self, seen: Insight, text: str, position: int, rng: np.random.Generator) -> dict[int, str]:
        """New prompts by their token at the position, which all examples of some group propose."""
        tokens = self.target.tokens(text)
        usable = self._usable.copy()
        usable[tokens[position]] = False
        usable[tokens[max(0, position - 1)]] = False
        groups = self._groups(int((~np.isnan(seen.loss)).sum()), rng)
        checked: dict[int, str | None] = {}
        k = self.k
        while True:
            proposed = _common(likeliest(seen, usable, k), groups)
            new = [token for token in proposed if token not in checked]
            survivors = takeable(self.target, self._setup, text, position, new)
            checked |= {token: survivors.get(token) for token in new}
            found = {t: one for t in proposed if (one := checked[t]) and Prompt(one) not in self._ratings}
            if len(found) >= ENOUGH * self.mu or k >= usable.sum():
                return found
            k += k // 2 + 1

    def _groups(self, n: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
        """Random groups of the examples that have the position."""
        return [rng.choice(n, min(self.group_size, n), replace=False) for _ in range(self.groups if n else 0)]


def _common(rows: Sequence[Sequence[int]], groups: Sequence[NDArray[np.intp]]) -> list[int]:
    """The tokens that all rows of at least one group hold, in the order of their ids."""
    return sorted(set().union(*(set.intersection(*(set(rows[i]) for i in group)) for group in groups)))
