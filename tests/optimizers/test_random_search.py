"""Random search: the starting prompts, and then the pool."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from promptopt.core import Prompt, Rating
from promptopt.optimizers import RandomSearch
from promptopt.optimizers.pools.listed import ListPool
from promptopt.testing import FakeSetup

POOL = [f"p{i}" for i in range(25)]


def batches(
    optimizer: RandomSearch, *, seed: int = 0, start: tuple[str, ...] = ("start",), **setup: object
) -> list[list[str]]:
    optimizer.begin(FakeSetup(start=start, seed=seed, **setup))  # type: ignore[arg-type]
    asked = []
    while batch := optimizer.ask():
        asked.append([question.prompt.text for question in batch])
        optimizer.tell([(q, Rating(float(len(q.prompt.text)))) for q in batch])
    return asked


def test_the_start_and_then_the_whole_pool_once() -> None:
    first, *rest = batches(RandomSearch(pool=ListPool(prompts=POOL), batch=10), start=("start", "other"))
    assert first == ["start", "other"]
    assert [len(batch) for batch in rest] == [10, 10, 5]
    assert sorted(text for batch in rest for text in batch) == sorted(POOL)


def test_the_order_is_the_seeds() -> None:
    orders = [batches(RandomSearch(pool=ListPool(prompts=POOL)), seed=seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_what_was_rated_or_cannot_be_taken_is_passed_over() -> None:
    pool = ListPool(prompts=[*POOL, "start", "bad"])
    asked = batches(RandomSearch(pool=pool, batch=7), problem_with=lambda text: "no" if text == "bad" else None)
    texts = [text for batch in asked for text in batch]
    assert sorted(texts) == sorted([*POOL, "start"])


def test_an_endless_pool_is_drawn_from_as_needed() -> None:
    class Endless:
        drawn = 0

        def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
            while True:
                self.drawn += 1
                yield f"p{self.drawn}"

    pool = Endless()
    optimizer = RandomSearch(pool=pool, batch=4)
    optimizer.begin(FakeSetup(start=["start"]))
    for expected in (0, 4, 8):
        batch = optimizer.ask()
        optimizer.tell([(q, Rating(0.0)) for q in batch])
        assert pool.drawn == expected


@pytest.mark.parametrize("scores", [[0.5, 0.5, 0.4], [0.1, 0.1, 0.1]])
def test_ties_go_to_the_first(scores: list[float]) -> None:
    optimizer = RandomSearch(pool=ListPool(prompts=POOL))
    optimizer.begin(FakeSetup(start=["a", "b", "c"]))
    assert optimizer.best() == Prompt("a")
    optimizer.tell([(q, Rating(score)) for q, score in zip(optimizer.ask(), scores, strict=True)])
    assert optimizer.best() == Prompt("a")
