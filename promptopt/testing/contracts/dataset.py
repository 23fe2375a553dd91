"""What every data set must hold."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ...core import Dataset, Example
from .fresh import in_a_fresh_process

__all__ = ["DatasetContract"]


class DatasetContract:
    """What runs rely on in a data set."""

    def make(self, *, seed: int) -> Dataset:
        """The data set as drawn with this seed, small and from a pool that leaves something to draw."""
        raise AssertionError("say how to make the data set: override make()")

    def test_has_examples_to_search_on(self) -> None:
        data = self.make(seed=0)
        assert data.train
        assert data.name.strip()
        assert all(isinstance(example, Example) and isinstance(example.id, str) for example in _all(data))

    def test_ids_are_unique(self) -> None:
        ids = [example.id for example in _all(self.make(seed=0))]
        assert len(set(ids)) == len(ids)

    def test_no_item_stands_in_two_splits(self) -> None:
        data = self.make(seed=0)
        train, dev, test = ({_content(e.input) for e in split} for split in (data.train, data.dev, data.test))
        assert not train & dev | train & test | dev & test

    def test_labels_are_among_the_classes(self) -> None:
        data = self.make(seed=0)
        assert len(set(data.classes)) == len(data.classes)
        if data.classes:
            assert {example.label for example in _all(data)} <= {*data.classes}

    def test_the_seed_decides(self) -> None:
        first = _contents(self.make(seed=0))
        assert _contents(self.make(seed=0)) == first
        assert any(_contents(self.make(seed=seed)) != first for seed in range(1, 4))

    def test_same_splits_in_a_fresh_process_with_another_hash_seed(self) -> None:
        assert in_a_fresh_process(self, "_newly_made") == self._newly_made()

    def _newly_made(self) -> list[Any]:
        return _contents(self.make(seed=0))


def _all(data: Dataset) -> tuple[Example, ...]:
    return (*data.train, *data.dev, *data.test)


def _contents(data: Dataset) -> list[Any]:
    """Ids, inputs and labels, split by split, as JSON values."""
    splits = (data.train, data.dev, data.test)
    return [[[example.id, _content(example.input), repr(example.label)] for example in split] for split in splits]


def _content(value: Any) -> str:
    """What an input is, as text: pictures and arrays by a hash of what they hold."""
    if hasattr(value, "__array_interface__"):
        pixels = np.asarray(value)
        return f"{pixels.dtype} {pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}"
    return repr(value)
