"""How pools without an end of their own end: when draws, or calls of an LLM, bring nothing new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["CALLS", "DRAWS", "new_texts"]

CALLS = 5  # a pool is used up after so many calls in a row without anything new
DRAWS = 1_000  # and one that costs nothing after so many repeats in a row


def new_texts(drawn: Iterable[list[str]], *, seen: set[str], patience: int = CALLS) -> Iterator[str]:
    """What draws bring that was not seen before, until ``patience`` of them in a row bring nothing.

    Args:
        drawn: without an end; each draw may bring several texts.
        seen: what was seen; what comes is added.
    """
    idle = 0
    for texts in drawn:
        fresh = [text for text in dict.fromkeys(texts) if text not in seen]
        idle = 0 if fresh else idle + 1
        seen.update(fresh)
        yield from fresh
        if idle == patience:
            return
