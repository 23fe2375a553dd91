"""What a resumed run is told again: the answers and LLM calls that its ledger holds."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ..core import Choice, Completion, Rate, Usage
from ..errors import ReplayMismatch
from .codec import (
    Answer,
    Event,
    Question,
    decode_answer,
    decode_choice,
    decode_completion,
    decode_question,
    encode_question,
    is_lost,
)
from .stages import SEARCH, skipped, unpaid


class Replay:
    """Hands a resumed run what its ledger already holds.

    Answers of the search come back in order, and the question must be the one recorded. LLM calls come back by what
    was asked; those that a scorer made for an earlier batch never do, but for references, which hold for the whole run.

    Args:
        past: the ledger's events.
        folder: the run's, where long replies lie in files.

    Attributes:
        questions: answers that count against the budget: all but those of verdicts and calibration, and but those
            where people could not tell.
        skips: the numbers of the duels where people could not tell, in their latest answer.
        usage: what all calls cost.
        seconds: how long the run has worked.
        counts: what scorers counted.
        heard: the roles and names of the models that have answered a call.
        turns: the turn events.
        verdicts: the verdict events.
    """

    def __init__(self, past: Sequence[dict[str, Any]], folder: Path | None = None) -> None:
        self._folder = folder
        self.seconds = max((event.get("t", 0.0) for event in past), default=0.0)
        answers = [event for event in past if event["event"] == "answer"]
        self.turns = [event for event in past if event["event"] == "turn"]
        latest = {event["n"]: event.get("winner") for event in answers if event["stage"] == SEARCH and self.turns}
        self.skips = {number for number, winner in latest.items() if skipped(winner)}
        first = [event for event in answers if not event.get("again")]
        self.questions = sum(not unpaid(event["stage"]) for event in first) - len(self.skips)
        calls = [event for event in past if event["event"] == "call"]
        self.usage = sum((Usage(*event["usage"]) for event in calls), Usage())
        self.heard = {(event["role"], event["model"]) for event in calls if not is_lost(event)}
        self._past = past
        self.counts: Counter[str] = Counter()
        for event in past:
            if "counts" in event:
                self.counts.update(event["counts"])
        self.verdicts = [event for event in past if event["event"] == "verdict"]
        self._search: deque[tuple[int, dict[str, Any]]] = deque()
        self._later: dict[tuple[str, str], dict[str, Any]] = {}
        self._calls: dict[tuple[str, str], deque[tuple[int, dict[str, Any]]]] = defaultdict(deque)
        self._answered_up_to = self._batch_began = -1
        for index, event in _without_made_anew(past):
            if event["event"] == "call":
                self._calls[event["part"], event["key"]].append((index, event))
            elif event["event"] == "answer" and event["stage"] == SEARCH:
                self._search.append((index, event))
            elif event["event"] == "answer":
                self._later[event["stage"], event["prompt"]] = event

    @property
    def waiting(self) -> int:
        """Answers of the search that have not been handed back yet."""
        return len(self._search)

    def scorer_usage(self, roles: Collection[str] | None = None) -> tuple[Usage, Usage]:
        """What the scorer's calls cost, and what those of them cost that were made after the last answer.

        Args:
            roles: whose calls count; all by default.
        """
        answered = max((index for index, event in enumerate(self._past) if event["event"] == "answer"), default=-1)
        calls = [
            (index, Usage(*event["usage"]))
            for index, event in enumerate(self._past)
            if event["event"] == "call" and counts_as_scorers(event, roles)
        ]
        after = (usage for index, usage in calls if index > answered)
        return sum((usage for _, usage in calls), Usage()), sum(after, Usage())

    def next_batch(self) -> None:
        """Say that the scorer begins another batch."""
        self._batch_began = self._answered_up_to

    def answer(self, stage: str, question: Question) -> Answer | None:
        """The recorded answer, or None if this question has to be asked.

        Raises:
            ReplayMismatch: the ledger holds another question at this place.
        """
        if stage != SEARCH:
            event = self._later.get((stage, question.prompt.text)) if isinstance(question, Rate) else None
            if event is None or (event["value"] is None and not self.verdicts):  # it may come out better now
                return None
            return decode_answer(event)
        if not self._search:
            return None
        index, event = self._search.popleft()
        self._answered_up_to = index
        return decode_answer(_same(event, question))

    def streamed(self, asked: Sequence[Question]) -> tuple[Question, Answer]:
        """The next recorded answer of the search and which of the questions asked so far it is for.

        Raises:
            ReplayMismatch: the ledger holds another question of that number.
        """
        if not self._search:
            raise ReplayMismatch("the ledger tells more answers than it holds; it was changed after it was written.")
        _, event = self._search.popleft()
        if event["n"] >= len(asked):
            raise ReplayMismatch(
                f"the ledger answers question {event['n']}, which is not asked now: the recipe, the data or the code "
                "has changed. Start a new run, or resume with what this one was started with."
            )
        question = asked[event["n"]]
        return question, decode_answer(_same(event, question))

    def call(self, part: str, key: str) -> Completion | None:
        """The recorded completion of a call, or None if it has to be made."""
        event = self._call(part, key)
        return decode_completion(event, self._folder) if event else None

    def choice(self, part: str, key: str) -> Choice | None:
        """The recorded choice of a call, or None if it has to be made."""
        event = self._call(part, key)
        return decode_choice(event) if event else None

    def _call(self, part: str, key: str) -> Event | None:
        recorded = self._calls[part, key]
        while recorded:
            index, event = recorded.popleft()
            if part == "optimizer" or index > self._batch_began or event["role"] == "reference":
                return event
        return None


def _without_made_anew(past: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Calls and answers with their places, but for lost calls that nothing came of: a resumed run makes them again.

    Such are those at the end, and those that the same call follows before anything was answered.
    """
    kept: list[tuple[int, dict[str, Any]]] = []
    lost: list[tuple[int, dict[str, Any]]] = []
    for index, event in enumerate(past):
        if event["event"] == "call":
            same = (i for i, (_, one) in enumerate(lost) if (one["part"], one["key"]) == (event["part"], event["key"]))
            del lost[next(same, len(lost)) :]
        if event["event"] == "call" and is_lost(event):
            lost.append((index, event))
        elif event["event"] in ("call", "answer"):
            kept += [*lost, (index, event)]
            lost = []
    return kept


def counts_as_scorers(call: Event, roles: Collection[str] | None) -> bool:
    """Whether a call was made by the scorer of the search, in one of these roles if they are given."""
    return call["part"] == "scorer" and (roles is None or call["role"] in roles)


def _same(event: dict[str, Any], question: Question) -> dict[str, Any]:
    """The event of an answer, if it answers this question."""
    recorded = decode_question(event)
    if recorded != question:
        raise ReplayMismatch(
            f"question {event['n']} is {encode_question(question)} now and {encode_question(recorded)} "
            "in the ledger: the recipe, the data or the code has changed. "
            "Start a new run, or resume with what this one was started with."
        )
    return event
