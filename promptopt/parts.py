"""Prompts of several parts: one text that is read into its parts again, whatever they hold.

The text has a heading before each part, and a blank line between one part and the next::

    === system ===
    You are a careful editor.

    === instruction ===
    Correct the spelling.
    Change nothing else.

A line of a part that would be read as such a heading has a backslash before it, and one that has backslashes before a
heading has one more, so nothing is lost: not line breaks at either end, not carriage returns, not empty parts. A text
is read as parts only if it is, to the character, what these parts are written as; any other text is one text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from .errors import UnknownName, UserError
from .text import Change
from .text import changes as word_changes

__all__ = ["changed", "changes", "check_names", "given", "listed", "parts_of", "problem_with", "text_of"]

NAME = r"[^\W\d_][\w-]*"
LINE = re.compile(rf"^=== ({NAME}) ===$", re.MULTILINE)
ESCAPABLE = re.compile(rf"^(?=\\*=== {NAME} ===$)", re.MULTILINE)
ESCAPED = re.compile(rf"^\\(?=\\*=== {NAME} ===$)", re.MULTILINE)
BETWEEN = "\n\n"


def text_of(parts: Mapping[str, str]) -> str:
    """The text of a prompt of these parts, in this order.

    Raises:
        UserError: there are none, or the name of one is no word of letters, digits, ``_`` and ``-``.
    """
    if not parts:
        raise UserError('a prompt of parts has none; give one or more, for example instruction = "...".')
    for name in parts:
        if not re.fullmatch(NAME, name):
            raise UserError(
                f"{name!r} cannot be the name of a part; a name is one word of letters, digits, _ and -, and begins "
                "with a letter."
            )
    return BETWEEN.join(f"{_heading(name)}\n{ESCAPABLE.sub(_backslash, text)}" for name, text in parts.items())


def parts_of(text: str) -> dict[str, str]:
    """The parts of a prompt by name, in order; empty where it is one text."""
    if not text.startswith("=== "):
        return {}
    headings = list(LINE.finditer(text))
    ends = [heading.start() - len(BETWEEN) for heading in headings[1:]] + [len(text)]
    found = {
        heading[1]: ESCAPED.sub("", text[heading.end() + 1 : end]) for heading, end in zip(headings, ends, strict=False)
    }
    return found if found and text_of(found) == text else {}


def given(text: str) -> str | dict[str, str]:
    """A prompt as functions and plug-ins take it: its parts by name where it has parts, else the text."""
    return parts_of(text) or text


def problem_with(text: str, *, start: str, frozen: Collection[str] = ()) -> str | None:
    """Why a prompt cannot come from a search that begins with ``start``, or None.

    It has to have the same parts, and those that are frozen unchanged.
    """
    own, first = parts_of(text), parts_of(start)
    if not (own or first):
        return None
    if list(own) != list(first):
        return f"it has {listed(own)}, and the start has {listed(first)}."
    changed = [name for name in first if name in frozen and own[name] != first[name]]
    return f"it changes {listed(changed)}, which the recipe keeps frozen." if changed else None


def changed(old: str, new: str) -> str:
    """A prompt without the parts that are as they were, for places where there is little room."""
    before, after = parts_of(old), parts_of(new)
    kept = {name: text for name, text in after.items() if before.get(name) != text}
    return text_of(kept) if kept else new


def check_names(given: Collection[str], allowed: Collection[str] | None, *, where: str) -> None:
    """Check the names of parts.

    Args:
        allowed: the names that there are; None allows any.

    Raises:
        UnknownName: there is no such part.
    """
    for name in given:
        if allowed is not None and name not in allowed:
            raise UnknownName("part", name, allowed, where=where)


def changes(old: str, new: str) -> list[tuple[Change, str]]:
    """What :func:`promptopt.text.changes` says, part by part where two prompts have the same parts."""
    before, after = parts_of(old), parts_of(new)
    if not before or list(before) != list(after):
        return word_changes(old, new)
    pieces: list[tuple[Change, str]] = []
    for name, text in before.items():
        pieces.append(("same", f"{BETWEEN if pieces else ''}{_heading(name)}\n"))
        pieces += word_changes(text, after[name])
    return pieces


def _heading(name: str) -> str:
    return f"=== {name} ==="


def _backslash(match: re.Match[str]) -> str:
    return "\\"


def listed(found: Collection[str]) -> str:
    """The names of parts in words: ``no parts``, ``the part system``, ``the parts system, rules``."""
    if not found:
        return "no parts"
    return f"the part{'s' if len(found) > 1 else ''} {', '.join(found)}"
