"""How sure a dueling bandit may be of its incumbent, from the posterior of its utilities.

The *confidence* is the probability, by draws from the posterior, that the incumbent is the best of the prompts known.
It is as good as the model behind it, and is looked at for the 100 likeliest rivals: where more are in the running it is
a little too high.

The *questions* are counted by playing on in thought: the rival with the largest expected gain ``E[max(h(x) - h(best),
0)]`` meets the incumbent, the posterior narrows as it would, its mean stays, and so on until the gains together are at
most 0.2, the advantage of a prompt that wins 55 of 100 duels. Real answers move the mean, so this is an estimate of the
size of what is left and no promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy.special import expit, ndtr

from ..core import Belief

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..core import Array

RIVALS = 100
CLOSE = 40  # of them are played on against in thought
DRAWS = 1_000
STEADY = 1e-6
MATTERS = 0.2  # log-odds
MOST = 500  # duels in thought; beyond, nobody can say

Part: TypeAlias = "tuple[float, Array, Array]"
"""A normal distribution of a mixture: its weight, its mean ``(k,)`` and its covariance ``(k, k)``."""


def likely_rivals(gap: Array, deviation: Array, best: int) -> NDArray[np.intp]:
    """The place of the incumbent, and then those of its rivals, the likeliest to beat it first.

    Args:
        gap: ``(n,)``, the mean of ``h(x) - h(best)``.
        deviation: ``(n,)``, its standard deviation.
    """
    score = gap / np.maximum(deviation, 1e-12)
    score[best] = np.inf
    return np.argsort(-score, kind="stable")[: 1 + RIVALS]


def believe(parts: Sequence[Part], rng: np.random.Generator) -> Belief:
    """The belief in the first of some prompts, whose utilities have this posterior."""
    noise = rng.standard_normal((DRAWS, len(parts[0][1])))
    confidence = sum(weight * _share(mean, cov, noise) for weight, mean, cov in parts)
    return Belief(min(1.0, float(confidence)), _duels_left(parts))


def steady(cov: Array) -> Array:
    """A covariance with enough on its diagonal to be factored, where some utilities are equal or known."""
    return cov + max(STEADY * float(np.diagonal(cov).max()), 1e-12) * np.eye(len(cov))


def _share(mean: Array, cov: Array, noise: Array) -> float:
    """Of draws in which the first is the best."""
    draws = mean + noise @ np.linalg.cholesky(steady(cov)).T
    return float(np.mean(draws[:, 0] >= draws.max(1)))


def _duels_left(parts: Sequence[Part]) -> int | None:
    parts = [(weight, mean[: 1 + CLOSE], cov[: 1 + CLOSE, : 1 + CLOSE]) for weight, mean, cov in parts]
    weights, means = [weight for weight, _, _ in parts], np.stack([mean for _, mean, _ in parts])
    mean = np.average(means, axis=0, weights=weights)
    squares = [cov + np.outer(m - mean, m - mean) for _, m, cov in parts]
    cov = np.average(squares, axis=0, weights=weights)
    gap, cov = mean - mean[0], cov - cov[:1] - cov[:, :1] + cov[0, 0]  # of h(x) - h(best)
    for duels in range(MOST):
        sd = np.sqrt(np.maximum(np.diagonal(cov), 1e-12))
        z = gap / sd
        gain = sd * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) + gap * ndtr(z)
        gain[0] = 0.0
        if gain.sum() <= MATTERS:
            return duels
        rival = int(np.argmax(gain))
        chance = expit(gap[rival])
        cov = cov - np.outer(cov[rival], cov[rival]) / (cov[rival, rival] + 1 / (chance * (1 - chance)))
    return None
