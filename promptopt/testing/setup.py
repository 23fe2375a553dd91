"""A setup for tests of single parts, without a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ..attachments import PictureStore
from ..core import ChatModel, HasNotes, Picture, Prompt

__all__ = ["FakeSetup"]


class FakeSetup:
    """What a run would give to a part. Models are handed back as they are; nothing is billed or recorded.

    Args:
        start: texts to start from.
        seed: seed of every random stream.
        problem_with: why the target cannot take a text, or None.

    Attributes:
        counts: what was counted.
        notes: what was noted, each text once.
        roles: the role of every model that was asked for, in order.
    """

    def __init__(
        self,
        *,
        start: Sequence[str] = (),
        seed: int = 0,
        problem_with: Callable[[str], str | None] = lambda text: None,
    ) -> None:
        self._start = tuple(Prompt(text) for text in start)
        self._seed = seed
        self._problem_with = problem_with
        self._pictures = PictureStore(None)
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self.roles: list[str] = []

    @property
    def start(self) -> Sequence[Prompt]:
        return self._start

    def rng(self, *key: int) -> np.random.Generator:
        """A new generator at the beginning of the stream of this key."""
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

    def problem_with(self, prompt: Prompt) -> str | None:
        return self._problem_with(prompt.text)

    def model(self, model: ChatModel, *, role: str) -> ChatModel:
        self.roles.append(role)
        for note in model.notes if isinstance(model, HasNotes) else ():
            self.note(note)
        return model

    def count(self, what: str, n: int = 1) -> None:
        self.counts[what] += n

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def keep(self, picture: Picture, /) -> str:
        return self._pictures.keep(picture)

    def picture(self, name: str | None, /) -> Picture | None:
        return self._pictures.find(name)
