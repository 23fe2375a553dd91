"""What ratings tell about prompts not rated yet: a Gaussian process over sets of phrases [Rasmussen2006].

Rasmussen and Williams, *Gaussian Processes for Machine Learning*, MIT Press 2006.

A prompt ``p`` is a set of phrases. With the count vector ``z(p)`` and a place ``x(p)`` on the unit sphere, its
covariance with another prompt is

    k(p, q) = exp(-‖x(p) - x(q)‖² / 2 l²) + 0.1 z(p)·z(q) + 1,

a smooth function of the place, an effect of every phrase, and a common mean. A place is the sum of the shifts by which
phrases move the embedding of a bare prompt: ``x(p) = unit(e + Σ shift(phrase))``. So phrases of like meaning share
strength, and phrases that the embedder hardly notices say hardly anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..core import Embeds
from ..errors import UserError
from .blas import single_threaded

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["Places", "ResponsePosterior", "response"]

LENGTHS = (0.25, 0.5, 1.0)  # of the smooth part, on the unit sphere; whichever the ratings make likeliest
NOISES = (0.01, 0.03, 0.1, 0.3, 1.0)  # what ratings have beside, as a share of the signal; likewise
EFFECT = 0.1  # prior variance of one phrase's own effect; the smooth part has 1
JITTER = 1e-5
DECIMALS = 6  # what decides is rounded, so that the last bits of a product decide nothing

Phrases: TypeAlias = Sequence[str]


class Places:
    """Where prompts lie, by their phrases.

    Args:
        embedder: gives the vectors.
        bare: the prompt without phrases; '' where there is none to speak of, as for a text.
        alone: a phrase to the shortest prompt that says it.
    """

    def __init__(self, embedder: Embeds, *, bare: str, alone: Callable[[str], str]) -> None:
        self._embedder = embedder
        self._alone = alone
        self._rows: dict[str, int] = {}
        self._bare = self._embed([bare])[0] if bare else None
        self._shifts = np.empty((0, 0))

    def shifts(self, phrases: Phrases) -> Array:
        """How far and where each phrase moves the bare prompt: ``(n_phrases, d)``."""
        if new := [phrase for phrase in dict.fromkeys(phrases) if phrase not in self._rows]:
            moved = self._embed([self._alone(phrase) for phrase in new])
            moved = moved if self._bare is None else moved - self._bare
            self._shifts = np.concatenate([self._shifts.reshape(-1, moved.shape[1]), moved])
            self._rows |= {phrase: len(self._rows) + i for i, phrase in enumerate(new)}
        return self._shifts[[self._rows[phrase] for phrase in phrases]]

    def of(self, prompts: Sequence[Phrases]) -> tuple[Array, Array]:
        """Count vectors ``(n_prompts, n_phrases_known)`` and places ``(n_prompts, d)`` of prompts."""
        self.shifts([phrase for prompt in prompts for phrase in prompt])
        counts = np.zeros((len(prompts), len(self._rows)))
        for i, prompt in enumerate(prompts):
            counts[i, [self._rows[phrase] for phrase in prompt]] = 1.0
        places = counts @ self._shifts if self._rows else np.zeros((len(prompts), 1))
        if self._bare is not None:
            places = places + self._bare
        lengths = np.linalg.norm(places, axis=1, keepdims=True)
        return counts, places / np.where(lengths > 0, lengths, 1.0)

    def _embed(self, texts: Sequence[str]) -> Array:
        rows = np.asarray(self._embedder.embed(texts), dtype=np.float64)
        if rows.ndim != 2 or len(rows) != len(texts) or not np.isfinite(rows).all():
            raise UserError(
                f"the embedder gave an array of shape {rows.shape} for {len(texts)} texts. It must give one vector of "
                "finite numbers for each, all of the same length."
            )
        return rows


class ResponsePosterior:
    """The process after ratings.

    Length and noise are those of a small grid that make the responses likeliest, with the best signal variance for
    each (section 5.4 of the book).

    Args:
        places: where prompts lie.
        prompts: the rated ones, as their phrases.
        y: ``(n,)`` their responses, standardised.
    """

    @single_threaded
    def __init__(self, places: Places, prompts: Sequence[Phrases], y: Array) -> None:
        self._places, self._prompts = places, prompts
        counts, at = places.of(prompts)
        likeliest = -np.inf
        for length in LENGTHS:
            values, vectors = np.linalg.eigh(_kernel((counts, at), (counts, at), length))
            seen = vectors.T @ y
            for noise in NOISES:
                variances = np.maximum(values, 0.0) + noise
                signal = max(float(np.mean(seen**2 / variances)), JITTER)
                evidence = round(-0.5 * float(len(y) * np.log(signal) + np.log(variances).sum()), DECIMALS)
                if evidence > likeliest:
                    likeliest, self._length, self._signal = evidence, length, signal
                    self._inverse = (vectors / variances) @ vectors.T
        self._weights = self._inverse @ y

    @single_threaded
    def draws(self, prompts: Sequence[Phrases], *, n: int, rng: np.random.Generator) -> Array:
        """``(n, n_prompts)``: what the ratings of prompts may be, in ``n`` independent draws."""
        both = self._places.of([*prompts, *self._prompts])
        new = both[0][: len(prompts)], both[1][: len(prompts)]
        old = both[0][len(prompts) :], both[1][len(prompts) :]
        across = _kernel(new, old, self._length)
        covariance = self._signal * (_kernel(new, new, self._length) - across @ self._inverse @ across.T)
        covariance[np.diag_indices_from(covariance)] += JITTER * (1 + self._signal)
        root = np.linalg.cholesky(covariance)
        drawn: Array = across @ self._weights + rng.standard_normal((n, len(prompts))) @ root.T
        return np.round(drawn, DECIMALS)


def _kernel(one: tuple[Array, Array], other: tuple[Array, Array], length: float) -> Array:
    """Covariances ``(n, m)`` of prompts, given as counts and places."""
    (counts, at), (other_counts, other_at) = one, other
    squares = (at**2).sum(axis=1)[:, None] + (other_at**2).sum(axis=1) - 2 * at @ other_at.T
    smooth: Array = np.exp(-np.maximum(squares, 0.0) / (2 * length**2))
    return smooth + EFFECT * counts @ other_counts.T + 1.0


def response(values: Array, tiebreaks: Array) -> Array:
    """What is modelled, ``(n,)``: value and tiebreak, standardised and mixed half and half.

    A tiebreak such as log-probability is smoother than an accuracy, and tells prompts apart that accuracy cannot. Where
    there is none, the value stands alone.
    """
    parts = [(part - part.mean()) / part.std() for part in (values, tiebreaks) if part.std() > 1e-12]
    return np.mean(parts, axis=0) if parts else np.zeros(len(values))
