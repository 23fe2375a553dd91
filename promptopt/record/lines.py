"""The lines of a ledger. Each ends in a checksum, which covers all that stands before it in the file.

``"crc"`` is the CRC-32 of all lines up to this one, in eight hexadecimal digits. A line that was changed does not fit
it, and neither does one that is doubled, or stands where lines are missing or were put. A ledger that was begun before
there were checksums has lines without; those that are added to it later cover them too.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, NoReturn

from ..errors import UserError
from .fields import problem

FORMAT = 1
SIGN = b', "crc": "'  # what stands before the digits of a checksum
LENGTH = len(SIGN) + len(b'01234567"}')


@dataclass(frozen=True)
class Damage:
    """The first line that cannot be trusted.

    Attributes:
        line: its number, from 1.
        problem: what is wrong with it.
    """

    line: int
    problem: str

    def error(self, file: Path) -> UserError:
        """What the user is told."""
        return UserError(
            f"{file}, line {self.line} is damaged: {self.problem}. Restore the file, or keep what stands before the "
            f"damage with: promptopt repair {quote(str(file.parent))}"
        )


@dataclass
class Scan:
    """What a ledger file holds.

    Attributes:
        events: of the lines before the damage, oldest first.
        size: how many bytes these lines have; what follows them is damaged, or a last line that was never finished.
        checksum: of these lines; the next one goes on from it.
        damage: None where every line is as it was written.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0
    checksum: int = 0
    damage: Damage | None = None
    _sealed: bool = False  # whether a line with a checksum was seen, after which there is none without
    _ours: bool = False  # whether the file begins as a run of this format does, whose fields we know

    def take(self, line: bytes) -> str | None:
        """Read the next line, and say what is wrong with it, if anything."""
        body = line
        if line.startswith(SIGN, max(0, len(line) - LENGTH)):
            body = line[:-LENGTH]
            after = zlib.crc32(body, self.checksum)
            if line[-LENGTH:] != _seal(after):
                return "its checksum does not fit, so it or what stands before it was changed after it was written"
            self._sealed, body = True, body + b"}"
        elif self._sealed:
            return "it has no checksum"
        else:
            after = zlib.crc32(line, self.checksum)
        try:
            event, end = DECODER.raw_decode(text := body.decode())
        except (ValueError, RecursionError):
            return "it is not JSON"
        if text[end:].strip():
            return "more stands behind its event"
        if not isinstance(event, dict) or "event" not in event:
            return "it is not an event of a run"
        if wrong := self._wrong(event):
            return wrong
        self.events.append(event)
        self.size += len(line) + 1
        self.checksum = after
        return None

    def _wrong(self, event: Mapping[str, Any]) -> str | None:
        if not self.events:
            self._ours = event["event"] == "start" and event.get("format") == FORMAT
        elif self._ours and event["event"] == "start":
            return "it begins the run once more"
        return problem(event) if self._ours else None


def scan(data: bytes) -> Scan:
    """Read a ledger up to the first line that is damaged. A last line that was never finished is passed over."""
    found = Scan()
    *lines, torn = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if wrong := found.take(line):
            found.damage = Damage(number, wrong)
            return found
    if torn.startswith(SIGN, max(0, len(torn) - 1 - LENGTH)):  # a whole line, and more than its end is missing
        found.damage = Damage(len(lines) + 1, "its end was changed")
    return found


def sealed(event: Mapping[str, Any], before: int) -> tuple[bytes, int]:
    """An event as a line with its checksum, and that checksum, which the next line goes on from.

    Args:
        before: the checksum of the lines before.
    """
    try:
        body = json.dumps(event, ensure_ascii=False, allow_nan=False).encode()[:-1]
    except UnicodeEncodeError:  # half a surrogate pair, as some replies hold
        body = json.dumps(event, allow_nan=False).encode()[:-1]
    checksum = zlib.crc32(body, before)
    return body + _seal(checksum) + b"\n", checksum


def _seal(checksum: int) -> bytes:
    return b'%b%08x"}' % (SIGN, checksum)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


DECODER = json.JSONDecoder(parse_constant=_refuse)
