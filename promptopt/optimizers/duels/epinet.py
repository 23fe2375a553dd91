"""The ensemble of the released double Thompson sampling [Lin2024]: ten networks that start alike.

Lin et al., *Prompt Optimization with Human Feedback*, arXiv 2405.17346. Each network is the small one of
:mod:`promptopt.optimizers.duels.network`. A step of Adam belongs to a member drawn at random and lowers

    mean cross-entropy of some duels + λ' ‖θ_member - θ_start‖²,    λ' = λ for t < 32 duels, λ 32/t from there on.

The duels of a step are all of them while there are fewer than 32. From there on every round goes through ⌊t/32⌋
batches of 32 in the order they were asked, the last of which takes what is left over. So the members differ in which
steps they got.

The released code zeroes the gradients of the other members and steps with all; with today's torch, where a gradient
that is zeroed is none, these stay where they are, and so they do here. It draws from the global generator, we from
the run's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .network import Learner, forward

if TYPE_CHECKING:
    from ...core import Array, Indices
    from . import Duels
    from .belief import Part
    from .network import Weights

MEMBERS = 10
BATCH = 32


def train_members(
    start: Weights, vectors: Array, duels: Duels, *, lam: float, rounds: int, rng: np.random.Generator
) -> list[Weights]:
    """The ten networks after some rounds of training.

    Args:
        start: where every member starts.
        vectors: ``(n, d)``, the embeddings.
        duels: with answers, at least one, in the order they were asked.
        rng: draws whose turn it is.
    """
    members = [Learner(start) for _ in range(MEMBERS)]
    origin, t = members[0].theta.copy(), len(duels.wins)
    decay = 2 * lam * min(1.0, BATCH / t)  # the slope of λ' ‖θ - θ_start‖²
    x, wins = vectors.astype(np.float32), duels.wins.astype(np.float32)
    parts = []
    for part in _batches(t):
        met, indices = np.unique(np.concatenate([duels.a[part], duels.b[part]]), return_inverse=True)
        a, b = np.split(indices, 2)
        parts.append((x[met], a, b, wins[part]))
    for _ in range(rounds):
        for x_part, a, b, wins_part in parts:
            learner = members[rng.integers(MEMBERS)]
            learner.step(x_part, a, b, wins_part, decay=decay, towards=origin)
    return [[layer.astype(np.float64) for layer in learner.weights] for learner in members]


def _batches(t: int) -> Iterator[slice]:
    count = max(1, t // BATCH)
    for i in range(count):
        yield slice(i * BATCH, t if i == count - 1 else (i + 1) * BATCH)


class Epinet:
    """Utilities by ten networks; what they disagree about is uncertain.

    Attributes:
        members: ``(10, n)``, the utilities by each.
        mean: ``(n,)``, those by one of them, drawn at random: as released, the incumbent is the best by it.
    """

    def __init__(self, members: list[Weights], vectors: Array, *, rng: np.random.Generator) -> None:
        self.members: Array = np.stack([forward(weights, vectors)[-1][:, 0] for weights in members])
        self.mean: Array = self.members[rng.integers(len(members))]

    def favourites(self, among: Indices) -> Indices:
        """``(10,)``: the index of the best prompt by each of them, among some."""
        indices: Indices = among[np.argmax(self.members[:, among], axis=1)]
        return indices

    def exploration_bonus(self, first: int, duels: Duels) -> Array:
        """``(n,)``: as :meth:`uncertainty`; only the answers tell the members apart."""
        return self.uncertainty(first)

    def uncertainty(self, first: int) -> Array:
        """``(n,)``: standard deviations of ``h(x) - h(first)`` over the members."""
        deviation: Array = np.std(self.members - self.members[:, [first]], axis=0)
        return deviation

    def parts(self, indices: Indices) -> list[Part]:
        """Every member by itself, certain of what it says."""
        certain = np.zeros((len(indices), len(indices)))
        return [(1 / len(self.members), member[indices], certain) for member in self.members]
