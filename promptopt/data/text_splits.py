"""Splits of labelled examples that are not drawn class by class: texts, questions, rows of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from ..checks import at_least
from ..core import Dataset, Example
from ..errors import UserError

STREAM = 0x7E87  # keeps these draws apart from every other stream of the same seed
POOL, DEV, TEST = range(3)


def split(
    name: str,
    pool: Sequence[Example],
    *,
    train: int | None,
    dev: int | None = None,
    test: int | None = None,
    seed: int,
    dev_pool: Sequence[Example] | None = None,
    test_pool: Sequence[Example] | None = None,
    classes: tuple[str, ...] = (),
) -> Dataset:
    """Draw the splits from a pool, or the dev and the test split from pools of their own.

    Examples with equal inputs go into the same split. What stands in the test pool is left out of the other splits,
    and what stands in the dev pool is left out of training.

    Args:
        name: of the data set; stands in errors.
        pool: where training examples come from.
        train: training examples; None means what the other splits leave.
        dev: dev examples; None means all of the dev pool, or none if there is no such pool.
        test: test examples; None means all of the test pool, or what the other splits leave.
        seed: of the draw; 0 is a seed.
        dev_pool: where dev examples come from, if they have a file of their own.
        test_pool: where test examples come from, likewise.
        classes: the class names, if there are any.

    Raises:
        UserError: a number is out of range or exceeds the data, or an id is not unique.
    """
    at_least(1, where=name, train=train)
    at_least(0, where=name, dev=dev, test=test, seed=seed)
    if train is None and test is None and test_pool is None:
        raise UserError(
            f"{name}: say how many examples to train or to test on; either may take what is left, not both."
        )
    _check_ids(name, [*pool, *(dev_pool or ()), *(test_pool or ())])
    tests = _subset(name, "test", test_pool, test, seed)
    devs = _subset(name, "dev", _without(dev_pool, test_pool), dev, seed)
    wanted = {"train": train}
    if dev_pool is None:
        wanted["dev"] = dev or 0
    if test_pool is None:
        wanted["test"] = test
    left = _without(_without(pool, test_pool), dev_pool) or []
    drawn = {"dev": devs, "test": tests, **_draw(name, left, wanted, seed)}
    return Dataset(name, tuple(drawn["train"]), tuple(drawn["dev"]), tuple(drawn["test"]), classes)


def _draw(name: str, pool: Sequence[Example], wanted: dict[str, int | None], seed: int) -> dict[str, list[Example]]:
    """Fill splits at random; a split of size None takes what is left.

    Groups of equal inputs come first, each into a split drawn in proportion to the room that is left there; single
    examples, in random order, fill the rest.
    """
    room = {part: size or 0 for part, size in wanted.items()}
    rest = next((part for part, size in wanted.items() if size is None), "")
    free = len(pool) - sum(room.values())
    if free < 0 or (rest == "train" and not free):
        raise _too_few(name, wanted, f"there are {len(pool)}")
    room[rest] = free
    drawn: dict[str, list[Example]] = {part: [] for part in room}
    rng = _rng(seed, POOL)
    groups = _groups(pool)
    for group in sorted((groups[i] for i in rng.permutation(len(groups))), key=len, reverse=True):
        fits = [part for part, size in room.items() if size >= len(group)]
        if not fits:
            continue
        sizes = np.array([room[part] for part in fits], dtype=np.float64)
        chosen = fits[0] if len(group) == 1 else fits[rng.choice(len(fits), p=sizes / sizes.sum())]
        drawn[chosen] += group
        room[chosen] -= len(group)
    if any(room[part] for part, size in wanted.items() if size is not None):
        raise _too_few(name, wanted, f"the {len(pool)} that there are hold only {len(groups)} different inputs")
    return drawn


def _subset(name: str, part: str, pool: Sequence[Example] | None, size: int | None, seed: int) -> Sequence[Example]:
    """All of a pool in its order, or so many of it at random."""
    if pool is None or size is None:
        return pool or ()
    if size > len(pool):
        raise UserError(f"{name}: {part}={size}, but the {part} file has {len(pool)} examples to give. Ask for fewer.")
    order = _rng(seed, TEST if part == "test" else DEV).permutation(len(pool))
    return [pool[i] for i in order[:size]]


def _without(pool: Sequence[Example] | None, other: Sequence[Example] | None) -> Sequence[Example] | None:
    """A pool without the inputs that stand in another one."""
    taken = {_key(example) for example in other or ()}
    return pool if pool is None or not taken else [example for example in pool if _key(example) not in taken]


def _groups(pool: Sequence[Example]) -> list[list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in pool:
        groups.setdefault(_key(example), []).append(example)
    return list(groups.values())


def _key(example: Example) -> str:
    given = example.input
    return given if isinstance(given, str) else json.dumps(given, sort_keys=True, default=str)


def _rng(seed: int, part: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, STREAM), spawn_key=(part,)))


def _check_ids(name: str, examples: Sequence[Example]) -> None:
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise UserError(f"{name}: the id {example.id!r} stands twice; ids must be unique within a data set.")
        seen.add(example.id)


def _too_few(name: str, wanted: dict[str, int | None], found: str) -> UserError:
    sizes = ", ".join(f"{part}={size}" for part, size in wanted.items() if size)
    return UserError(f"{name}: too few examples for {sizes or 'a training split'}: {found}. Ask for fewer.")
