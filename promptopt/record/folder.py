"""Run folders: made, opened by one process at a time, and removed where nothing came of them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import PromptoptError, UserError
from .ledger import NAME, Ledger, read


@contextmanager
def opened(folder: Path | None) -> Iterator[Ledger]:
    """The ledger of a folder, closed in the end; None writes nothing down.

    Raises:
        LockedRun: another process has the folder open.
        UserError: the folder cannot be made, or its ledger cannot be read.
        PromptoptError: the last events may not be on the disk.
    """
    ledger = Ledger(folder)
    try:
        yield ledger
    except BaseException:
        with suppress(PromptoptError):  # what ended the run is told
            ledger.close()
        raise
    ledger.close()


def new_folder(name: str) -> Path:
    """A new folder under ``runs/``, named by the time and by what is given.

    Raises:
        UserError: it cannot be made.
    """
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    for suffix in ["", *(f"-{i}" for i in range(2, 1000))]:
        folder = Path("runs") / (name + suffix)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"cannot make the folder {folder} for the run: {error.strerror}. Give another one with run = ..., or "
                "start it where you may write."
            ) from None
        return folder
    raise UserError("runs/ holds a thousand runs of this second; give a folder with run.")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file all or nothing: one that is there is what it was until the new one is on the disk.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def discard(folder: Path) -> None:
    """Remove the folder of a run that could not begin: nothing was asked, answered or bought."""
    if folder.exists() and {event["event"] for event in read(folder / NAME)} <= {"start", "failed"}:
        shutil.rmtree(folder, ignore_errors=True)  # what could not be written may not be removable either
