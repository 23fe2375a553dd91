"""Pictures that are to be drawn: numbers, wishes, references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from promptopt.core import Dataset, Example
from promptopt.data.drawings import drawings
from promptopt.errors import UserError
from promptopt.pictures import references_of
from promptopt.run.leaks import leaks
from promptopt.targets.pictures import seed_of
from promptopt.testing.contracts import DatasetContract

WISH = "a red stop sign on a blue wall"


class TestDrawings(DatasetContract):
    """The suite."""

    def make(self, *, seed: int) -> Dataset:
        return drawings(wish=WISH, pictures=3, dev=2, test=4, seed=seed)

    def test_no_item_stands_in_two_splits(self) -> None:
        """What an item is here is its number, and with it the generator's seed: the wish is the same for all."""
        data = self.make(seed=0)
        seeds = [{seed_of(e) for e in split} for split in (data.train, data.dev, data.test)]
        assert [len(one) for one in seeds] == [3, 2, 4]
        assert len(set.union(*seeds)) == 9


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    names = [tmp_path / f"{colour}.png" for colour in ("red", "blue")]
    for name in names:
        Image.new("RGB", (4, 4), name.stem).save(name)
    return names


def test_input_is_the_wish_and_label_what_a_picture_is_compared_with(files: list[Path]) -> None:
    generated = drawings(wish=WISH).train[0]
    assert (generated.input, generated.label) == (WISH, WISH)
    inverted = drawings(references=str(files[0])).train[0]
    assert (inverted.input, inverted.label) == ("", (str(files[0]),))
    own = drawings(wish="my dog at the sea", references=files).test[-1]
    assert (own.input, own.label) == ("my dog at the sea", tuple(map(str, files)))
    assert [one.data for one in references_of(own)] == [file.read_bytes() for file in files]


def test_a_relative_path_is_found_from_elsewhere(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files[0].parent)
    data = drawings(references="red.png")
    monkeypatch.chdir("/")
    assert references_of(data.train[0])[0].data == files[0].read_bytes()


def test_seeds_hang_on_the_number_alone_and_are_32_bits_long() -> None:
    assert seed_of(Example("drawings/0/0", "x", None)) == seed_of(Example("drawings/0/0", "y", 1)) == 1_908_797_581
    assert all(0 <= seed_of(example) < 2**32 for example in drawings(wish=WISH, test=200).test)
    assert seed_of(Example("half a pair \ud800", "", None)) >= 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "drawings: give wish, a text that says what is to be seen, or references"),
        ({"wish": " "}, "drawings: give wish"),
        ({"wish": 3}, "wish is 3; allowed is a text"),
        ({"wish": "x", "pictures": 0}, "pictures is 0"),
        ({"wish": "x", "test": -1}, "test is -1"),
        ({"references": "none.png"}, "drawings, references: cannot read 'none.png': No such file"),
        ({"references": [__file__]}, "drawings, references: .* is no PNG, JPEG, WebP or GIF"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        drawings(**options)


def test_the_wish_in_the_prompt_is_no_leak_but_a_training_example_is() -> None:
    assert leaks(f"{WISH}, oil on canvas", drawings(wish=WISH)) == []
    own = (Example("a", "the quick brown fox jumps over", "x"),)
    other = (Example("b", "some other words in a row here", "x"),)
    assert len(leaks("say: quick brown fox jumps over", Dataset("texts", own, (), other))) == 1
