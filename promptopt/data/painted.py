"""Pictures like one that the embedded painter drew of a caption that nobody is told."""

from __future__ import annotations

import numpy as np

from ..checks import at_least, check_argument
from ..core import Dataset, Example
from ..drawing.facts import ASPECTS, VALUES, caption_of
from ..targets.painter import paint

__all__ = ["hidden_caption", "painted"]

ALWAYS = ("kind", "number", "ink", "ground")
SOMETIMES = 0.3  # how often a caption says something of the other aspects
HABITS = ("upright", "middle", "sharp", "large")  # which are drawn unasked, so no caption of ours says them
NOTHING = ("tally", "clock", "roman", "circles", "squares", "stars", "triangles", "hearts")  # is what zero of it is


def painted(
    *, caption: str, references: int = 1, pictures: int = 4, dev: int = 0, test: int = 10, seed: int = 0
) -> Dataset:
    """As the data set ``drawings`` with references, which the target ``painter`` draws of a caption.

    Of each example ``label`` is the references, pictures; ``input`` is empty. The caption is nowhere in it, so that how
    much of it a found prompt recovers (:func:`promptopt.drawing.facts.share_of`) is something that no search saw.

    Args:
        caption: what the references show.
        references: how many: one picture is inverted, several of one subject are personalized.
        pictures: how many pictures a prompt gets in the search.
        dev: how many more, of other seeds, for the final choice among the best prompts.
        test: how many more, of other seeds, for the verdict; 0 leaves it out.
        seed: of the pictures' own seeds; the run's.

    Raises:
        UserError: the caption is empty, or a number is out of range.
    """
    check_argument("caption", caption, allowed="what is to be seen, in words", holds=bool(caption.strip()))
    at_least(1, where="painted", pictures=pictures, references=references)
    at_least(0, where="painted", dev=dev, test=test, seed=seed)
    rng = np.random.default_rng([seed, 1])
    label = tuple(paint(caption, int(one)) for one in rng.integers(2**32, size=references))
    every = [Example(f"painted/{seed}/{number}", "", label) for number in range(pictures + dev + test)]
    train, rest = every[:pictures], every[pictures:]
    return Dataset("painted", tuple(train), tuple(rest[:dev]), tuple(rest[dev:]))


def hidden_caption(number: int, *, seed: int) -> str:
    """The caption of this number: kind, number, ink and ground at random, now and then more."""
    rng = np.random.default_rng([seed, 2, number])
    said: dict[str, str] = {}
    for aspect in ASPECTS:
        values = [value for value in VALUES[aspect] if value not in HABITS and value != said.get("ink")]
        if aspect == "number" and said["kind"] in NOTHING:
            values.remove("zero")
        value, more = str(rng.choice(values)), rng.random() < SOMETIMES
        if aspect in ALWAYS or more:
            said[aspect] = value
    return caption_of(said)
