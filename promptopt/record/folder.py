"""Run folders: made, opened by one process at a time, and removed where nothing came of them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from .ledger import Ledger, read


@contextmanager
def opened(folder: Path | None) -> Iterator[Ledger]:
    """The ledger of a folder, closed in the end; None writes nothing down.

    Raises:
        LockedRun: another process has the folder open.
        UserError: the folder cannot be made, or its ledger cannot be read.
    """
    ledger = Ledger(folder)
    try:
        yield ledger
    finally:
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


def discard(folder: Path) -> None:
    """Remove the folder of a run that could not begin: nothing was asked, answered or bought."""
    if folder.exists() and {event["event"] for event in read(folder / "ledger.jsonl")} <= {"start", "failed"}:
        shutil.rmtree(folder)
