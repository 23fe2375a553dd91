"""What a text says of a picture, as far as the painter understands it: kind of sign, number, colours and the like.

The words are those that captions of the embedded CLIP's training images are made of (experiments/embedded_clip), and
words for places. Everything else is ignored.

``three small red stars on a black background`` says ::

    {"kind": ("stars",), "number": ("three",), "size": ("small",), "ink": ("red",), "ground": ("black",)}

A text may say several values of an aspect; a picture has one of them (:func:`drawn`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

__all__ = ["ASPECTS", "VALUES", "caption_of", "drawn", "facts_of", "share_of"]

Facts: TypeAlias = Mapping[str, str]
"""One value for each aspect that is known."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType({
    "black": (0, 0, 0), "white": (255, 255, 255), "red": (215, 35, 35), "green": (40, 160, 60), "blue": (40, 70, 210),
    "yellow": (240, 220, 50), "orange": (245, 140, 30), "purple": (130, 50, 170), "pink": (245, 130, 180),
    "gray": (128, 128, 128), "brown": (120, 75, 35), "cyan": (50, 200, 220),
})  # fmt: skip
PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")

KINDS: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType({  # the words for it, and how a caption names it
    "handwritten": (
        ("handwritten", "hand drawn", "scribbled", "penned", "hand lettered", "written by hand", "in handwriting",
         "by a person", "from a postal code", "on a form", "from a bank check", "zip code digit"),
        "handwritten {}",
    ),
    "printed": (
        ("printed", "typed", "typeset", "computer", "typewritten", "in print", "in a book", "in a serif font",
         "in a sans font", "from a document", "on a license plate", "on a house"),
        "printed {}",
    ),
    "seven segment": (
        ("seven segment", "digital", "lcd", "led", "calculator", "electronic", "on a display", "on a calculator",
         "on a digital clock"),
        "seven segment {}",
    ),
    "circles": (("circles", "dots", "balls", "circle", "dot", "ball"), "{} circles"),
    "squares": (("squares", "boxes", "blocks", "square", "box", "block"), "{} squares"),
    "stars": (("stars", "star"), "{} stars"),
    "triangles": (("triangles", "triangle"), "{} triangles"),
    "hearts": (("hearts", "heart"), "{} hearts"),
    "dice": (
        ("dice", "die", "die showing", "dice roll", "dice roll of", "die with", "domino", "domino with", "pips",
         "tile with"),
        "die showing {}",
    ),
    "tally": (("tally", "tally of", "tally marks", "strokes", "marks", "lines"), "{} tally marks"),
    "clock": (("clock", "clock showing", "clock at", "watch", "watch showing", "time", "o'clock"), "clock at {}"),
    "roman": (("roman", "roman numeral", "roman number", "in roman numerals"), "roman numeral {}"),
    "spelled": (("spelled out", "word", "text", "in letters"), "word {}"),
})  # fmt: skip
SIZES = {"small": ("small", "tiny", "little"), "large": ("large", "big", "huge")}
TURNS = {
    "upright": ("upright",),
    "upside down": ("upside down",),
    "mirrored": ("mirrored", "flipped", "reversed"),
    "sideways": ("sideways", "rotated", "tilted"),
}
STYLES = {
    "pixelated": ("pixelated", "low resolution", "8 bit", "downsampled", "in low resolution"),
    "blurry": ("blurry", "blurred", "out of focus"),
    "noisy": ("noisy", "grainy", "corrupted"),
    "sharp": ("sharp", "crisp"),
    "neon": ("neon", "glowing"),
    "in chalk": ("in chalk", "on a blackboard"),
    "on paper": ("on paper", "in ink", "in pen", "on a white page", "in a notebook", "with a pencil"),
    "bold": ("bold", "thick", "heavy"),
    "thin": ("thin", "light"),
}
VALUES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "kind": tuple(KINDS), "number": NUMBERS, "ink": tuple(COLOURS), "ground": tuple(COLOURS), "size": tuple(SIZES),
    "place": PLACES, "turn": tuple(TURNS), "style": tuple(STYLES),
})  # fmt: skip
"""What can be said of each aspect."""
ASPECTS = tuple(VALUES)

FROM_ONE = ("tally", "clock", "roman")  # where a number that nobody named is none of zero
STYLE_COLOURS = {  # the inks and grounds that a style has where no colour is named
    "neon": (("cyan", "red", "green", "yellow", "orange", "pink"), ("black",)),
    "in chalk": (("white",), ("black",)),
    "on paper": (("black", "blue"), ("white",)),
}
HABITS = {"turn": "upright", "style": "sharp"}
IDLE = ("one of the", "every time", "in time")  # phrases in which a word means nothing here


def _phrases() -> Iterator[tuple[str, Facts]]:
    """Every phrase that says something, and what it says."""
    yield from ((phrase, {}) for phrase in IDLE)
    yield from ((phrase, {"kind": kind}) for kind, (phrases, _) in KINDS.items() for phrase in phrases)
    yield from ((str(number), {"number": word}) for number, word in enumerate(NUMBERS))
    yield from ((word, {"number": word}) for word in NUMBERS)
    for aspect, table in (("size", SIZES), ("turn", TURNS), ("style", STYLES)):
        yield from ((phrase, {aspect: value}) for value, phrases in table.items() for phrase in phrases)
    for colour in COLOURS:
        yield from ((phrase, {"ink": colour}) for phrase in (colour, f"in {colour}"))
        grounds = (f"on {colour}", f"on a {colour}", f"on an {colour}", f"against {colour}", f"against a {colour}")
        yield from ((phrase, {"ground": colour}) for phrase in grounds)
        yield from ((f"{phrase} background", {"ground": colour}) for phrase in (colour, *grounds))
    yield from ((f"{ink} on {ground}", {"ink": ink, "ground": ground}) for ink, ground in permutations(COLOURS, 2))
    yield from ((f"{ink} on a {ground}", {"ink": ink, "ground": ground}) for ink, ground in permutations(COLOURS, 2))
    for place in PLACES:
        ways = ("at the", "in the", "on the", "to the")
        yield from ((f"{way} {place}", {"place": place}) for way in ways)
    for corner in ("top left", "top right", "bottom left", "bottom right"):
        yield f"in the {corner} corner", {"place": corner}
    yield from ((phrase, {"place": "middle"}) for phrase in ("in the centre", "in the center", "centred", "centered"))


PHRASES = {tuple(phrase.split()): said for phrase, said in _phrases()}
LONGEST = max(map(len, PHRASES))
WORD = re.compile(r"[a-z0-9']+")
STOPS = re.compile(r"[,.;:!?\n|]+")


def facts_of(text: str) -> dict[str, tuple[str, ...]]:
    """What a text says: for each aspect that it says something of, the values, in the order in which they come.

    Words are read in lower case, the longest phrase first, and none reaches over a comma or the like.
    """
    found: dict[str, dict[str, None]] = {}
    for piece in STOPS.split(text.lower()):
        for said in _said(WORD.findall(piece)):
            for aspect, value in said.items():
                found.setdefault(aspect, {})[value] = None
    return {aspect: tuple(found[aspect]) for aspect in ASPECTS if aspect in found}


def _said(words: Sequence[str]) -> Iterator[Facts]:
    """What the phrases in a row of words say."""
    at = 0
    while at < len(words):
        size = next((n for n in range(LONGEST, 0, -1) if tuple(words[at : at + n]) in PHRASES), 0)
        if size:
            yield PHRASES[tuple(words[at : at + size])]
        at += size or 1


def drawn(text: str, seed: int) -> dict[str, str]:
    """What a picture shows: one value for every aspect.

    Of several values that the text says the seed takes one. Where it says none, kind, number and colours are the
    seed's, a style has its colours, and by habit a sign is upright, in the middle, large and sharp; elsewhere than in
    the middle it is small. What the seed takes for one aspect does not depend on what is said of the others, but for
    colours, which differ from each other, and for a number that nobody named.
    """
    said = facts_of(text)
    shown = {aspect: str(_rng(seed, aspect).choice(values)) for aspect, values in said.items()}
    shown = {**HABITS, **shown}
    shown.setdefault("kind", str(_rng(seed, "kind").choice(VALUES["kind"])))
    numbers = NUMBERS[shown["kind"] in FROM_ONE :]
    shown.setdefault("number", str(_rng(seed, "number").choice(numbers)))
    shown.setdefault("place", "middle")
    shown.setdefault("size", "large" if shown["place"] == "middle" else "small")
    return _with_colours(shown, seed)


def _with_colours(shown: dict[str, str], seed: int) -> dict[str, str]:
    """Ink and ground, which differ: where both are said and alike, the seed says which of them gives way."""
    said = [aspect for aspect in ("ink", "ground") if aspect in shown]
    if len(said) == 2 and shown["ink"] == shown["ground"]:
        del shown[said[int(_rng(seed, "style").integers(2))]]
    for place, aspect, other in ((1, "ground", "ink"), (0, "ink", "ground")):
        styled = STYLE_COLOURS.get(shown["style"], (tuple(COLOURS), tuple(COLOURS)))[place]
        allowed = [colour for colour in styled if colour != shown.get(other)]
        allowed = allowed or [colour for colour in COLOURS if colour != shown.get(other)]
        shown.setdefault(aspect, str(_rng(seed, aspect).choice(allowed)))
    return {aspect: shown[aspect] for aspect in ASPECTS}


def _rng(seed: int, aspect: str) -> np.random.Generator:
    return np.random.default_rng([seed, ASPECTS.index(aspect)])


def share_of(caption: str, text: str, *, seeds: Sequence[int]) -> list[float]:
    """How much of what a caption says is to be seen in the pictures of another text, one share in [0, 1] a seed.

    Of the aspects that the caption says something of, those in which the picture of ``text`` with that seed shows one
    of the caption's values. So what a text leaves open counts by what is drawn then, and what it contradicts itself in
    by what the seed takes.

    Raises:
        ValueError: the caption says nothing.
    """
    wanted = facts_of(caption)
    if not wanted:
        raise ValueError(f"the caption {caption!r} says nothing that the painter understands")
    pictures = (drawn(text, seed) for seed in seeds)
    return [sum(shown[aspect] in values for aspect, values in wanted.items()) / len(wanted) for shown in pictures]


def caption_of(facts: Facts) -> str:
    """A caption that says these facts and no others.

    Args:
        facts: kind, number, ink and ground at the least.
    """
    before = [facts[aspect] for aspect in ("size", "ink") if aspect in facts]
    sign = KINDS[facts["kind"]][1]
    words = " ".join([*before, sign.removeprefix("{} ")])
    if sign.startswith("{}") and facts["number"] == "one":
        words = words.removesuffix("s")
    first = "{}" if sign.startswith("{}") else _article(words)  # three red stars, a red handwritten three
    named = f"{first} {words}".replace("{}", facts["number"])
    after = [facts[aspect] for aspect in ("turn", "style") if aspect in facts]
    place = [f"at the {facts['place']}"] if "place" in facts else []
    return ", ".join([f"{named} on {_article(facts['ground'])} {facts['ground']} background", *after, *place])


def _article(word: str) -> str:
    return "an" if word[0] in "aeio" else "a"
