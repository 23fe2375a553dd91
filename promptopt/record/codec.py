"""Questions, answers and calls as the JSON values that a ledger holds. JSON has no NaN: null there, NaN in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..attachments import attach, detach
from ..core import Case, Choice, Completion, Coverage, Duel, Preference, Prompt, Rate, Rating, Reply, Usage

Question: TypeAlias = Rate | Duel
Answer: TypeAlias = Rating | Preference
Event: TypeAlias = Mapping[str, Any]


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
    if answer.objectives:
        fields["objectives"] = {name: _number(cost) for name, cost in answer.objectives.items()}
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
        None if values is None else np.array(values, dtype=np.float64),  # null becomes NaN
        event.get("feedback", ""),
        Coverage(**coverage) if coverage else None,
        tuple(
            Case(example, output, _float(value), reason) for example, output, value, reason in event.get("cases", ())
        ),
        event.get("objectives", {}),
    )


def null_for_nan(value: Any) -> Any:
    """JSON values, however nested, with None for every number that JSON lacks."""
    if isinstance(value, Mapping):
        return {key: null_for_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [null_for_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float) -> float | int | None:
    value = float(value)
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)


def encode_completion(completion: Completion, folder: Path | None = None) -> dict[str, Any]:
    """A completion as JSON values; in a run's folder, pictures and long replies are put into files."""
    usage, replies = completion.usage, []
    for reply in completion.replies:
        text, *files = detach(reply.text, folder) if folder else [reply.text]
        replies.append([text, reply.finish, *files])
    return {
        "replies": replies,
        "usage": [usage.calls, usage.input_tokens, usage.output_tokens, usage.dollars],
    }


def decode_completion(event: Event, folder: Path | None = None) -> Completion:
    """The completion that a call event holds; pictures and long replies are read from their files."""
    replies = (Reply(attach([text, *files], folder), finish) for text, finish, *files in event["replies"])
    return Completion(tuple(replies), Usage(*event["usage"]))


def is_lost(call: Mapping[str, Any]) -> bool:
    """Whether a call got no answer, and its optimizer went on without."""
    return call.get("replies") == []


def encode_choice(choice: Choice) -> dict[str, Any]:
    """A choice as JSON values; null where a probability is 0."""
    usage = choice.usage
    return {
        "log_probabilities": [_number(one) for one in choice.log_probabilities],
        "usage": [usage.calls, usage.input_tokens, usage.output_tokens, usage.dollars],
        **({"tokens": list(choice.tokens)} if choice.tokens else {}),
    }


def decode_choice(event: Event) -> Choice:
    """The choice that a call event holds."""
    found = (-math.inf if one is None else float(one) for one in event["log_probabilities"])
    return Choice(tuple(found), Usage(*event["usage"]), tuple(event.get("tokens", ())))
