"""What duels say about utilities that are jointly normal: exact linear algebra, as large as the prompts played.

A linear utility ``h(x) = θ·g(x)`` with ``θ ~ N(0, I/λ)`` and a Gaussian process are the same thing, written with the
kernel ``K(x, y) = g(x)·g(y)/λ``. The notation, here and in the comments below, for n prompts of which m were played in
t duels::

    h(x)                             the utility of a prompt, in log-odds
    g(x)   (P,)                      gradient or embedding of a prompt, P parameters
    R      (m, m)                    lower Cholesky factor, R Rᵀ = K(played, played)
    f(x)   (m,)                      whitened features, K(x, played) R⁻ᵀ; of the played prompts they are the rows of R
    A      (t, m)                    f(a) - f(b) of the two sides of each duel
    S      (t, t)                    diagonal, the duels' weights s
    y      (t,)                      targets: 1 where a won, 0 where b did, ½ for a tie
    v      (m,)                      weights of the features, a priori N(0, I); h(x) = f(x)·v is the mean
    z = A v,  p = σ(z)   (t,)        log-odds and probability that a wins

Features hold all that duels can teach. By Woodbury's identity::

    V = λI + Σ s (g(a) - g(b))(g(a) - g(b))ᵀ                           (P, P), never made
    g(x)ᵀ V⁻¹ g(y) = K(x, y) - f(x)·f(y) + f(x)ᵀ (I + AᵀSA)⁻¹ f(y)

Weights of 1 give the norm of [Lin2024]. For the posterior after Bradley-Terry duels a duel counts
``s = tanh(z/2) / 2z``: the curvature of the tightest quadratic bound on its log-likelihood (Jaakkola and Jordan,
*Statistics and Computing* 10, 2000). Laplace's ``p(1-p)`` is the same for even sides and next to nothing for clear
ones, as if a clear win did not rule out that the loser is much better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.special import expit

if TYPE_CHECKING:
    from ...core import Array, Indices
    from . import Duels
    from .arms import Arms
    from .belief import Part

JITTER = 1e-9  # of the mean variance: prompts with equal embeddings are allowed
NEWTON_STEPS, ENOUGH = 50, 1e-6
LENGTHS = (0.5, 1.0, 2.0)  # of the median distance
SCALES = (1.0, 6.0, 36.0, 216.0)  # variances of the utility, in log-odds²
KEPT, NEGLIGIBLE = 6, 0.02  # mixture: components at most, and the share of the largest weight that is left out
ROUNDING = 1e-12  # of the mean squared length of embeddings: below it a distance is taken for zero
SAMPLE = 500  # prompts that the median distance is taken over


class Kernel(Protocol):
    """Prior covariances of the utilities, ``K(x, y)``."""

    @property
    def diagonal(self) -> Array:
        """``(n,)``: the prior variances."""

    def columns(self, indices: Indices) -> Array:
        """``(n, k)``: covariances of all prompts with k of them."""

    def block(self, indices: Indices) -> Array:
        """``(k, k)``: covariances of k prompts with each other."""


@dataclass(frozen=True)
class Mode:
    """Laplace's approximation for weights ``v ~ N(0, I)`` after duels.

    Attributes:
        v: ``(m,)``, the weights of the highest posterior density.
        evidence: the log of the marginal likelihood of the answers: ``-L(v) - ½ log det H``, see :func:`laplace`.
    """

    v: Array
    evidence: float


def laplace(differences: Array, wins: Array) -> Mode:
    """The mode of the weights after Bradley-Terry duels, by Newton's method with step halving. Minimised is::

        L(v) = Σ (log(1 + exp(z)) - y z) + ½ v·v         z = A v
        ∇L = Aᵀ(p - y) + v                               p = σ(z)
        H = I + AᵀSA                                     s = p(1 - p)

    Args:
        differences: A, ``(t, m)``.
        wins: y, ``(t,)``, in [0, 1].
    """
    v = np.zeros(differences.shape[1])
    loss = _loss(v, differences, wins)
    for _ in range(NEWTON_STEPS):
        chance = expit(differences @ v)
        slope = differences.T @ (chance - wins) + v
        step = cho_solve(cho_factor(_precision(differences, chance * (1 - chance)), lower=True), slope)
        new, size = _loss(v - step, differences, wins), 1.0
        while new > loss and size > 1e-6:
            size /= 2
            new = _loss(v - size * step, differences, wins)
        gain = loss - new
        if gain > 0:
            v, loss = v - size * step, new
        if gain <= ENOUGH:
            break
    chance = expit(differences @ v)
    curvature = chance * (1 - chance)
    root = cholesky(_precision(differences, curvature))
    return Mode(v, -loss - float(np.log(np.diagonal(root)).sum()))  # the sum of logs is ½ log det H


def information(gap: Array) -> Array:
    """``(t,)``: the weights ``s = tanh(z/2) / 2z`` of duels with the log-odds z; at most ¼, where z is 0."""
    size = np.maximum(np.abs(gap), 1e-6)
    return np.asarray(np.tanh(size / 2) / (2 * size))


def _loss(v: Array, differences: Array, wins: Array) -> float:
    """``L(v)``, see :func:`laplace`."""
    z = differences @ v
    return float(np.sum(np.logaddexp(0, z) - wins * z) + v @ v / 2)


def _precision(differences: Array, weights: Array) -> Array:
    """``I + AᵀSA``, ``(m, m)``: the posterior precision of v."""
    return np.eye(differences.shape[1]) + differences.T @ (weights[:, None] * differences)


class Posterior:
    """Covariances of utilities after duels: ``g(x)ᵀ V⁻¹ g(y)``, see the module.

    Args:
        kernel: the prior.
        duels: the t duels; their answers are not looked at.
        weights: ``(t,)``: what each of them counts, s.

    Attributes:
        features: ``(n, m)``: f(x) of every prompt.
    """

    def __init__(self, kernel: Kernel, duels: Duels, weights: Array) -> None:
        played = duels.played
        self._kernel = kernel
        self.features = _whiten(kernel.columns(played), _root(kernel.block(played)))
        differences = self.features[duels.a] - self.features[duels.b]
        # (n, m): f(x)ᵀ L⁻ᵀ with L Lᵀ = I + AᵀSA, so that the rows' inner products are f(x)ᵀ (I + AᵀSA)⁻¹ f(y)
        self._left = _whiten(self.features, cholesky(_precision(differences, weights)))

    def variance(self, first: int) -> Array:
        """``(n,)``: of ``h(x) - h(first)``; for weights of 1 the squared norm of [Lin2024].

        The variance before any duel, less what the duels could teach, and what they left uncertain of that.
        """
        index = np.array([first])
        prior = self._kernel.diagonal + self._kernel.diagonal[first] - 2 * self._kernel.columns(index)[:, 0]
        known = np.sum((self.features - self.features[first]) ** 2, axis=1)
        left = np.sum((self._left - self._left[first]) ** 2, axis=1)
        return np.asarray(np.maximum(prior - known + left, 0.0))

    def covariance(self, indices: Indices) -> Array:
        """``(k, k)``: of the utilities of some prompts."""
        features, left = self.features[indices], self._left[indices]
        covariance: Array = self._kernel.block(indices) - features @ features.T + left @ left.T
        return covariance


def cholesky(matrix: Array) -> Array:
    """The lower factor."""
    return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)


def _root(block: Array) -> Array:
    """The lower Cholesky factor of a covariance that may be singular."""
    jitter = JITTER * float(np.mean(np.diagonal(block))) if len(block) else 0.0
    return cholesky(block + max(jitter, 1e-300) * np.eye(len(block)))


def _whiten(rows: Array, root: Array) -> Array:
    """``rows @ root⁻ᵀ``"""
    if not len(root):
        return rows
    whitened: Array = solve_triangular(root, rows.T, lower=True, check_finite=False).T
    return whitened


class Fitted:
    """Utilities whose means were fitted in another way, such as by a network; their covariances are a kernel's.

    Args:
        mean: ``(n,)``, the utilities.
        kernel: their prior.
        decided: the duels that they were fitted to.
    """

    def __init__(self, mean: Array, kernel: Kernel, decided: Duels) -> None:
        self.mean = mean
        self.kernel = kernel
        self._decided = decided

    def uncertainty(self, first: int) -> Array:
        """``(n,)``: standard deviations of ``h(x) - h(first)``."""
        return np.sqrt(self._posterior.variance(first))

    def parts(self, indices: Indices) -> list[Part]:
        """See :class:`promptopt.optimizers.duels.Utility`."""
        return [(1.0, self.mean[indices], self._posterior.covariance(indices))]

    @cached_property
    def _posterior(self) -> Posterior:
        gap = self.mean[self._decided.a] - self.mean[self._decided.b]
        return Posterior(self.kernel, self._decided, information(gap))


# ── A Gaussian process over embeddings ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Embedded:
    """A kernel of embeddings: ``scale * exp(-‖x - y‖² / 2 length²)``; without a length it is ``scale * x·y``."""

    arms: Arms
    scale: float
    length: float | None = None

    @property
    def diagonal(self) -> Array:
        """See :class:`Kernel`."""
        if self.length is None:
            return self.scale * self.arms.squares
        return np.full(len(self.arms), self.scale)

    def columns(self, indices: Indices) -> Array:
        """See :class:`Kernel`."""
        return self._of(self.arms.inner(indices), self.arms.squares, self.arms.squares[indices])

    def block(self, indices: Indices) -> Array:
        """See :class:`Kernel`."""
        squares = self.arms.squares[indices]
        return self._of(self.arms.inner_block(indices), squares, squares)

    def _of(self, inner: Array, rows: Array, columns: Array) -> Array:
        """The kernel from inner products ``(n, k)`` and the squared lengths of rows ``(n,)`` and columns ``(k,)``."""
        if self.length is None:
            return self.scale * inner
        squared = np.maximum(rows[:, None] + columns - 2 * inner, 0.0)
        kernel: Array = self.scale * np.exp(squared / (-2 * self.length**2))
        return kernel


class GaussianProcess:
    """Utilities under a prior that is learnt: a mixture over kernels, each weighted by its marginal likelihood.

    The kernels are the linear one and radial ones of several lengths, each with several variances of the utility, so
    neither how sharply answers decide nor how smooth the utility is has to be known.

    Args:
        duels: with answers, all of them.
        counts: the weight of a duel in :meth:`exploration_bonus`: ¼ is the most that an answer can say, 1 is what the
            paper takes.
    """

    def __init__(self, duels: Duels, kernels: Sequence[Kernel], *, counts: float = 0.25) -> None:
        self._counts = counts
        modes = [_mode(kernel, duels) for kernel in kernels]
        evidence = np.array([mode.evidence for mode in modes])
        weights = np.exp(evidence - evidence.max())
        kept = [int(i) for i in np.argsort(-weights, kind="stable")[:KEPT] if weights[i] >= NEGLIGIBLE]
        self._weights = weights[kept] / weights[kept].sum()
        self._kernels = [kernels[i] for i in kept]
        self._means = [_predict(kernels[i], duels.played, modes[i].v) for i in kept]
        gaps = [mean[duels.a] - mean[duels.b] for mean in self._means]
        self._posteriors = [Posterior(k, duels, information(gap)) for k, gap in zip(self._kernels, gaps, strict=True)]
        self.mean: Array = np.average(self._means, axis=0, weights=self._weights)

    def exploration_bonus(self, first: int, duels: Duels) -> Array:
        """``(n,)``: how little duels can have said about ``h(x) - h(first)``, whatever their answers were."""
        return self._deviation(
            first, [Posterior(k, duels, np.full(len(duels.wins), self._counts)) for k in self._kernels]
        )

    def uncertainty(self, first: int) -> Array:
        """``(n,)``: standard deviations of ``h(x) - h(first)``."""
        return self._deviation(first, self._posteriors)

    def parts(self, indices: Indices) -> list[Part]:
        """See :class:`promptopt.optimizers.duels.Utility`."""
        parts = zip(self._weights, self._means, self._posteriors, strict=True)
        return [(float(weight), mean[indices], posterior.covariance(indices)) for weight, mean, posterior in parts]

    def _deviation(self, first: int, posteriors: Sequence[Posterior]) -> Array:
        """``(n,)``: standard deviations of ``d = h(x) - h(first)`` in the mixture with weights w, by total variance.

        ``var d = Σ_j w_j (var_j d + (E_j d - E d)²)``, ``E d = Σ_j w_j E_j d``.
        """
        gaps = [mean - mean[first] for mean in self._means]
        centre = np.average(gaps, axis=0, weights=self._weights)
        squares = [p.variance(first) + (gap - centre) ** 2 for p, gap in zip(posteriors, gaps, strict=True)]
        deviation: Array = np.sqrt(np.average(squares, axis=0, weights=self._weights))
        return deviation


def _mode(kernel: Kernel, duels: Duels) -> Mode:
    """The mode of v after decided duels; the features of the played prompts are the rows of R."""
    played = duels.played
    root = _root(kernel.block(played))
    return laplace(root[np.searchsorted(played, duels.a)] - root[np.searchsorted(played, duels.b)], duels.wins)


def _predict(kernel: Kernel, played: Indices, v: Array) -> Array:
    """``(n,)``: ``h(x) = f(x)·v = K(x, played) R⁻ᵀ v`` of all prompts."""
    if not len(played):
        return np.zeros(len(kernel.diagonal))
    root = _root(kernel.block(played))
    return np.asarray(kernel.columns(played) @ solve_triangular(root, v, lower=True, trans="T"))


def kernels(arms: Arms) -> list[Kernel]:
    """The kernels that are mixed by default: radial ones of every length and scale, and linear ones of every scale.

    Lengths are multiples of the median distance between embeddings. Scales are variances of the utility: of a linear
    kernel over the embeddings' total variance, so that h varies over the prompts by about ``scale``; of a radial one
    times ``length²`` where that is above 1, since over distances below its length it hardly varies.
    """
    vectors, squares = arms.vectors[:SAMPLE], arms.squares[:SAMPLE]
    squared = squares[:, None] + squares - 2 * vectors @ vectors.T
    least = ROUNDING * float(squares.mean())  # below, embeddings are equal and their distance is of rounding
    median = float(np.median(squared[np.triu_indices(len(vectors), 1)]))
    median = median**0.5 if median > least else 1.0
    variance = float(np.var(vectors, axis=0).sum())
    variance = variance if variance > least else 1.0
    radial: list[Kernel] = [
        Embedded(arms, scale * max(1.0, length**2), length * median) for length in LENGTHS for scale in SCALES
    ]
    return radial + [Embedded(arms, scale / variance) for scale in SCALES]
