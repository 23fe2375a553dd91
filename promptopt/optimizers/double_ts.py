"""Double Thompson sampling: a baseline of [Lin2024].

Lin et al., *Prompt Optimization with Human Feedback*, arXiv 2405.17346. Two members of an ensemble of ten utilities are
drawn, and the best prompts by each of them meet; members are drawn again until these two differ.

``fit = "released"`` trains the ensemble of the paper's code, see :mod:`promptopt.optimizers.duels.epinet`. Its members
are drawn until two favourites differ; after six members with the favourite of the first, the second prompt is drawn at
random. The incumbent is the best played by one member, drawn anew after every answer.

By default the ten are drawn from the posterior itself, that of the Gaussian process of
:mod:`promptopt.optimizers.apohf`, anew after every answer: the released members start alike and are trained on the
same duels, so that they hardly disagree about what no duel has touched. Drawing them costs O(n³) for n prompts, so
this is for pools up to about a thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..checks import above_zero
from ..core import Embedder, Setup
from .duels import Duels, DuelSearch, Utility
from .duels.belief import steady
from .duels.epinet import MEMBERS, Epinet, train_members
from .duels.network import draw
from .duels.posterior import GaussianProcess, Kernel, kernels
from .pools import Pool
from .proposers import Proposer

if TYPE_CHECKING:
    from ..core import Array, Indices

REDRAWS, RELEASED_REDRAWS = 30, 6
HIDDEN = (32, 32)
STEPS = 1_000  # rounds of training, as released
WEIGHTS, ENSEMBLE, TURN = (int.from_bytes(key) for key in (b"init", b"ten", b"two"))  # keys of random streams


class DoubleTS(DuelSearch):
    """Duels between the best prompts of two utilities drawn from the posterior.

    Args:
        pool, pool_size, embedder, n_init, batch, proposer, mutate_every: as in
            :class:`promptopt.optimizers.apohf.Apohf`.
        fit: draws from the posterior of the ``gaussian-process``, or the ``released`` ten networks.
        lam: how strongly the released networks are held to their start, above 0.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        *,
        pool: Pool | None = None,
        pool_size: int = 200,
        embedder: Embedder | None = None,
        fit: Literal["gaussian-process", "released"] = "gaussian-process",
        lam: float = 0.1,
        n_init: int = 5,
        batch: int = 1,
        proposer: Proposer | None = None,
        mutate_every: int = 0,
    ) -> None:
        super().__init__(
            pool=pool,
            pool_size=pool_size,
            embedder=embedder,
            batch=batch,
            n_init=n_init,
            proposer=proposer,
            mutate_every=mutate_every,
        )
        above_zero(lam=lam)
        self.fit = fit
        self.lam = lam

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        super().begin(setup)
        if self.fit == "released":
            self._start = draw(setup.rng(WEIGHTS), (self._arms.vectors.shape[1], *HIDDEN, 1))

    def _fit(self, duels: Duels) -> Utility:
        rng, vectors = self._setup.rng(ENSEMBLE, self._record.version), self._arms.vectors
        if self.fit == "gaussian-process":
            return Ensemble(duels, kernels(self._arms), rng=rng)
        members = [self._start] * MEMBERS
        if len(duels.wins):
            members = train_members(self._start, vectors, duels, lam=self.lam, rounds=STEPS, rng=rng)
        return Epinet(members, vectors, rng=rng)

    def _choose(self, among: Indices) -> tuple[int, int]:
        """Where the members keep agreeing, or on a pair that nobody could tell apart, the second is drawn at random."""
        rng = self._setup.rng(TURN, self._record.asked)
        for first, second in self._pairs(self._utility().favourites(among), rng):
            if first != second and second not in self._record.idle(first):
                return first, second
        others, idle = among[among != first], self._record.idle(first)
        return first, int(rng.choice([i for i in others if i not in idle] or others))

    def _pairs(self, favourites: Indices, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Favourites of two members; as released the first of them stays, and the second may be the same member."""
        if self.fit == "released":
            first = int(rng.choice(favourites))
            yield from ((first, int(rng.choice(favourites))) for _ in range(RELEASED_REDRAWS))
        else:
            for _ in range(REDRAWS):
                first, second = (int(index) for index in rng.choice(favourites, 2, replace=False))
                yield first, second


class Ensemble(GaussianProcess):
    """A Gaussian process with ten utilities drawn from it."""

    def __init__(self, duels: Duels, kernels: Sequence[Kernel], *, rng: np.random.Generator) -> None:
        super().__init__(duels, kernels)
        self._rng = rng

    def favourites(self, among: Indices) -> Indices:
        """``(10,)``: the index of the best prompt by each of them, among some."""
        indices: Indices = among[np.argmax(self._draws[:, among], axis=1)]
        return indices

    @cached_property
    def _draws(self) -> Array:
        """``(10, n)``: the utilities by each."""
        parts = self.parts(np.arange(len(self.mean)))
        of = self._rng.choice(len(parts), MEMBERS, p=[weight for weight, _, _ in parts])
        roots = {int(i): np.linalg.cholesky(steady(parts[i][2])) for i in np.unique(of)}
        return np.stack([parts[i][1] + roots[int(i)] @ self._rng.standard_normal(len(self.mean)) for i in of])
