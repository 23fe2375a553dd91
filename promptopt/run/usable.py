"""Whether a run gets anything that can be used, and what to say and do where it does not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from ..core import Coverage, Duel, Preference, Prompt, Rate, Rating
from ..errors import NothingUsable

__all__ = ["Harvest", "comparable", "explain", "usable"]

ENOUGH = 10
"""A run ends when this many different prompts have been rated and not one output could be used."""

READABLE = "say in the prompt how to answer, or take a metric that reads what comes (docs/metrics.md)"
REMEDIES = {  # by the beginning of the reason
    "cut at max_tokens": "raise target.model.max_tokens",
    "refused": "take another model, or a task that it does not refuse",
    "empty": "see whether the model answers at all; one that thinks first needs a larger target.model.max_tokens",
    "no class": READABLE,
    "no number": READABLE,
    "no option": READABLE,
    "several options": READABLE,
    "no answer": READABLE,
    "no JSON": READABLE,
    "no row": READABLE,
    "no text": "see what output of the target points to, or take json-schema as the metric",
    "the metric raised": "mend the metric, or let it return Mark(None, reason, failed=True) for what it cannot read",
    "too slow": "give the metric more seconds, or one that needs fewer",
    "no Python": READABLE,
    "verdicts unreadable": 'take a larger judge or, of a local one, read = "probabilities" (docs/judges.md)',
    "verdicts cut": "raise the max_tokens of the judge's model",
    "verdicts refused": "take another model as the judge",
    "no own answer": "see whether the judge's model answers at all, or leave out self_reference",
    "verdicts lost": "see what its provider says; where it answers again, a run goes on with promptopt resume",
    "verdicts rejected": "see what the judge's provider says against what it was sent",
    "requests lost": "see what the provider says; where it answers again, a run goes on with promptopt resume",
    "requests rejected": "see what the provider says against what it was sent",
    "broken files": "mend or remove them",
    "HTTP 4": "see whether the endpoint takes what url and body send it",
}
OTHERWISE = "cases = true writes every output and what became of it into the ledger"


def usable(rating: Rating) -> int:
    """How many usable outputs a rating is the mean of; 1 where it does not say and has a value."""
    if rating.coverage is None:
        return int(not math.isnan(rating.value))
    return rating.coverage.scored - rating.coverage.failed if not math.isnan(rating.value) else 0


def comparable(one: Rating, other: Rating) -> bool:
    """Whether two ratings have a value on a common example, and at least one of them rests on a usable output."""
    if one.per_example is None or other.per_example is None:
        paired = not (math.isnan(one.value) or math.isnan(other.value))
    else:
        paired = bool((np.isfinite(one.per_example) & np.isfinite(other.per_example)).any())
    return paired and bool(usable(one) or usable(other))


def undecided(answer: Preference) -> Rating | None:
    """A duel without a winner as a rating without a value, if the answer says why (``details["reasons"]``); else None.

    A duel that a person skipped gives no reasons and is no trouble.
    """
    if answer.winner != "unknown" or not answer.details.get("reasons"):
        return None
    reasons = dict(answer.details["reasons"])
    return Rating(math.nan, coverage=Coverage(sum(reasons.values()), 0, 0, reasons))


class Harvest:
    """Watches whether a search gets any output that can be used, and ends it where it does not.

    A prompt whose outputs cannot be used is a bad prompt, and finding better ones is what a search is for. But it is
    not the prompts' fault if ten different ones in a row get not one usable output and no prompt before them got any;
    nor if ten in a row have no value at all, since that is for outside reasons (requests are lost, files broken).

    Attributes:
        any: whether any output could be used so far.
    """

    def __init__(self) -> None:
        self.any = False
        self._barren: dict[Prompt | Duel, Rating] = {}

    def take(self, question: Rate | Duel, answer: Rating | Preference, *, live: bool) -> None:
        """Take an answer.

        Args:
            live: False for an answer from the ledger, which ends nothing: what it cost is paid.

        Raises:
            NothingUsable: this is the tenth prompt in a row without a usable output, see the class.
        """
        rating = answer if isinstance(answer, Rating) else undecided(answer)
        if rating is None or usable(rating):
            self.any = True
            self._barren.clear()
            return
        self._barren[question.prompt if isinstance(question, Rate) else question] = rating
        outside = all(math.isnan(one.value) for one in self._barren.values())
        if live and len(self._barren) >= ENOUGH and (outside or not self.any):
            self.end()

    def end(self) -> None:
        """End the run if the latest prompts had no usable output.

        Raises:
            NothingUsable: they had none; the message says why and what to do.
        """
        if self._barren:
            duels = isinstance(next(iter(self._barren)), Duel)
            prompts = f"{len(self._barren)} different {'duels' if duels else 'prompts'}"
            if len(self._barren) == 1:
                prompts = "the only duel" if duels else "the only prompt rated"
            raise NothingUsable(f"not one output of {prompts} could be used: {explain(self._barren.values())}.")


def explain(ratings: Iterable[Rating]) -> str:
    """Why outputs could not be used, the commonest reason first, and what would mend that one."""
    ratings = tuple(ratings)
    covered = [rating.coverage or Coverage(1, 0, 0, {"no value": 1}) for rating in ratings]
    total = sum(one.examples for one in covered)
    reasons = sum((Counter(one.reasons) for one in covered), Counter())
    told = ", ".join(f"{n} of {total} {reason}" for reason, n in reasons.most_common(3)) or "nobody says why"
    first = next(iter(reasons.most_common(1)), ("", 0))[0]
    lines = (line for rating in ratings for line in rating.feedback.splitlines() if line.startswith(f"{first}:"))
    example = f" ({line})" if (line := next(lines, None)) else ""
    known = any(rating.coverage for rating in ratings)
    return f"{told}{example}: {_remedy(first) if known else 'see what the scorer gives for them'}"


def _remedy(reason: str) -> str:
    return next((remedy for start, remedy in REMEDIES.items() if reason.startswith(start)), OTHERWISE)
