"""Few-shot draws: disjoint, nested over shots, equal for equal seeds."""

from __future__ import annotations

from collections import Counter

import pytest

from promptopt.data.splits import few_shot
from promptopt.errors import UserError

POOL = {"cat": list(range(20)), "dog": list(range(100, 130))}


def draw(**options: object):
    return few_shot(POOL, **{"shots": 3, "seed": 0, "where": "pets", **options})


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dev", [0, 2])
def test_every_item_stands_in_exactly_one_split(seed, dev):
    splits = draw(seed=seed, dev=dev)
    drawn = [*splits.train, *splits.dev, *splits.test]
    assert sorted(item for _, item in drawn) == sorted(item for items in POOL.values() for item in items)
    assert Counter(name for name, _ in splits.train) == {"cat": 3, "dog": 3}
    assert Counter(name for name, _ in splits.dev) == Counter({"cat": dev, "dog": dev})
    assert all(item in POOL[name] for name, item in drawn)


def test_the_seed_decides_and_zero_is_one():
    assert draw(seed=0) == draw(seed=0)
    assert len({tuple(draw(seed=seed).train) for seed in range(5)}) == 5


def test_fewer_shots_are_a_subset_of_more_and_leave_dev_alone():
    few, many = draw(shots=2, dev=4), draw(shots=10, dev=4)
    assert set(few.train) < set(many.train)
    assert few.dev == many.dev


def test_classes_are_drawn_independently():
    same = {"cat": list(range(50)), "dog": list(range(50))}
    splits = few_shot(same, shots=10, seed=0, where="pets")
    positions = {name: [item for label, item in splits.train if label == name] for name in same}
    assert positions["cat"] != positions["dog"]


def test_draws_are_uniform():
    counts = Counter(item for seed in range(400) for name, item in draw(shots=5, seed=seed).train if name == "cat")
    assert len(counts) == 20
    assert min(counts.values()) > 60  # 100 expected, standard deviation 8.7
    assert max(counts.values()) < 140


def test_splits_of_their_own_are_used():
    splits = draw(dev=1, test=2, dev_pool={"cat": ["c"], "dog": ["d"]}, test_pool={"cat": [1, 2, 3], "dog": [4, 5]})
    assert splits.dev == [("cat", "c"), ("dog", "d")]
    assert Counter(name for name, _ in splits.test) == {"cat": 2, "dog": 2}
    assert len(set(splits.test)) == 4


def test_test_is_at_most_what_is_asked():
    assert len(draw(test=4).test) == 8
    assert len(draw(test=1000).test) == 50 - 6


def test_the_last_possible_shot_leaves_one_to_test_on():
    assert Counter(name for name, _ in draw(shots=17, dev=2).test)["cat"] == 1
    with pytest.raises(UserError, match=r"pets: class 'cat' has 20 images, but needs 21 \(shots=18, dev=2, one to te"):
        draw(shots=18, dev=2)


def test_a_class_that_a_split_lacks_is_named():
    with pytest.raises(UserError, match="class 'dog' of the test split has 0 images"):
        draw(test_pool={"cat": [1]})
    with pytest.raises(UserError, match="class 'cat' of the dev split has 1 images, but needs 2"):
        draw(dev=2, dev_pool={"cat": [1], "dog": [1, 2]})


@pytest.mark.parametrize("option", [{"shots": 0}, {"seed": -1}, {"dev": -1}, {"test": 0}])
def test_numbers_out_of_range(option):
    (name, value) = next(iter(option.items()))
    with pytest.raises(UserError, match=f"{name} is {value}"):
        draw(**option)
