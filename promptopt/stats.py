"""Statistics of runs: means, intervals, tests, agreement. The one home of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .core import Array

CONFIDENCE = 0.95
RESAMPLES = 9_999
FEWEST = 10  # with fewer, the bootstrap calls chance a gain too often: at 5 examples in 9% of all cases, at 2 in 25%


def interval(values: Array, *, rng: np.random.Generator) -> tuple[float | None, float | None]:
    """95% bootstrap confidence interval of the mean of ``values`` (n,); None, None for fewer than ten."""
    if len(values) < FEWEST:
        return None, None
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    from scipy import stats

    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 10_000_000 // len(values)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return float(found.low), float(found.high)


def mean(values: Array) -> float:
    """Mean of ``values`` (n,) over what has a value, that is, is not NaN; NaN if nothing has."""
    scored = values[~np.isnan(values)]
    return float(scored.mean()) if len(scored) else math.nan


def fleiss_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Agreement beyond chance of two opinions each on several things, at most 1 [Fleiss1971].

    Chance is what the pooled shares of the answers would give, so it does not matter who said which.

    Returns:
        None without pairs, or where everybody always says the same.
    """
    if not pairs:
        return None
    shares = np.array([*Counter(word for pair in pairs for word in pair).values()]) / (2 * len(pairs))
    chance = float((shares**2).sum())
    if chance == 1.0:
        return None
    return (sum(one == other for one, other in pairs) / len(pairs) - chance) / (1 - chance)


def t_interval(values: Array, within: tuple[float, float] | None = None) -> tuple[float, float]:
    """The 95% t interval of the mean of ``values`` (n,), n at least 2; within a range on its logit scale."""
    from scipy import special

    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    half = float(special.stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * error
    if within is None or error < 1e-12:
        return mean - half, mean + half
    low, width = within[0], within[1] - within[0]
    share = (mean - low) / width
    half /= width * share * (1 - share)  # the slope of the logit at the mean
    ends = special.expit(special.logit(share) + np.array([-half, half]))
    return low + width * float(ends[0]), low + width * float(ends[1])


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected so that the chance of one false alarm among all of them stays at the level (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = least
    return corrected


def sign_flip(differences: Array) -> float:
    """The two-sided p-value of no difference in paired ``differences`` (n,), n at least 1.

    A permutation test flips their signs; its draws are the same at every call.
    """
    from scipy import stats

    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, 10_000_000 // len(differences)),
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)
