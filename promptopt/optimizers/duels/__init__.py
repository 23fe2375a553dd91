"""What the optimizers that ask for duels share: the record of duels, and the frame of the search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...checks import at_least
from ...core import Begins, Belief, Duel, Embedder, HasQueries, Preference, Prompt, Setup
from ...errors import UserError
from ..blas import single_threaded
from ..pools import Pool
from ..proposers import Proposer, Scored
from .arms import Arms
from .belief import Part, believe, likely_rivals

if TYPE_CHECKING:
    from ...core import Array, Indices, Winner

POOL, PAIRS, BELIEF = 0, int.from_bytes(b"pair"), int.from_bytes(b"sure")  # keys of random streams
SHEET = "\n\n---\n\n"  # between the best replies to several queries
SHOWN, WRITTEN = 10, 10  # prompts of each kind that a proposer is shown, and prompts that it is asked for
WINS: Mapping[Winner, float] = {"a": 1.0, "b": 0.0, "tie": 0.5, "unknown": np.nan}


# ── The duels ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Duels:
    """t duels as arrays. Prompts are given by their index in the list of all prompts (:class:`Arms`).

    Attributes:
        a: ``(t,)``, the first prompt of each duel.
        b: ``(t,)``, the second.
        wins: ``(t,)``: 1 where the first won, 0 where the second did, ½ for a tie; NaN where nobody could tell, and
            while the duel is open.
    """

    a: Indices
    b: Indices
    wins: Array

    @property
    def decided(self) -> Duels:
        """The duels that ended with a winner or a tie."""
        known = ~np.isnan(self.wins)
        return Duels(self.a[known], self.b[known], self.wins[known])

    @property
    def played(self) -> Indices:
        """``(m,)``, sorted: the prompts that were in any of these duels."""
        return np.unique(np.concatenate([self.a, self.b]))


@dataclass
class DuelRecord:
    """Every duel that was asked, and its answer where there is one.

    Attributes:
        asked: how many duels were asked.
        version: a number that changes with every answer.
    """

    asked: int = 0
    version: int = 0
    _answers: dict[int, tuple[int, int, float]] = field(default_factory=dict)
    _open: list[tuple[int, int]] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """How many duels have an answer, "cannot tell" included."""
        return len(self._answers)

    def open(self, a: int, b: int) -> None:
        """Note that a duel is asked."""
        self.asked += 1
        self._open.append((a, b))

    def tell(self, number: int, a: int, b: int, winner: Winner) -> None:
        """Note an answer; a second one to the duel with the same number replaces the first.

        Negative numbers are those of duels without one; each is a duel of its own.
        """
        if (number < 0 or number not in self._answers) and (a, b) in self._open:
            self._open.remove((a, b))
        key = number if number >= 0 else -1 - len(self._answers)
        self._answers[key] = (a, b, WINS[winner])
        self.version += 1

    def duels(self) -> Duels:
        """All duels in the order of their numbers, whatever order the answers came in; the open ones come last."""
        answers = sorted(self._answers.items(), key=lambda answer: max(answer[0], -1))
        rows = [*(row for _, row in answers), *((a, b, np.nan) for a, b in self._open)]
        table = np.array(rows, dtype=np.float64).reshape(-1, 3)
        return Duels(table[:, 0].astype(np.intp), table[:, 1].astype(np.intp), table[:, 2])

    def idle(self, first: int) -> list[int]:
        """The opponents of the prompt ``first`` whose duels with it are all open or ended with "cannot tell".

        To ask such a pair again would hardly help. Prompts that ``first`` has not met are not among them.
        """
        duels = self.duels()
        other = np.where(duels.a == first, duels.b, duels.a)
        met, known = (duels.a == first) | (duels.b == first), ~np.isnan(duels.wins)
        return sorted(set(other[met & ~known].tolist()) - set(other[met & known].tolist()))


# ── The search ────────────────────────────────────────────────────────────────────────────────────────────────────


class Utility(Protocol):
    """What an optimizer believes of the utilities h of all n prompts.

    Utilities are log-odds: ``P(a beats b) = σ(h(a) - h(b))`` with ``σ(z) = 1 / (1 + exp(-z))``.
    """

    @property
    def mean(self) -> Array:
        """``(n,)``: the utilities h."""

    def exploration_bonus(self, first: int, duels: Duels) -> Array:
        """``(n,)``: how uncertain ``h(x) - h(first)`` is for every prompt x, by which duels were asked, not by who won.

        This is what ``ν`` is multiplied by in the choice of the second prompt. Open duels count, too, so that the
        duels of a batch differ.
        """

    def uncertainty(self, first: int) -> Array:
        """``(n,)``: standard deviations of ``h(x) - h(first)`` in the posterior, after the answers."""

    def parts(self, indices: Indices) -> Sequence[Part]:
        """The joint posterior of the utilities of k prompts, as a mixture of normal distributions."""


class DuelSearch(ABC):
    """The frame of an optimizer that asks for duels; what it asks is up to ``_fit`` and ``_choose``.

    The first ``n_init`` duels are random pairs. After new answers, the model is fitted anew when the next duel, the
    incumbent or the belief is asked for, and not again until the next answer. It is fitted to the record of duels and
    to nothing else, so the same answers give the same questions.

    A tie is an answer with the target ½. "Cannot tell" says that the two are hard to compare: nothing about who is
    better, but the pair counts as explored and is not asked again while there are others. The same holds for duels that
    are still open, and so for the earlier ones of a batch.
    """

    question = Duel

    def __init__(
        self,
        *,
        pool: Pool | None,
        pool_size: int,
        embedder: Embedder | None,
        batch: int,
        n_init: int,
        proposer: Proposer | None = None,
        mutate_every: int = 0,
    ) -> None:
        at_least(1, pool_size=pool_size, batch=batch)
        at_least(0, n_init=n_init, mutate_every=mutate_every)
        if mutate_every and proposer is None:
            raise UserError("mutate_every needs a proposer that writes the new prompts, for example 'lexical'.")
        self.pool = pool
        self.pool_size = pool_size
        self.embedder = embedder
        self.batch = batch
        self.n_init = n_init
        self.proposer = proposer
        self.mutate_every = mutate_every

    def begin(self, setup: Setup, /) -> None:
        """Start afresh: draw the pool and embed it.

        Raises:
            UserError: there is nothing to start from, or the embedder's vectors are no vectors.
        """
        if not setup.start and self.pool is None:
            raise UserError("there is no prompt to start from. Give a starting prompt or a pool.")
        self._setup = setup
        self._record = DuelRecord()
        self._mutations = 0
        self._models: dict[tuple[int, int], Any] = {}
        embedder = self.embedder or _ngrams()
        if isinstance(embedder, Begins):
            embedder.begin(setup)
        self._arms = Arms(embedder)
        several = isinstance(self.pool, HasQueries) and bool(self.pool.queries)
        if several and self.mutate_every:
            raise UserError("mutate_every writes prompts that answer no query; leave it out with a pool of queries.")
        self._arms.add([*([] if several else setup.start), *self._draw()])
        if not self._fields():
            setup.note("A duel needs two different prompts, and there are fewer. Give a pool or more starting prompts.")
        if self.proposer and self.mutate_every:
            self.proposer.begin(setup)
        elif self.proposer:
            setup.note("The proposer is not used, since mutate_every is 0.")

    @single_threaded
    def ask(self) -> Sequence[Duel]:
        """The next duels; empty only where there are fewer than two prompts."""
        self._mutate()
        if not (fields := self._fields()):
            return []
        batch = []
        for _ in range(self.batch):
            asked = self._record.asked
            among = fields[asked % len(fields)]
            a, b = self._random_pair(among) if asked < self.n_init else self._choose(among)
            self._record.open(a, b)
            batch.append(Duel(self._arms.prompts[a], self._arms.prompts[b]))
        return batch

    def tell(self, answered: Sequence[tuple[Duel, Preference]], /) -> None:
        """Take answers, in any order."""
        for duel, preference in answered:
            a, b = self._arms.index(duel.a), self._arms.index(duel.b)
            self._record.tell(duel.number, a, b, preference.winner)

    def best(self) -> Prompt:
        """The prompt of the highest utility among those played; the first one until a duel had a winner.

        With several queries: the best reply to each of them, one below the other.
        """
        best = [self._arms.prompts[self._best(among)] for among in self._arms.fields()]
        if not best:
            return self._setup.start[0]
        return best[0] if len(best) == 1 else Prompt(SHEET.join(one.text for one in best), {"step": "the best replies"})

    @single_threaded
    def belief(self) -> Belief:
        """How sure it is of the incumbent, see :mod:`.belief`; the mean over several queries."""
        if not (fields := self._fields()):
            return Belief(1.0, 0)
        return Belief(float(np.mean([self._confidence(among) for among in fields])))

    def prompts(self) -> Sequence[Prompt]:
        """All that may meet in a duel, see :class:`promptopt.core.HasPrompts`."""
        return tuple(self._arms.prompts)

    def add(self, prompts: Sequence[Prompt]) -> int:
        """Prompts that join now, those that the target can take; returns how many were new. Nothing learnt is lost."""
        return self._arms.add(prompt for prompt in prompts if self._setup.problem_with(prompt) is None)

    # ── Left to the algorithm ─────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def _fit(self, duels: Duels) -> Utility:
        """The model fitted to some duels, each of which ended with a winner or a tie."""

    @abstractmethod
    def _choose(self, among: Indices) -> tuple[int, int]:
        """The next two prompts to meet, as indices, out of those in ``among``; there are two at least."""

    # ── How it does the rest ──────────────────────────────────────────────────────────────────────────────────────

    def _fields(self) -> list[Indices]:
        """The prompts that may meet each other: for every query with two replies at least, the indices of these."""
        return [among for among in self._arms.fields() if len(among) > 1]

    def _draw(self) -> list[Prompt]:
        if self.pool is None:
            return []
        if isinstance(self.pool, Begins):
            self.pool.begin(self._setup)
        drawn = (Prompt(text, self._origin(text)) for text in self.pool.draw(self._setup.rng(POOL)))
        usable = (p for p in drawn if p not in self._setup.start and self._setup.problem_with(p) is None)
        return list(islice(usable, self.pool_size))

    def _origin(self, text: str) -> dict[str, Any]:
        query = self.pool.query_of(text) if isinstance(self.pool, HasQueries) else None
        return {"step": "pool"} | ({} if query is None else {"query": query})

    @single_threaded
    def _utility(self) -> Any:
        """The model after the present answers, fitted once."""
        key = self._record.version, len(self._arms)
        if key not in self._models:
            self._models = {key: self._fit(self._record.duels().decided)}
        return self._models[key]

    def _best(self, among: Indices) -> int:
        duels = self._record.duels().decided
        played = duels.played[np.isin(duels.played, among)]
        if not len(played) or not (duels.wins != 0.5).any():
            return int(among[0])
        return int(played[np.argmax(self._utility().mean[played])])

    def _confidence(self, among: Indices) -> float:
        """The probability that the incumbent among some prompts really has the highest utility of them."""
        utility, best = self._utility(), self._best(among)
        gap, deviation = utility.mean - utility.mean[best], utility.uncertainty(best)
        indices = among[likely_rivals(gap[among], deviation[among], int(np.searchsorted(among, best)))]
        return believe(utility.parts(indices), self._setup.rng(BELIEF))

    def _optimistic_pair(self, nu: float, among: Indices) -> tuple[int, int]:
        """The rule of [Lin2024]: the best prompt, and the one that could yet turn out better than it.

        ``first = argmax h(x)`` and ``second = argmax h(x) + ν s(x)`` over the others, s the exploration bonus.
        Opponents whose duel with ``first`` is open, or that nobody could tell apart from it, come last.
        """
        utility = self._utility()
        first = int(among[np.argmax(utility.mean[among])])
        value = utility.mean + nu * utility.exploration_bonus(first, self._record.duels())
        others = among[among != first]
        fresh = others[~np.isin(others, self._record.idle(first))]
        second = fresh if len(fresh) else others
        return first, int(second[np.argmax(value[second])])

    def _random_pair(self, among: Indices) -> tuple[int, int]:
        rng = self._setup.rng(PAIRS, self._record.asked)
        a, b = rng.choice(among, 2, replace=False)
        return int(a), int(b)

    def _mutate(self) -> None:
        """Let the proposer write new prompts from the best and worst played, every ``mutate_every`` answers."""
        due = self._record.answered // self.mutate_every if self.mutate_every else 0
        if self.proposer is None or due <= self._mutations:
            return
        self._mutations = due
        mean, played = self._utility().mean, self._record.duels().decided.played
        ranked = [Scored(self._arms.prompts[i].text, float(mean[i])) for i in sorted(played, key=lambda i: -mean[i])]
        shown = min(SHOWN, len(ranked) // 2)
        good, bad = ranked[:shown], ranked[::-1][:shown]
        origin = {"step": f"mutation {due}", "parents": [one.text for one in good]}
        texts = self.proposer.propose(good, bad, n=WRITTEN) if good else []
        self._setup.count("prompts that joined the pool", self.add([Prompt(text, origin) for text in texts]))


def _ngrams() -> Embedder:
    """The embedder that comes with the package."""
    from ...embedders.ngrams import Ngrams

    embedder: Embedder = Ngrams()
    return embedder
