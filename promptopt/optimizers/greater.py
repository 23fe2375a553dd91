"""Gradients over reasoning [Das2025].

Das et al., *GReaTer: Gradients over Reasoning Makes Smaller Language Models Strong Prompt Optimizers*, ICLR 2025,
arXiv 2412.09722.

A prompt is improved token by token. The target, a local LM, proposes tokens for a position; the gradient of its task
loss, taken through the reasoning that it writes itself, says which of them are promising; those are rated, and the
best takes the place.

================== ================== ============ ==========================================================
parameter          released code      default here why it differs
================== ================== ============ ==========================================================
steps              105, 106, 125      105
k                  10; scripts 11, 40 10
k_step             2                  2
groups             5; scripts 6       5
group_size         5                  5
mu                 3                  3
perplexity_weight  0.2                0.2
answer_temperature 0.2                1.0          measured here on one small model alone
average            summed             summed
downhill           yes                yes
stay               yes                yes
again              yes                yes
stop_wins          yes                no           it takes a full stop whatever its rating
placeholder        "_"                "."          a prompt that grows stays one that a person would write
fixed              "Use"              none         it is a part of that code's start
longest            none               64           a prompt that never comes to a full stop would grow for ever
================== ================== ============ ==========================================================

We differ from the released code, which goes through examples one by one and hands a cached candidate the loss of the
one before: here the choice is made by ordinary ratings, so that it is billed, recorded and made on the decoded text,
and a prompt that comes again is not paid for again. Of equal ratings the steeper gradient wins, there the flatter.
The groups are drawn once a step, there anew whenever ``k`` grows. And the answer is the best rated of all prompts, not
the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..checks import above_zero, at_least, not_empty
from ..core import Example, Prompt, Setup, Target
from ..errors import UserError
from .steps import Ratings, RatingSearch, Search
from .token_search import (
    ALLOWED,
    Average,
    Insight,
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

    from ..core import Array

ENOUGH = 2  # candidates for each place on the shortlist; with fewer, the gradient would have nothing to say


class Greater(RatingSearch):
    """Descends on a prompt, token by token, by the gradient of a local LM's task loss.

    At a position, every training example's ``k`` likeliest next tokens are looked at. Those that all examples of a
    group have in common are candidates, over several random groups; ``k`` grows until there are two for each place on
    the shortlist. The token that stands there is a candidate like the others. The ``mu`` with the most negative
    gradient are the shortlist, which is rated on the whole training split: by loss, accuracy or both, as the scorer
    says. The best of them takes the place, even where it is worse than what stood there: so the search leaves a dead
    end.

    Positions are taken from left to right. Behind the last one, a prompt that ends in a full stop is begun again;
    another one grows by a token.

    Gradients are counted as ``gradient passes``: one forward and one backward pass on one example each. Where
    candidates race for the shortlist, ``loss passes`` counts forward passes: one on each example for the proposals, and
    one for each candidate and example that it is tried on.

    Args:
        target: a local LM; that of the run.
        examples: the training examples; those of the run.
        steps: positions that are looked at, one after another.
        k: likeliest tokens of each example.
        k_step: by how much ``k`` grows.
        groups: groups of examples whose common tokens are united.
        group_size: examples in a group.
        mu: candidates on the shortlist.
        perplexity_weight: the paper's lambda: what the prompt's own mean negative log-likelihood counts beside the task
            loss in the gradient. What it counts in the choice is the scorer's to say.
        answer_temperature: what the answer's logits are divided by in the gradient's loss.
        average: how examples' gradients are put together: as they are, or each at length 1.
        reasoning: take the gradient through the reasoning; without it, through the bare answer (the paper's ablation).
        shortlist: choose the rated candidates by ``gradient``; by ``race``, where each is tried on as few examples as
            cost no more than the backward pass, the same ones for all, and those with the least true loss win, without
            the prompt's unlikeliness; or at ``random``, to see what the gradient is good for.
        downhill: the shortlist's best takes the place even where it is worse; else only a prompt that is better than
            all before. With all three switches off, the search only ever climbs.
        stay: the current token competes for a place on the shortlist.
        again: prompts that were rated before may be on the shortlist; else new ones take their place.
        stop_wins: in the second half of the starting prompt's length, a full stop on the shortlist takes the place
            whatever the ratings, and what is behind it on the shortlist is not rated.
        placeholder: what is put behind a prompt that grows, for another token to take its place.
        fixed: what all prompts begin with, and what stays. The starting prompts have to begin with it.
        order: of the positions.
        longest: a prompt of so many tokens does not grow; 0 keeps the length.
        allowed: a regular expression that all of a token's text must match.
        batch: training examples that a step looks at, drawn anew each time; all by default.

    Raises:
        UserError: the target shows no gradient, there are no examples, or a number is out of range; at the beginning,
            a starting prompt does not begin with ``fixed``, or is no longer than that.
    """

    def __init__(
        self,
        *,
        target: Target,
        examples: Sequence[Example],
        steps: int = 105,
        k: int = 10,
        k_step: int = 2,
        groups: int = 5,
        group_size: int = 5,
        mu: int = 3,
        perplexity_weight: float = 0.2,
        answer_temperature: float = 1.0,
        average: Average = "summed",
        reasoning: bool = True,
        shortlist: Literal["gradient", "race", "random"] = "gradient",
        downhill: bool = True,
        stay: bool = True,
        again: bool = True,
        stop_wins: bool = False,
        placeholder: str = ".",
        fixed: str = "",
        order: Literal["forward", "random"] = "forward",
        longest: int = 64,
        allowed: str = ALLOWED,
        batch: int | None = None,
    ) -> None:
        at_least(1, steps=steps, k=k, k_step=k_step, groups=groups, group_size=group_size, mu=mu, batch=batch)
        at_least(0, longest=longest)
        above_zero(answer_temperature=answer_temperature)
        not_empty(examples=examples)
        self.target = white_box(target, needed_by="greater", also=["losses"] if shortlist == "race" else [])
        self.examples = tuple(examples)
        self.steps = steps
        self.k = k
        self.k_step = k_step
        self.groups = groups
        self.group_size = group_size
        self.mu = mu
        self.perplexity_weight = perplexity_weight
        self.answer_temperature = answer_temperature
        self.average = average
        self.reasoning = reasoning
        self.shortlist = shortlist
        self.downhill = downhill
        self.stay = stay
        self.again = again
        self.stop_wins = stop_wins
        self.placeholder = placeholder
        self.fixed = fixed
        self.order = order
        self.longest = longest
        self.allowed = pattern(allowed)
        self.batch = batch

    def begin(self, setup: Setup, /) -> None:
        """Start afresh.

        Raises:
            UserError: a starting prompt does not begin with what is fixed, or is no longer than that.
        """
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._vocabulary = self.target.vocabulary
        self._usable = usable_tokens(self._vocabulary, self.allowed)
        self._first = self._behind_fixed()
        self._search = self._descend()

    def _behind_fixed(self) -> int:
        """The first position that may change."""
        kept = self.target.tokens(self.fixed) if self.fixed else []
        for prompt in self._setup.start:
            tokens = self.target.tokens(prompt.text)
            if tokens[: len(kept)] != kept or len(tokens) == len(kept):
                raise UserError(
                    f"fixed is {self.fixed!r}, so a starting prompt has to begin with it, in whole tokens, and go on; "
                    f"given is {prompt.text!r}."
                )
        return len(kept)

    # ── The search ────────────────────────────────────────────────────────────────────────────────────────────────

    def _descend(self) -> Search:
        """The search of the paper."""
        yield from self._rate(self._setup.start)
        current, position = self._ratings.best.text, self._first
        half = (len(self.target.tokens(current)) + self._first) / 2
        for step in range(self.steps):
            rng = self._setup.rng(step)
            text, position = self._place(current, position, rng)
            shortlist = self._shortlisted(text, position, rng)
            texts = [*shortlist]
            if ended := self.stop_wins and position >= half and "." in "".join(shortlist.values()):
                texts = texts[: 1 + next(i for i, said in enumerate(shortlist.values()) if "." in said)]
            elif text != current and not self.stay:  # a prompt that has grown is rated even so
                texts.append(text)
            origin = {"parents": [current], "step": step, "position": position}
            yield from self._rate([Prompt(one, origin) for one in texts])
            current = self._next(current, texts[-1:] if ended else texts)
            position += 1

    def _next(self, current: str, contenders: Sequence[str]) -> str:
        """The prompt that the search goes on from."""
        if not self.downhill:
            return self._ratings.best.text
        ranked = self._ratings.ranked(map(Prompt, contenders))
        return ranked[0].text if ranked else current

    def _place(self, text: str, position: int, rng: np.random.Generator) -> tuple[str, int]:
        """The position whose token is chosen next, and the prompt, one token longer if that is behind its end."""
        size = len(self.target.tokens(text))
        grown = self._grown(text, size) if position == size or self.order == "random" else None
        if self.order == "random":
            position = int(rng.integers(self._first, size + (grown is not None)))
        if position < size:
            return text, position
        return (grown, size) if grown else (text, self._first)

    def _grown(self, text: str, size: int) -> str | None:
        """The prompt with the placeholder behind it; None if it is to end here."""
        if text.endswith(".") or size >= self.longest:
            return None
        said = (self.placeholder, f" {self.placeholder}")
        tokens = [token for one in said for token, text in enumerate(self._vocabulary) if text == one]
        return next(iter(takeable(self.target, self._setup, text, size, tokens).values()), None)

    def _shortlisted(self, text: str, position: int, rng: np.random.Generator) -> dict[str, str]:
        """The prompts with the most promising tokens at a position, most promising first, and what each token says."""
        races = self.shortlist == "race"
        seen = self.target.step(
            text,
            position,
            examples := drawn(self.examples, self.batch, rng),
            with_reasoning=self.reasoning,
            perplexity_weight=self.perplexity_weight,
            answer_temperature=self.answer_temperature,
            **{"with_gradient": False} if races else {},
        )
        self._setup.count("loss passes" if races else "gradient passes", len(examples))
        candidates = self._candidates(seen, text, position, rng)
        tokens = [*candidates]
        if self.shortlist == "random":
            chosen = rng.permutation(len(tokens))
        elif races:
            chosen = np.argsort(self._raced([*candidates.values()], examples, rng), kind="stable")
        else:
            chosen = np.argsort(directions(seen, tokens, average=self.average), kind="stable")
        return {candidates[tokens[i]]: self._vocabulary[tokens[i]] for i in chosen[: self.mu]}

    def _raced(self, texts: Sequence[str], examples: Sequence[Example], rng: np.random.Generator) -> Array:
        """``(n_prompts,)`` the mean loss of each on a few examples, for no more passes than one on every example."""
        if not texts:
            return np.empty(0)
        few = drawn(examples, max(1, len(examples) // len(texts)), rng)
        self._setup.count("loss passes", len(texts) * len(few))
        losses: Array = self.target.losses(texts, few).mean(axis=1)
        return losses

    def _candidates(self, seen: Insight, text: str, position: int, rng: np.random.Generator) -> dict[int, str]:
        """Prompts by their token at the position, which all examples of some group propose, or which stands there."""
        tokens = self.target.tokens(text)
        usable = self._usable.copy()
        usable[tokens[position]] = False
        usable[tokens[max(0, position - 1)]] = False
        groups = self._groups(int((~np.isnan(seen.loss)).sum()), rng)
        if not groups:
            return {}
        checked: dict[int, str | None] = {}
        k = self.k
        while True:
            proposed = _common(likeliest(seen, usable, k), groups)
            new = [token for token in proposed if token not in checked]
            survivors = takeable(self.target, self._setup, text, position, new)
            checked |= {token: survivors.get(token) for token in new}
            found = {
                t: one for t in proposed if (one := checked[t]) and (self.again or Prompt(one) not in self._ratings)
            }
            if len(found) >= ENOUGH * self.mu or k >= usable.sum():
                return {**found, tokens[position]: text} if self.stay else found
            k += self.k_step

    def _groups(self, n: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
        """Random groups of the examples that have the position."""
        return [rng.choice(n, min(self.group_size, n), replace=False) for _ in range(self.groups if n else 0)]


def _common(rows: Sequence[Sequence[int]], groups: Sequence[NDArray[np.intp]]) -> list[int]:
    """The tokens that all rows of at least one group hold, in the order of their ids."""
    return sorted(set().union(*(set.intersection(*(set(rows[i]) for i in group)) for group in groups)))
