"""A proposer without an LLM: mutates and recombines phrases, and learns which of them good prompts have."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from ...checks import check_argument
from ...core import Prompt, Prompted, Setup
from ...vocabulary import is_template, vocabulary
from ...vocabulary.units import Keep
from . import Scored

T = TypeVar("T")
MOVES = 3  # of which a proposal is made at most
ATTEMPTS = 50  # mutations tried for each prompt wanted, before giving up


class LexicalProposer:
    """Stands in for the LLM of [Liu2024] where there is none; it learns from the same lists of good and bad prompts.

    A template for CLIP is a sequence of phrases (:class:`..phrases.Phrases`), a text one of whole sentences, lines and
    given phrases (:class:`..units.Units`). With g of G good and b of B bad prompts holding a phrase, its weight is the
    smoothed log-odds ``log((g + ½) / (G + 1)) - log((b + ½) / (B + 1))``. Each proposal takes a good prompt and
    replaces, inserts, drops, recombines or (in a text) moves phrases: what comes in is drawn by ``exp(weight)``, what
    goes out by ``exp(-weight)``, and ``explore`` of what comes in is drawn from the whole vocabulary instead of from
    the phrases seen.

    Args:
        phrases: the vocabulary: phrases by slot (``frames``, ``adjectives``, ``nouns``, ``suffixes``), a TOML file
            of such lists, or a flat list of phrases that may stand anywhere. For CLIP templates the embedded one by
            default; texts need phrases of their own, best whole sentences or lines.
        conversation: ``fresh`` learns from the prompts of this turn alone, ``continued`` from all shown since the
            last reset.
        explore: probability in [0, 1] that a phrase is drawn from the whole vocabulary.
        exclude: words; phrases that contain one of them are left out.
        keep: what of a starting text is never dropped, besides headings, code and placeholders: ``rules`` the items of
            its lists, ``all`` all of its sentences, ``structure`` no more than these.
    """

    def __init__(
        self,
        *,
        phrases: str | Path | Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        conversation: Literal["fresh", "continued"] = "fresh",
        explore: float = 0.75,
        exclude: Sequence[str] = (),
        keep: Keep = "rules",
    ) -> None:
        check_argument("explore", explore, allowed="a probability from 0 to 1", holds=0 <= explore <= 1)
        self.phrases = phrases
        self.conversation = conversation
        self.explore = explore
        self.exclude = exclude
        self.keep = keep

    def check(self, run: Prompted, /) -> None:
        """See :class:`..vocabulary.Checks`.

        Raises:
            UserError: the prompts are texts, and there are no phrases for them.
        """
        vocabulary(self.phrases, run, exclude=self.exclude, keep=self.keep)

    def begin(self, setup: Setup, /) -> None:
        """Take the run's random stream, and say that no LLM is used.

        Raises:
            UserError: as :meth:`check`.
        """
        setup.note("Prompts were proposed by the lexical proposer; no LLM was used.")
        self._vocabulary = vocabulary(self.phrases, setup, exclude=self.exclude, keep=self.keep)
        self._moves = 4 if is_template(setup) else 5
        self._rng = setup.rng()
        self._problem_with = setup.problem_with
        self.reset()

    def reset(self) -> None:
        """Forget what good and bad prompts had in common."""
        self._good, self._bad = Counter[str](), Counter[str]()
        self._shown = [0, 0]
        self._proposed: set[str] = set()

    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> list[str]:
        """``n`` prompts that were not shown or proposed in this conversation; fewer where mutation finds no more."""
        if self.conversation == "fresh":
            self._good, self._bad, self._shown = Counter(), Counter(), [0, 0]
        self._learn(good, bad)
        parents = [self._vocabulary.split(one.text) for one in good]
        known = self._proposed.union(one.text for one in [*good, *bad])
        new: list[str] = []
        for text in self._mutants(parents, attempts=ATTEMPTS * n):
            if text and text not in known and self._problem_with(Prompt(text)) is None:
                known.add(text)
                new.append(text)
                if len(new) == n:
                    break
        self._proposed.update(new)
        return new

    def _learn(self, good: Sequence[Scored], bad: Sequence[Scored]) -> None:
        for prompts, counts in ((good, self._good), (bad, self._bad)):
            for one in prompts:
                counts.update(self._vocabulary.contents(one.text))
        self._shown = [self._shown[0] + len(good), self._shown[1] + len(bad)]

    def _weight(self, phrase: str) -> float:
        shown_good, shown_bad = self._shown
        good = (self._good[phrase] + 0.5) / (shown_good + 1)
        bad = (self._bad[phrase] + 0.5) / (shown_bad + 1)
        return math.log(good) - math.log(bad)

    def _mutants(self, parents: Sequence[list[str]], *, attempts: int) -> Iterator[str]:
        for _ in range(attempts if parents else 0):
            child = list(self._pick(parents))
            for _ in range(self._rng.integers(1, MOVES + 1)):
                child = self._move(child, parents)
            yield self._vocabulary.join(child)

    def _move(self, child: list[str], parents: Sequence[list[str]]) -> list[str]:
        """Recombine with another good prompt, drop a phrase, replace one, insert one, or move one."""
        move = self._rng.integers(self._moves)
        if move == 0:
            child = self._vocabulary.cross(child, self._pick(parents), self._rng)
        if move in (1, 2) and len(child) > 1:
            self._drop(child)
        if move in (2, 3):
            self._bring_in(child)
        if move == 4:
            self._vocabulary.move(child, self._rng)
        return child

    def _pick(self, parents: Sequence[list[str]]) -> list[str]:
        return parents[int(self._rng.integers(len(parents)))]

    def _drop(self, child: list[str]) -> None:
        if places := self._vocabulary.free(child):
            weights = [-self._weight(self._vocabulary.content(child[place])) for place in places]
            self._vocabulary.drop(child, self._choose(places, weights))

    def _bring_in(self, child: list[str]) -> None:
        """Insert a phrase that the prompt lacks, from the whole vocabulary or from what good and bad prompts hold."""
        explores = self._rng.random() < self.explore
        source = self._vocabulary.all if explores else sorted(self._good.keys() | self._bad.keys())
        content = self._vocabulary.content
        held = {content(part) for part in child}
        new = {phrase: said for phrase in source if (said := content(phrase)) not in held}
        if new:
            chosen = self._choose(list(new), [self._weight(said) for said in new.values()])
            self._vocabulary.insert(child, chosen, self._rng)

    def _choose(self, options: Sequence[T], weights: Sequence[float]) -> T:
        """One option, with probability in proportion to ``exp(weight)``."""
        odds = np.exp(np.array(weights) - max(weights))
        return options[self._rng.choice(len(options), p=odds / odds.sum())]
