"""Pictures of hidden captions."""

from __future__ import annotations

import pytest

from promptopt.core import Dataset
from promptopt.data.painted import HABITS, hidden_caption, painted
from promptopt.drawing.facts import drawn, facts_of
from promptopt.errors import UserError
from promptopt.pictures import references_of
from promptopt.targets.pictures import seed_of
from promptopt.testing.contracts import DatasetContract

CAPTION = "three red stars on a black background"


class TestPainted(DatasetContract):
    def make(self, *, seed: int) -> Dataset:
        return painted(caption=CAPTION, dev=2, seed=seed)

    def test_no_item_stands_in_two_splits(self) -> None:
        """An item is a number, and with it a seed of the generator, as of ``drawings``."""
        data = self.make(seed=0)
        assert len({seed_of(example) for example in (*data.train, *data.dev, *data.test)}) == 16


def test_the_references_show_the_caption_which_is_nowhere_in_the_data() -> None:
    data = painted(caption=CAPTION, references=3, pictures=2, dev=1, test=4)
    assert [len(data.train), len(data.dev), len(data.test)] == [2, 1, 4]
    every = [*data.train, *data.dev, *data.test]
    assert len({seed_of(example) for example in every}) == 7
    assert len({*references_of(every[0])}) == 3
    assert all(example.input == "" and references_of(example) == example.label for example in every)


@pytest.mark.parametrize("change", [{"caption": " "}, {"references": 0}, {"pictures": 0}, {"test": -1}])
def test_mistakes_are_named(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(change))):
        painted(**{"caption": CAPTION, **change})  # type: ignore[arg-type]


def test_hidden_captions_say_what_is_drawn_and_nothing_that_is_drawn_anyway() -> None:
    captions = [hidden_caption(number, seed=0) for number in range(50)]
    assert len({*captions}) > 45
    for caption in captions:
        said = facts_of(caption)
        assert {"kind", "number", "ink", "ground"} <= said.keys()
        shown = drawn(caption, 5)
        assert all(values == (shown[aspect],) for aspect, values in said.items())
        assert not {*HABITS} & {value for values in said.values() for value in values}
