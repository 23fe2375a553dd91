"""What pools that draw from an LLM share: checks, and an end when nothing new comes."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import UserError

__all__ = ["PATIENCE", "check_numbers", "new_texts"]

PATIENCE = 5  # a pool is used up after so many calls in a row without anything new


def check_numbers(**numbers: int) -> None:
    """Raises UserError if one is smaller than 1."""
    for name, number in numbers.items():
        if number < 1:
            raise UserError(f"{name} is {number}; give at least 1.")


def new_texts(calls: Iterator[list[str]], *, seen: set[str]) -> Iterator[str]:
    """What calls bring that was not seen before, until several in a row bring nothing."""
    idle = 0
    while idle < PATIENCE:
        fresh = [text for text in dict.fromkeys(next(calls)) if text not in seen]
        idle = 0 if fresh else idle + 1
        seen.update(fresh)
        yield from fresh
