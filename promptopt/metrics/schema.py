"""JSON that fits a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core import Example, Mark
from ..errors import UserError, require
from .text import REASON, shown, text_of

ERRORS = 3  # so many violations are told
STARTS = 50  # so many brackets are tried as the beginning of JSON within prose

_FENCED = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)


class JsonSchema:
    """1 where the output holds JSON that is valid under a JSON schema, else 0; the label plays no part.

    The JSON may be the whole output, stand in a fenced block, or within prose, where the longest object or array
    counts. An output without JSON has failed, which is 0 as well. NaN and Infinity are no JSON. The feedback names the
    first violations and where they are.

    Args:
        schema: the schema, or the path of a file that holds it. ``$schema`` names the draft, by default 2020-12. A
            reference to another document is never fetched.

    Raises:
        UserError: the file cannot be read, or does not hold a schema.
        MissingExtra: the ``jsonschema`` package is not installed.
    """

    def __init__(self, *, schema: Mapping[str, Any] | str | Path) -> None:
        jsonschema = require("jsonschema", extra="metrics")
        referencing = require("referencing", extra="metrics")
        self.schema = _read(schema) if isinstance(schema, str | Path) else schema
        kind = jsonschema.validators.validator_for(self.schema, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(self.schema)
        except jsonschema.SchemaError as error:
            raise UserError(f"this is not a JSON schema: {error.message}, at {error.json_path}.") from None
        self._unresolvable = referencing.exceptions.Unresolvable
        self._validator = kind(self.schema, registry=referencing.Registry())

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One mark per output; None where the output is None. An output may also be a decoded object or array.

        Raises:
            UserError: an output is neither, or the schema refers to what is not in it.
        """
        return [None if output is None else self._mark(output) for output, _ in zip(outputs, examples, strict=True)]

    def _mark(self, output: Any) -> float | Mark:
        try:
            value = output if isinstance(output, dict | list) else json_in(text_of(output))
            errors = [f"{error.json_path}: {error.message}" for error in self._errors(value)]
        except ValueError as error:
            return Mark(0.0, str(error), failed=True)
        return Mark(0.0, _cut("; ".join(errors[:ERRORS]))) if errors else 1.0

    def _errors(self, value: Any) -> list[Any]:
        try:
            return sorted(self._validator.iter_errors(value), key=lambda error: error.json_path)
        except self._unresolvable as error:
            raise UserError(f"the schema refers to {error.ref!r}, which is not in it; put it under $defs.") from None


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
    return text if len(text) <= REASON else text[: REASON - 3] + "..."
