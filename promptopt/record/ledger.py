"""The append-only record of a run: one JSON object a line, in ``ledger.jsonl`` of the run's folder.

========== ==========================================================================================
event      what the line holds
========== ==========================================================================================
start      once: versions, seed, recipe, example ids (the manifest)
resume     each time that the run is taken up again
call       an LLM call: who made it, the hash of what was asked, the replies (or how likely those given were), usage,
           seconds so far
answer     a question and its answer; ``n`` counts them within their stage (search, dev, final, test)
turn       where answers come when they come: how many of them the optimizer was told, and asked after
verdict    what the test split said about two prompts
stop       why the search ended
failed     the error that ended it
========== ==========================================================================================

JSON has no NaN: a value that could not be scored is null here and NaN in memory. Every line is with the operating
system before the run goes on, and on the disk within a second: a killed process loses nothing, a lost machine at most
that second.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from filelock import FileLock, Timeout

from ..attachments import attach, detach
from ..core import Case, Choice, Completion, Coverage, Duel, Message, Preference, Prompt, Rate, Rating, Reply, Usage
from ..errors import LockedRun, PromptoptError, ReplayMismatch, UserError

Question: TypeAlias = Rate | Duel
Answer: TypeAlias = Rating | Preference
Event: TypeAlias = Mapping[str, Any]

FORMAT = 1
SYNC_SECONDS = 1.0
TEST, TRANSFER = "test", "transfer:"  # the stages of verdicts; after the second stands which other target
CALIBRATION = "calibration"  # the stage of what a scorer wants to know before the search


class Ledger:
    """Writes a run's events. With ``folder=None`` nothing is written.

    Args:
        folder: the run's folder; made where it is missing.

    Attributes:
        past: the events that stood in the ledger when it was opened, oldest first.

    Raises:
        LockedRun: another process has the folder open.
        UserError: a line other than the last cannot be read.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.past: list[dict[str, Any]] = []
        self._guard = threading.Lock()
        self._file: int | None = None  # open
        self._synced = time.monotonic()
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot record a run in {folder}: {error.strerror}. Give another folder.") from None
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise LockedRun(
                f"{folder} is in use by another process. Wait for it to end, or start a run in another folder."
            ) from None
        try:
            self.past = read(folder / "ledger.jsonl", repair=True)
        except BaseException:
            self._lock.release()
            raise
        self._file = os.open(folder / "ledger.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, *events: Event) -> None:
        """Write events in one go.

        Raises:
            PromptoptError: the ledger is closed, and so the run over.
        """
        if self.folder is None:
            return
        data = b"".join(_line(event) for event in events)
        with self._guard:
            if self._file is None:
                raise PromptoptError(f"the run in {self.folder} is closed: nothing more is written down")
            self._write(self._file, data)
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync(self._file)

    def _write(self, file: int, data: bytes) -> None:
        whole = os.fstat(file).st_size
        try:
            while data:
                data = data[os.write(file, data) :]
        except OSError:  # a full disk: leave no torn line for the next event to follow
            os.ftruncate(file, whole)
            raise

    def _sync(self, file: int) -> None:
        os.fsync(file)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Put everything on the disk and let go of the folder."""
        with self._guard:
            if self._file is None:
                return
            file, self._file = self._file, None  # its number may soon stand for another file
            self._sync(file)
            os.close(file)
            self._lock.release()


def read(path: Path, *, repair: bool = False) -> list[dict[str, Any]]:
    """The events of a ledger file. A torn last line, left by a killed process, is passed over.

    Args:
        path: the file; a missing one has no events.
        repair: cut a torn last line off the file.

    Raises:
        UserError: a line other than the last cannot be read.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole, _, torn = data.rpartition(b"\n")
    if torn and repair:
        os.truncate(path, len(data) - len(torn))
    events = []
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        try:
            event = json.loads(line)
            event["event"]
            events.append(event)
        except (ValueError, TypeError, KeyError):
            raise UserError(
                f"{path}, line {number} is not an event of a run: the file was changed after it was written. "
                "Restore it, or start a new run."
            ) from None
    return events


def _line(event: Event) -> bytes:
    try:
        return json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, as some replies hold
        return json.dumps(event, allow_nan=False).encode() + b"\n"


# ── Questions and answers as JSON ─────────────────────────────────────────────────────────────────────────────────


def encode(question: Question, answer: Answer) -> dict[str, Any]:
    """A question and its answer as JSON values."""
    return encode_question(question) | encode_answer(answer)


def encode_question(question: Question) -> dict[str, Any]:
    """A question as JSON values."""
    if isinstance(question, Rate):
        fields: dict[str, Any] = {"ask": "rate", "prompt": question.prompt.text, "origin": dict(question.prompt.origin)}
        fields |= {"tell_cases": True} if question.cases else {}
        return fields | ({"on": list(question.on)} if question.on else {})
    return {
        "ask": "duel",
        "a": question.a.text,
        "b": question.b.text,
        "origin": [dict(question.a.origin), dict(question.b.origin)],
    }


def encode_answer(answer: Answer) -> dict[str, Any]:
    """An answer as JSON values."""
    if isinstance(answer, Preference):
        return {"winner": answer.winner} | ({"details": dict(answer.details)} if answer.details else {})
    fields: dict[str, Any] = {"value": _number(answer.value), "tiebreak": _number(answer.tiebreak)}
    if answer.per_example is not None:
        fields["per_example"] = [_number(v) for v in answer.per_example.tolist()]
    if answer.feedback:
        fields["feedback"] = answer.feedback
    if answer.coverage:
        fields["coverage"] = asdict(answer.coverage)
    if answer.cases:
        fields["cases"] = [[case.example, case.output, _number(case.value), case.reason] for case in answer.cases]
    return fields


def decode_question(event: Event) -> Question:
    """The question that an answer event holds."""
    if event["ask"] == "rate":
        return Rate(
            Prompt(event["prompt"], event["origin"]), tuple(event.get("on", ())), cases=event.get("tell_cases", False)
        )
    return Duel(Prompt(event["a"], event["origin"][0]), Prompt(event["b"], event["origin"][1]))


def decode_answer(event: Event) -> Answer:
    """The answer that an answer event holds."""
    if "winner" in event:
        return Preference(event["winner"], event.get("details", {}))
    values, coverage = event.get("per_example"), event.get("coverage")
    return Rating(
        _float(event["value"]),
        _float(event["tiebreak"]),
        None if values is None else np.array([_float(v) for v in values]),
        event.get("feedback", ""),
        Coverage(**coverage) if coverage else None,
        tuple(
            Case(example, output, _float(value), reason) for example, output, value, reason in event.get("cases", ())
        ),
    )


def _number(value: float) -> float | int | None:
    value = float(value)
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)


def call_key(
    model: str,
    messages: Sequence[Message],
    *,
    n: int,
    temperature: float,
    seed: int | None,
    schema: Mapping[str, Any] | None,
) -> str:
    """What makes two LLM calls the same call: the hash of the model's name and of everything asked."""
    turns = [[m.role, m.text, [hashlib.sha256(p.data).hexdigest() for p in m.pictures]] for m in messages]
    asked = json.dumps([model, turns, n, temperature, seed, schema], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:32]


def encode_completion(completion: Completion, folder: Path | None = None) -> dict[str, Any]:
    """A completion as JSON values; in a run's folder, long replies are put into files."""
    usage, replies = completion.usage, []
    for reply in completion.replies:
        text, *file = detach(reply.text, folder) if folder else [reply.text]
        replies.append([text, reply.finish, *file])
    return {
        "replies": replies,
        "usage": [usage.calls, usage.input_tokens, usage.output_tokens, usage.dollars],
    }


def decode_completion(event: Event, folder: Path | None = None) -> Completion:
    """The completion that a call event holds; long replies are read from their files."""
    replies = (Reply(attach([text, *file], folder), finish) for text, finish, *file in event["replies"])
    return Completion(tuple(replies), Usage(*event["usage"]))


def choice_key(model: str, messages: Sequence[Message], options: Sequence[str]) -> str:
    """What makes two calls for the likelihood of replies the same call."""
    return call_key(model, messages, n=0, temperature=0.0, seed=None, schema={"options": list(options)})


def encode_choice(choice: Choice) -> dict[str, Any]:
    """A choice as JSON values; null where a probability is 0."""
    usage = choice.usage
    return {
        "log_probabilities": [_number(one) for one in choice.log_probabilities],
        "usage": [usage.calls, usage.input_tokens, usage.output_tokens, usage.dollars],
    }


def decode_choice(event: Event) -> Choice:
    """The choice that a call event holds."""
    found = (-math.inf if one is None else float(one) for one in event["log_probabilities"])
    return Choice(tuple(found), Usage(*event["usage"]))


def held_out(stage: str) -> bool:
    """Whether a stage is one of the verdicts'."""
    return stage == TEST or stage.startswith(TRANSFER)


def unpaid(stage: str) -> bool:
    """Whether the budget of questions does not count the answers of a stage."""
    return held_out(stage) or stage == CALIBRATION


def skipped(winner: Any) -> bool:
    """Whether people's answer to a duel is none, so that the budget of questions does not count it."""
    return bool(winner == "unknown")


class Replay:
    """Hands a resumed run what its ledger already holds.

    Answers of the search come back in order, and the question must be the one recorded. LLM calls come back by what
    was asked; those that a scorer made for an earlier batch never do, but for references, which hold for the whole run.

    Args:
        past: the ledger's events.
        folder: the run's, where long replies lie in files.

    Attributes:
        manifest: the start event.
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
        self.manifest: dict[str, Any] = past[0] if past else {}
        self.seconds = max((event.get("t", 0.0) for event in past), default=0.0)
        answers = [event for event in past if event["event"] == "answer"]
        self.turns = [event for event in past if event["event"] == "turn"]
        latest = {event["n"]: event.get("winner") for event in answers if event["stage"] == "search" and self.turns}
        self.skips = {number for number, winner in latest.items() if skipped(winner)}
        first = [event for event in answers if not event.get("again")]
        self.questions = sum(not unpaid(event["stage"]) for event in first) - len(self.skips)
        calls = [event for event in past if event["event"] == "call"]
        self.usage = sum((Usage(*event["usage"]) for event in calls), Usage())
        self.heard = {(event["role"], event["model"]) for event in calls}
        self._past = past
        self.counts: Counter[str] = Counter()
        for event in past:
            self.counts.update(event.get("counts", {}))
        self.verdicts = [event for event in past if event["event"] == "verdict"]
        self._search: deque[tuple[int, dict[str, Any]]] = deque()
        self._later: dict[tuple[str, str], dict[str, Any]] = {}
        self._calls: dict[tuple[str, str], deque[tuple[int, dict[str, Any]]]] = defaultdict(deque)
        self._answered_up_to = self._batch_began = -1
        for index, event in enumerate(past):
            if event["event"] == "call":
                self._calls[event["part"], event["key"]].append((index, event))
            elif event["event"] == "answer" and event["stage"] == "search":
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
        if stage != "search":
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
