"""Few-shot draws: so many images per class for the search, the rest held out. Pure functions of a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from ..checks import at_least
from ..errors import UserError

T = TypeVar("T")

STREAM = 0x5407  # keeps these draws apart from every other stream of the same seed
TRAIN, DEV, TEST = range(3)


@dataclass(frozen=True)
class Splits(Generic[T]):
    """Drawn items with their class names, class after class. No item of one pool stands in two splits."""

    train: list[tuple[str, T]] = field(default_factory=list)
    dev: list[tuple[str, T]] = field(default_factory=list)
    test: list[tuple[str, T]] = field(default_factory=list)


def few_shot(
    pool: Mapping[str, Sequence[T]],
    *,
    shots: int,
    seed: int,
    dev: int = 0,
    test: int | None = None,
    dev_pool: Mapping[str, Sequence[T]] | None = None,
    test_pool: Mapping[str, Sequence[T]] | None = None,
    where: str,
    things: str = "images",
) -> Splits[T]:
    """Draw ``shots`` items per class for training.

    Each class is shuffled once, by a stream of its own. The training items come from the front, those for dev from
    the back and the test items from between. So with one seed fewer shots are a subset of more, and the dev items do
    not depend on the number of shots.

    Args:
        pool: items by class name, in the order of the classes.
        shots: training items per class.
        seed: of the draw; 0 is a seed.
        dev: dev items per class.
        test: at most so many test items per class; None means all.
        dev_pool: where the dev items come from, if the data has a split for them.
        test_pool: where the test items come from, likewise.
        where: what the pool is, for errors.
        things: what it holds, likewise.

    Raises:
        UserError: a number is out of range, or a class has too few items.
    """
    at_least(1, where=where, shots=shots, test=test)
    at_least(0, where=where, seed=seed, dev=dev)
    own_dev = dev if dev_pool is None else 0
    own_test = 1 if test_pool is None else 0
    need = f"shots={shots}" + f", dev={dev}" * bool(own_dev) + ", one to test on" * own_test
    splits: Splits[T] = Splits()
    for number, (name, items) in enumerate(pool.items()):
        _enough(items, shots + own_dev + own_test, f"{where}: class {name!r}", need, things)
        order = _shuffled(items, seed, TRAIN, number)
        back = len(order) - own_dev
        devs, tests = order[back:], order[shots:back]
        if dev_pool is not None:
            _enough(dev_pool.get(name, ()), dev, f"{where}: class {name!r} of the dev split", f"dev={dev}", things)
            devs = _shuffled(dev_pool.get(name, ()), seed, DEV, number)[:dev]
        if test_pool is not None:
            _enough(test_pool.get(name, ()), 1, f"{where}: class {name!r} of the test split", "one to test on", things)
            tests = _shuffled(test_pool[name], seed, TEST, number)
        splits.train.extend((name, item) for item in order[:shots])
        splits.dev.extend((name, item) for item in devs)
        splits.test.extend((name, item) for item in tests[:test])
    return splits


def _shuffled(items: Sequence[T], seed: int, split: int, number: int) -> list[T]:
    rng = np.random.default_rng(np.random.SeedSequence((seed, STREAM), spawn_key=(split, number)))
    return [items[i] for i in rng.permutation(len(items))]


def _enough(items: Sequence[T], least: int, what: str, need: str, things: str) -> None:
    if len(items) < least:
        raise UserError(f"{what} has {len(items)} {things}, but needs {least} ({need}). Ask for fewer or add {things}.")
