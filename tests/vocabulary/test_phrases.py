"""Prompts as sequences of phrases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.errors import UserError
from promptopt.vocabulary.phrases import SLOTS, Phrases, join, read_slots

CLIP = {
    "frames": ["a photo of", "a drawing of"],
    "adjectives": ["small", "black and white"],
    "nouns": ["the number", "object"],
    "suffixes": [", a type of pet", "on a table"],
}
WORDS = ["a", "photo", "of", "{}", "black", "and", "white", "x"]
texts = st.text() | st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
phrases = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), max_size=6)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(texts, phrases)
def test_split_and_join_keep_every_word(text: str, vocabulary: list[str]) -> None:
    assert join(Phrases({}, vocabulary).split(text)).split() == text.split()


@given(texts, phrases)
def test_what_split_gives_is_a_phrase_or_a_word(text: str, vocabulary: list[str]) -> None:
    for phrase in Phrases({}, vocabulary).split(text):
        assert phrase in vocabulary or len(phrase.split()) == 1 or phrase.startswith("\n")


def test_the_longest_match_comes_first() -> None:
    split = Phrases({}, ["a photo", "a photo of", "of a", "photo of a {}"]).split
    assert split("a photo of a {} here") == ["a photo of", "a", "{}", "here"]
    assert split("  a\n photo \t") == ["a photo"]
    assert split("") == []


@pytest.mark.parametrize(
    ("before", "new", "after"),
    [
        (["{}"], "a photo of", ["a photo of", "{}"]),
        (["a photo of", "{}"], "a drawing of", ["a drawing of", "{}"]),
        (["a", "photo", "small", "{}"], "a photo of", ["a photo of", "small", "{}"]),
        (["a photo of", "object", "{}"], "small", ["a photo of", "small", "object", "{}"]),
        (["a photo of", "small", "{}"], "object", ["a photo of", "small", "object", "{}"]),
        (["a photo of", "{}"], "on a table", ["a photo of", "{}", "on a table"]),
        (["a photo of", "{}", "on a table"], "small", ["a photo of", "small", "{}", "on a table"]),
    ],
)
def test_a_phrase_goes_where_its_slot_stands(before: list[str], new: str, after: list[str]) -> None:
    Phrases(CLIP).insert(before, new, rng())
    assert before == after


@given(st.lists(st.sampled_from(["x", "y", "z"]), max_size=5), st.integers(0, 99))
def test_a_phrase_without_a_slot_goes_anywhere(before: list[str], seed: int) -> None:
    after = list(before)
    Phrases({}, ["new"]).insert(after, "new", np.random.default_rng(seed))
    after.remove("new")
    assert after == before


def test_lines_behind_a_template_stay() -> None:
    words = Phrases(CLIP)
    text = "a photo of {}\n\ndog: a small object\na drawing of {}"
    parts = words.split(text)
    assert parts == ["a photo of", "{}", "\ndog: a small object", "\na drawing of {}"]
    assert words.join(parts) == text.replace("\n\n", "\n")
    assert words.contents(text) == ["a photo of"]
    assert words.free(parts) == [0]
    for new in ("on a table", "small", "new"):
        words.insert(parts, new, rng())
    assert parts[-2:] == ["\ndog: a small object", "\na drawing of {}"]
    assert "on a table" in parts[:-2]
    assert words.cross(["a photo of", "{}"], parts, rng())[0] == "a photo of"


def test_templates_are_crossed_at_the_placeholder() -> None:
    one, other = ["a photo of", "{}", "here"], ["small", "{}", "there", "too"]
    assert Phrases(CLIP).cross(one, other, rng()) == ["a photo of", "{}", "there", "too"]


@given(st.lists(st.sampled_from("abc"), max_size=5), st.lists(st.sampled_from("xyz"), max_size=5), st.integers(0, 99))
def test_others_are_a_beginning_and_an_end(one: list[str], other: list[str], seed: int) -> None:
    child = Phrases({}).cross(one, other, np.random.default_rng(seed))
    head = [phrase for phrase in child if phrase in "abc"]
    tail = child[len(head) :]
    assert child == one[: len(head)] + other[len(other) - len(tail) :]


# ── Where vocabularies come from ──────────────────────────────────────────────────────────────────────────────────


def test_slots_from_a_mapping_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('frames = ["a", "a", "b"]\nnouns = ["c"]')
    expected = {"frames": ("a", "b"), "adjectives": (), "nouns": ("c",), "suffixes": ()}
    assert read_slots(tmp_path / "p.toml") == read_slots({"frames": ["a", "b"], "nouns": ["c"]}) == expected


def test_loading_leaves_out_what_is_excluded_or_empty() -> None:
    assert Phrases.load(["one two", "two", "three", " "], exclude=["two"]).all == ["three"]
    assert Phrases.load(CLIP, exclude=["photo", "a"]).all == ["small", "black and white", "the number", "object"]


def test_the_embedded_vocabulary() -> None:
    slots = read_slots(None)
    assert set(slots) == set(SLOTS)
    assert sum(map(len, slots.values())) > 20
    assert Phrases.load(None).all == list(dict.fromkeys(phrase for slot in SLOTS for phrase in slots[slot]))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read phrases"), ("x = [", "cannot read phrases"), ("verbs = []", "unknown slot verbs")],
)
def test_files_that_are_none(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "p.toml").write_text(content)
    with pytest.raises(UserError, match=message):
        Phrases.load(tmp_path / "p.toml")
