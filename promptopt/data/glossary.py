"""Things with made-up names, and a glossary that says what they are: a task for prompts that say more of each class.

"dax" and "wug" are coloured shapes, 24 of them. A name tells a CLIP nothing and no template can mend that, but it may
know the words of the glossary: a dax is "a sharp red circle on a white background". The classes are all combinations of
a shape, a colouring and a texture, so each has six neighbours from which it differs in one of them alone.

``descriptors`` gives sentences for each class, as an LLM's answers are: some say what it is, some a part of it, some
say it in other words, some hold for every class and some are wrong. The kind of each is known, so what a search keeps
can be compared with what it should have kept.

The images need Pillow and no download. They are rendered and look it: no claim about photographs follows from them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from ..checks import at_least, not_empty
from ..core import Dataset, Example
from ..errors import UnknownName, require

require("PIL", extra="clip")

from PIL import Image  # noqa: E402

from ..drawing import glyphs as _glyphs  # noqa: E402
from .rendered import coloured, jittered  # noqa: E402

SHAPES = ("circle", "square", "triangle", "heart")
COLOURINGS = (("red", "white"), ("red", "black"), ("white", "red"))  # ink and ground
TEXTURES = {"sharp": (2.0, 12.0), "grainy": (25.0, 45.0)}  # and the noise of each, from and to
NAMES = (
    "dax", "vash", "blicket", "toma", "wug", "spoff", "lorx", "fep", "dofa", "quib", "hesk", "zup",
    "nadge", "bosa", "tiv", "gorp", "yurk", "plim", "kag", "mip", "snarf", "jarn", "modi", "drib",
)  # fmt: skip
KINDS = ("definition", "partial", "reworded", "empty", "wrong")

_KEY = 8  # enters the random stream, beside those of the rendered tasks
_TRAIN, _TEST, _DEV = range(3)
_REWORDED = {
    "circle": "perfectly round", "square": "four equal sides", "triangle": "three corners", "heart": "two round lobes",
    "red": "crimson in colour", "white": "pale as snow", "sharp": "evenly filled", "grainy": "speckled like sand",
}  # fmt: skip
_EMPTY = ("a small picture", "drawn by a computer", "often seen on screens")


class Meaning(NamedTuple):
    """What a name stands for, in words that the embedded CLIP's captions use."""

    shape: str
    ink: str
    ground: str
    texture: str

    @property
    def definition(self) -> str:
        """All of it: ``a grainy red circle on a white background``."""
        return f"a {self.texture} {self.ink} {self.shape} on a {self.ground} background"


class Descriptor(NamedTuple):
    """A sentence about a class.

    Attributes:
        text: what it says.
        kind: ``definition``, says all of it; ``partial``, true of some other classes too; ``reworded``, likewise, but
            not in the words of the captions; ``empty``, true of all classes; ``wrong``, the definition of a neighbour.
    """

    text: str
    kind: str


MEANINGS: Mapping[str, Meaning] = {
    name: Meaning(shape, ink, ground, texture)
    for name, (shape, (ink, ground), texture) in zip(NAMES, product(SHAPES, COLOURINGS, TEXTURES), strict=True)
}


def neighbours(name: str) -> tuple[str, ...]:
    """The classes that differ from this one in the shape, the colouring or the texture alone; six of them."""
    return tuple(other for other in NAMES if _differences(MEANINGS[name], MEANINGS[other]) == 1)


def _differences(one: Meaning, other: Meaning) -> int:
    colourings = one[1:3] != other[1:3]
    return (one.shape != other.shape) + colourings + (one.texture != other.texture)


def marked(name: str) -> tuple[Descriptor, ...]:
    """All that is said of a class, with its kind, in an order that gives nothing away: the same in every process."""
    meaning, place = MEANINGS[name], NAMES.index(name)
    rng = np.random.default_rng([_KEY, place])
    others = neighbours(name)
    said = {
        "definition": [meaning.definition],
        "partial": [
            f"a {meaning.ink} {meaning.shape}",
            f"a {meaning.shape} on a {meaning.ground} background",
            f"a {meaning.texture} {meaning.shape}",
        ],
        "reworded": [_REWORDED[meaning.shape], _REWORDED[meaning.ink], _REWORDED[meaning.texture]],
        "empty": list(_EMPTY),
        "wrong": [MEANINGS[others[i]].definition for i in rng.choice(len(others), 2, replace=False)],
    }
    listed = [Descriptor(text, kind) for kind in KINDS for text in said[kind]]
    return tuple(listed[i] for i in rng.permutation(len(listed)))


def descriptors(*, kinds: Collection[str] = KINDS) -> dict[str, list[str]]:
    """Sentences for every class, those of the given kinds, in the form of the published lists: name to sentences.

    Raises:
        UnknownName: there is no such kind.
        UserError: no kind is given.
    """
    not_empty(kinds=kinds)
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownName("kind of descriptor", kind, KINDS)
    return {name: [said.text for said in marked(name) if said.kind in kinds] for name in NAMES}


def glossary(*, shots: int = 16, seed: int = 0, dev: int = 0, test: int = 480) -> Dataset:
    """Draw the 24 things.

    Every image has its own random stream, keyed by seed, split, class and number: the same call gives the same images,
    bit for bit, in any process, and more shots leave the earlier ones as they are.

    Args:
        shots: training images per class.
        seed: of the images.
        dev: dev images per class.
        test: test images in all, spread evenly over the classes.

    Returns:
        Examples whose input is an RGB image of 32 x 32 pixels and whose label is a name, ``"dax"``.

    Raises:
        UserError: shots, seed, dev or test is negative, or shots is 0.
    """
    at_least(1, where="glossary", shots=shots)
    at_least(0, where="glossary", seed=seed, dev=dev, test=test)
    n = len(NAMES)
    return Dataset(
        name="glossary",
        train=_split("train", _TRAIN, [shots] * n, seed),
        dev=_split("dev", _DEV, [dev] * n, seed),
        test=_split("test", _TEST, [test // n + (i < test % n) for i in range(n)], seed),
        classes=NAMES,
    )


def _split(split: str, number: int, per_class: list[int], seed: int) -> tuple[Example, ...]:
    return tuple(
        Example(
            id=f"glossary/{split}/{name}/{i}",
            input=_draw(MEANINGS[name], np.random.default_rng([seed, _KEY, number, k, i])),
            label=name,
        )
        for k, name in enumerate(NAMES)
        for i in range(per_class[k])
    )


def _draw(meaning: Meaning, rng: np.random.Generator) -> Image.Image:
    image, pen = _glyphs.blank()
    middle, radius = _glyphs.CANVAS / 2, rng.uniform(22, 42)
    centre = (middle + rng.normal(0, 4), middle + rng.normal(0, 4))
    _glyphs.paint_shape(pen, meaning.shape, centre, radius, tilt=rng.normal(0, 0.15))
    noise = rng.uniform(*TEXTURES[meaning.texture])
    return coloured(jittered(image, rng), (meaning.ink, meaning.ground), rng=rng, tint=25.0, noise=noise)
