"""How pools that draw from an LLM end: when calls bring nothing new."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["PATIENCE", "new_texts"]

PATIENCE = 5  # a pool is used up after so many calls in a row without anything new


def new_texts(calls: Iterator[list[str]], *, seen: set[str]) -> Iterator[str]:
    """What calls bring that was not seen before, until several in a row bring nothing."""
    idle = 0
    while idle < PATIENCE:
        fresh = [text for text in dict.fromkeys(next(calls)) if text not in seen]
        idle = 0 if fresh else idle + 1
        seen.update(fresh)
        yield from fresh
