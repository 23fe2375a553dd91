"""Random words and characters in the place of descriptors: the control of every search over class texts [Roth2023].

Roth et al., *Waffling around for Performance: Visual Classification with Random Words and Broad Concepts*, ICCV 2023,
arXiv 2306.07282 (WaffleCLIP). What an LLM says of classes is one thing that averaging many texts brings; another is the
averaging. This pool has the second without the first. ::

    n, l <- mean number of words of a class name, mean length of these words
    repeat count times:
        words      <- n random words, each cut to l letters
        characters <- n random sequences of l characters
    the texts of a class: "a photo of a boxer, which has WORDS", "a photo of a boxer, which has CHARACTERS", ...

As in the released code, all classes share the sequences, so the prompt is an ensemble of templates; ``shared = false``
draws others for each class. We differ in the words, which are those of the embedded CLIP's phrases, and in the
characters, which are letters, digits and ``!?#-``.

========= ==================== ============== =========================
parameter released code        default here   why it differs
========= ==================== ============== =========================
count     15                   15
words     a list of its own    see above      that list is not ours
========= ==================== ============== =========================
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...checks import at_least, not_empty
from ...core import Prompted, Setup
from ...vocabulary.class_texts import ClassTexts
from ...vocabulary.phrases import read_slots
from .descriptors import TEMPLATE, need_clip, templates_of
from .fresh import DRAWS, new_texts

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Waffle"]

CHARACTERS = string.ascii_letters + string.digits + "!?#-"


class Waffle:
    """Prompts that say of each class, or of all, what is drawn at random.

    Args:
        classes: the class names; a run fills them in.
        count: pairs of a sequence of words and one of characters; a prompt has two lines for each, or, where classes
            do not share them, two for each class.
        shared: whether all classes have the same sequences.
        words: to draw from; by default the words of the embedded CLIP's phrases.

    Raises:
        UserError: there are no classes or no words, or ``count`` is below 1.
    """

    def __init__(
        self, *, classes: Sequence[str], count: int = 15, shared: bool = True, words: Sequence[str] | None = None
    ) -> None:
        at_least(1, count=count)
        not_empty(classes=classes)
        self.classes = tuple(classes)
        self.count = count
        self.shared = shared
        self.words = _words() if words is None else [" ".join(word.split()) for word in words]
        not_empty(words=self.words)
        parts = [name.replace("_", " ").split() for name in self.classes]
        self._n = max(1, round(sum(map(len, parts)) / len(parts)))
        self._length = max(1, round(sum(len(word) for name in parts for word in name) / max(1, sum(map(len, parts)))))
        self._template = TEMPLATE

    def check(self, run: Prompted, /) -> None:
        """Whether prompts can be templates and texts of single classes.

        Raises:
            UserError: they cannot.
        """
        need_clip(run, "the pool waffle", self.classes)

    def begin(self, setup: Setup, /) -> None:
        """Take the first template of the starting prompts."""
        self._template = templates_of(setup, self.classes)[0]

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """Distinct prompts; ends after 1,000 repeats in a row, which takes a single class of few words."""
        return new_texts(([self._prompt(rng).text] for _ in itertools.count()), seen=set(), patience=DRAWS)

    def _prompt(self, rng: np.random.Generator) -> ClassTexts:
        if self.shared:
            return ClassTexts(tuple(self._said(rng)))
        own = {name: tuple(text.replace("{}", name) for text in self._said(rng)) for name in self.classes}
        return ClassTexts((), own)

    def _said(self, rng: np.random.Generator) -> Iterator[str]:
        """Templates, two for each of ``count``."""
        for _ in range(self.count):
            words = (self.words[int(rng.integers(len(self.words)))][: self._length] for _ in range(self._n))
            yield f"{self._template}, which has {' '.join(words)}"
            letters = ("".join(self._letter(rng) for _ in range(self._length)) for _ in range(self._n))
            yield f"{self._template}, which has {', '.join(letters)}"

    def _letter(self, rng: np.random.Generator) -> str:
        return CHARACTERS[int(rng.integers(len(CHARACTERS)))]


def _words() -> list[str]:
    phrases = (phrase for slot in read_slots(None).values() for phrase in slot)
    return sorted({word for phrase in phrases for word in phrase.split() if word.isalpha() and len(word) > 2})
