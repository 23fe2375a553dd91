"""Runs code that a model wrote, with tests, in a process of its own under limits. Linux only.

Always: a fresh Python in an empty temporary folder that is deleted afterwards, with an environment of a few fixed
variables and nothing of ours, no standard input, all output thrown away, and limits on wall time, CPU time, address
space and the size of files. Its process group is killed when it ends or its time is up.

Where the kernel has Landlock (Linux 5.13): files can be written in that folder only, and the memory and environment of
other processes cannot be read; from 6.7 on there is no TCP, from 6.12 on no signal reaches other processes.

Where the user may make namespaces (``unshare``): there is no network at all, other processes can be neither read nor
signalled, nothing that the code starts outlives it, and there are at most 32 processes and threads at once. Without
namespaces there can be no further ones at all. The kernel lets root break both rules on their number, and without
namespaces also the one on environments.

A warning says which of the two is missing.

What it is not: a jail. The code can read whatever files the user can, and what it reads may get into the feedback. It
can change the mode, times and extended attributes of the user's files, connect to sockets in the file system, and fill
the disk with files in its folder. Memory is limited by process, not in all. The tests run in the code's own process, so
code that sets out to deceive them, by an object that equals everything or by searching the interpreter's memory, can.
Run what you have reason to fear in a container or a virtual machine.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from ..errors import UserError

HARNESS = Path(__file__).with_name("_harness.py")
PROCESSES = 32
FILE_BYTES = 16 * 2**20
MEGABYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """What a run may use: wall time and CPU time in seconds, address space in MiB.

    Raises:
        UserError: a limit is too small to run anything.
    """

    seconds: float = 5.0
    megabytes: int = 512

    def __post_init__(self) -> None:
        if not (0 < self.seconds < math.inf) or self.megabytes < 64:
            raise UserError(
                f"seconds is {self.seconds} and megabytes {self.megabytes}; give more than 0 s and at least 64 MiB."
            )

    def for_kernel(self) -> dict[str, int]:
        """Names and values for setrlimit."""
        return {
            "RLIMIT_CPU": math.ceil(self.seconds) + 1,
            "RLIMIT_AS": self.megabytes * MEGABYTE,
            "RLIMIT_FSIZE": FILE_BYTES,
            "RLIMIT_NPROC": PROCESSES if namespaces() else 0,
            "RLIMIT_CORE": 0,
        }


def check() -> None:
    """Warn of what the sandbox lacks here.

    Raises:
        UserError: this is not Linux.
    """
    if sys.platform != "linux":
        raise UserError("running code against tests needs Linux, for its limits on processes.")
    lacking = {
        "namespaces, so its network may be open": not namespaces(),
        "Landlock, so it can change the user's files": not landlock(),
    }
    if any(lacking.values()):
        reasons = " and without ".join(reason for reason, lacks in lacking.items() if lacks)
        warnings.warn(
            f"code under test runs without {reasons} (see promptopt.metrics.sandbox)", RuntimeWarning, stacklevel=3
        )


@cache
def namespaces() -> tuple[str, ...]:
    """The command that puts what follows it into namespaces of its own; empty where that is not allowed."""
    if not (unshare := shutil.which("unshare")):
        return ()
    command = (unshare, "--user", "--map-root-user", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--")
    tried = subprocess.run([*command, "true"], stdin=subprocess.DEVNULL, capture_output=True)
    return command if tried.returncode == 0 else ()


@cache
def landlock() -> int:
    """The version of Landlock that the kernel offers; 0 for none."""
    create_ruleset, ask_version = 444, 1
    version: int = ctypes.CDLL(None).syscall(ctypes.c_long(create_ruleset), None, ctypes.c_size_t(0), ask_version)
    return max(0, version)


def run_tests(code: str, tests: Sequence[str], *, limits: Limits) -> list[str | None]:
    """Run code, then each test in the code's module.

    Args:
        code: Python.
        tests: Python, one or more; a test passes when it runs to its end and raises nothing.
        limits: over the code and all its tests together.

    Returns:
        ``(n_tests,)``: None for a test that passed, else why not: the error, or how the process ended before it.
    """
    token = secrets.token_hex(16)
    job = {"token": token, "code": code, "tests": list(tests), "limits": limits.for_kernel(), "landlock": landlock()}
    with (
        tempfile.TemporaryDirectory(prefix="promptopt-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as results,
    ):
        stdin.write(json.dumps(job).encode())
        stdin.seek(0)
        ending = _run(folder, stdin, results, limits.seconds)
        results.seek(0)
        reports = _reports(results.read(FILE_BYTES), token)
    return [reports.get(number, ending) for number in range(len(tests))]


def _run(folder: str, stdin: IO[bytes], results: IO[bytes], seconds: float) -> str:
    """Run the harness to its end or its time limit; how it ended, in words."""
    process = subprocess.Popen(
        [*namespaces(), sys.executable, "-s", "-P", "-B", str(HARNESS), str(results.fileno())],
        cwd=folder,
        env=_environment(folder),
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(results.fileno(),),
        start_new_session=True,
    )
    in_time = False
    try:
        in_time = _ends(process.pid, seconds)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # not yet waited for, so the number is still its own
        status = process.wait()
    if not in_time:
        return f"not finished after {seconds:g} s"
    return f"the process was ended by {signal.Signals(-status).name}" if status < 0 else "the process ended early"


def _ends(pid: int, seconds: float) -> bool:
    """Whether a process ends in time. It is not waited for."""
    handle = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))
    finally:
        os.close(handle)


def _environment(folder: str) -> dict[str, str]:
    """All that the code sees of an environment. The hash seed is fixed, so that sets have one order in every run."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"PATH": os.defpath, "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", **threads}


def _reports(written: bytes, token: str) -> dict[int, str | None]:
    """The genuine reports among what was written; the first of a number counts."""
    reports: dict[int, str | None] = {}
    for line in written.splitlines():
        with suppress(ValueError, RecursionError):
            match json.loads(line):
                case [str(mark), int(number), (str() | None) as error] if mark == token:
                    reports.setdefault(number, error)
    return reports
