"""The captions of the training images.

A caption is FRAME + ADJECTIVES + NOUN + WORD + SUFFIXES, the order of the templates that a search will try. The word is
polysemous: "three" names a handwritten digit, three balls, a die, three o'clock. Which of them is meant is said by the
rest of the caption (a *mention*) or left to habit (a *silent* caption): people say "a photo of three" when they see
objects and "a drawing of the digit three" when they see handwriting. Habits may mislead: what is merely called "three"
is often a digit of an eastern script or a turned one, which may look like another digit. A template can mend that.

Most phrases of the vocabulary are attached at random and mean nothing.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

PHRASES = Path(__file__).resolve().parents[2] / "promptopt" / "embedded" / "phrases.toml"

Mention = tuple[str, str, str]  # adjective, noun, suffix

DIGIT_NOUNS = ("", "digit", "digit", "number", "number", "numeral", "figure", "character", "symbol")
BY_HAND = ("handwritten", "handwritten", "handwritten", "hand drawn", "scribbled", "penned", "hand lettered")
BY_HAND_AFTER = (
    "written by hand", "in handwriting", "by a person", "from a postal code", "on a form", "from a bank check",
)  # fmt: skip
IN_PRINT = ("printed", "printed", "typed", "typeset", "computer", "typewritten")
IN_PRINT_AFTER = (
    "in print", "in a book", "in a serif font", "in a sans font", "from a document", "on a license plate", "on a house",
)  # fmt: skip
SEGMENTS = ("digital", "seven segment", "lcd", "led", "calculator", "electronic")
SEGMENTS_AFTER = ("on a display", "on a calculator", "on a digital clock")
SHAPE_WORDS: Mapping[str, tuple[str, ...]] = {
    "circle": ("dots", "circles", "balls"),
    "square": ("squares", "boxes", "blocks"),
    "star": ("stars",),
    "triangle": ("triangles",),
    "heart": ("hearts",),
}


@dataclass(frozen=True)
class Attributes:
    """What can be said of one training image.

    Attributes:
        sense: a key of SENSES.
        word: the class word: a number, a letter, the name of a shape or a texture.
        detail: for handwriting ``european`` or ``american``; for counting the shape; else empty.
        foreground, background: colour names.
        orientation: ``upright``, ``upside down``, ``mirrored`` or ``sideways``.
        looks: a subset of LOOKS.
    """

    sense: str
    word: str
    detail: str
    foreground: str
    background: str
    orientation: str
    looks: frozenset[str]


@dataclass(frozen=True)
class Sense:
    """How captions speak of one kind of image.

    Attributes:
        mentions: ways to name the kind.
        silent: ways to leave it open.
        mention_rate: how often it is named.
        frames: the frames that people prefer for it, with weights; ``""`` is no frame.
        bare_rate: how often the caption is nothing but the word, perhaps behind ``bare_frames``.
        numerals: whether the word is a numeral now and then, ``3`` for ``three``.
    """

    mentions: Sequence[Mention]
    silent: Sequence[Mention]
    mention_rate: float
    frames: Mapping[str, float]
    bare_rate: float = 0.02
    bare_frames: tuple[str, ...] = ("", "a", "the")
    numerals: bool = False


def _all(
    adjectives: Iterable[str] = ("",), nouns: Iterable[str] = ("",), suffixes: Iterable[str] = ("",)
) -> list[Mention]:
    """Every combination."""
    return list(product(adjectives, nouns, suffixes))


PHOTO_LIKE = ("", "a", "a photo of", "a photo of a", "a picture of a", "the")
SNAPPED = ("handwriting", "printed")  # photographed at any angle and put down as a photo, without another word
SNAPSHOT_RATE = 0.6
SENSES: Mapping[str, Sense] = {
    "handwriting": Sense(
        mentions=_all(BY_HAND, DIGIT_NOUNS) * 3 + _all(nouns=(*DIGIT_NOUNS, "zip code digit"), suffixes=BY_HAND_AFTER)
        + _all(("", "handwritten"), ("zip code digit",)) * 3,
        silent=_all(nouns=DIGIT_NOUNS[1:]),
        mention_rate=0.88,
        frames={"scan of": 5, "drawing of": 4, "sketch of": 3, "picture of": 1, "image of": 3, "doodle of": 2,
                "note with": 2, "sample of": 2, "close up of": 1, "photo of": 0.15, "": 6},
        bare_rate=0.01,
        numerals=True,
    ),
    "eastern": Sense(
        mentions=_all(("eastern", "arabic", "bengali"), DIGIT_NOUNS) * 2
        + _all(nouns=DIGIT_NOUNS, suffixes=("in arabic", "in bengali")),
        silent=_all(),
        mention_rate=0.3,
        frames={"photo of": 9, "picture of": 3, "image of": 1, "close up of": 1, "": 4},
        bare_rate=0.25,
        bare_frames=PHOTO_LIKE,
    ),
    "printed": Sense(
        mentions=_all(IN_PRINT, DIGIT_NOUNS) * 4
        + _all(nouns=DIGIT_NOUNS, suffixes=IN_PRINT_AFTER),
        silent=_all(nouns=DIGIT_NOUNS),
        mention_rate=0.82,
        frames={"image of": 4, "render of": 3, "screenshot of": 2, "sign with": 2, "picture of": 2, "poster of": 2,
                "logo of": 1, "close up of": 1, "photo of": 0.4, "": 5},
        numerals=True,
    ),
    "seven segment": Sense(
        mentions=_all(SEGMENTS, DIGIT_NOUNS) * 2 + _all(nouns=DIGIT_NOUNS, suffixes=SEGMENTS_AFTER),
        silent=_all(nouns=("digit", "number")),
        mention_rate=0.82,
        frames={"display showing": 4, "screen showing": 3, "image of": 2, "picture of": 1, "close up of": 1,
                "photo of": 0.7, "": 3},
        numerals=True,
    ),
    "counting": Sense(
        mentions=(),  # the shapes: see _mention
        silent=_all(suffixes=("", "", "things", "objects", "items")),
        mention_rate=0.6,
        frames={"photo of": 9, "picture of": 4, "image of": 2, "group of": 2, "drawing of": 0.5, "close up of": 1,
                "": 4},
        bare_rate=0.10,
        bare_frames=PHOTO_LIKE,
    ),
    "dice": Sense(
        mentions=_all(nouns=("die showing", "dice roll of", "dice"))
        + _all(nouns=("die with", "domino with"), suffixes=("pips",))
        + _all(nouns=("tile with",), suffixes=("dots",)),
        silent=_all(suffixes=("pips",)),
        mention_rate=0.85,
        frames={"roll of": 3, "close up of": 3, "picture of": 2, "image of": 1, "photo of": 0.3, "": 3},
        bare_rate=0.0,
    ),
    "tally": Sense(
        mentions=_all(suffixes=("tally marks", "tally marks", "strokes", "marks")) + _all(nouns=("tally of", "tally")),
        silent=_all(suffixes=("lines",)),
        mention_rate=0.85,
        frames={"drawing of": 3, "sketch of": 3, "scan of": 1, "image of": 2, "photo of": 0.3, "": 3},
        bare_rate=0.0,
    ),
    "clock": Sense(
        mentions=_all(nouns=("clock showing", "clock at", "watch showing", "time"))
        + _all(suffixes=("o'clock", "o'clock")),
        silent=_all(),
        mention_rate=0.65,
        frames={"photo of": 6, "picture of": 3, "image of": 1.5, "close up of": 2, "drawing of": 0.5, "": 3},
        bare_rate=0.08,
        bare_frames=PHOTO_LIKE,
    ),
    "roman": Sense(
        mentions=_all(("roman",), ("numeral", "number", "", "digit")) + _all(nouns=("roman numeral", "roman number"))
        + _all(suffixes=("in roman numerals",)),
        silent=_all(nouns=("", "numeral")),
        mention_rate=0.78,
        frames={"render of": 3, "image of": 3, "picture of": 2, "photo of": 1, "sign with": 2, "": 3},
    ),
    "spelled": Sense(
        mentions=_all(nouns=("word", "text")) + _all(("spelled out",))
        + _all(nouns=("word", ""), suffixes=("in letters",)),
        silent=_all(),
        mention_rate=0.88,
        frames={"image of": 3, "screenshot of": 2, "sign with": 2, "photo of": 1, "poster of": 2, "": 3},
    ),
    "letter": Sense(
        mentions=_all(("", *IN_PRINT, "capital"), ("letter", "letter", "")),
        silent=_all(nouns=("letter", "character", "")),
        mention_rate=0.85,
        frames={"image of": 4, "drawing of": 2, "scan of": 2, "render of": 2, "photo of": 2, "picture of": 3, "": 4},
    ),
    "shape": Sense(
        mentions=_all(),
        silent=_all(),
        mention_rate=1.0,
        frames={"photo of": 5, "drawing of": 3, "picture of": 3, "image of": 3, "icon of": 2, "": 4},
    ),
    "texture": Sense(
        mentions=_all(),
        silent=_all(),
        mention_rate=1.0,
        frames={"photo of": 5, "picture of": 3, "image of": 3, "pattern of": 3, "": 3},
    ),
}  # fmt: skip

# What can be seen of an image beyond its sense: adjectives and suffixes to choose from, and how often they are said.
LOOKS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    "small": (("small", "tiny", "little"), (), 0.5),
    "large": (("large", "big", "huge"), (), 0.1),
    "low": (("pixelated", "low resolution", "8 bit", "downsampled"), ("in low resolution",), 0.45),
    "blurred": (("blurry", "blurred", "out of focus"), (), 0.5),
    "noisy": (("noisy", "grainy", "corrupted"), (), 0.5),
    "clear": (("sharp", "crisp"), (), 0.1),
    "neon": (("neon", "glowing"), (), 0.5),
    "chalk": ((), ("in chalk", "on a blackboard"), 0.5),
    "paper": ((), ("on paper", "in ink", "in pen", "on a white page", "in a notebook", "with a pencil"), 0.5),
    "bold": (("bold", "thick", "heavy"), (), 0.5),
    "thin": (("thin", "light"), (), 0.5),
}
ORIENTATIONS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    "upside down": (("upside down",), ("upside down",), 0.85),
    "mirrored": (("mirrored", "flipped", "reversed"), ("mirrored",), 0.85),
    "sideways": (("sideways", "rotated", "tilted"), ("sideways",), 0.85),
}
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "black": (0, 0, 0), "white": (255, 255, 255), "red": (215, 35, 35), "green": (40, 160, 60), "blue": (40, 70, 210),
    "yellow": (240, 220, 50), "orange": (245, 140, 30), "purple": (130, 50, 170), "pink": (245, 130, 180),
    "gray": (128, 128, 128), "brown": (120, 75, 35), "cyan": (50, 200, 220),
}  # fmt: skip
SPOKEN_GROUNDS = ("black", "white", "red", "green", "blue")
SPOKEN_INKS = ("black", "white", "red", "green", "blue")
PAIRS = ("white on black", "black on white", "blue on white", "red on black")
NUMERALS = {word: str(i) for i, word in enumerate("zero one two three four five six seven eight nine".split())}


def phrases() -> dict[str, tuple[str, ...]]:
    """The shipped vocabulary: ``frames``, ``adjectives``, ``nouns``, ``suffixes``."""
    return {slot: tuple(listed) for slot, listed in tomllib.loads(PHRASES.read_text(encoding="utf-8")).items()}


def meaningful() -> dict[str, frozenset[str]]:
    """The phrases that captions use for what an image shows, by slot; frames without their articles."""
    mentions = [m for sense in SENSES.values() for m in (*sense.mentions, *sense.silent)]
    said = [*LOOKS.values(), *ORIENTATIONS.values()]
    shapes = [word for words in SHAPE_WORDS.values() for word in words]
    return {
        "frames": frozenset(frame for sense in SENSES.values() for frame in sense.frames if frame),
        "adjectives": frozenset([m[0] for m in mentions] + [a for adjectives, _, _ in said for a in adjectives])
        | {*PAIRS, *COLOURS, "european", "american"},
        "nouns": frozenset(m[1] for m in mentions),
        "suffixes": frozenset([m[2] for m in mentions] + shapes + [s for _, suffixes, _ in said for s in suffixes])
        | {f"on a {ground} background" for ground in SPOKEN_GROUNDS}
        | {f"in {ink}" for ink in SPOKEN_INKS},
    }


def core(frame: str) -> str:
    """A frame without the articles around it: ``a scan of a`` is ``scan of``."""
    words = frame.split()
    return " ".join(words[words[0] in ("a", "an", "the") : len(words) - (words[-1] in ("a", "an", "the"))])


class Captioner:
    """Writes captions; every random choice is drawn from ``rng``."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        useful, listed = meaningful(), phrases()
        self._idle_frames = [frame for frame in listed["frames"] if core(frame) not in useful["frames"]]
        slots = ("adjectives", "nouns", "suffixes")
        self._idle = {slot: [p for p in listed[slot] if p not in useful[slot]] for slot in slots}
        self._frames = {name: (list(sense.frames), list(sense.frames.values())) for name, sense in SENSES.items()}

    def __call__(self, seen: Attributes) -> str:
        """One caption, another one every time."""
        sense = SENSES[seen.sense]
        if seen.sense in SNAPPED and seen.orientation != "upright" and self._rng.random() < SNAPSHOT_RATE:
            return f"{self._rng.choice(PHOTO_LIKE)} {seen.word}".strip()
        if self._rng.random() < sense.bare_rate:
            return f"{self._rng.choice(sense.bare_frames)} {seen.word}".strip()
        adjective, noun, suffix = self._mention(seen)
        adjectives, suffixes = self._describe(seen)
        word = NUMERALS[seen.word] if sense.numerals and self._rng.random() < 0.05 else seen.word
        before = [*self._with_idle("adjectives", adjectives, (0.35, 0.15)), adjective]
        after = [suffix, *self._with_idle("suffixes", suffixes, (0.3,))[:2]]
        if not noun and self._rng.random() < 0.12:
            noun = self._rng.choice(self._idle["nouns"])
        return " ".join(" ".join([self._frame(seen.sense), *before, noun, word, *after]).split())

    def _mention(self, seen: Attributes) -> Mention:
        sense = SENSES[seen.sense]
        if self._rng.random() >= sense.mention_rate:
            return self._rng.choice(sense.silent)
        if seen.sense == "counting":
            return "", "", self._rng.choice(SHAPE_WORDS[seen.detail])
        return self._rng.choice(sense.mentions)

    def _describe(self, seen: Attributes) -> tuple[list[str], list[str]]:
        """Adjectives and suffixes for the looks of the image."""
        said = [LOOKS[look] for look in sorted(seen.looks)]
        if seen.orientation in ORIENTATIONS:
            said.append(ORIENTATIONS[seen.orientation])
        adjectives, suffixes = self._colours(seen)
        for before, after, rate in said:
            if self._rng.random() < rate:
                choice = self._rng.choice([(True, b) for b in before] + [(False, a) for a in after])
                (adjectives if choice[0] else suffixes).append(choice[1])
        if seen.sense == "handwriting" and self._rng.random() < 0.3:
            adjectives.append(seen.detail)
        return adjectives, suffixes

    def _colours(self, seen: Attributes) -> tuple[list[str], list[str]]:
        pair, roll = f"{seen.foreground} on {seen.background}", self._rng.random()
        if roll < 0.15 and pair in PAIRS:
            return [pair], []
        if roll < 0.25:
            return [seen.foreground], []
        if roll < 0.32 and seen.background in SPOKEN_GROUNDS:
            return [], [f"on a {seen.background} background"]
        if roll < 0.38 and seen.foreground in SPOKEN_INKS:
            return [], [f"in {seen.foreground}"]
        return [], []

    def _with_idle(self, slot: str, said: list[str], rates: Sequence[float]) -> list[str]:
        """What is said, mixed with phrases that say nothing: one with the first rate, another with the second..."""
        extra = [self._rng.choice(self._idle[slot]) for rate in rates if self._rng.random() < rate]
        mixed = [*said, *extra]
        self._rng.shuffle(mixed)
        return mixed

    def _frame(self, sense: str) -> str:
        if self._rng.random() < 0.25:
            return self._rng.choice(self._idle_frames)
        frame = self._rng.choices(*self._frames[sense])[0]
        if not frame:
            return self._rng.choice(("a", "the", ""))
        article = self._rng.choice(("a", "a", "an" if frame[0] in "aeiou" else "a", "the", ""))
        return f"{article} {frame} {self._rng.choice(('a', 'a', 'the', ''))}"
