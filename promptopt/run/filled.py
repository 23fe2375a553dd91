"""Made-up replies that a program can read, so that a rehearsal comes through all its steps."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..core import Request

__all__ = ["filled"]

MARKED = re.compile(r"`\[\[ ## (\w+) ## \]\]`(?: \(must be formatted as a valid Python (.+?)\)(?=,))?")
"""A field that DSPy's usual adapter asks for, and its type where that is no text."""
WORD = re.compile(r"'([^']*)'")
VALUES = {"int": "0", "float": "0.0", "bool": "True", "list": "[]", "dict": "{}"}
JSON = {"integer": 0, "number": 0.0, "boolean": True, "array": [], "object": {}}


def filled(request: Request, number: int, *, length: int) -> str | None:
    """A reply with the fields that DSPy asks for, by its markers or as JSON; None where a request asks for none.

    Args:
        number: of the reply; of several allowed words each has its turn.
        length: characters of its texts together.
    """
    last = request.messages[-1].text if request.messages else ""
    wanted = last.rpartition("\n\nRespond with ")[2]
    fields = dict(MARKED.findall(wanted))
    if fields.pop("completed", None) is not None and fields:
        text = "x" * (length // len(fields))
        return "\n\n".join(f"[[ ## {name} ## ]]\n{_value(kind, number) or text}" for name, kind in fields.items())
    if not wanted.startswith("a JSON object in the following order of fields:"):
        return None
    properties: Mapping[str, Any] = (request.schema or {}).get("properties", {})
    names = re.findall(r"`(\w+)`", wanted)
    return json.dumps({name: _json(properties.get(name, {}), number, length // len(names)) for name in names})


def _value(kind: str, number: int) -> str | None:
    words = WORD.findall(kind) if kind.startswith("Literal") else []
    return str(words[number % len(words)]) if words else VALUES.get(kind.partition("[")[0])


def _json(kind: Mapping[str, Any], number: int, length: int) -> Any:
    words = kind.get("enum", ())
    return words[number % len(words)] if words else JSON.get(str(kind.get("type")), "x" * length)
