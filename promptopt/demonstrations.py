"""Demonstrations as a part of a prompt: which training examples are shown before the input, and in which order.

The part ``demonstrations`` has a line for each, the example's id::

    reviews/12
    reviews/7: "The plot is thin, but she laughed throughout, so: good"

Behind the id of the second stands, as JSON, the answer that is shown in place of the example's label: an output of the
target's own, with its reasoning. So a prompt holds all that the target needs to say it again, beside the examples, and
the text stays small where labels are shown. An id that is not one word stands in quotes, as JSON too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .errors import UserError
from .parts import parts_of

__all__ = ["PART", "Demonstration", "of_prompt", "problem_with", "read", "text_of"]

PART = "demonstrations"
"""The name of the part."""

QUOTED = r'"(?:[^"\\\n]|\\.)*"'
PLAIN = re.compile(r'[^\s":]+')
LINE = re.compile(rf"({QUOTED}|{PLAIN.pattern})(?:: ({QUOTED}))?")


@dataclass(frozen=True)
class Demonstration:
    """A training example that is shown.

    Attributes:
        example: its id.
        output: what is shown as the answer; None for the example's label.
    """

    example: str
    output: str | None = None


def text_of(shown: Sequence[Demonstration]) -> str:
    """The part's text."""
    return "\n".join(_line(one) for one in shown)


def read(text: str) -> tuple[Demonstration, ...]:
    """The demonstrations that a part names, in order; blank lines are skipped.

    Raises:
        UserError: a line names none.
    """
    return tuple(_read(line) for line in text.split("\n") if line.strip())


def of_prompt(prompt: str) -> tuple[Demonstration, ...]:
    """The demonstrations of a whole prompt; none where it has no such part, or one that is another text."""
    try:
        return read(parts_of(prompt).get(PART, ""))
    except UserError:
        return ()


def problem_with(text: str, known: Collection[str]) -> str | None:
    """Why a target cannot show what a part names, or None.

    Args:
        known: the ids of the training examples.
    """
    try:
        ids = [one.example for one in read(text)]
    except UserError as error:
        return str(error)
    if unknown := [one for one in ids if one not in known]:
        return f"demonstrations names {unknown[0]!r}, which is no training example; name ids of the training split."
    if twice := [one for i, one in enumerate(ids) if one in ids[:i]]:
        return f"demonstrations names {twice[0]!r} twice; name each example once."
    return None


def _line(one: Demonstration) -> str:
    name = one.example if PLAIN.fullmatch(one.example) else _quoted(one.example)
    return name if one.output is None else f"{name}: {_quoted(one.output)}"


def _read(line: str) -> Demonstration:
    found = LINE.fullmatch(line.strip())
    try:
        name, output = (_unquoted(one) for one in found.groups()) if found else (None, None)
    except ValueError:
        name = None
    if name is None:
        raise UserError(
            f"demonstrations has the line {line!r}; a line is the id of a training example, and if another answer "
            'than its label is shown, that in quotes behind it: id: "answer".'
        )
    return Demonstration(name, output)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _unquoted(text: str | None) -> str | None:
    if text is None or not text.startswith('"'):
        return text
    read: str = json.loads(text, strict=False)
    return read
