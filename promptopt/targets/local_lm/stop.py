"""Where a text ends that a model is writing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .documents import Ids, Pages

__all__ = ["Stop", "Written"]


@dataclass(frozen=True)
class Written:
    """What the model wrote behind something.

    Attributes:
        ids: all that it wrote, including what ended it.
        kept: so many of them count, the first ones.
        ended: False where it reached the limit.
    """

    ids: Ids
    kept: int
    ended: bool

    @property
    def tokens(self) -> Ids:
        """Those that count."""
        return self.ids[: self.kept]


class Stop:
    """Says where a text ends: with one of the model's end tokens, at the limit, or for a reason of its own.

    Args:
        pages: the tokenizer's side.
        ends: tokens that end a text and are not part of it.
        limit: the most tokens.
        own: ``extractor``: where the model writes the extractor itself, the text ends in front of it. ``line``: the
            text is one line, blank ones in front aside.
    """

    def __init__(self, pages: Pages, ends: Iterable[int], *, limit: int, own: Literal["extractor", "line"]) -> None:
        self._pages, self._ends, self._limit, self._own = pages, frozenset(ends), limit, own
        self._watched = pages.having("\n" if own == "line" else pages.extractor.strip()[-1:])

    def after(self, ids: Sequence[int]) -> Written | None:
        """The text, if its last token ends it."""
        if ids and ids[-1] in self._ends:
            return Written(tuple(ids), len(ids) - 1, True)
        if ids and ids[-1] in self._watched and (kept := self._kept(ids)) is not None:
            return Written(tuple(ids), kept, True)
        return Written(tuple(ids), len(ids), False) if len(ids) >= self._limit else None

    def within(self, ids: Sequence[int]) -> Written | None:
        """The text up to the first token that ends it, if one does."""
        if not self._limit:
            return Written((), 0, False)
        likely = (n for n, one in enumerate(ids, 1) if one in self._ends or one in self._watched or n == self._limit)
        return next((found for n in likely if (found := self.after(ids[:n]))), None)

    def _kept(self, ids: Sequence[int]) -> int | None:
        if self._own == "line":
            return len(ids) if "\n" in self._pages.text(ids).lstrip() else None
        return self._pages.before_extractor(ids)
