"""The embedded painter: pictures drawn by rules from what a prompt says, without a model and in milliseconds.

It stands in for a text-to-image model where there is none: in the demo, in tests and in experiments. It understands a
few words (:mod:`promptopt.drawing.facts`) and draws signs: numbers by hand, in print, on displays, dice and clocks, and
heaps of shapes. What it shows of a search says nothing about generators of other pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core import Example, Picture, Prompt, Setup
from ..drawing.facts import drawn
from ..errors import require
from .pictures import seed_of

__all__ = ["Painter"]


class Painter:
    """Draws what a prompt says, of a few things that it understands, by rules.

    It reads the kind of sign (handwritten, printed, seven segment, dice, tally marks, clock, roman, spelled, or how
    many circles, squares, stars, triangles or hearts), the number, the colours of ink and ground, size, place, which
    way up, and a style (blurry, neon, in chalk ...). What it does not understand it ignores, of what is contradictory
    it draws one, and what is left open is up to the seed. An output is a PNG of 96 x 96 pixels.

    A picture's seed comes from its example's id and is the same for all prompts, so that prompts are compared on the
    same luck.

    Raises:
        MissingExtra: Pillow is not installed.
    """

    record: Mapping[str, Any] = {"painter": "draws by rules, no model; version 1"}
    # the version is raised when equal prompts and seeds give other pictures

    def __init__(self) -> None:
        require("PIL", extra="clip")

    def begin(self, setup: Setup, /) -> None:
        """Say what draws."""
        setup.note("Pictures were drawn by the embedded painter: by rules, from a few words; no model made them.")

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """None: what it does not understand it ignores."""
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Picture]:
        """One picture per example, in order."""
        return [paint(prompt.text, seed_of(example)) for example in examples]


def paint(text: str, seed: int) -> Picture:
    """The picture of a text with a seed."""
    from ..drawing.paint import painted

    return painted(drawn(text, seed), seed)
