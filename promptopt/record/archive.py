"""An archive in a run's folder: ``archive.jsonl``, and what it comes to.

The first line says what the ranges of the measures are called. Each further one is an elite, in the order in which they
came, so that the last one of a cell holds it and the growth of the archive can be read off. Where a holder was measured
on held-out data, its line tells that too, as ``held_out``; the ledger is where we read it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any, TypeAlias

from ..core import Archive, Elite, Prompt
from ..errors import UserError
from .verdict import Verdict

__all__ = ["NAME", "as_lines", "cells_of", "elites", "growth", "read_archive"]

NAME = "archive.jsonl"

Cell: TypeAlias = tuple[int, ...]


def elites(archive: Archive) -> dict[Cell, Elite]:
    """Who holds each cell that is not empty, in the order of the cells."""
    return dict(sorted({one.cell: one for one in archive.history}.items()))


def cells_of(archive: Archive) -> int:
    """How many cells there are, empty ones among them."""
    return math.prod(map(len, archive.ranges.values()))


def growth(archive: Archive) -> list[tuple[int, float, float]]:
    """Question, coverage and QD score each time that one of them changed.

    Coverage is the share of the cells that are not empty; the QD score is the sum of their elites' ratings.
    """
    held: dict[Cell, float] = {}
    found: dict[int, tuple[int, float, float]] = {}
    for one in archive.history:
        held[one.cell] = one.value
        found[one.question] = (one.question, len(held) / cells_of(archive), math.fsum(held.values()))
    return list(found.values())


def as_lines(archive: Archive, verdicts: Mapping[str, Verdict] | None = None) -> str:
    """An archive as the lines of its file, without the last line break.

    Args:
        verdicts: on held-out data, by prompt; each stands with those who hold a cell now.
    """
    first = {"measures": {name: list(ranges) for name, ranges in archive.ranges.items()}}
    held = elites(archive)
    lines: list[dict[str, Any]] = [first]
    for one in archive.history:
        verdict = (verdicts or {}).get(one.prompt.text) if held[one.cell] is one else None
        lines.append({**_told(one), **({"held_out": verdict.to_json()} if verdict else {})})
    return "\n".join(map(_line, lines))


def read_archive(folder: Path) -> Archive | None:
    """The archive in a run's folder; None if there is none.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / NAME
    try:
        first, *rest = file.read_text(encoding="utf-8").splitlines()
        ranges = {name: tuple(given) for name, given in json.loads(first)["measures"].items()}
        return Archive(ranges, tuple(_elite(json.loads(line), ranges) for line in rest))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{file} holds no archive that can be read ({error}). Have it written again with: "
            f"promptopt resume {quote(str(folder))}"
        ) from None


def _line(given: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(given, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, as some replies hold
        text = json.dumps(given, allow_nan=False)
    return "".join(f"\\u{ord(c):04x}" if c in "\x85\u2028\u2029" else c for c in text)  # they would end a line


def _told(one: Elite) -> dict[str, Any]:
    return {
        "question": one.question,
        "cell": list(one.cell),
        "measured": dict(one.measured),
        "value": one.value,
        "prompt": one.prompt.text,
        "origin": dict(one.prompt.origin),
    }


def _elite(given: Mapping[str, Any], ranges: Mapping[str, tuple[str, ...]]) -> Elite:
    cell = tuple(given["cell"])
    if not all(0 <= place < len(names) for place, names in zip(cell, ranges.values(), strict=True)):
        raise ValueError(f"it has no cell {cell}")
    prompt = Prompt(given["prompt"], given["origin"])
    return Elite(cell, prompt, float(given["value"]), given["measured"], int(given["question"]))
