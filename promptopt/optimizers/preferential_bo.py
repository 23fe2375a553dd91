"""Preferential Bayesian optimization with BoTorch: what a user could reach for instead of the bandit of [Lin2024].

A Gaussian process over embeddings is fitted to the duels, and the pair whose better one is expected to be best meets
next (EUBO [Lin2022]). The interface is that of ``apohf``.

Lin, Astudillo, Frazier and Bakshy, *Preference Exploration for Efficient Bayesian Optimization with Multiple Outcomes*,
AISTATS 2022, arXiv 2203.11382.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from ..checks import at_least
from ..core import Embedder
from ..errors import require
from .duels import Duels, DuelSearch
from .pools import Pool
from .proposers import Proposer

if TYPE_CHECKING:
    from ..core import Array, Indices
    from .duels.pairwise_gp import PairwisePosterior

__all__ = ["PreferentialBO", "eubo", "project"]

LEADERS = 1000  # prompts whose pairs are looked at
LAST = 1e9  # taken off what a pair is worth that was asked before


class PreferentialBO(DuelSearch):
    """BoTorch's ``PairwiseGP`` and EUBO over a pool of prompts.

    A Gaussian process with a length for each dimension learns little in the hundreds of dimensions of an embedding, so
    embeddings are projected on the first principal components of the pool and scaled into the unit cube, all by the
    same factor. The likelihood is the logistic one, as in ``apohf``, and not BoTorch's default, the probit.

    The process knows wins alone: a tie enters as a win of either side, which draws the two utilities together and
    weighs as much as two duels. "Cannot tell" and open duels teach nothing. EUBO takes answers to be free of noise, so
    no pair is asked again while there are others. In a pool of more than 1,000 prompts the pairs of the 1,000 with the
    highest mean plus two standard deviations are looked at.

    The incumbent is the prompt with the highest posterior mean among those played.

    Args:
        pool: where prompts come from, beside those that the user starts from.
        pool_size: prompts drawn from it.
        embedder: turns prompts into vectors; hashed n-grams by default.
        dimensions: principal components kept.
        batch: duels asked at a time.
        n_init: duels of random pairs before the first that is chosen.
        proposer: writes new prompts from the best and worst so far.
        mutate_every: answers between its turns; 0 is never.

    Raises:
        UserError: a number is out of range.
        MissingExtra: BoTorch is not installed.
    """

    def __init__(
        self,
        *,
        pool: Pool | None = None,
        pool_size: int = 200,
        embedder: Embedder | None = None,
        dimensions: int = 16,
        batch: int = 1,
        n_init: int = 5,
        proposer: Proposer | None = None,
        mutate_every: int = 0,
    ) -> None:
        require("botorch", extra="bo")
        at_least(1, dimensions=dimensions)
        super().__init__(
            pool=pool,
            pool_size=pool_size,
            embedder=embedder,
            batch=batch,
            n_init=n_init,
            proposer=proposer,
            mutate_every=mutate_every,
        )
        self.dimensions = dimensions
        self._cube: Array = np.empty((0, 0))

    def _fit(self, duels: Duels) -> PairwisePosterior:  # type: ignore[override]  # EUBO needs no exploration bonus
        """The process after the duels; a tie is a win of either side."""
        from .duels.pairwise_gp import PairwisePosterior

        wins: list[tuple[int, int]] = []
        for a, b, win in zip(duels.a.tolist(), duels.b.tolist(), duels.wins, strict=True):
            wins += [(a, b)] * int(win > 0) + [(b, a)] * int(win < 1)
        return PairwisePosterior(self._points(), wins)

    def _choose(self, among: Indices) -> tuple[int, int]:
        """The pair of the highest EUBO; the one of the higher mean comes first."""
        posterior: PairwisePosterior = self._utility()
        bound = posterior.mean + 2 * np.sqrt(np.maximum(posterior.variance, 0))
        leaders = np.sort(among[np.argsort(-bound[among], kind="stable")[:LEADERS]])
        value = eubo(*posterior.joint(leaders))
        np.fill_diagonal(value, -np.inf)
        duels, at = self._record.duels(), np.full(len(posterior.mean), -1)
        at[leaders] = np.arange(len(leaders))
        met = np.stack([at[duels.a], at[duels.b]])
        i, j = met[:, (met >= 0).all(axis=0)]
        value[i, j] = value[j, i] = value[i, j] - LAST
        i, j = divmod(int(np.argmax(value)), len(leaders))
        a, b = int(leaders[i]), int(leaders[j])
        return (a, b) if posterior.mean[a] >= posterior.mean[b] else (b, a)

    def _points(self) -> Array:
        """The prompts in the unit cube, projected anew when some have joined."""
        if len(self._cube) != len(self._arms):
            self._cube = project(self._arms.vectors, self.dimensions)
        return self._cube


def project(embeddings: Array, dimensions: int) -> Array:
    """Embeddings ``(n, d)`` on their first principal components, scaled into the unit cube: ``(n, k)``.

    All components are divided by the widest one's range, so that distances keep their proportions. There are at most
    ``n - 1`` and ``d`` components, and none on which the points do not differ.
    """
    centred = embeddings - embeddings.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    k = max(1, min(dimensions, int((s > 1e-9 * max(1.0, s[0])).sum())))
    components = u[:, :k] * s[:k]
    components -= components.min(axis=0)
    widest = components.max()
    cube: Array = components / widest if widest > 0 else components
    return cube


def eubo(mean: Array, covariance: Array) -> Array:
    """Expected utility of the better of each two of n points: ``(n, n)``, from their joint posterior.

    ``E max(f_a, f_b) = μ_a Φ(u) + μ_b Φ(-u) + s φ(u)`` with ``s² = var(f_a - f_b)`` and ``u = (μ_a - μ_b) / s``.
    BoTorch's ``AnalyticExpectedUtilityOfBestOption`` gives the same, pair by pair, in hundreds of times the time.
    """
    variance = np.diagonal(covariance)
    s = np.sqrt(np.maximum(variance[:, None] + variance - 2 * covariance, 1e-12))
    u = (mean[:, None] - mean) / s
    better: Array = mean[:, None] * ndtr(u) + mean * ndtr(-u) + s * np.exp(-u * u / 2) / np.sqrt(2 * np.pi)
    return better
