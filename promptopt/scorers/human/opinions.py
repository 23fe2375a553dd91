"""What annotators say of a duel, and what it comes to when there are two of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...core import Preference, Winner

__all__ = ["Opinion", "fleiss_kappa", "opinions_of", "together"]


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


def fleiss_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Agreement beyond chance of two opinions each on several things, at most 1 [Fleiss1971].

    Chance is what the pooled shares of the answers would give, so it does not matter who said which.

    Returns:
        None without pairs, or where everybody always says the same.
    """
    if not pairs:
        return None
    shares = np.array([*Counter(word for pair in pairs for word in pair).values()]) / (2 * len(pairs))
    chance = float((shares**2).sum())
    if chance == 1.0:
        return None
    return (sum(one == other for one, other in pairs) / len(pairs) - chance) / (1 - chance)
