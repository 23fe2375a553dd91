"""JSON that fits a schema."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import Any

from ..checks import above_zero
from ..core import Example, Mark
from ..errors import UserError, require
from .text import REASON, shown, text_of

ERRORS = 3  # so many violations are told
SORTED = 1000  # of so many
STARTS = 50  # so many brackets are tried as the beginning of JSON within prose

_FENCED = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)


class JsonSchema:
    """1 where the output holds JSON that is valid under a JSON schema, else 0; the label plays no part.

    The JSON may be the whole output, stand in a fenced block, or within prose, where the longest object or array
    counts. An output without JSON has failed, which is 0 as well. NaN and Infinity are no JSON. The feedback names the
    first violations and where they are.

    Args:
        schema: the schema, or the path of a file that holds it. ``$schema`` names the draft, by default 2020-12. A
            reference to another document is never fetched. Patterns are searched with the ``regex`` package.
        seconds: an output that takes longer to check, in processor time, has failed.

    Raises:
        UserError: the file cannot be read, or does not hold a schema.
        MissingExtra: the ``jsonschema`` or the ``regex`` package is not installed.
    """

    def __init__(self, *, schema: Mapping[str, Any] | str | Path, seconds: float = 5.0) -> None:
        above_zero(seconds=seconds)
        jsonschema = require("jsonschema", extra="metrics")
        referencing = require("referencing", extra="metrics")
        self.schema = _read(schema) if isinstance(schema, str | Path) else schema
        kind = jsonschema.validators.validator_for(self.schema, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(self.schema)
        except jsonschema.SchemaError as error:
            raise UserError(f"this is not a JSON schema: {error.message}, at {error.json_path}.") from None
        self._unresolvable = referencing.exceptions.Unresolvable
        self._validator = _bounded(kind)(_without(self.schema, "$schema"), registry=referencing.Registry())
        self.seconds = seconds

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One mark per output; None where the output is None. An output may also be a decoded object or array.

        Raises:
            UserError: an output is neither, or the schema refers to what is not in it.
        """
        return [None if output is None else self._mark(output) for output, _ in zip(outputs, examples, strict=True)]

    def _mark(self, output: Any) -> float | Mark:
        try:
            value = output if isinstance(output, dict | list) else json_in(text_of(output))
        except ValueError as error:
            return Mark(0.0, str(error), failed=True)
        try:
            errors = [f"{error.json_path}: {error.message}" for error in self._errors(value)]
        except TimeoutError:
            return Mark(0.0, f"too slow: the JSON was not checked within {self.seconds:g} s", failed=True)
        except (RecursionError, ArithmeticError, ValueError) as error:  # nested too deeply, 1e400, NaN in an object
            return Mark(0.0, _cut(f"no JSON that can be checked: {type(error).__name__}: {error}"), failed=True)
        return Mark(0.0, _cut("; ".join(errors[:ERRORS]))) if errors else 1.0

    def _errors(self, value: Any) -> list[Any]:
        _DEADLINE.set(time.process_time() + self.seconds)
        try:
            return sorted(islice(self._validator.iter_errors(value), SORTED), key=lambda error: error.json_path)
        except self._unresolvable as error:
            raise UserError(f"the schema refers to {error.ref!r}, which is not in it; put it under $defs.") from None


# ── Keywords that keep to a limit ─────────────────────────────────────────────────────────────────────────────────

_DEADLINE: ContextVar[float] = ContextVar("_DEADLINE")
_Keyword = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


def _bounded(kind: Any) -> Any:
    """A class of validators whose keywords raise TimeoutError when the time is up.

    Below a ``$schema`` jsonschema goes on with its own class, so the schema must have lost it.
    """
    known: dict[str, _Keyword] = {**kind.VALIDATORS, "pattern": _pattern, "patternProperties": _pattern_properties}
    for name in {"additionalProperties", "unevaluatedProperties"} & known.keys():
        known[name] = _of_the_rest(known[name])
    if "uniqueItems" in known:
        known["uniqueItems"] = _unique_items
    jsonschema = require("jsonschema", extra="metrics")
    return jsonschema.validators.extend(kind, {name: _watched(keyword) for name, keyword in known.items()})


def _watched(keyword: _Keyword) -> _Keyword:
    def watched(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _time_left()
        for error in keyword(validator, value, instance, schema) or ():
            _time_left()
            yield error

    return watched


def _time_left() -> float:
    """Seconds until the deadline.

    Raises:
        TimeoutError: there are none.
    """
    if (left := _DEADLINE.get() - time.process_time()) <= 0:
        raise TimeoutError
    return left


def _found(pattern: str, text: str) -> bool:
    """Whether a pattern is found in time."""
    return require("regex", extra="metrics").search(pattern, text, timeout=_time_left()) is not None


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "string") and not _found(pattern, instance):
        yield _violation(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    for pattern, inside in patterns.items() if validator.is_type(instance, "object") else ():
        for name, value in instance.items():
            if _found(pattern, name):
                yield from validator.descend(value, inside, path=name, schema_path=pattern)


def _of_the_rest(keyword: _Keyword) -> _Keyword:
    """The keyword, shown only the properties that no pattern beside it takes."""

    def rest(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
        patterns = schema.get("patternProperties")
        if not patterns or not validator.is_type(instance, "object"):
            return keyword(validator, value, instance, schema)
        left = {name: one for name, one in instance.items() if not any(_found(pattern, name) for pattern in patterns)}
        return keyword(
            validator, value, left, {name: one for name, one in schema.items() if name != "patternProperties"}
        )

    return rest


def _without(schema: Any, name: str) -> Any:
    """The schema, which may be true or false, without a keyword."""
    return {one: value for one, value in schema.items() if one != name} if isinstance(schema, Mapping) else schema


def _unique_items(validator: Any, unique: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if unique and validator.is_type(instance, "array") and len(set(map(_key, instance))) < len(instance):
        yield _violation(f"{instance!r} has non-unique elements")


def _key(value: Any) -> Hashable:
    """Equal for equal JSON: 1 is 1.0, but not true."""
    if isinstance(value, Mapping):
        return "object", frozenset((name, _key(inside)) for name, inside in value.items())
    if isinstance(value, list | tuple):
        return "array", tuple(map(_key, value))
    return isinstance(value, bool), value


def _violation(message: str) -> Any:
    return require("jsonschema", extra="metrics").ValidationError(message)


# ── JSON in text ──────────────────────────────────────────────────────────────────────────────────────────────────


def json_in(text: str) -> Any:
    """The JSON that a text holds.

    Raises:
        ValueError: it holds none; the message says why.
    """
    for candidate in (text, *_FENCED.findall(text)):
        try:
            return _loads(candidate)
        except ValueError:
            continue
    found = max(_within(text), key=lambda one: one[0], default=None)
    if found is None:
        raise ValueError(f"no JSON: {shown(text)}")
    return found[1]


def _within(text: str) -> Iterator[tuple[int, Any]]:
    """Length and value of each object and array that stands in prose."""
    end = 0
    for start in [found.start() for found in re.finditer(r"[{\[]", text)][:STARTS]:
        if start < end:
            continue
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        yield end - start, value


def _loads(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _read(path: str | Path) -> Any:
    try:
        return _loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the JSON schema {str(path)!r}: {error.strerror}.") from None
    except ValueError as error:
        raise UserError(f"{path} does not hold JSON: {error}") from None


def _cut(text: str) -> str:
    """One line, no longer than feedback may be; names of properties can break lines."""
    text = " ".join(text.split())
    return text if len(text) <= REASON else text[: REASON - 3] + "..."
