"""What texts say of a picture, what is drawn of it, and how much of a caption a text recovers."""

from __future__ import annotations

import importlib.util
import random
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from promptopt.drawing.facts import ASPECTS, KINDS, VALUES, caption_of, drawn, facts_of, share_of

SEEDS = range(60)
CAPTIONS = Path(__file__).resolve().parents[2] / "experiments" / "embedded_clip" / "captions.py"
SENSES = {"handwriting": "handwritten", "roman": "roman", "clock": "clock", "dice": "dice", "printed": "printed"}
SENSES |= {"seven segment": "seven segment", "tally": "tally", "spelled": "spelled"}


@cache
def captions() -> ModuleType:
    """How the embedded CLIP's training captions were written."""
    spec = importlib.util.spec_from_file_location("embedded_clip_captions", CAPTIONS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Three small RED stars", {"kind": ["stars"], "number": ["three"], "ink": ["red"], "size": ["small"]}),
        ("a seven segment 4", {"kind": ["seven segment"], "number": ["four"]}),
        ("8 bit white on black", {"ink": ["white"], "ground": ["black"], "style": ["pixelated"]}),
        ("a heart on pink, at the top left", {"kind": ["hearts"], "ground": ["pink"], "place": ["top left"]}),
        ("one of the clocks, in 2019", {}),
        ("red or blue, red", {"ink": ["red", "blue"]}),
        ("written by, hand", {}),
        ("upside down die showing six", {"kind": ["dice"], "number": ["six"], "turn": ["upside down"]}),
        ("", {}),
    ],
)  # fmt: skip
def test_reads_what_it_knows_and_no_more(text: str, said: dict[str, list[str]]) -> None:
    assert {aspect: [*values] for aspect, values in facts_of(text).items()} == said


@pytest.mark.parametrize("sense", SENSES)
def test_understands_the_captions_of_the_embedded_clip(sense: str) -> None:
    write = captions().Captioner(random.Random(0))
    kinds: set[str] = set()
    for turn in ("upright", "upside down", "mirrored"):
        seen = captions().Attributes(sense, "three", "european", "red", "white", turn, frozenset({"blurred", "large"}))
        for said in (facts_of(write(seen)) for _ in range(150)):
            kinds.update(said.get("kind", ()))
            assert said.get("number") == ("three",)
            allowed = {"ink": "red", "ground": "white", "turn": turn, "style": "blurry", "size": "large"}
            assert all(said[aspect] == (value,) for aspect, value in allowed.items() if aspect in said)
    assert kinds >= {SENSES[sense]}
    if sense != "dice":  # a tile with three dots is none that shows three circles
        assert kinds == {SENSES[sense]}


def test_a_caption_says_its_facts_and_no_others() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        facts = {aspect: str(rng.choice(VALUES[aspect])) for aspect in ASPECTS}
        for aspect in ("size", "place", "turn", "style"):
            if rng.random() < 0.5:
                del facts[aspect]
        assert facts_of(caption_of(facts)) == {aspect: (value,) for aspect, value in facts.items()}


def test_what_is_said_is_drawn_and_what_is_not_is_up_to_the_seed() -> None:
    pictures = [drawn("three stars on a black background", seed) for seed in SEEDS]
    assert all([*one] == [*ASPECTS] for one in pictures)
    assert {(one["kind"], one["number"], one["ground"]) for one in pictures} == {("stars", "three", "black")}
    assert len({one["ink"] for one in pictures}) > 5
    assert {(one["size"], one["place"], one["turn"]) for one in pictures} == {("large", "middle", "upright")}
    assert {drawn("", seed)["kind"] for seed in range(300)} == {*KINDS}


def test_of_what_is_contradictory_the_seed_takes_one() -> None:
    shown = [drawn("a red or blue star, red on red background", seed) for seed in SEEDS]
    assert {one["ink"] for one in shown} >= {"red", "blue"}
    assert {one["ground"] for one in shown} > {"red"}
    assert all(one["ink"] != one["ground"] for one in shown)
    assert drawn("red blue", 5) == drawn("red blue", 5)


def test_other_words_leave_what_the_seed_took_as_it_was() -> None:
    for seed in SEEDS:
        plain, more = drawn("a star", seed), drawn("a small blurry star, upside down", seed)
        assert [plain[a] for a in ("number", "ink", "ground")] == [more[a] for a in ("number", "ink", "ground")]


def test_nothing_is_drawn_in_the_colour_of_its_ground() -> None:
    for text in ("neon", "white in chalk", "on paper", "black neon", "pink on a pink background", ""):
        assert all((one := drawn(text, seed))["ink"] != one["ground"] for seed in SEEDS)


def test_the_share_is_that_of_the_caption_s_facts_in_the_pictures() -> None:
    caption = "three red stars on a black background"
    assert share_of(caption, caption, seeds=SEEDS) == [1.0] * 60
    assert share_of(caption, "three red stars", seeds=SEEDS) == [
        1.0 if drawn("three red stars", seed)["ground"] == "black" else 0.75 for seed in SEEDS
    ]
    assert np.mean(share_of(caption, "three red hearts on a black background", seeds=SEEDS)) == 0.75
    assert 0 < np.mean(share_of(caption, "", seeds=SEEDS)) < 0.3
    either = np.mean(share_of("a red star", "a red or blue star", seeds=SEEDS))
    assert 0.6 < either < 0.9


def test_a_caption_that_says_nothing_has_no_share() -> None:
    with pytest.raises(ValueError, match="says nothing"):
        share_of("a landscape", "three", seeds=[0])
