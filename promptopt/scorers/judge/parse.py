"""Reading an LLM judge's verdict: a word of a fixed list, in a JSON field or on the last line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Said", "read", "schema"]

NEGATED = re.compile(r"\b(?:not|no|never|neither|nor|hardly|barely|cannot)\b|n['’]t\b", re.IGNORECASE)
AROUND = " \t\r\n*_`\"'“”‘’.,;:!()[]"
DECODER = json.JSONDecoder()
OPENING = re.compile(r"\{(?=\s*[\"}])")  # what may begin a JSON object
STARTS = 200  # so many of these are tried, the last


@dataclass(frozen=True)
class Said:
    """What a judge said: a word of the list, and why."""

    word: str
    critique: str


def schema(key: str, words: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a verdict: the critique before the word, so that the word follows from it."""
    properties = {"critique": {"type": "string"}, key: {"type": "string", "enum": list(words)}}
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def read(reply: str, *, key: str, words: Sequence[str]) -> Said | None:
    """The verdict in a reply, or None if there is none or more than one.

    Read is a JSON object that ends the reply, or else its last line: what stands behind the line's last colon, or the
    whole line. There one word of the list must stand, and no negation. What the judge quotes further up is not read:
    it may be an output that names a verdict for itself.

    Args:
        reply: any text; never raises.
        key: the field that holds the word.
        words: the list; a word may be several, and part of another one.
    """
    text = reply.rpartition("</think>")[2].strip()
    fields = _ending_object(text.removesuffix("```").rstrip())
    if fields is not None:
        word = _same(fields.get(key), words)
        critique = fields.get("critique")
        return Said(word, critique.strip() if isinstance(critique, str) else "") if word else None
    before, _, line = text.rpartition("\n")
    found = _one_of(line.rpartition(":")[2], words) or _one_of(line, words)
    return Said(found, before.strip()) if found else None


def _ending_object(text: str) -> Mapping[str, Any] | None:
    """The JSON object that reaches to the end of a text; the outermost, if one stands in another."""
    if not text.endswith("}"):
        return None
    end = 0
    for at in [found.start() for found in OPENING.finditer(text)][-STARTS:]:
        if at < end:
            continue
        try:
            value, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        if end == len(text):
            return value if isinstance(value, dict) else None
    return None


def _same(given: Any, words: Sequence[str]) -> str | None:
    """The word that a field's value is, whatever its case and what is around it."""
    bare = given.strip(AROUND).casefold() if isinstance(given, str) else None
    return next((word for word in words if word.casefold() == bare), None)


def _one_of(line: str, words: Sequence[str]) -> str | None:
    """The only word of the list in a line."""
    longest_first = sorted(words, key=len, reverse=True)
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)"
    found = {match.casefold() for match in re.findall(pattern, line, re.IGNORECASE)}
    if len(found) != 1 or NEGATED.search(re.sub(pattern, "", line, flags=re.IGNORECASE)):
        return None
    return _same(found.pop(), words)
