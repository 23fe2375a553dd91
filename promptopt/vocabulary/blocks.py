"""What a text is made of above its sentences: lists, headings, code, tables, quotations, tags, plain lines.

A unit of a text is the slice that it takes up, with the white space before it: see :mod:`.units`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from .sentences import closed

ITEM = re.compile(r"(?:[-*+•‣◦▪]|(\(?)(\d{1,3})([.)]))[ \t]+(?=\S)")
FENCE = re.compile(r"```|~~~")
TAG = re.compile(r"<([A-Za-z][\w-]*)[^<>]*>")
BLOCK = re.compile(r"#{1,6}\s|```|~~~|<[A-Za-z/][^<>]*>|[|>]|[-=*_]{3,}$|\*\*[^*]+\*\*:?$|[\[{]$")
HOLE = re.compile(r"[{}]|<[A-Za-z_]\w*>|\[[A-Z_]{2,}\]")  # a placeholder
HOLE_LAST = re.compile(
    r"(?:\}|<[A-Za-z_]\w*>|\[[A-Z_]{2,}\])[\"'”»`]*\s*$"
)  # what follows would be taken for the input
WRAPPED = 60  # a line this long that ends in the midst of a sentence goes on in the next one


# ── One unit ──────────────────────────────────────────────────────────────────────────────────────────────────────


def gap(unit: str) -> str:
    """The white space before a unit."""
    return unit[: len(unit) - len(unit.lstrip())]


@lru_cache(maxsize=10_000)
def bare(unit: str) -> str:
    """A unit without white space around it and the mark of a list before it."""
    unit = unit.strip()
    mark = ITEM.match(unit)
    return unit[mark.end() :] if mark else unit


def is_item(unit: str) -> bool:
    """Whether it is an item of a list, with its mark."""
    return ITEM.match(unit.lstrip()) is not None


def introduces(unit: str) -> bool:
    """Whether it ends in a colon, so that what follows belongs to it."""
    return unit.rstrip().endswith((":", "："))


def is_block(unit: str) -> bool:
    """Whether it is a block of its own kind: a heading, code, a table, a quotation, tagged or indented lines."""
    return (_indent(unit) > 1 and not is_item(unit)) or BLOCK.match(unit.strip()) is not None


def is_hard(unit: str) -> bool:
    """Whether no search may touch it: a block, a line that ends in a colon, or what holds a placeholder."""
    return is_block(unit) or introduces(unit) or HOLE.search(unit) is not None


def _indent(unit: str) -> int:
    """By how much the line that it begins is indented; 0 in the midst of a line."""
    lines = gap(unit).split("\n")
    return len(lines[-1]) if len(lines) > 1 else 0


# ── A text ────────────────────────────────────────────────────────────────────────────────────────────────────────


def blocks(text: str, *, known: Sequence[str] = ()) -> Iterator[tuple[int, str, bool]]:
    """The blocks of a text: where each begins, its lines with the first one's indentation, and whether it is prose.

    A line of prose that is wrapped is one block. A run of lines that reads as one of the ``known`` texts is a block.
    """
    lines, at = text.split("\n"), 0
    several = [_stripped(one.split("\n")) for one in known if "\n" in one]
    while lines:
        same = [len(one) for one in several if _stripped(lines[: len(one)]) == one]
        length, prose = (max(same), False) if same else _first(lines)
        block = "\n".join(lines[:length]).rstrip()
        if block.strip():
            yield at, block, prose
        at += sum(len(line) + 1 for line in lines[:length])
        del lines[:length]


def _stripped(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines]


def _first(lines: Sequence[str]) -> tuple[int, bool]:
    """How many lines the block has that begins with the first one, and whether it is prose."""
    first = lines[0].lstrip()
    indent = len(lines[0]) - len(first)
    if fence := FENCE.match(first):
        return _through(lines, lambda line: line.lstrip().startswith(fence[0])) or len(lines), False
    if (tag := TAG.match(first)) and f"</{tag[1]}>" not in first:
        return _through(lines, lambda line: f"</{tag[1]}>" in line) or 1, False
    if first.rstrip() in ("{", "["):
        return _through(lines, lambda line: line.rstrip() in ("}", "]")) or 1, False
    if first[:1] in ("|", ">"):
        return _while(lines, lambda line, last: line.lstrip()[:1] == first[0]), False
    if ITEM.match(first):
        return _while(
            lines, lambda line, last: _depth(line) > indent or (line[:1].islower() and _goes_on(line, last))
        ), False
    if indent > 1:
        return _while(lines, lambda line, last: _depth(line) > 1), False
    if BLOCK.match(first.rstrip()):
        return 1, False
    return _while(lines, _goes_on), True


def _through(lines: Sequence[str], closes: Callable[[str], bool]) -> int:
    """How many lines to the one that closes the block, that included; 0 where none does."""
    return next((i + 1 for i, line in enumerate(lines) if i and closes(line)), 0)


def _while(lines: Sequence[str], belongs: Callable[[str, str], bool]) -> int:
    """How many lines belong to the first one; blank ones do where another one follows that does."""
    length = 1
    for i, line in enumerate(lines[1:], 1):
        if line.strip():
            if not belongs(line, lines[i - 1]):
                break
            length = i + 1
    return length


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _goes_on(line: str, last: str) -> bool:
    """Whether a line goes on with the sentence of the line before it: in small letters, or since that one is full."""
    starts_anew = not last.strip() or closed(last) or introduces(last) or ITEM.match(line.lstrip()) or is_block(line)
    return not starts_anew and (line.lstrip()[:1].islower() or len(last) >= WRAPPED)
