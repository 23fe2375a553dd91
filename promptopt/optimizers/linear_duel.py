"""The linear dueling bandit: a baseline of [Lin2024], and the choice where the utility is known to be linear.

Lin et al., *Prompt Optimization with Human Feedback*, arXiv 2405.17346. The rule of :mod:`promptopt.optimizers.apohf`
with ``h(x) = w·x`` on the embeddings x and V over differences of embeddings.

============== ======================================= ===============================================================
what           ``released``                            ``penalised``, the default: why it differs
============== ======================================= ===============================================================
w              1,000 steps of Adam on the mean binary  logistic regression with the penalty ``λ/2 ‖w‖²``, by Newton's
               cross-entropy, no penalty, from the     method: without a penalty w grows with the number of steps, and
               same small random w in every round      how large it is decides how much is explored
V              its diagonal, without λ (10⁻¹⁰ is       all of V with λ, exact in the dual: a direction that no duel has
               added)                                  touched has a finite norm
ν              under the root                          before the norm
============== ======================================= ===============================================================

The released code draws w from a fixed global seed; here it is drawn from the run's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..checks import above_zero, at_least
from ..core import Embedder, Setup
from .duels import Duels, DuelSearch, Utility
from .duels.network import train
from .duels.posterior import Embedded, Fitted, GaussianProcess, Kernel
from .pools import Pool
from .proposers import Proposer

if TYPE_CHECKING:
    from ..core import Array, Indices
    from .duels.arms import Arms
    from .duels.network import Weights

WEIGHTS = int.from_bytes(b"init")  # key of the random stream of the initial weights
STEPS = 1_000  # of Adam
NO_ZERO = 1e-10  # added to the diagonal of V, as released


class LinearDuel(DuelSearch):
    """Duels chosen by a linear model of the utility.

    Args:
        pool, pool_size, embedder, n_init, batch, proposer, mutate_every: as in
            :class:`promptopt.optimizers.apohf.Apohf`.
        fit: logistic regression that is ``penalised``, or what the paper's code has, ``released``.
        nu: how much the second prompt is to explore, 0 or more; under the root with ``fit = "released"``.
        lam: the penalty λ, above 0; with ``fit = "released"`` only the belief knows it.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        *,
        pool: Pool | None = None,
        pool_size: int = 200,
        embedder: Embedder | None = None,
        fit: Literal["penalised", "released"] = "penalised",
        nu: float = 1.0,
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
        at_least(0, nu=nu)
        above_zero(lam=lam)
        self.fit = fit
        self.nu = nu
        self.lam = lam

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        super().begin(setup)
        if self.fit == "released":
            self._start = draw(setup.rng(WEIGHTS), self._arms.vectors.shape[1])

    def _fit(self, duels: Duels) -> Utility:
        kernel = Embedded(self._arms, 1 / self.lam)
        if self.fit == "penalised":
            return GaussianProcess(duels, [kernel], counts=1.0)
        weights, played = self._start, duels.played
        if len(duels.wins):
            a, b = np.searchsorted(played, duels.a), np.searchsorted(played, duels.b)
            weights = train(self._start, self._arms.vectors[played], a, b, duels.wins, decay=0.0, steps=STEPS)
        return Linear(self._arms.vectors @ weights[0][0, :-1], kernel, duels, self._arms)

    def _choose(self, among: Indices) -> tuple[int, int]:
        return self._optimistic_pair(self.nu**0.5 if self.fit == "released" else self.nu, among)


def draw(rng: np.random.Generator, d: int) -> Weights:
    """A layer ``(1, d + 1)``: w as torch draws a linear layer's, uniform within ``±1/√d``, and a bias of 0.

    The released layer has no bias; here it cancels in every duel.
    """
    return [np.append(rng.uniform(-1, 1, d) / np.sqrt(d), 0.0)[None]]


class Linear(Fitted):
    """The linear utility as released."""

    def __init__(self, mean: Array, kernel: Kernel, decided: Duels, arms: Arms) -> None:
        super().__init__(mean, kernel, decided)
        self._vectors = arms.vectors

    def exploration_bonus(self, first: int, duels: Duels) -> Array:
        """``(n,)``: ``‖x - first‖`` in the norm of the inverse of V's diagonal, ``Σ (a - b)²`` without λ."""
        x = self._vectors
        diagonal = np.sum((x[duels.a] - x[duels.b]) ** 2, axis=0) + NO_ZERO
        norm: Array = np.sqrt(np.sum((x - x[first]) ** 2 / diagonal, axis=1))
        return norm
