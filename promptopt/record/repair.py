"""Saving what can be saved of a damaged ledger: everything before the damage."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from shlex import quote

from ..errors import UserError
from .folder import write_whole
from .ledger import NAME, locked
from .lines import Damage, scan


def repair(folder: Path) -> str:
    """Cut a run's ledger off where it is damaged. The damaged file is kept beside it, under a new name.

    Returns:
        What was wrong, what is kept and what was dropped, in words.

    Raises:
        LockedRun: another process has the folder open.
        UserError: there is no run, nothing stands before the damage, or the folder cannot be read or written.
    """
    file = folder / NAME
    if not file.exists():
        raise UserError(f"there is no run in {str(folder)!r}: it has no {NAME}.")
    try:
        with locked(folder):
            data = file.read_bytes()
            found = scan(data)
            if found.damage is None:
                return f"{file} is in order: {len(found.events)} lines. Nothing was changed."
            if not found.events:
                raise UserError(f"{file} is damaged from its first line on, so nothing can be kept. Restore it.")
            copy = _free(folder)
            write_whole(copy, data)
            write_whole(file, data[: found.size])
    except OSError as error:
        raise UserError(f"cannot repair {file}: {error.strerror}. Make the folder writable.") from None
    return _told(folder, found.damage, data[found.size :], copy)


def _free(folder: Path) -> Path:
    """A name that no file has yet."""
    number = 1
    while (copy := folder / f"damaged-{number}.jsonl").exists():
        number += 1
    return copy


def _told(folder: Path, damage: Damage, dropped: bytes, copy: Path) -> str:
    lines = dropped.rstrip(b"\n").split(b"\n")
    kinds = Counter(_kind(line) for line in lines)
    told = ", ".join(f"{kind}: {number}" for kind, number in sorted(kinds.items()))
    return "\n".join(
        [
            f"{folder / NAME}, line {damage.line}: {damage.problem}.",
            f"Kept: {damage.line - 1} lines before it. Dropped: {len(lines)} from it on ({told}). All of them: {copy}",
            f"Go on with: promptopt resume {quote(str(folder))}. What was dropped is asked, and paid for, once more.",
        ]
    )


def _kind(line: bytes) -> str:
    """What event a dropped line holds, as far as that can be said."""
    try:
        event = json.loads(line)["event"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return "unreadable"
    known = ("start", "resume", "call", "answer", "turn", "verdict", "stop", "failed")
    return str(event) if event in known else "unreadable"
