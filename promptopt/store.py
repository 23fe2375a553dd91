"""Bytes on disk by key, shared by processes: what is dear to compute or to buy, and may be lost.

One SQLite file. A killed process leaves what was written before; after a power cut the file may be damaged, and a
damaged file is made anew. A file that cannot be read or written for another reason (no room, no permission, locked for
long) costs a warning and nothing else.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SECONDS_LOCKED = 30.0


def cache_folder() -> Path:
    """Where caches lie: the environment variable ``PROMPTOPT_CACHE``, or else the user's cache folder."""
    if given := os.environ.get("PROMPTOPT_CACHE"):
        return Path(given)
    from platformdirs import user_cache_path

    return user_cache_path("promptopt", appauthor=False)


class Store:
    """Entries in one file. Safe to use from several threads and processes.

    Args:
        path: the file; it and its folder are made on first use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The entries on record for these keys, as far as there are any."""

        def action(connection: sqlite3.Connection) -> dict[bytes, bytes]:
            found = {}
            for key in keys:
                row = connection.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
                if row and (value := _checked(row[0])) is not None:
                    found[key] = value
            return found

        return self._do(action, otherwise={})

    def write(self, entries: Mapping[bytes, bytes]) -> None:
        """Record entries in one transaction; an entry that is there is replaced."""
        rows = [(key, value + _checksum(value)) for key, value in entries.items()]

        def action(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", rows)

        self._do(action, otherwise=None)

    def clear(self) -> None:
        """Remove every entry and give the room back."""

        def action(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM entries")
            connection.commit()
            connection.execute("VACUUM")

        if self.path.exists():
            self._do(action, otherwise=None)

    def __len__(self) -> int:
        """How many entries there are."""

        def action(connection: sqlite3.Connection) -> int:
            return int(connection.execute("SELECT COUNT(*) FROM entries").fetchone()[0])

        return self._do(action, otherwise=0) if self.path.exists() else 0

    def _do(self, action: Callable[[sqlite3.Connection], T], *, otherwise: T) -> T:
        with self._lock:
            try:
                self._connection = self._connection or self._open()
                return action(self._connection)
            except (sqlite3.OperationalError, OSError) as error:
                warnings.warn(f"{self.path} cannot be used, so nothing is cached there: {error}", stacklevel=3)
            except sqlite3.DatabaseError:  # damaged
                self._close()
                for suffix in ("", "-journal"):
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            return otherwise

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=SECONDS_LOCKED, check_same_thread=False)
        connection.text_factory = bytes  # damage can turn a blob into a text
        connection.execute("PRAGMA synchronous = OFF")  # a cache is not worth waiting for the disk
        connection.execute("CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB)")
        return connection

    def _close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


def _checksum(value: bytes) -> bytes:
    """SQLite has none of its own."""
    return zlib.crc32(value).to_bytes(4, "little")


def _checked(blob: object) -> bytes | None:
    if not isinstance(blob, bytes) or _checksum(blob[:-4]) != blob[-4:]:
        return None
    return blob[:-4]
