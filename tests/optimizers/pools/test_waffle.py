"""Random words and characters, the control."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

import numpy as np
import pytest

from promptopt.errors import UserError
from promptopt.optimizers.pools.waffle import CHARACTERS, Waffle
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import PoolContract
from promptopt.vocabulary.class_texts import ClassLines

CLASSES = ("red fox", "ibis")  # words of 3, 3 and 4 letters: two of three letters are the nearest


class TestWaffle(PoolContract):
    def make(self) -> Waffle:
        return Waffle(classes=["x"], count=1, words=["a", "b"])


def drawn(n: int = 3, **options: Any) -> list[str]:
    pool = Waffle(**{"classes": CLASSES, "words": ["apple", "bee"], **options})
    pool.begin(FakeSetup(start=["a scan of a {}"]))
    return list(islice(pool.draw(np.random.default_rng(0)), n))


def test_all_classes_share_what_is_drawn() -> None:
    for prompt in drawn(count=2):
        lines = prompt.splitlines()
        assert len(lines) == 4
        assert all(re.fullmatch(r"a scan of a \{\}, which has (app|bee) (app|bee)", line) for line in lines[::2])
        letters = [line.removeprefix("a scan of a {}, which has ").split(", ") for line in lines[1::2]]
        assert [[len(part) for part in pair] for pair in letters] == [[3, 3]] * 2
        assert {*"".join(part for pair in letters for part in pair)} <= {*CHARACTERS}


def test_or_each_has_its_own() -> None:
    for prompt in drawn(count=3, shared=False):
        texts = ClassLines(CLASSES).read(prompt)
        assert texts.templates == ()
        fox, ibis = texts.own["red fox"], texts.own["ibis"]
        assert len(fox) == len(ibis) == 6
        assert all(text.startswith("a scan of a red fox, which has ") for text in fox)
        assert [text.partition("has ")[2] for text in fox] != [text.partition("has ")[2] for text in ibis]


def test_words_are_those_of_the_embedded_phrases_by_default() -> None:
    words = Waffle(classes=CLASSES).words
    assert len(words) > 500
    assert "blurry" in words


@pytest.mark.parametrize(
    ("options", "said"), [({"count": 0}, "count"), ({"words": []}, "words"), ({"classes": []}, "cla")]
)
def test_what_cannot_be_used(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        drawn(**options)
