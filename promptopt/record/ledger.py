"""The append-only record of a run: one JSON object a line, in ``ledger.jsonl`` of the run's folder.

========== ==========================================================================================
event      what the line holds
========== ==========================================================================================
start      once: versions, seed, recipe, example ids (the manifest)
resume     each time that the run is taken up again
call       an LLM call: who made it, the hash of what was asked, the replies (or how likely those given were), usage,
           seconds so far
answer     a question and its answer; ``n`` counts them within their stage (calibration, search, dev,
           final, shorten, test, transfer:NAME)
turn       where answers come when they come: how many of them the optimizer was told, and asked after
verdict    what the test split said about two prompts
stop       why the search ended
failed     the error that ended it
========== ==========================================================================================

JSON has no NaN: a value that could not be scored is null here and NaN in memory. Every line is with the operating
system before the run goes on, and on the disk within a second: a killed process loses nothing, a lost machine at most
that second.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import LockedRun, PromptoptError, UserError
from .codec import Event

FORMAT = 1
SYNC_SECONDS = 1.0


class Ledger:
    """Writes a run's events. With ``folder=None`` nothing is written.

    Args:
        folder: the run's folder; made where it is missing.

    Attributes:
        past: the events that stood in the ledger when it was opened, oldest first.

    Raises:
        LockedRun: another process has the folder open.
        UserError: a line other than the last cannot be read.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.past: list[dict[str, Any]] = []
        self._guard = threading.Lock()
        self._file: int | None = None  # open
        self._synced = time.monotonic()
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot record a run in {folder}: {error.strerror}. Give another folder.") from None
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise LockedRun(
                f"{folder} is in use by another process. Wait for it to end, or start a run in another folder."
            ) from None
        try:
            self.past = read(folder / "ledger.jsonl", repair=True)
        except BaseException:
            self._lock.release()
            raise
        self._file = os.open(folder / "ledger.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, *events: Event) -> None:
        """Write events in one go.

        Raises:
            PromptoptError: the ledger is closed, and so the run over.
        """
        if self.folder is None:
            return
        data = b"".join(_line(event) for event in events)
        with self._guard:
            if self._file is None:
                raise PromptoptError(f"the run in {self.folder} is closed: nothing more is written down")
            self._write(self._file, data)
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync(self._file)

    def _write(self, file: int, data: bytes) -> None:
        whole = os.fstat(file).st_size
        try:
            while data:
                data = data[os.write(file, data) :]
        except OSError:  # a full disk: leave no torn line for the next event to follow
            os.ftruncate(file, whole)
            raise

    def _sync(self, file: int) -> None:
        os.fsync(file)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Put everything on the disk and let go of the folder."""
        with self._guard:
            if self._file is None:
                return
            file, self._file = self._file, None  # its number may soon stand for another file
            self._sync(file)
            os.close(file)
            self._lock.release()


def read(path: Path, *, repair: bool = False) -> list[dict[str, Any]]:
    """The events of a ledger file. A torn last line, left by a killed process, is passed over.

    Args:
        path: the file; a missing one has no events.
        repair: cut a torn last line off the file.

    Raises:
        UserError: a line other than the last cannot be read.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole, _, torn = data.rpartition(b"\n")
    if torn and repair:
        os.truncate(path, len(data) - len(torn))
    events = []
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        try:
            event = json.loads(line)
            event["event"]
            events.append(event)
        except (ValueError, TypeError, KeyError):
            raise UserError(
                f"{path}, line {number} is not an event of a run: the file was changed after it was written. "
                "Restore it, or start a new run."
            ) from None
    return events


def now() -> str:
    """The time as events tell it, with the time zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _line(event: Event) -> bytes:
    try:
        return json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, as some replies hold
        return json.dumps(event, allow_nan=False).encode() + b"\n"
