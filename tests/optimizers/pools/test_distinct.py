"""A pool without near-duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest

from promptopt.embedders.function import FunctionEmbedder
from promptopt.errors import UserError
from promptopt.optimizers.pools.distinct import PATIENCE, Distinct
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.pools.templates import Grammar
from promptopt.recipe.build import build
from promptopt.testing import FakeSetup


class Degrees:
    """A pool of angles, in order; notes who began it."""

    def __init__(self, *degrees: float) -> None:
        self.degrees = degrees
        self.begun: list[Any] = []

    def begin(self, setup: Any) -> None:
        self.begun.append(setup)

    def draw(self, rng: np.random.Generator) -> Iterator[str]:
        return (str(angle) for angle in self.degrees)


def directions(texts: Sequence[str]) -> Any:
    radians = np.radians([float(text) for text in texts])
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def drawn(pool: Any, *, threshold: float) -> list[str]:
    distinct = Distinct(pool=pool, embedder=FunctionEmbedder(function=directions), threshold=threshold)
    return list(distinct.draw(np.random.default_rng(0)))


def test_the_first_to_come_stays_and_chains_do_not_form() -> None:
    limit = float(np.cos(np.radians(10)))
    assert drawn(Degrees(0, 8, 16, 24, -11, 5), threshold=limit) == ["0", "16", "-11"]


def test_what_was_dropped_drops_nothing() -> None:
    limit = float(np.cos(np.radians(10)))
    assert drawn(Degrees(0, 9, 18), threshold=limit) == ["0", "18"]


def test_the_setup_reaches_the_inner_pool() -> None:
    inner, setup = Degrees(0), FakeSetup()
    Distinct(pool=Distinct(pool=inner)).begin(setup)
    assert inner.begun == [setup]
    Distinct(pool=ListPool(prompts=["a"])).begin(setup)


def test_many_near_duplicates_in_a_row_end_the_pool() -> None:
    same = [0.0] * (PATIENCE - 1)
    assert drawn(Degrees(0, *same, 90, *same, 180), threshold=0.9) == ["0", "90", "180"]
    assert drawn(Degrees(0, *same, 0, 90), threshold=0.9) == ["0"]


def test_every_draw_starts_afresh() -> None:
    pool = Distinct(pool=Grammar(), threshold=0.6)
    first, again = (list(islice(pool.draw(np.random.default_rng(3)), 20)) for _ in range(2))
    assert first == again
    rows = pool.embedder.embed(first)
    assert (rows @ rows.T - np.eye(20)).max() <= 0.6


def test_from_a_recipe() -> None:
    spec = {
        "name": "promptopt.optimizers.pools.distinct:Distinct",
        "pool": {"name": "list", "prompts": ["say it", "Say it", "answer the question"]},
        "embedder": {"name": "promptopt.embedders.ngrams:Ngrams", "dimensions": 64},
    }
    pool = build("pools", spec, where="pool")
    assert len(list(pool.draw(np.random.default_rng(0)))) == 2
    with pytest.raises(UserError, match="threshold is 2"):
        Distinct(pool=ListPool(prompts=["a"]), threshold=2)
