"""What the fields of each event must hold, so that no reader of a ledger meets one that it cannot take.

A field that is not listed is let through: another version may write more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, TypeAlias

Check: TypeAlias = tuple[str, Callable[[Any], bool]]  # what is wanted, in words, and whether a value is that

MOST = sys.float_info.max
SHOWN = 60  # characters of a wrong value


def problem(event: Mapping[str, Any]) -> str | None:
    """What is wrong with an event; None where all of its fields can be taken."""
    kind = event["event"]
    if kind == "answer":
        kind = event.get("ask")
        kind = f"answer: {kind}" if isinstance(kind, str) else None
    if not isinstance(kind, str) or kind not in FIELDS:
        return "it is no event that this version knows"
    required, checks = FIELDS[kind]
    if not event.keys() >= required:
        return f"it has no {', '.join(sorted(required - event.keys()))}"
    for key, value in event.items():
        if (check := checks.get(key)) and not check[1](value):
            return f"its {key} is {_shown(value)}, not {check[0]}"
    if kind == "call" and not ("replies" in event or "log_probabilities" in event):
        return "it has no replies"
    if event.get("on") and "per_example" in event and len(event["on"]) != len(event["per_example"]):
        return f"it has {len(event['per_example'])} values for {len(event['on'])} examples"
    return None


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


# ── Values ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(value: Any) -> bool:
    return type(value) is str


def _flag(value: Any) -> bool:
    return type(value) is bool


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -MOST <= value <= MOST


def _score(value: Any) -> bool:
    return value is None or _number(value)


def _table(value: Any) -> bool:
    return type(value) is dict


def _texts(value: Any) -> bool:
    return type(value) is list and all(type(one) is str for one in value)


def _scores(value: Any) -> bool:
    if type(value) is not list or not set(map(type, value)) <= {int, float, NoneType}:
        return False
    known = [one for one in value if one is not None]
    return not known or (min(known) >= -MOST and max(known) <= MOST)


def _counts(value: Any) -> bool:
    return type(value) is dict and all(map(_count, value.values()))


def _usage(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(_number(one) and one >= 0 for one in value)


def _replies(value: Any) -> bool:
    return type(value) is list and all(_texts(one) and len(one) in (2, 4) for one in value)


def _case(value: Any) -> bool:
    if type(value) is not list or len(value) != 4:
        return False
    example, output, score, reason = value
    return _text(example) and (output is None or _text(output)) and _score(score) and _text(reason)


def _cases(value: Any) -> bool:
    return type(value) is list and all(map(_case, value))


def _origin(value: Any) -> bool:
    return type(value) is dict and _texts(value.get("parents", []))


def _origins(value: Any) -> bool:
    return type(value) is list and len(value) == 2 and all(map(_origin, value))


def _record(value: Any, fields: Mapping[str, Callable[[Any], bool]], required: frozenset[str]) -> bool:
    """Whether a table has these fields and no other."""
    return (
        type(value) is dict
        and required <= value.keys() <= fields.keys()
        and all(fields[key](one) for key, one in value.items())
    )


def _coverage(value: Any) -> bool:
    fields = {"examples": _count, "scored": _count, "failed": _count, "reasons": _counts}
    return value is None or _record(value, fields, frozenset({"examples", "scored"}))


def _verdict(value: Any) -> bool:
    means = dict.fromkeys(("start", "best", "difference", "low", "high"), _score)
    coverages = dict.fromkeys(("start_coverage", "best_coverage"), _coverage)
    fields = {**means, "examples": _count, "unscored": _count, **coverages}
    return _record(value, fields, frozenset({*means, "examples"}))


def _belief(value: Any) -> bool:
    fields = {"confidence": _number, "questions": lambda one: one is None or _count(one)}
    return _record(value, fields, frozenset({"confidence"}))


# ── Events ────────────────────────────────────────────────────────────────────────────────────────────────────────

TEXT: Check = ("a text", _text)
COUNT: Check = ("a whole number of at least 0", _count)
NUMBER: Check = ("a number", _number)
SCORE: Check = ("a number or null", _score)
TABLE: Check = ("a table", _table)

EVERY: dict[str, Check] = {
    "t": ("seconds", lambda value: _number(value) and value >= 0),
    "counts": ("a table of counts", _counts),
}
ANSWER: dict[str, Check] = {"stage": TEXT, "n": COUNT, "again": ("true or false", _flag)}
RATE: dict[str, Check] = {
    **ANSWER,
    "prompt": TEXT,
    "origin": ("a table with a list of parents", _origin),
    "on": ("a list of texts", _texts),
    "tell_cases": ("true or false", _flag),
    "value": SCORE,
    "tiebreak": SCORE,
    "per_example": ("a list of numbers and nulls", _scores),
    "feedback": TEXT,
    "coverage": ("a coverage", _coverage),
    "cases": ("a list of examples with output, value and reason", _cases),
    "winner": ("left out", lambda value: False),
}
DUEL: dict[str, Check] = {
    **ANSWER,
    "stage": ("search", lambda value: value == "search"),
    "a": TEXT,
    "b": TEXT,
    "origin": ("a list of two tables", _origins),
    "winner": ("a, b, tie or unknown", lambda value: value in ("a", "b", "tie", "unknown")),
    "details": TABLE,
}
CALL: dict[str, Check] = {
    **dict.fromkeys(("part", "role", "model", "key"), TEXT),
    "replies": ("a list of replies", _replies),
    "log_probabilities": ("a list of numbers and nulls", _scores),
    "usage": ("four numbers of at least 0", _usage),
}
START: dict[str, Check] = {
    "seed": ("a whole number", lambda value: type(value) is int),
    "start": ("a list of texts", lambda value: _texts(value) and len(value) > 0),
    "recipe": TABLE,
    "examples": ("lists of ids", lambda value: _table(value) and all(map(_texts, value.values()))),
    "targets": ("a table of tables", lambda value: _table(value) and all(map(_table, value.values()))),
}
STOP: dict[str, Check] = {"reason": TEXT, "best": TEXT, "belief": ("a belief", _belief)}
VERDICT: dict[str, Check] = {
    **dict.fromkeys(("stage", "start_prompt", "best_prompt"), TEXT),
    "verdict": ("a verdict", _verdict),
}

FIELDS: dict[str, tuple[frozenset[str], dict[str, Check]]] = {  # by event, and answers by what was asked
    kind: (frozenset(required.split()), {**EVERY, **checks})
    for kind, required, checks in (
        ("start", "seed start recipe", START),
        ("resume", "extended", {"extended": TABLE}),
        ("call", "part role model key usage", CALL),
        ("answer: rate", "stage n prompt origin value tiebreak", RATE),
        ("answer: duel", "stage n a b origin winner", DUEL),
        ("turn", "answers asked", {"answers": COUNT, "asked": COUNT}),
        ("verdict", "start_prompt best_prompt verdict", VERDICT),
        ("stop", "reason best", STOP),
        ("failed", "error", {"error": TEXT}),
    )
}
