"""Small problems for the tests of dueling bandits: a pool whose embeddings and utilities are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from promptopt.core import Preference
from promptopt.optimizers.pools.listed import ListPool
from promptopt.testing import FakeSetup


class Table:
    """Embeds the text ``i`` as row i of a table."""

    name = "table"

    def __init__(self, rows: Any) -> None:
        self.rows = np.asarray(rows, dtype=np.float64)

    def embed(self, texts: Sequence[str], /) -> Any:
        return self.rows[[int(text) for text in texts]]


def rows(n: int, d: int, *, seed: int = 0) -> Any:
    """``(n, d)``: vectors of length 1."""
    drawn = np.random.default_rng(seed).standard_normal((n, d))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def begun(make: Any, table: Any, *, seed: int = 0, **options: Any) -> Any:
    """An optimizer over the rows of a table, begun; its first prompt is row 0."""
    pool = ListPool(prompts=[str(i) for i in range(len(table))])
    optimizer = make(pool=pool, embedder=Table(table), pool_size=len(table), **options)
    optimizer.begin(FakeSetup(start=["0"], seed=seed))
    return optimizer


def play(optimizer: Any, utility: Any, duels: int, *, rng: Any = None) -> None:
    """Answer so many duels by Bradley-Terry, or by the higher utility where no generator is given."""
    answered = 0
    while answered < duels:
        batch = optimizer.ask()
        optimizer.tell([(duel, prefer(duel, utility, rng=rng)) for duel in batch])
        answered += len(batch)


def prefer(duel: Any, utility: Any, *, rng: Any = None) -> Preference:
    gap = utility[int(duel.a.text)] - utility[int(duel.b.text)]
    return Preference("a" if (gap > 0 if rng is None else rng.random() < expit(gap)) else "b")
