"""What annotators say of a duel, and what it comes to when there are two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...core import Preference, Winner

__all__ = ["Opinion", "opinions_of", "together"]


@dataclass(frozen=True)
class Opinion:
    """What one annotator said of a duel: with the sides ``swapped``, ``b`` stood on the left."""

    winner: Winner
    swapped: bool
    seconds: float | None

    @property
    def tells(self) -> bool:
        """Whether it is more than "cannot tell"."""
        return self.winner != "unknown"


def together(opinions: Mapping[str, Opinion]) -> Preference:
    """The answer that opinions come to: what all say that could tell, a tie where they differ."""
    told = {one.winner for one in opinions.values()} - {"unknown"}
    winner: Winner = "unknown" if not told else told.pop() if len(told) == 1 else "tie"
    return Preference(
        winner,
        {
            "by": {name: one.winner for name, one in opinions.items()},
            "swapped": {name: one.swapped for name, one in opinions.items()},
            "seconds": {name: one.seconds for name, one in opinions.items()},
        },
    )


def opinions_of(answer: Preference) -> dict[str, Opinion]:
    """The opinions of a recorded answer."""
    details = answer.details
    return {
        name: Opinion(winner, details.get("swapped", {}).get(name, False), details.get("seconds", {}).get(name))
        for name, winner in details.get("by", {}).items()
    }
