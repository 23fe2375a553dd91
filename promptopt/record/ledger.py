"""The append-only record of a run: one JSON object a line, in ``ledger.jsonl`` of the run's folder.

========== ==========================================================================================
event      what the line holds
========== ==========================================================================================
start      once: versions, seed, recipe, example ids (the manifest)
resume     each time that the run is taken up again
call       an LLM call: who made it, the hash of what was asked, the replies (or how likely those given were; none
           where it failed and the search went on without), usage, seconds so far
answer     a question and its answer; ``n`` counts them within their stage (calibration, search, dev,
           final, shorten, test, transfer:NAME)
turn       where answers come when they come: how many of them the optimizer was told, and asked after
verdict    what the test split said about two prompts
stop       why the search ended
failed     the error that ended it
========== ==========================================================================================

JSON has no NaN: a value that could not be scored is null here and NaN in memory. Each line ends in a checksum, see
:mod:`promptopt.record.lines`. Every line is with the operating
system before the run goes on, and on the disk within a second: a killed process loses nothing, a lost machine at most
that second.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..attachments import sweep
from ..errors import LockedRun, PromptoptError, UserError
from .codec import Event
from .lines import Scan, scan, sealed

NAME = "ledger.jsonl"
SYNC_SECONDS = 1.0


class Ledger:
    """Writes a run's events. With ``folder=None`` nothing is written.

    Args:
        folder: the run's folder; made where it is missing.

    Attributes:
        past: the events that stood in the ledger when it was opened, oldest first.

    Raises:
        LockedRun: another process has the folder open.
        UserError: the folder cannot be written, or a line other than the last is damaged.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.past: list[dict[str, Any]] = []
        self._guard = threading.Lock()
        self._file: int | None = None  # open
        self._checksum = 0  # of all lines so far
        self._synced = time.monotonic()
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = locked(folder)
            self._open(folder / NAME)
            sweep(folder)
        except OSError as error:
            raise UserError(
                f"cannot record a run in {folder}: {error.strerror or error}. Give another folder, or make this one "
                "writable."
            ) from None

    def _open(self, file: Path) -> None:
        try:
            found, size = _scanned(file)
            self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            if size > found.size:  # a last line that was never finished
                os.ftruncate(self._file, found.size)
        except BaseException:
            self._let_go()
            raise
        self.past, self._checksum = found.events, found.checksum

    def append(self, *events: Event) -> None:
        """Write events in one go.

        Raises:
            PromptoptError: they cannot be written, for example on a full disk, or the ledger is closed, and so the run
                over.
        """
        if self.folder is None:
            return
        with self._guard:
            if self._file is None:
                raise PromptoptError(f"the run in {self.folder} is closed: nothing more is written down")
            lines, checksum = [], self._checksum
            for event in events:
                text, checksum = sealed(event, checksum)
                lines.append(text)
            try:
                self._write(self._file, b"".join(lines))
                self._checksum = checksum
                if time.monotonic() - self._synced > SYNC_SECONDS:
                    self._sync(self._file)
            except OSError as error:
                raise self._unwritten(error) from None

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
        """Put everything on the disk and let go of the folder.

        Raises:
            PromptoptError: the last events may not be on the disk.
        """
        with self._guard:
            if self._file is None:
                return
            try:
                self._sync(self._file)
            except OSError as error:
                raise self._unwritten(error) from None
            finally:
                self._let_go()

    def _let_go(self) -> None:
        file, self._file = self._file, None  # its number may soon stand for another file
        if file is not None:
            os.close(file)
        self._lock.release()

    def _unwritten(self, error: OSError) -> PromptoptError:
        file = (self.folder or Path()) / NAME
        return PromptoptError(
            f"{file} cannot be written: {error.strerror or error}. Make room, or mend what else is wrong there."
        )


def locked(folder: Path) -> FileLock:
    """The lock of a run's folder, taken.

    Raises:
        LockedRun: another process has it.
        OSError: it cannot be made.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedRun(
            f"{folder} is in use by another process. Wait for it to end, or start a run in another folder."
        ) from None
    return lock


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a ledger file. A torn last line, left by a killed process, is passed over.

    Args:
        path: the file; a missing one has no events.

    Raises:
        UserError: the file cannot be read, or a line other than the last is damaged.
    """
    try:
        return _scanned(path)[0].events
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from None


def _scanned(path: Path) -> tuple[Scan, int]:
    """What a ledger file holds, and its size in bytes."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        data = b""
    found = scan(data)
    if found.damage:
        raise found.damage.error(path)
    return found, len(data)


def now() -> str:
    """The time as events tell it, with the time zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
