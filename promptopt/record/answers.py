"""What the answers in a ledger come to: ratings put together from their parts, and duels counted.

The one reader of answers: ``promptopt show``, its plot and the report all see a run through it, and so say the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core import Coverage, Duel, Preference, Rate, Rating
from .codec import Event, decode_answer, decode_question
from .stages import SEARCH, SHORTEN


@dataclass(frozen=True)
class Rated:
    """A prompt and its rating.

    Attributes:
        prompt, origin: its text and where it came from.
        rating: on the whole training split, or on the examples that it was tried on.
        examples: how many it was tried on; None where the ledger does not say.
        whole: whether that is the whole split.
        n: the number of the question that settled it.
    """

    prompt: str
    origin: Mapping[str, Any]
    rating: Rating
    examples: int | None
    whole: bool
    n: int


@dataclass(frozen=True)
class Contest:
    """One answered duel; ``details`` as of :class:`promptopt.core.Preference`."""

    n: int
    a: str
    b: str
    winner: str
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Lead:
    """The prompt that led after question ``n``, with ``net`` more duels won than lost."""

    n: int
    prompt: str
    net: int


def answers(events: Sequence[Event], stage: str) -> Iterator[Event]:
    """The answers of a stage in the order of the questions; one that was given again stands in the earlier's place."""
    key = "n" if stage == SEARCH else "prompt"  # a resumed run numbers its other stages anew
    return iter({e[key]: e for e in events if e["event"] == "answer" and e["stage"] == stage}.values())


def rated(events: Sequence[Event]) -> list[Rated]:
    """Every rating of the search, and of shortening its answer, in the order of the questions.

    Where prompts were rated on parts of the training split, as racing does, a prompt stands where its last part was
    answered, with the mean over all examples that it was tried on. One that was rated on the whole split at once stands
    there, though some searches try it on a few examples again.
    """
    ids: list[str] = events[0].get("examples", {}).get("train", [])
    parts: dict[str, dict[str, float]] = {}
    covered: dict[str, dict[tuple[str, ...], Coverage | None]] = {}
    at_once: set[str] = set()
    found: list[Rated] = []
    searched = list(answers(events, SEARCH))
    shortened = [{**event, "n": len(searched) + i} for i, event in enumerate(answers(events, SHORTEN))]
    for event in [*searched, *shortened]:
        question, answer = decode_question(event), decode_answer(event)
        if not (isinstance(question, Rate) and isinstance(answer, Rating)):
            continue
        prompt = question.prompt
        if question.on and prompt.text in at_once:
            continue
        if question.on and answer.per_example is not None:
            seen = parts.setdefault(prompt.text, {})
            seen.update(zip(question.on, answer.per_example.tolist(), strict=True))
            covered.setdefault(prompt.text, {})[question.on] = answer.coverage
            coverage = together(covered[prompt.text].values())
            disjoint = coverage is not None and coverage.examples == len(seen)
            answer = replace(_together(seen, ids), coverage=coverage if disjoint else None)
        if prompt.text in parts:
            found = [one for one in found if one.prompt != prompt.text]
        if not question.on:
            at_once.add(prompt.text)
            parts.pop(prompt.text, None)
        count = len(answer.per_example) if answer.per_example is not None else len(question.on) or None
        whole = not question.on or count == len(ids)
        found.append(Rated(prompt.text, prompt.origin, answer, count, whole, event["n"]))
    return found


def counted(found: Sequence[Rated]) -> list[Rated]:
    """Those that can be compared: rated on the whole split, or all while none is."""
    return [one for one in found if one.whole] or [*found]


def _together(seen: Mapping[str, float], ids: Sequence[str]) -> Rating:
    """The rating that parts come to; values in the order of the split once they are complete."""
    values = np.array([seen[i] for i in ids] if len(seen) == len(ids) else [*seen.values()])
    scored = values[np.isfinite(values)]
    return Rating(float(scored.mean()) if len(scored) else float("nan"), per_example=values)


def together(coverages: Iterable[Coverage | None]) -> Coverage | None:
    """The coverage of parts together; None where that of one is not known."""
    found = Coverage(0, 0)
    for one in coverages:
        if one is None:
            return None
        reasons = dict(Counter(found.reasons) + Counter(one.reasons))
        found = Coverage(found.examples + one.examples, found.scored + one.scored, found.failed + one.failed, reasons)
    return found


def contests(events: Sequence[Event]) -> list[Contest]:
    """The duels of the search in the order of the questions; where an answer was changed, the last counts."""
    found = []
    for event in answers(events, SEARCH):
        question, answer = decode_question(event), decode_answer(event)
        if isinstance(question, Duel) and isinstance(answer, Preference):
            found.append(Contest(event["n"], question.a.text, question.b.text, answer.winner, answer.details))
    return found


def leads(duels: Sequence[Contest]) -> list[Lead]:
    """Who had the most net wins after each duel that was won. A tie does not displace the leader.

    The ledger does not hold what the optimizer itself thought after each answer, so this is counted, not modelled.
    """
    net: Counter[str] = Counter()
    found: list[Lead] = []
    for duel in duels:
        if duel.winner not in ("a", "b"):
            continue
        winner, loser = (duel.a, duel.b) if duel.winner == "a" else (duel.b, duel.a)
        net[winner] += 1
        net[loser] -= 1
        leader, best = found[-1].prompt if found else winner, max(net, key=lambda prompt: net[prompt])
        leader = best if net[best] > net[leader] else leader
        found.append(Lead(duel.n, leader, net[leader]))
    return found
