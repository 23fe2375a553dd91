"""What the fields of each event must hold, so that no reader of a ledger meets one that it cannot take.

A field that is not listed is let through: another version may write more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, TypeAlias

Kind: TypeAlias = tuple[type, ...]
Check: TypeAlias = tuple[str, Kind, Callable[[Any], bool] | None]  # what is wanted: in words, its type, what else holds

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
        if (check := checks.get(key)) and not _holds(check, value):
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


def _least_0(value: float) -> bool:
    return 0 <= value <= MOST


def _finite(value: float | None) -> bool:
    return value is None or -MOST <= value <= MOST


def _texts(value: list[Any]) -> bool:
    return all(type(one) is str for one in value)


def _scores(value: list[Any]) -> bool:
    if not {*map(type, value)} <= {int, float, NoneType}:
        return False
    try:
        if -MOST <= sum(filter(None, value)) <= MOST:  # quick: there may be thousands
            return True
    except OverflowError:
        pass
    return all(map(_finite, value))


def _lists(value: dict[str, Any] | list[Any], of: Callable[[list[Any]], bool] = _texts) -> bool:
    every = value.values() if isinstance(value, dict) else value
    return all(type(one) is list and of(one) for one in every)


def _counts(value: dict[str, Any]) -> bool:
    return all(type(one) is int and _least_0(one) for one in value.values())


def _usage(value: list[Any]) -> bool:
    return len(value) == 4 and all(type(one) in (int, float) and _least_0(one) for one in value)


def _replies(value: list[Any]) -> bool:
    return _lists(value, lambda one: len(one) > 1 and len(one) % 2 == 0 and _texts(one))


def _case(value: list[Any]) -> bool:
    if len(value) != 4:
        return False
    example, output, score, reason = value
    return _texts([example, "" if output is None else output, reason]) and _scores([score])


def _numbers(value: list[Any]) -> bool:
    return all(type(one) in (int, float) and _finite(one) for one in value)


def _costs(value: dict[str, Any]) -> bool:
    return _numbers([*value.values()])


def _origin(value: dict[str, Any]) -> bool:
    return _lists([value.get("parents", [])])


def _origins(value: list[Any]) -> bool:
    return len(value) == 2 and all(type(one) is dict and _origin(one) for one in value)


def _complete(front: dict[str, Any]) -> bool:
    names = {*front["objectives"]}
    points = all(names <= point["objectives"].keys() for point in front["points"])
    return points and all(len(row) == 1 + len(front["objectives"]) for row in front["dominated"])


def _tables(value: dict[str, Any]) -> bool:
    return all(type(one) is dict for one in value.values())


# ── Events ────────────────────────────────────────────────────────────────────────────────────────────────────────

TEXT: Check = ("a text", (str,), None)
TEXTS: Check = ("a list of texts", (list,), _texts)
FLAG: Check = ("true or false", (bool,), None)
COUNT: Check = ("a whole number of at least 0", (int,), _least_0)
SCORE: Check = ("a number or null", (int, float, NoneType), _finite)
SCORES: Check = ("a list of numbers and nulls", (list,), _scores)
TABLE: Check = ("a table", (dict,), None)
COUNTS: Check = ("a table of counts", (dict,), _counts)
NUMBER: Check = ("a number", (int, float), _finite)
COSTS: Check = ("a table of numbers", (dict,), _costs)


def _holds(check: Check, value: Any) -> bool:
    _, kinds, more = check
    return type(value) in kinds and (more is None or more(value))


def _table(what: str, required: str, checks: Mapping[str, Check], *, null: bool = False) -> Check:
    """A table that has the required fields and none but those listed."""
    needed = frozenset(required.split())

    def holds(value: dict[str, Any] | None) -> bool:
        if value is None:
            return True
        return needed <= value.keys() <= checks.keys() and all(_holds(checks[key], one) for key, one in value.items())

    return what, (dict, NoneType) if null else (dict,), holds


COVERAGE = _table(
    "a coverage",
    "examples scored",
    {**dict.fromkeys(("examples", "scored", "failed"), COUNT), "reasons": COUNTS},
    null=True,
)
EVERY: dict[str, Check] = {"t": ("seconds", (int, float), _least_0), "counts": COUNTS}
ANSWER: dict[str, Check] = {"stage": TEXT, "n": COUNT, "again": FLAG}
RATE: dict[str, Check] = {
    **ANSWER,
    "prompt": TEXT,
    "origin": ("a table with a list of parents", (dict,), _origin),
    "on": TEXTS,
    "tell_cases": FLAG,
    "value": SCORE,
    "tiebreak": SCORE,
    "per_example": SCORES,
    "feedback": TEXT,
    "coverage": COVERAGE,
    "cases": ("a list of examples with output, value and reason", (list,), lambda value: _lists(value, _case)),
    "objectives": COSTS,
    "winner": ("left out", (), None),
}
DUEL: dict[str, Check] = {
    **ANSWER,
    "stage": ("search", (str,), lambda value: value == "search"),
    "a": TEXT,
    "b": TEXT,
    "origin": ("a list of two tables", (list,), _origins),
    "winner": ("a, b, tie or unknown", (str,), lambda value: value in ("a", "b", "tie", "unknown")),
    "details": TABLE,
}
CALL: dict[str, Check] = {
    **dict.fromkeys(("part", "role", "model", "key"), TEXT),
    "replies": ("a list of replies", (list,), _replies),
    "log_probabilities": SCORES,
    "usage": ("four numbers of at least 0", (list,), _usage),
}
START: dict[str, Check] = {
    "seed": ("a whole number", (int,), None),
    "start": ("a list of texts", (list,), lambda value: bool(value) and _texts(value)),
    "recipe": TABLE,
    "examples": ("lists of ids", (dict,), _lists),
    "targets": ("a table of tables", (dict,), _tables),
    "references": TEXTS,
}
COMPARED = _table(
    "a verdict",
    "start best difference low high examples",
    {
        **dict.fromkeys(("start", "best", "difference", "low", "high"), SCORE),
        **dict.fromkeys(("examples", "unscored"), COUNT),
        **dict.fromkeys(("start_coverage", "best_coverage"), COVERAGE),
        "by": TEXT,
    },
)
VERDICT: dict[str, Check] = {**dict.fromkeys(("stage", "start_prompt", "best_prompt"), TEXT), "verdict": COMPARED}
COUNT_OR_NULL: Check = ("a count or null", (int, NoneType), lambda value: value is None or _least_0(value))
BELIEF = _table("a belief", "confidence", {"confidence": NUMBER, "questions": COUNT_OR_NULL})
POINT = _table(
    "a point",
    "prompt value objectives difference low high examples",
    {
        "prompt": TEXT,
        **dict.fromkeys(("value", "difference"), NUMBER),
        "objectives": COSTS,
        **dict.fromkeys(("low", "high"), SCORE),
        "examples": COUNT,
    },
)
_FRONT = _table(
    "a front",
    "objectives split margin margin_given best points cheapest candidates unknown tokens dominated",
    {
        "objectives": ("a list of names", (list,), lambda value: bool(value) and _texts(value)),
        "split": ("train or dev", (str,), lambda value: value in ("train", "dev")),
        "margin": NUMBER,
        "margin_given": FLAG,
        "best": POINT,
        "points": ("a list of points", (list,), lambda value: all(type(p) is dict and _holds(POINT, p) for p in value)),
        **dict.fromkeys(("cheapest", "tokens"), TEXT),
        **dict.fromkeys(("candidates", "unknown"), COUNT),
        "dominated": ("lists of numbers", (list,), lambda value: _lists(value, _numbers)),
    },
)
FRONT: Check = (*_FRONT[:2], lambda value: _holds(_FRONT, value) and _complete(value))
STOP: dict[str, Check] = {"reason": TEXT, "best": TEXT, "belief": BELIEF, "front": FRONT}

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
