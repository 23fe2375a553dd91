"""Where a text ends that a model is writing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .documents import Ids, Pages

__all__ = ["GeneratedText", "Stop"]


@dataclass(frozen=True)
class GeneratedText:
    """A text that the model wrote: a reasoning, or an answer.

    For example, an answer ``7|</s>`` has two ``ids``, of which one is ``kept``: the end token is no part of the answer.

    Attributes:
        ids: all tokens that the model wrote, those that ended the text included.
        kept: how many of ``ids`` make the text; they are the first ones.
        ended: False where the model was cut off at the limit of tokens.
    """

    ids: Ids
    kept: int
    ended: bool

    @property
    def tokens(self) -> Ids:
        """The tokens of the text, without what ended it."""
        return self.ids[: self.kept]


class Stop:
    """Says where a text ends that a model writes: with an end token, at the limit of tokens, or by a rule of its own.

    Args:
        pages: the tokenizer's side.
        ends: tokens that end a text and are not part of it.
        limit: the most tokens.
        own: the rule. ``extractor``, for reasoning: where the model writes the extractor itself, the text ends before
            it. ``line``, for answers: the text ends with its first line that is not blank.
    """

    def __init__(self, pages: Pages, ends: Iterable[int], *, limit: int, own: Literal["extractor", "line"]) -> None:
        self._pages, self._ends, self._limit, self._own = pages, frozenset(ends), limit, own
        self._watched = pages.having("\n" if own == "line" else pages.extractor.strip()[-1:])

    def after(self, ids: Sequence[int]) -> GeneratedText | None:
        """The text that these tokens make, if the last of them ends it; None if the model is to go on writing."""
        if ids and ids[-1] in self._ends:
            return GeneratedText(tuple(ids), len(ids) - 1, True)
        if ids and ids[-1] in self._watched and (kept := self._kept(ids)) is not None:
            return GeneratedText(tuple(ids), kept, True)
        return GeneratedText(tuple(ids), len(ids), False) if len(ids) >= self._limit else None

    def within(self, ids: Sequence[int]) -> GeneratedText | None:
        """The text that the first of these tokens make, up to the token that ends it; None if none of them does."""
        if not self._limit:
            return GeneratedText((), 0, False)
        likely = (n for n, one in enumerate(ids, 1) if one in self._ends or one in self._watched or n == self._limit)
        return next((found for n in likely if (found := self.after(ids[:n]))), None)

    def _kept(self, ids: Sequence[int]) -> int | None:
        """How many tokens make the text, if it ends here by the rule of its own; else None."""
        if self._own == "line":
            return len(ids) if "\n" in self._pages.text(ids).lstrip() else None
        return self._pages.before_extractor(ids)
