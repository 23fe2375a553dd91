"""The contract suite of data sets holds for ours; one that breaks it fails in the test meant for it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from promptopt.core import Dataset, Example
from promptopt.data.digits import digits
from promptopt.data.listed import listed
from promptopt.testing.contracts import DatasetContract

# ── Our data sets ─────────────────────────────────────────────────────────────────────────────────────────────────


class TestListed(DatasetContract):
    def make(self, *, seed: int) -> Dataset:
        return listed(examples=[(f"item {i}", i % 2) for i in range(20)], train=6, dev=4, seed=seed)


class TestListedTwice(DatasetContract):
    """Equal inputs stay together."""

    def make(self, *, seed: int) -> Dataset:
        return listed(examples=[(f"item {i % 10}", i % 2) for i in range(20)], seed=seed)


class TestDigits(DatasetContract):
    def make(self, *, seed: int) -> Dataset:
        pytest.importorskip("sklearn")
        data = digits(shots=1, dev=1, seed=seed)
        return replace(data, test=data.test[:20])


# ── Broken data sets ──────────────────────────────────────────────────────────────────────────────────────────────


def sound(seed: int, *, pool: Any = tuple(f"item {i}" for i in range(12))) -> Dataset:
    order = np.random.default_rng(seed).permutation(len(pool))
    drawn = tuple(Example(pool[i], np.full(3, i), "odd" if i % 2 else "even") for i in order)
    return Dataset("numbers", drawn[:4], drawn[4:6], drawn[6:], ("even", "odd"))


class SoundContract(DatasetContract):
    part: Callable[[int], Dataset] = staticmethod(sound)

    def make(self, *, seed: int) -> Dataset:
        return self.part(seed)


def nothing_to_search_on(seed: int) -> Dataset:
    return replace(sound(seed), train=())


def pairs(seed: int) -> Any:
    return replace(sound(seed), train=(("item", "even"),))  # type: ignore[arg-type]


def same_ids(seed: int) -> Dataset:
    data = sound(seed)
    return replace(data, dev=tuple(replace(e, id=data.train[0].id) for e in data.dev))


def searched_and_tested_on(seed: int) -> Dataset:
    data = sound(seed)
    return replace(data, test=(*data.test, replace(data.train[0], id="again")))


def other_labels(seed: int) -> Dataset:
    data = sound(seed)
    return replace(data, test=tuple(replace(e, label=e.label.upper()) for e in data.test))


def class_twice(seed: int) -> Dataset:
    return replace(sound(seed), classes=("even", "odd", "even"))


def no_seed(seed: int) -> Dataset:
    return sound(0)


def moody(seed: int) -> Dataset:
    return sound(random.randrange(10**9))


def hashes(seed: int) -> Dataset:
    """Goes through a set, whose order changes from process to process."""
    return sound(seed, pool=tuple({f"item {i}" for i in range(12)}))


class HashesContract(SoundContract):
    """By its own name, so that a fresh process finds it."""

    part = staticmethod(hashes)


BROKEN = [
    ("test_has_examples_to_search_on", nothing_to_search_on),
    ("test_has_examples_to_search_on", pairs),
    ("test_ids_are_unique", same_ids),
    ("test_no_item_stands_in_two_splits", searched_and_tested_on),
    ("test_labels_are_among_the_classes", other_labels),
    ("test_labels_are_among_the_classes", class_twice),
    ("test_the_seed_decides", no_seed),
    ("test_the_seed_decides", moody),
    ("test_same_splits_in_a_fresh_process_with_another_hash_seed", hashes),
]


@pytest.mark.parametrize(("test", "part"), BROKEN)
def test_a_broken_data_set_fails_the_test_meant_for_it(test: str, part: Any) -> None:
    getattr(SoundContract(), test)()
    suite = HashesContract() if part is hashes else SoundContract()
    suite.part = part
    with pytest.raises(AssertionError):
        getattr(suite, test)()


def test_every_data_set_test_has_one_that_fails_it() -> None:
    assert {name for name in dir(DatasetContract) if name.startswith("test_")} == {test for test, _ in BROKEN}
