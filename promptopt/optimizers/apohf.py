"""APOHF: a dueling bandit over a pool of prompts, for when there are only preferences [Lin2024].

Lin et al., *Prompt Optimization with Human Feedback*, arXiv 2405.17346.

A model of the latent utility h is fitted to all duels so far, ``P(a beats b) = σ(h(a) - h(b))``. The first prompt of
the next duel is the one of the highest utility, the second maximises ``h(x) + ν ‖g(x) - g(first)‖`` in the norm of V⁻¹,
``V = λI + Σ (g(a) - g(b))(g(a) - g(b))ᵀ`` over the duels asked: it is good, or unlike what the first has met.

================== ======================== ========================= ==============================================
what               paper and code           default here              why it differs
================== ======================== ========================= ==============================================
utility            a network, 2 x 32, ReLU  a Gaussian process        a random network of 25,697 weights has strong
                                                                      opinions of its own that a hundred duels do
                                                                      not correct
fit                1,000 steps of Adam      Newton's method           convex: one answer, in milliseconds
scale of utility   weight decay             marginal likelihood       how sharp answers are is not known beforehand
norm               the diagonal of V        all of V                  affordable in the dual: as large as the number
                                                                      of prompts played
a duel in V        counts 1                 counts ¼                  the most that an answer can say
ν                  1                        2                         did better on made-up utilities
random duels first 5                        5
ties, cannot tell  none                     see :class:`DuelSearch`
================== ======================== ========================= ==============================================

``fit = "released"`` is the recipe of the released code: the network, its gradients g at the fitted weights, N(0, 1)
initial weights and biases (the same in every round), weight decay λ/(t + 50), the diagonal norm, λ 0.1, and ν under
the root: ``h(x) + √(ν (g(x) - g(first))ᵀ diag(V)⁻¹ (g(x) - g(first)))``. We differ from the code in two ways. It
builds V as (25,697, 25,697) to take its diagonal; here nothing larger than the pool's embeddings is made, with equal
results. And it fixes the global seed, so that every run has the same network; here the network is the run's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..checks import above_zero, at_least
from ..core import Embedder, Setup
from ..errors import UserError
from .duels import Duels, DuelSearch, Utility
from .duels.network import Gradients, draw, gradients, train
from .duels.posterior import Fitted, GaussianProcess, Posterior, kernels
from .pools import Pool
from .proposers import Proposer

if TYPE_CHECKING:
    from ..core import Array, Indices

WEIGHTS = int.from_bytes(b"init")  # key of the random stream of the initial weights
NU = {"gaussian-process": 2.0, "released": 1.0}
HIDDEN = (32, 32)
STEPS = 1_000  # of Adam
SHRINK = 50  # weight decay is λ/(t + 50)


class Apohf(DuelSearch):
    """Duels between the best prompt so far and the one that could be better, chosen by a model of their utility.

    Ties, "cannot tell", open duels and batches are as in :class:`promptopt.optimizers.duels.DuelSearch`.

    Args:
        pool: where prompts are drawn from, beside the starting prompts; without one, these are the pool.
        pool_size: how many prompts are drawn.
        embedder: what the utility knows prompts by; ``ngrams`` by default, which needs no download.
        fit: the model of the utility: ``gaussian-process``, or the ``released`` network.
        norm: of the exploration, ``diagonal`` or ``full``. By default the released network has the diagonal one, as
            released. The Gaussian process has the full one alone.
        nu: how much the second prompt is to explore, 0 or more; by default 1 for the released network, where it stands
            under the root, and 2 for the Gaussian process, where it does not.
        lam: λ of the released network; the Gaussian process learns its own.
        n_init: random duels before the first chosen one.
        batch: duels asked at a time, for several annotators.
        proposer: writes new prompts from the best and worst ones played, which join the pool.
        mutate_every: answers between two calls of the proposer; 0 turns it off.

    Raises:
        UserError: a number is out of range, or the diagonal norm is asked of the Gaussian process.
    """

    def __init__(
        self,
        *,
        pool: Pool | None = None,
        pool_size: int = 200,
        embedder: Embedder | None = None,
        fit: Literal["gaussian-process", "released"] = "gaussian-process",
        norm: Literal["diagonal", "full"] | None = None,
        nu: float | None = None,
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
        nu = nu if nu is not None else NU[fit]
        at_least(0, nu=nu)
        above_zero(lam=lam)
        if fit == "gaussian-process" and norm == "diagonal":
            raise UserError('norm = "diagonal" goes with fit = "released": the default fit has no weights to list.')
        self.fit = fit
        self.norm = norm or ("diagonal" if fit == "released" else "full")
        self.nu = nu
        self.lam = lam

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        super().begin(setup)
        if self.fit == "released":
            self._start = draw(setup.rng(WEIGHTS), (self._arms.vectors.shape[1], *HIDDEN, 1))

    def _fit(self, duels: Duels) -> Utility:
        if self.fit == "gaussian-process":
            return GaussianProcess(duels, kernels(self._arms))
        vectors, weights, played = self._arms.vectors, self._start, duels.played
        if t := len(duels.wins):
            a, b = np.searchsorted(played, duels.a), np.searchsorted(played, duels.b)
            decay = self.lam / (t + SHRINK)
            weights = train(self._start, vectors[played], a, b, duels.wins, decay=decay, steps=STEPS)
        mean, slopes = gradients(weights, vectors)
        return Network(mean, slopes, duels, lam=self.lam, norm=self.norm)

    def _choose(self, among: Indices) -> tuple[int, int]:
        return self._optimistic_pair(self.nu**0.5 if self.fit == "released" else self.nu, among)


class Network(Fitted):
    """A fitted network, linearised at its weights: the utility of the paper.

    Attributes:
        mean: ``(n,)``, the network's outputs.
    """

    def __init__(
        self, mean: Array, slopes: Gradients, decided: Duels, *, lam: float, norm: Literal["diagonal", "full"]
    ) -> None:
        super().__init__(mean, Tangent(slopes, lam), decided)
        self._slopes = slopes
        self._lam = lam
        self._norm = norm

    def exploration_bonus(self, first: int, duels: Duels) -> Array:
        """``(n,)``: ``‖g(x) - g(first)‖`` in the norm of V⁻¹, or in that of V's diagonal."""
        if self._norm == "full":
            return np.sqrt(Posterior(self.kernel, duels, np.ones(len(duels.wins))).variance(first))
        g, one = self._slopes, self._slopes[[first]]
        a, b = g[duels.a], g[duels.b]
        sums = zip(a.sum_of_products(a), a.sum_of_products(b), b.sum_of_products(b), strict=True)
        inverse = [1 / (self._lam + aa - 2 * ab + bb) for aa, ab, bb in sums]
        squared = g.weighted(g, inverse) - 2 * g.weighted(one, inverse) + one.weighted(one, inverse)
        return np.sqrt(np.maximum(squared, 0.0))


class Tangent:
    """The kernel of the linearised network: ``g(x)·g(y)/λ``."""

    def __init__(self, slopes: Gradients, lam: float) -> None:
        self._slopes = slopes
        self._lam = lam
        self.diagonal: Array = slopes.squares() / lam

    def columns(self, indices: Indices) -> Array:
        """See :class:`promptopt.optimizers.duels.posterior.Kernel`."""
        return self._slopes.inner(self._slopes[indices]) / self._lam

    def block(self, indices: Indices) -> Array:
        """See :class:`promptopt.optimizers.duels.posterior.Kernel`."""
        return self._slopes[indices].inner(self._slopes[indices]) / self._lam
