"""BoTorch's Gaussian process over preferences [Chu2005], fitted by Laplace's approximation.

Chu and Ghahramani, *Preference Learning with Gaussian Processes*, ICML 2005.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models.likelihoods.pairwise import PairwiseLogitLikelihood
from botorch.models.pairwise_gp import PairwiseGP, PairwiseLaplaceMarginalLogLikelihood

if TYPE_CHECKING:
    from ...core import Array, Indices

__all__ = ["PairwisePosterior"]

DECIMALS = 4  # points that agree in so many are one: there is nothing to learn from their duels
_ONE_AT_A_TIME = threading.RLock()
AT_ONCE = 1000  # points whose covariance is computed together where only variances are wanted


class PairwisePosterior:
    """What duels between points of the unit cube tell about the latent utility of all of them, in log-odds.

    The kernel is BoTorch's default for preferences: squared exponential, with a length for each dimension.

    Args:
        x: ``(n, k)`` points.
        wins: pairs of indices in ``x``, the winner first; without any, the posterior is the prior. Duels between points
            that coincide are left out.
    """

    def __init__(self, x: Array, wins: Sequence[tuple[int, int]]) -> None:
        self._x = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64))
        points, pairs = _apart(x, wins)
        with _quiet():
            likelihood = PairwiseLogitLikelihood()
            self._model = PairwiseGP(points, pairs, likelihood=likelihood, consolidate_atol=0.0).double().eval()
            if pairs is not None:
                _fit(PairwiseLaplaceMarginalLogLikelihood(likelihood, self._model))

    @cached_property
    def mean(self) -> Array:
        """``(n,)``"""
        return self._moments[0]

    @cached_property
    def variance(self) -> Array:
        """``(n,)``"""
        return self._moments[1]

    def uncertainty(self, first: int) -> Array:
        """``(n,)``: standard deviations of ``h(x) - h(first)``."""
        return np.concatenate([self._deviation(first, indices) for indices in self._chunks()])

    def parts(self, indices: Indices) -> list[tuple[float, Array, Array]]:
        """Mean and covariance at some of the points, as a mixture with one part."""
        return [(1.0, *self.joint(indices))]

    def joint(self, indices: Indices) -> tuple[Array, Array]:
        """Mean ``(m,)`` and covariance ``(m, m)`` of the utility at m of the points."""
        with torch.no_grad(), _quiet():
            found: Any = self._model.posterior(self._x[torch.from_numpy(indices)])
            return found.mean.squeeze(-1).numpy(), found.distribution.covariance_matrix.numpy()

    @cached_property
    def _moments(self) -> tuple[Array, Array]:
        parts = [self.joint(indices) for indices in self._chunks()]
        return np.concatenate([m for m, _ in parts]), np.concatenate([np.diagonal(c) for _, c in parts])

    def _deviation(self, first: int, indices: Indices) -> Array:
        _, cov = self.joint(np.append(indices, first))
        variance = np.diagonal(cov) + cov[-1, -1] - 2 * cov[-1]
        deviation: Array = np.sqrt(np.maximum(variance[:-1], 0))
        return deviation

    def _chunks(self) -> list[Indices]:
        indices = np.arange(len(self._x))
        return [indices[i : i + AT_ONCE] for i in range(0, len(indices), AT_ONCE)]


def _apart(x: Array, wins: Sequence[tuple[int, int]]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The distinct points that met, rounded, and the pairs of them. BoTorch fails where a point meets itself."""
    if not wins:
        return None, None
    ends = np.round(x[np.array(wins).ravel()], DECIMALS)
    points, indices = np.unique(ends, axis=0, return_inverse=True)
    pairs = indices.reshape(-1, 2)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return (torch.from_numpy(points), torch.from_numpy(pairs)) if len(pairs) else (None, None)


def _fit(mll: Any) -> None:
    """Fit the kernel's lengths and scale.

    A line search that ends abnormally has still come far; BoTorch would throw its result away. Where the kernel's
    matrix cannot be inverted at all, the lengths stay those of the prior.
    """
    try:
        fit_gpytorch_mll(mll, warning_handler=lambda warning: True)
    except ModelFittingError:
        mll.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, and global generators that are seeded inside and outside as they were: BoTorch draws from them.

    Both belong to the whole process, so only one thread at a time is in here. One that draws from them elsewhere
    meanwhile, which nothing of ours does, would draw the same again.
    """
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        state = np.random.get_state()
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(state)
