"""Bayesian optimisation over phrases, with Thompson sampling [Thompson1933, Kandasamy2018].

Thompson, *On the likelihood that one unknown probability exceeds another in view of the evidence of two samples*,
Biometrika 1933. Kandasamy et al., *Parallelised Bayesian Optimisation via Thompson Sampling*, AISTATS 2018.

The search where there is no LLM. A prompt is a set of phrases from a vocabulary; a Gaussian process over such sets
(:mod:`.surrogate`) says what unseen prompts may be rated.

::

    rate a design: of many random prompts those that lie farthest from each other [Johnson1990]
    repeat:
        fit the process to all ratings
        candidates <- mutants of the best rated, and new random prompts
        batch times: draw a function from the posterior; its best candidate is rated next

The answer is the best rated prompt, not the one of the highest posterior mean: that one did worse.

============ ============ ==============================================================================
parameter    default here source
============ ============ ==============================================================================
design       20           ours, as all that follow: experiments/hill_climb
batch        10           answers of one batch do not wait for each other
candidates   300
elite        10           the trial of Thompson sampling that came before this
fresh        0.25         likewise
embedder     the target's where it has one (CLIP's text tower), else hashed n-grams
============ ============ ==============================================================================

Johnson, Moore and Ylvisaker, *Minimax and maximin distance designs*, J. Statist. Plann. Inference 1990. We differ from
it in that the design is picked greedily, and from [Kandasamy2018] in that functions are drawn on a set of candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..checks import at_least, check_argument
from ..core import Begins, Embedder, Embeds, Prompt, Prompted, Rate, Setup, Target
from ..embedders.ngrams import Ngrams
from ..vocabulary import check, is_template, vocabulary
from ..vocabulary.phrases import PLACEHOLDER
from ..vocabulary.units import Keep
from .pools import Pool
from .steps import Ratings, RatingSearch, Search
from .surrogate import Places, ResponsePosterior, response

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["Bayes"]

MOVES = 3  # of which a mutant is made at most
LONGEST = 6  # phrases of a prompt, its own before the search not counted
NEW = 4  # phrases of a random prompt at most
DESIGNS = 10  # random prompts for each one of the design
ATTEMPTS = 5  # mutations for each candidate wanted, before giving up
REMEMBERED = 500  # ratings that the process is fitted to: half of them the best, half the latest


class Bayes(RatingSearch):
    """Bayesian optimisation over phrases, with Thompson sampling.

    Args:
        phrases: the vocabulary, as of the proposer ``lexical``; for CLIP templates the embedded one by default, texts
            need phrases of their own.
        exclude: words; phrases that contain one of them are left out.
        keep: what of a starting text is never dropped, as of the proposer ``lexical``.
        pool: where random prompts come from; without one they are put together from phrases.
        embedder: says which phrases are alike. By default the target's own view of prompts where it has one, as CLIP
            has, and hashed n-grams elsewhere.
        target: the run's, filled in by it.
        design: how many prompts are rated before the first fit, the starting ones included.
        batch: prompts rated between two fits.
        candidates: prompts that a draw chooses from.
        elite: how many of the best rated are mutated.
        fresh: share in [0, 1] of the candidates that are new random prompts.

    Raises:
        UserError: a number is out of range.
    """

    shortens = True  # its prompts hold phrases that came in by chance

    def __init__(
        self,
        *,
        phrases: str | Path | Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        exclude: Sequence[str] = (),
        keep: Keep = "rules",
        pool: Pool | None = None,
        embedder: Embedder | None = None,
        target: Target | None = None,
        design: int = 20,
        batch: int = 10,
        candidates: int = 300,
        elite: int = 10,
        fresh: float = 0.25,
    ) -> None:
        at_least(1, design=design, batch=batch, candidates=candidates, elite=elite)
        check_argument("fresh", fresh, allowed="a share from 0 to 1", holds=0 <= fresh <= 1)
        self.phrases, self.exclude, self.keep = phrases, exclude, keep
        self.pool = pool
        self.embedder: Embeds = embedder or (target if isinstance(target, Embeds) else Ngrams())
        self.design, self.batch, self.candidates = design, batch, candidates
        self.elite, self.fresh = elite, fresh

    def check(self, run: Prompted, /) -> None:
        """Whether there are phrases for these prompts.

        Raises:
            UserError: the prompts are texts, and there are none.
        """
        vocabulary(self.phrases, run, exclude=self.exclude, keep=self.keep)
        check(self.pool, run)

    def begin(self, setup: Setup, /) -> None:
        """Start afresh.

        Raises:
            UserError: as :meth:`check`.
        """
        setup.note("Prompts were put together from phrases by Bayesian optimisation; no LLM was used.")
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._words = vocabulary(self.phrases, setup, exclude=self.exclude, keep=self.keep)
        self._rng = setup.rng()
        self._bare = PLACEHOLDER if is_template(setup) else ""
        self._places = Places(self.embedder, bare=self._bare, alone=self._alone)
        self._own = {phrase for prompt in setup.start for phrase in self._words.contents(prompt.text)}
        self._asked: dict[str, list[str]] = {}
        self._weigh()
        if isinstance(self.pool, Begins):
            self.pool.begin(setup)
        self._pool = self.pool.draw(setup.rng(0)) if self.pool else self._random()
        self._search = self._optimise()

    @property
    def vocabulary(self) -> Sequence[str]:
        """The phrases of the run, once it has begun."""
        return self._words.all

    # ── The search ────────────────────────────────────────────────────────────────────────────────────────────────

    def _optimise(self) -> Search:
        yield self._questions([p.text for p in self._setup.start], step="start")
        yield from self._try(self._spread(), step="design")
        while candidates := self._candidates():
            ranked = self._ratings.ranked(map(Prompt, self._asked))
            chosen = self._thompson(candidates, self._fitted(ranked)) if ranked else self._usable(candidates)
            yield from self._try(islice(chosen, self.batch), step="thompson")

    def _try(self, texts: Iterable[str], *, step: str) -> Search:
        if questions := self._questions(texts, step=step):
            yield questions

    def _questions(self, texts: Iterable[str], *, step: str) -> list[Rate]:
        new = [text for text in texts if text not in self._asked]
        self._asked |= {text: self._words.contents(text) for text in new}
        known = {prompt.text: prompt for prompt in self._setup.start}
        return [Rate(known.get(text, Prompt(text, {"step": step}))) for text in new]

    def _spread(self) -> list[str]:
        """The design: greedily the random prompt that lies farthest from all taken so far, the starting ones first."""
        new = list(self._usable(islice(self._pool, DESIGNS * self.design)))
        wanted = min(self.design - len(self._asked), len(new))
        if wanted < 1:
            return []
        known = list(self._asked.values())
        _, at = self._places.of([*known, *(self._words.contents(text) for text in new)])
        near = _squares(at[len(known) :], at[: len(known)]).min(axis=1)
        taken: list[int] = []
        for _ in range(wanted):
            taken.append(int(np.argmax(np.round(near, 6))))
            near = np.minimum(near, _squares(at[len(known) :], at[[len(known) + taken[-1]]])[:, 0])
        return [new[i] for i in dict.fromkeys(taken)]

    def _fitted(self, ranked: Sequence[Prompt]) -> ResponsePosterior:
        """The process after all ratings, or after the best and the latest of very many."""
        half = REMEMBERED // 2
        latest = set(self._ratings.ranked(map(Prompt, list(self._asked)[-half:])))
        kept = [p for i, p in enumerate(ranked) if len(ranked) <= REMEMBERED or i < half or p in latest]
        ratings = [self._ratings[prompt] for prompt in kept]
        y = response(np.array([r.value for r in ratings]), np.array([r.tiebreak for r in ratings]))
        return ResponsePosterior(self._places, [self._asked[prompt.text] for prompt in kept], y)

    def _thompson(self, candidates: Mapping[str, Sequence[str]], posterior: ResponsePosterior) -> Iterator[str]:
        """For each draw from the posterior its best candidate that the target can take; none comes twice."""
        texts, left = list(candidates), set(range(len(candidates)))
        for drawn in posterior.draws(list(candidates.values()), n=self.batch, rng=self._rng):
            for i in np.argsort(-drawn, kind="stable").tolist():
                if i in left:
                    left.remove(i)
                    if self._setup.problem_with(Prompt(texts[i])) is None:
                        yield texts[i]
                        break

    # ── Candidates ────────────────────────────────────────────────────────────────────────────────────────────────

    def _candidates(self) -> dict[str, list[str]]:
        """Prompts that were not asked, with their phrases: new random ones, and mutants of the best rated."""
        best = self._ratings.ranked(map(Prompt, self._asked))[: self.elite] or list(self._setup.start)
        parents = [self._words.split(prompt.text) for prompt in best]
        fresh = islice(self._pool, round(self.fresh * self.candidates))
        found: dict[str, list[str]] = {}
        for parts in chain(map(self._words.split, fresh), self._mutants(parents)):
            text = self._words.join(parts)
            if text and text not in self._asked and text not in found:
                phrases = self._contents(parts)
                if sum(phrase not in self._own for phrase in phrases) <= LONGEST:
                    found[text] = phrases
            if len(found) == self.candidates:
                break
        return found

    def _mutants(self, parents: Sequence[list[str]]) -> Iterator[list[str]]:
        for _ in range(ATTEMPTS * self.candidates):
            child = list(parents[int(self._rng.integers(len(parents)))])
            for _ in range(self._rng.integers(1, MOVES + 1)):
                child = self._move(child, parents)
            yield child

    def _move(self, child: list[str], parents: Sequence[list[str]]) -> list[str]:
        """Recombine with another good prompt, drop a phrase, replace one, insert one, or move one."""
        move = self._rng.integers(5 if not self._bare else 4)
        if move == 0:
            return self._words.cross(child, parents[int(self._rng.integers(len(parents)))], self._rng)
        if move in (1, 2) and (free := self._words.free(child)):
            self._words.drop(child, free[int(self._rng.integers(len(free)))])
        if move in (2, 3):
            self._bring_in(child)
        if move == 4:
            self._words.move(child, self._rng)
        return child

    def _random(self) -> Iterator[str]:
        """Bare prompts, for texts the starting one, with a few phrases."""
        idle, seen = 0, set[str]()
        while idle < 1000:
            parts = self._words.split(self._bare or self._setup.start[0].text)
            for _ in range(self._rng.integers(1, NEW + 1)):
                self._bring_in(parts)
            text = self._words.join(parts)
            idle = idle + 1 if text in seen else 0
            if text not in seen:
                seen.add(text)
                yield text

    def _bring_in(self, parts: list[str]) -> None:
        """Insert a phrase that the prompt lacks."""
        new = self._words.all[int(self._cumulated.searchsorted(self._rng.random(), side="right"))]
        if new not in self._contents(parts):
            self._words.insert(parts, new, self._rng)

    def _contents(self, parts: Sequence[str]) -> list[str]:
        """The phrases among a prompt's parts, each once."""
        return list(dict.fromkeys(self._words.content(parts[place]) for place in self._words.free(parts)))

    def _weigh(self) -> None:
        """Half of all phrases brought in are drawn evenly, half by how far the embedder sees them move a prompt."""
        shifts = np.linalg.norm(self._places.shifts(self._words.all), axis=1)
        even = np.ones(len(shifts)) / len(shifts)
        weights = (even + shifts / shifts.sum()) / 2 if shifts.sum() > 0 else even
        self._cumulated: Array = np.round(np.cumsum(weights), 9)
        self._cumulated[-1] = 1.0

    def _alone(self, phrase: str) -> str:
        """The shortest prompt that says a phrase."""
        if not self._bare:
            return phrase
        parts = self._words.split(self._bare)
        self._words.insert(parts, phrase, np.random.default_rng(0))
        return self._words.join(parts)

    def _usable(self, texts: Iterable[str]) -> Iterator[str]:
        return (t for t in texts if t not in self._asked and self._setup.problem_with(Prompt(t)) is None)


def _squares(one: Array, other: Array) -> Array:
    """Squared distances ``(n, m)``."""
    squares: Array = ((one[:, None] - other[None]) ** 2).sum(axis=-1)
    return squares
