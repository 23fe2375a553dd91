"""The reviews that come with the package."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import pytest

from promptopt.core import Dataset
from promptopt.data.reviews import CLASSES, reviews
from promptopt.errors import UserError
from promptopt.testing.contracts import DatasetContract


class TestReviews(DatasetContract):
    def make(self, *, seed: int) -> Dataset:
        return reviews(seed=seed)


@pytest.mark.parametrize("wording", ["told", "felt"])
@pytest.mark.parametrize("task", ["sentiment", "topic"])
def test_all_texts_are_there_once_and_classes_are_balanced(
    task: Literal["sentiment", "topic"], wording: Literal["told", "felt"]
) -> None:
    data = reviews(task=task, wording=wording, dev=2)
    every = [*data.train, *data.dev, *data.test]
    assert len({one.input for one in every}) == len({one.id for one in every}) == 320
    for part in (data.train, data.dev, data.test):
        assert set(Counter(one.label for one in part)) == set(CLASSES[task])
        assert len(set(Counter(one.label for one in part).values())) == 1


def test_texts_are_no_variants_of_each_other() -> None:
    """No two share half of their words, of either wording."""
    parts = [part for data in (reviews(), reviews(wording="felt")) for part in (data.train, data.test)]
    words = [set(one.input.lower().split()) for part in parts for one in part]
    shared = [len(a & b) / len(a | b) for i, a in enumerate(words) for b in words[:i]]
    assert max(shared) < 0.5
    assert all(4 <= len(one) <= 30 for one in words)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="task is 'mood'; allowed is sentiment or topic"):
        reviews(task="mood")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="wording is 'sung'; allowed is told or felt"):
        reviews(wording="sung")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"has 40 texts, but needs 42 .*add texts"):
        reviews(task="topic", shots=41)
