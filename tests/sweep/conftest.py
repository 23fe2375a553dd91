"""A PostgreSQL of the tests' own, and small sweeps."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # recipes in tests name parts as sweep_parts:...
PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def program(name: str) -> str | None:
    """Where a program of PostgreSQL is, on the path or where Debian puts it."""
    return next((str(place / name) for place in PLACES if (place / name).exists()), None) or shutil.which(name)


def as_user(command: list[str]) -> list[str]:
    """The command as a user that PostgreSQL agrees to run as: it refuses root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


@pytest.fixture(scope="session")
def _server() -> Iterator[str]:
    """The URL of a server on a unix socket, without a database; skips where PostgreSQL or its driver is missing."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    if not (initdb and pg_ctl):
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0:
            try:
                owner = pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
            os.chown(name, owner.pw_uid, owner.pw_gid)
        data = str(Path(name) / "data")
        options = f"-k {name} -c listen_addresses='' -c fsync=off -c max_connections=200"
        quiet: dict[str, Any] = {"check": True, "cwd": name, "stdout": subprocess.DEVNULL}
        subprocess.run(as_user([initdb, "-D", data, "-U", user, "-A", "trust", "-N"]), **quiet)
        log = str(Path(name) / "log")
        subprocess.run(as_user([pg_ctl, "-D", data, "-o", options, "-l", log, "-w", "start"]), **quiet)
        try:
            yield f"postgresql://{user}@/%s?host={name}"
        finally:
            subprocess.run(as_user([pg_ctl, "-D", data, "-m", "immediate", "stop"]), **quiet)


@pytest.fixture
def postgres(_server: str) -> str:
    """The URL of an empty database."""
    import psycopg

    name = f"t{uuid.uuid4().hex[:12]}"
    admin = _server % "postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return _server % name
