"""What a search by duels did: who won against whom, who led, and how well those who answered agreed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..record.answers import Contest, Lead
from ..stats import fleiss_kappa

__all__ = [
    "Agreement",
    "Annotator",
    "Contest",
    "Lead",
    "WinRecord",
    "agreement",
    "annotators",
    "changes_of_hands",
    "records",
]


@dataclass
class WinRecord:
    """How a prompt fared."""

    prompt: str
    wins: int = 0
    losses: int = 0
    ties: int = 0

    @property
    def duels(self) -> int:
        return self.wins + self.losses + self.ties


@dataclass
class Annotator:
    """What one of those who answered said. ``left`` counts the answers for the prompt on the left, of ``decided``."""

    name: str
    answers: Counter[str] = field(default_factory=Counter)
    left: int = 0
    decided: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def median_seconds(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None


@dataclass(frozen=True)
class Agreement:
    """Of the duels that two answered: how many, how many they agreed on, and Fleiss' kappa [Fleiss1971]."""

    twice: int
    agreed: int
    kappa: float | None


def records(duels: Sequence[Contest]) -> list[WinRecord]:
    """Every prompt that duelled, most net wins first. An answer ``unknown`` counts for nobody."""
    found: dict[str, WinRecord] = {}
    for duel in duels:
        a, b = (found.setdefault(text, WinRecord(text)) for text in (duel.a, duel.b))
        if duel.winner == "tie":
            a.ties, b.ties = a.ties + 1, b.ties + 1
        elif duel.winner in ("a", "b"):
            winner, loser = (a, b) if duel.winner == "a" else (b, a)
            winner.wins, loser.losses = winner.wins + 1, loser.losses + 1
    return sorted(found.values(), key=lambda one: (one.losses - one.wins, one.losses))


def changes_of_hands(leads: Sequence[Lead]) -> list[Lead]:
    """The leads where another prompt took over."""
    return [lead for i, lead in enumerate(leads) if i == 0 or lead.prompt != leads[i - 1].prompt]


def annotators(duels: Sequence[Contest]) -> list[Annotator]:
    """Those who answered, as far as the details of the answers say."""
    found: dict[str, Annotator] = {}
    for duel in duels:
        for name, said in duel.details.get("by", {}).items():
            one = found.setdefault(name, Annotator(name))
            one.answers[said] += 1
            swapped, seconds = (_of(duel.details.get(key), name) for key in ("swapped", "seconds"))
            if said in ("a", "b") and swapped is not None:
                one.decided += 1
                one.left += said == ("b" if swapped else "a")
            if isinstance(seconds, int | float):
                one.seconds.append(float(seconds))
    return list(found.values())


def agreement(duels: Sequence[Contest]) -> Agreement | None:
    """How well two who answered the same duel agreed; None if none was answered twice."""
    pairs = [(said[0], said[1]) for duel in duels if len(said := [*duel.details.get("by", {}).values()]) >= 2]
    if not pairs:
        return None
    return Agreement(len(pairs), sum(one == other for one, other in pairs), fleiss_kappa(pairs))


def _of(value: Any, name: str) -> Any:
    """A detail of one who answered: it is given by name, or once for all."""
    return value.get(name) if isinstance(value, Mapping) else value
