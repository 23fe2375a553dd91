"""The glossary: 24 things that differ in one attribute or more, and what is said of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from promptopt.core import Dataset
from promptopt.data.glossary import KINDS, MEANINGS, NAMES, descriptors, glossary, marked, neighbours
from promptopt.errors import UnknownName, UserError
from promptopt.testing.contracts import DatasetContract

EXPERIMENT = Path(__file__).resolve().parents[2] / "experiments" / "glossary"


class TestGlossary(DatasetContract):
    def make(self, *, seed: int) -> Dataset:
        return glossary(shots=1, dev=1, test=24, seed=seed)


def test_sizes_and_ids() -> None:
    data = glossary(shots=2, dev=1, test=30)
    assert [len(data.train), len(data.dev), len(data.test)] == [48, 24, 30]
    assert data.train[1].id == "glossary/train/dax/1"
    assert {(example.input.mode, example.input.size) for example in data.train} == {("RGB", (32, 32))}
    assert Counter(example.label for example in data.test) == {name: 1 + (name in NAMES[:6]) for name in NAMES}


def test_more_shots_keep_the_earlier_images() -> None:
    few, many = (glossary(shots=shots, test=0) for shots in (1, 2))
    kept = {example.id: example.input.tobytes() for example in many.train}
    assert all(kept[example.id] == example.input.tobytes() for example in few.train)


def test_images_show_what_the_glossary_says() -> None:
    data = glossary(shots=6, test=0)
    for name, meaning in MEANINGS.items():
        pixels = np.stack([np.asarray(e.input, dtype=float) for e in data.train if e.label == name])
        edge, middle = pixels[:, 0].mean(axis=(0, 1)), pixels[:, 14:18, 14:18].mean(axis=(0, 1, 2))
        for seen, colour in ((edge, meaning.ground), (middle, meaning.ink)):
            assert (seen[0] > 130) == (colour != "black")
            assert (seen[1:].min() > 150) == (colour == "white")
        assert (pixels[:, 0].std(axis=1).mean() > 13) == (meaning.texture == "grainy")


def test_meanings_differ_and_each_has_six_neighbours() -> None:
    assert len({meaning.definition for meaning in MEANINGS.values()}) == len(NAMES) == 24
    for name in NAMES:
        near = neighbours(name)
        assert len(near) == 6
        assert all(name in neighbours(other) for other in near)
    assert MEANINGS["dax"].definition == "a sharp red circle on a white background"
    assert "vash" in neighbours("dax")  # grainy
    assert "spoff" not in neighbours("dax")  # grainy, and white on red


@pytest.mark.parametrize("name", NAMES)
def test_the_kinds_of_sentences_say_what_they_are(name: str) -> None:
    said = {kind: [one.text for one in marked(name) if one.kind == kind] for kind in KINDS}
    assert said["definition"] == [MEANINGS[name].definition]
    definitions = [MEANINGS[other].definition for other in neighbours(name)]
    assert len({*said["wrong"]} & {*definitions}) == 2
    words = {*MEANINGS[name].definition.split()}
    assert all({*text.split()} <= words for text in said["partial"])
    assert not [text for text in said["reworded"] if {*MEANINGS[name]} & {*text.split()}]
    assert all(text in descriptors(kinds=["empty"])[NAMES[0]] for text in said["empty"])


def test_lists_hold_the_kinds_that_are_asked_for() -> None:
    assert [*descriptors()] == [*NAMES]
    assert {len(said) for said in descriptors().values()} == {12}
    assert descriptors(kinds=["definition"]) == {name: [MEANINGS[name].definition] for name in NAMES}
    with pytest.raises(UnknownName, match=r"'wrog'.*'wrong'"):
        descriptors(kinds=["wrog"])
    with pytest.raises(UserError, match="no kinds"):
        descriptors(kinds=[])


def test_the_place_in_a_list_does_not_tell_the_kind() -> None:
    places = [[one.kind for one in marked(name)].index("definition") for name in NAMES]
    assert len(set(places)) > 6


def test_the_written_list_is_that_of_the_package() -> None:
    assert json.loads((EXPERIMENT / "descriptors.json").read_text(encoding="utf-8")) == descriptors()


@pytest.mark.parametrize("wrong", [{"shots": 0}, {"test": -1}, {"dev": -1}, {"seed": -1}])
def test_impossible_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"^glossary: {next(iter(wrong))} is {next(iter(wrong.values()))};"):
        glossary(**wrong)
