"""Seeded splits of texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from promptopt.core import Dataset, Example
from promptopt.data.text_splits import split
from promptopt.errors import UserError


def cases(inputs: Sequence[Any], prefix: str = "t") -> list[Example]:
    return [Example(f"{prefix}/{i}", text, "yes") for i, text in enumerate(inputs)]


def numbered(n: int, prefix: str = "t") -> list[Example]:
    return cases([f"{prefix} question {i}" for i in range(n)], prefix)


def sizes(data: Dataset) -> tuple[int, int, int]:
    return len(data.train), len(data.dev), len(data.test)


def inputs(part: Sequence[Example]) -> set[str]:
    return {str(example.input) for example in part}


def test_sizes_are_exact_and_splits_disjoint() -> None:
    data = split("t", numbered(250), train=50, dev=100, test=100, seed=0)
    assert sizes(data) == (50, 100, 100)
    assert len({example.id for part in (data.train, data.dev, data.test) for example in part}) == 250


def test_a_size_of_none_takes_what_is_left() -> None:
    assert sizes(split("t", numbered(30), train=10, dev=5, test=None, seed=0)) == (10, 5, 15)
    assert sizes(split("t", numbered(30), train=None, dev=5, test=10, seed=0)) == (15, 5, 10)
    assert sizes(split("t", numbered(30), train=10, test=5, seed=0)) == (10, 0, 5)


def test_the_seed_decides_and_zero_is_one() -> None:
    draws = [split("t", numbered(40), train=10, test=None, seed=seed) for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert inputs(draws[0].train) != inputs(draws[2].train)


def test_every_example_is_as_likely_to_be_drawn() -> None:
    drawn = Counter(
        example.id for seed in range(300) for example in split("t", numbered(6), train=2, test=None, seed=seed).train
    )
    assert all(60 <= drawn[f"t/{i}"] <= 140 for i in range(6))


@pytest.mark.parametrize("seed", range(40))
def test_equal_inputs_stay_in_one_split_and_sizes_stay_exact(seed: int) -> None:
    pool = cases([f"q{i}" for i in range(8)] + ["q0", "q1", "q1"])
    data = split("t", pool, train=3, dev=3, test=5, seed=seed)
    assert sizes(data) == (3, 3, 5)
    assert not inputs(data.train) & inputs(data.dev)
    assert not (inputs(data.train) | inputs(data.dev)) & inputs(data.test)


def test_groups_of_equal_inputs_are_not_kept_out_of_any_split() -> None:
    pool = cases([f"q{i}" for i in range(12)] + ["q0"])
    homes = Counter()
    for seed in range(60):
        data = split("t", pool, train=4, dev=4, test=5, seed=seed)
        homes.update(name for name in ("train", "dev", "test") if "q0" in inputs(getattr(data, name)))
    assert min(homes[name] for name in ("train", "dev", "test")) >= 8


def test_dict_inputs_are_compared_by_value() -> None:
    pool = cases([{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 3}, {"a": 4}])
    for seed in range(10):
        data = split("t", pool, train=2, test=2, seed=seed)
        assert not inputs(data.train) & {str(dict(sorted(e.input.items()))) for e in data.test}


def test_files_of_their_own() -> None:
    data = split("t", numbered(20), train=5, seed=3, dev_pool=numbered(4, "dev"), test_pool=numbered(6, "test"))
    assert sizes(data) == (5, 4, 6)
    assert [example.id for example in data.test] == [f"test/{i}" for i in range(6)]
    fewer = split("t", numbered(20), train=5, dev=2, test=3, seed=3, dev_pool=data.dev, test_pool=data.test)
    assert sizes(fewer) == (5, 2, 3)
    assert inputs(fewer.test) < inputs(data.test)


def test_what_stands_in_the_test_file_is_left_out_of_the_search() -> None:
    pool = cases(["a", "b", "c", "d"])
    data = split("t", pool, train=None, seed=0, dev_pool=cases(["b", "e"], "dev"), test_pool=cases(["a", "b"], "test"))
    assert (inputs(data.train), inputs(data.dev), inputs(data.test)) == ({"c", "d"}, {"e"}, {"a", "b"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": 8, "dev": 2, "test": 1}, "too few examples for train=8, dev=2, test=1: there are 10"),
        ({"train": None, "dev": 4, "test": 6}, "too few examples for dev=4, test=6"),
        ({"train": 0, "test": 2}, "t: train is 0; allowed is 1 or more"),
        ({"train": 2, "test": -1}, "test is -1"),
        ({"train": 2, "test": 2, "seed": -1}, "seed is -1"),
        ({"train": None, "test": None}, "either may take what is left, not both"),
    ],
)
def test_impossible_sizes(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        split("t", numbered(10), **{"seed": 0, **options})


def test_a_test_file_that_is_too_small() -> None:
    with pytest.raises(UserError, match="test=9, but the test file has 3"):
        split("t", numbered(10), train=2, test=9, seed=0, test_pool=numbered(3, "test"))


def test_sizes_that_equal_inputs_make_impossible() -> None:
    with pytest.raises(UserError, match="only 2 different inputs"):
        split("t", cases(["a", "a", "b", "b"]), train=1, test=3, seed=0)


def test_ids_must_be_unique() -> None:
    with pytest.raises(UserError, match="'t/0' stands twice"):
        split("t", numbered(3), train=2, seed=0, test_pool=numbered(1))
