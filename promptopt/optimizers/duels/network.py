"""The small network of [Lin2024], its gradients per sample and its training, by hand: it is too small for a framework.

Lin et al., *Prompt Optimization with Human Feedback*, arXiv 2405.17346.

The gradient of a network for one sample, layer by layer, is the outer product of what comes into the layer and of what
comes back to it. So inner products of such gradients are sums of products of two small inner products, and nothing of
the size of (samples, parameters) is ever made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...core import Array, Indices

    Weights: TypeAlias = list[NDArray[Any]]

LEARNING_RATE, DECAY_1, DECAY_2, EPSILON = 1e-3, 0.9, 0.999, 1e-8  # Adam's, as released


def draw(rng: np.random.Generator, widths: Sequence[int]) -> Weights:
    """Weights and biases from N(0, 1), as released: one ``(n_out, n_in + 1)`` for each layer, biases last.

    Args:
        widths: of the input, the hidden layers and the output, for example ``(768, 32, 32, 1)``.
    """
    return [rng.standard_normal((n_out, n_in + 1)) for n_in, n_out in pairwise(widths)]


def forward(weights: Weights, x: Array) -> list[Array]:
    """What comes out of every layer, the input first: ``(n, width)`` each; the last is ``(n, 1)``. ReLU between."""
    out = [x]
    for layer in weights[:-1]:
        out.append(np.maximum(out[-1] @ layer[:, :-1].T + layer[:, -1], 0))
    return [*out, out[-1] @ weights[-1][:, :-1].T + weights[-1][:, -1]]


def backward(weights: Weights, out: Sequence[Array], top: Array) -> list[Array]:
    """What comes back to every layer, ``(n, n_out)`` each, for a derivative ``top`` (n, 1) of the output."""
    back = [top]
    for layer, below in zip(weights[:0:-1], out[-2:0:-1], strict=True):
        back.append((back[-1] @ layer[:, :-1]) * (below > 0))
    return back[::-1]


@dataclass(frozen=True)
class Gradients:
    """``∂h(x)/∂θ`` of n samples, factored: of layer l, sample i, it is ``outer(back[l][i], [into[l][i], 1])``.

    Attributes:
        into: what comes into each layer, ``(n, n_in)``.
        back: what comes back to each layer, ``(n, n_out)``.
    """

    into: Sequence[Array]
    back: Sequence[Array]

    def __getitem__(self, rows: Any) -> Gradients:
        return Gradients([one[rows] for one in self.into], [one[rows] for one in self.back])

    def inner(self, other: Gradients) -> Array:
        """``(n, m)``: the inner products with the gradients of m other samples.

        In each layer ``outer(d, [u, 1])·outer(e, [v, 1]) = (d·e)(u·v + 1)``, for this one's u into and d back to the
        layer, and the other's v and e.
        """
        pairs = zip(self.into, self.back, other.into, other.back, strict=True)
        return _sum((u @ v.T + 1) * (d @ e.T) for u, d, v, e in pairs)

    def squares(self) -> Array:
        """``(n,)``: the squared lengths."""
        pairs = zip(self.into, self.back, strict=True)
        return _sum((np.sum(u * u, 1) + 1) * np.sum(d * d, 1) for u, d in pairs)

    def sum_of_products(self, other: Gradients) -> list[Array]:
        """For each weight, the sum over samples of this gradient times the other's; shaped like the weights."""
        pairs = zip(self.into, self.back, other.into, other.back, strict=True)
        return [_outer(d * e, u * v) for u, d, v, e in pairs]

    def weighted(self, other: Gradients, scale: Sequence[Array]) -> Array:
        """``(n,)``: the sum over weights of this gradient times the other's times ``scale``. One other broadcasts."""
        pairs = zip(self.into, self.back, other.into, other.back, scale, strict=True)
        return _sum(np.sum(((d * e) @ r[:, :-1]) * (u * v), 1) + (d * e) @ r[:, -1] for u, d, v, e, r in pairs)


def gradients(weights: Weights, x: Array) -> tuple[Array, Gradients]:
    """The outputs ``(n,)`` and the gradients of n samples."""
    out = forward(weights, x)
    return out[-1][:, 0], Gradients(out[:-1], backward(weights, out, np.ones_like(out[-1])))


class Learner:
    """A network under Adam, in single precision, which lowers the mean binary cross-entropy of duels.

    Attributes:
        theta: ``(P,)``, all weights in one vector.
        weights: the same numbers, layer by layer: views of ``theta``, so that ``theta -= step`` changes the network.
    """

    def __init__(self, start: Weights) -> None:
        shapes = [layer.shape for layer in start]
        self.theta = np.concatenate([layer.ravel() for layer in start]).astype(np.float32)
        self.weights = _split(self.theta, shapes)
        self._slope, self._first, self._second = (np.zeros_like(self.theta) for _ in range(3))
        self._slopes = _split(self._slope, shapes)  # views too: the gradient layer by layer fills _slope
        self._scratch = np.empty_like(self.theta)
        self._steps = 0

    def step(
        self, x: NDArray[Any], a: Indices, b: Indices, wins: NDArray[Any], *, decay: float, towards: Any = None
    ) -> None:
        """One step of Adam.

        Args:
            x: ``(n, d)`` samples, in single precision.
            a: ``(t,)`` indices of the first samples of the duels, ``b`` of the second.
            wins: ``(t,)`` targets: 1 where the first won, 0 where the second, ½ for a tie.
            decay: the slope of the penalty, for each unit that a weight lies off.
            towards: ``(P,)``, where the penalty is zero; None stands for the origin.
        """
        out = forward(self.weights, x)
        # The loss is the mean over t duels of log(1 + exp(z)) - y z, z = h(a) - h(b). So its derivative with respect to
        # a duel's z is (σ(z) - y) / t, and with respect to h(x) the sum of these over the duels where x comes first,
        # less the sum over those where it comes second.
        residuals = (expit(out[-1][a, 0] - out[-1][b, 0]) - wins) / np.float32(len(wins))
        top = np.bincount(a, residuals, len(x)) - np.bincount(b, residuals, len(x))
        back = backward(self.weights, out, top[:, None].astype(np.float32))
        for into, coming, target in zip(out, back, self._slopes, strict=False):
            np.matmul(coming.T, into, out=target[:, :-1])
            target[:, -1] = coming.sum(0)
        if decay:
            self._slope += np.float32(decay) * (self.theta if towards is None else self.theta - towards)
        self._adam()

    def _adam(self) -> None:
        """Adam in place, without new arrays: ``θ -= rate / (1 - β₁ᵏ) * m / (√(v / (1 - β₂ᵏ)) + ε)`` in step k."""
        self._steps += 1
        slope, first, second, step = self._slope, self._first, self._second, self._scratch
        first += (1 - DECAY_1) * (slope - first)
        np.square(slope, out=slope)
        second += (1 - DECAY_2) * (slope - second)
        np.sqrt(second, out=step)
        step /= (1 - DECAY_2**self._steps) ** 0.5
        step += EPSILON
        np.divide(first, step, out=step)
        step *= LEARNING_RATE / (1 - DECAY_1**self._steps)
        self.theta -= step


def train(start: Weights, x: Array, a: Indices, b: Indices, wins: Array, *, decay: float, steps: int) -> Weights:
    """Adam on the mean binary cross-entropy of duels with weight decay, as released, in single precision.

    Args:
        start: weights to start from; left as they are.
        x, a, b, wins, decay: as of :meth:`Learner.step`.
    """
    learner, x, wins = Learner(start), x.astype(np.float32), wins.astype(np.float32)
    for _ in range(steps):
        learner.step(x, a, b, wins, decay=decay)
    return [layer.astype(np.float64) for layer in learner.weights]


def _sum(arrays: Iterable[Array]) -> Array:
    return reduce(np.add, arrays)


def _split(theta: NDArray[Any], shapes: Sequence[tuple[int, ...]]) -> Weights:
    """Views of a flat vector, one for each layer."""
    ends = np.cumsum([rows * columns for rows, columns in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(theta, ends[:-1]), shapes, strict=True)]


def _outer(back: Array, into: Array) -> Array:
    return np.concatenate([back.T @ into, back.sum(0)[:, None]], axis=1)
