"""Double Thompson sampling: a baseline of [Lin2024].

Lin et al., *Prompt Optimization with Human Feedback*, arXiv 2405.17346. Two members of an ensemble of ten utilities are
drawn, and the best prompts by each of them meet; members are drawn again until these two differ.

We differ in the ensemble. The paper trains an epinet, ten small networks whose disagreement stands for a posterior;
here the ten are drawn from the posterior itself, that of the Gaussian process of :mod:`promptopt.optimizers.apohf`,
anew after every answer. Drawing them costs O(n³) for n prompts, so this is for pools up to about a thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..core import Embedder
from .belief import steady
from .duels import Duels, DuelSearch, Utility
from .pools import Pool
from .posterior import GaussianProcess, Kernel, kernels
from .proposers import Proposer

if TYPE_CHECKING:
    from .arms import Places

MEMBERS = 10
REDRAWS = 30
ENSEMBLE, TURN = int.from_bytes(b"ten"), int.from_bytes(b"two")  # keys of random streams


class DoubleTS(DuelSearch):
    """Duels between the best prompts of two utilities drawn from the posterior.

    Args:
        pool, pool_size, embedder, n_init, batch, proposer, mutate_every: as in
            :class:`promptopt.optimizers.apohf.Apohf`.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        *,
        pool: Pool | None = None,
        pool_size: int = 200,
        embedder: Embedder | None = None,
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

    def _fit(self, duels: Duels) -> Utility:
        return Ensemble(duels, kernels(self._arms), rng=self._setup.rng(ENSEMBLE, self._record.version))

    def _choose(self) -> tuple[int, int]:
        """Where the members keep agreeing, or on a pair that nobody could tell apart, the second is drawn at random."""
        rng = self._setup.rng(TURN, self._record.asked)
        favourites = self._utility().favourites
        for _ in range(REDRAWS):
            first, second = (int(place) for place in rng.choice(favourites, 2, replace=False))
            if first != second and second not in self._record.idle(first):
                return first, second
        others = [i for i in range(len(self._arms)) if i != first]
        idle = self._record.idle(first)
        return first, int(rng.choice([i for i in others if i not in idle] or others))


class Ensemble(GaussianProcess):
    """A Gaussian process with ten utilities drawn from it."""

    def __init__(self, duels: Duels, kernels: Sequence[Kernel], *, rng: np.random.Generator) -> None:
        super().__init__(duels, kernels)
        self._rng = rng

    @cached_property
    def favourites(self) -> Places:
        """``(10,)``: the place of the best prompt by each of them."""
        parts = self.parts(np.arange(len(self.mean)))
        of = self._rng.choice(len(parts), MEMBERS, p=[weight for weight, _, _ in parts])
        roots = {int(i): np.linalg.cholesky(steady(parts[i][2])) for i in np.unique(of)}
        draws = [parts[i][1] + roots[int(i)] @ self._rng.standard_normal(len(self.mean)) for i in of]
        places: Places = np.argmax(draws, axis=1)
        return places
