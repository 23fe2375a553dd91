"""Pools of templates for CLIP: those that its authors wrote, and random ones from lists of phrases."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...checks import at_least
from ...core import Prompted
from ...errors import UserError, require
from ...vocabulary import need_templates
from ...vocabulary.phrases import PLACEHOLDER, SLOTS, read_slots
from .fresh import new_texts
from .listed import ListPool

if TYPE_CHECKING:
    import numpy as np

FILLED = 2 / 3  # how likely a grammar's frame, noun and suffix are each there
PATIENCE = 10_000  # a grammar is used up after so many repeats in a row


class ImagenetTemplates(ListPool):
    """The 80 templates that CLIP's authors wrote for ImageNet, as open_clip ships them.

    Raises:
        MissingExtra: open_clip is not installed.
    """

    def __init__(self) -> None:
        templates = require("open_clip", extra="clip").OPENAI_IMAGENET_TEMPLATES
        super().__init__(prompts=[template("{}") for template in templates])

    def check(self, run: Prompted, /) -> None:
        """Whether the prompts are templates.

        Raises:
            UserError: they are texts.
        """
        need_templates(run, "the pool imagenet")


class Grammar:
    """Random templates ``frame + adjectives + noun + {} + suffix`` from lists of phrases.

    Frame, noun and suffix are each there with probability 2/3, drawn uniformly from their lists. The number of
    adjectives is uniform over 0 to ``adjectives``, and no adjective comes twice in a template. The pool counts as
    used up after 10,000 repeats in a row, so the rarest templates of a large grammar may never come.

    Args:
        phrases: the lists ``frames``, ``adjectives``, ``nouns`` and ``suffixes``, or a TOML file that holds them; a
            list that is left out is empty. None means the lists that come with the embedded CLIP.
        exclude: drop every phrase that contains one of these words, for a pool that lacks the words to be found.
        adjectives: the most adjectives in a template.

    Raises:
        UserError: the lists cannot be read, have other names, are all empty or hold a brace, or ``adjectives`` is
            negative.
    """

    def __init__(
        self,
        *,
        phrases: str | Path | Mapping[str, Sequence[str]] | None = None,
        exclude: Sequence[str] = (),
        adjectives: int = 2,
    ) -> None:
        at_least(0, adjectives=adjectives)
        slots = read_slots(phrases)
        if wrong := [phrase for slot in SLOTS for phrase in slots[slot] if re.search("[{}]", phrase)]:
            raise UserError(f"the phrase {wrong[0]!r} holds a brace, but the grammar itself places the {PLACEHOLDER}.")
        barred = set(exclude)
        self.phrases = {slot: [p for p in slots[slot] if not barred.intersection(p.split())] for slot in SLOTS}
        self.adjectives = min(adjectives, len(self.phrases["adjectives"]))
        if not any(self.phrases.values()):
            raise UserError("the grammar has no phrases left. Give some, or exclude less.")

    def check(self, run: Prompted, /) -> None:
        """Whether the prompts are templates.

        Raises:
            UserError: they are texts.
        """
        need_templates(run, "the pool grammar")

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """See :class:`promptopt.optimizers.pools.Pool`."""
        return new_texts(([self._template(rng)] for _ in itertools.count()), seen=set(), patience=PATIENCE)

    def _template(self, rng: np.random.Generator) -> str:
        frame, noun, suffix = (self._phrase(slot, rng) for slot in ("frames", "nouns", "suffixes"))
        some = self.phrases["adjectives"]
        count = rng.integers(self.adjectives + 1)
        adjectives = [some[i] for i in rng.choice(len(some), count, replace=False)] if count else []
        joined = " ".join(" ".join([frame, *adjectives, noun, PLACEHOLDER, suffix]).split())
        return re.sub(r" (?=[,.;:!?])", "", joined)

    def _phrase(self, slot: str, rng: np.random.Generator) -> str:
        some = self.phrases[slot]
        return some[rng.integers(len(some))] if rng.random() < FILLED and some else ""
