"""Runs code that a model wrote, with tests, in a process of its own under limits. Linux only.

Always: a fresh Python in an empty temporary folder that is deleted afterwards, with an environment of a few fixed
variables and nothing of ours, no standard input, all output thrown away, and limits on wall time, CPU time, address
space and the size of files. Its process group is killed when it ends or its time is up.

Where bubblewrap (``bwrap``) is installed and works: the code sees nothing of the file system but the system's programs
and libraries (``/usr``), this Python with its packages (``bin`` and ``lib`` of ``sys.prefix`` and ``sys.base_prefix``),
all of them read-only, and its own folder, which lies in memory and holds 64 MiB. There is no network and no socket of
anybody else, other processes can be neither seen nor signalled, nothing that the code starts outlives it, and there are
at most 32 processes and threads at once.

Else, where the user may make namespaces (``unshare``): the same of network, processes and their number. But files are
not protected: the code can read, change and remove what the user can, connect to sockets in the file system, and fill
the disk.

With neither, the network is open too, the user's other processes can be signalled, and their environment can be read.
The code can start no further process or thread.

The kernel does not hold root to the numbers of processes. A warning says what is missing; docs/metrics.md has a table.

What it is not: a jail. Memory is limited by process, not in all. The tests run in the code's own process, so code that
sets out to deceive them, by an object that equals everything or by searching the interpreter's memory, can. What the
code can read may stand in the errors that come back. Run what you have reason to fear in a container or a virtual
machine.
"""

from __future__ import annotations

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Literal, TypeAlias

from ..checks import above_zero, at_least
from ..errors import UserError

HARNESS = Path(__file__).with_name("_harness.py")
Sandbox: TypeAlias = Literal["auto", "required"]
PROCESSES = 32
FILE_BYTES = 16 * 2**20
FOLDER_BYTES, SHARED_BYTES = 64 * 2**20, 16 * 2**20  # of its folder and of shared memory, with bubblewrap
MEGABYTE = 2**20
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
PARTS = ("bin", "lib", "lib64", "pyvenv.cfg")  # of a folder of Python's; it may be that of a whole project
PYTHON = (sys.executable, "-s", "-P", "-B")
REPORT_BYTES = 4096  # no genuine report is longer
CLEARING = 10.0  # seconds


@dataclass(frozen=True)
class Limits:
    """What a run may use: wall time and CPU time in seconds, address space in MiB.

    Raises:
        UserError: a limit is too small to run anything.
    """

    seconds: float = 5.0
    megabytes: int = 512

    def __post_init__(self) -> None:
        above_zero(seconds=self.seconds)
        at_least(64, megabytes=self.megabytes)

    def for_kernel(self) -> dict[str, int]:
        """Names and values for setrlimit."""
        return {
            "RLIMIT_CPU": math.ceil(self.seconds) + 1,
            "RLIMIT_AS": self.megabytes * MEGABYTE,
            "RLIMIT_FSIZE": FILE_BYTES,
            "RLIMIT_NPROC": PROCESSES if bubblewrap() or namespaces() else 0,
            "RLIMIT_CORE": 0,
        }


class Ending(str):
    """How a process ended before a test, in words that the code does not choose."""


def check(sandbox: Sandbox = "auto") -> None:
    """Warn of what the sandbox lacks here, or refuse it.

    Raises:
        UserError: this is not Linux, or ``sandbox`` is ``required`` and bubblewrap is not to be had.
    """
    if sys.platform != "linux":
        raise UserError("running code against tests needs Linux, for its limits on processes.")
    if bubblewrap():
        return
    if sandbox == "required":
        raise UserError(
            'sandbox = "required" needs bubblewrap, and bwrap is not installed or does not work here. Install it '
            '(apt install bubblewrap) where user namespaces are allowed, or say sandbox = "auto" to run with less.'
        )
    lacking = "bubblewrap, so it can read and change the user's files"
    if not namespaces():
        lacking += ", and without namespaces, so its network is open"
    warnings.warn(
        f"code under test runs without {lacking}; bwrap is not installed or does not work here "
        "(see promptopt.metrics.sandbox)",
        RuntimeWarning,
        stacklevel=3,
    )


@cache
def bubblewrap() -> str:
    """Where bubblewrap is; empty where it is not, or where Python does not start in it."""
    if not (bwrap := shutil.which("bwrap")):
        return ""
    with tempfile.TemporaryDirectory(prefix="promptopt-") as folder:
        trial = [*_bubble(bwrap, folder), *PYTHON, "-c", "import ctypes, json, resource"]
        tried = subprocess.run(trial, env=_environment(folder), stdin=subprocess.DEVNULL, capture_output=True)
    return bwrap if tried.returncode == 0 else ""


def _bubble(bwrap: str, folder: str) -> list[str]:
    """The command that lets what follows it see the system, Python and its own folder, and reach nobody."""
    python = (os.path.join(prefix, part) for prefix in (sys.base_prefix, sys.prefix) for part in PARTS)
    visible = (*SYSTEM, *python, str(HARNESS))
    return [
        *(bwrap, "--unshare-user", "--unshare-all", "--cap-drop", "ALL", "--die-with-parent", "--as-pid-1"),
        *(part for place in visible for part in ("--ro-bind-try", place, place)),
        *("--proc", "/proc", "--dev", "/dev", "--size", str(SHARED_BYTES), "--tmpfs", "/dev/shm"),
        *("--size", str(FOLDER_BYTES), "--tmpfs", folder),
        *(part for place in ("/proc", "/dev", "/") for part in ("--remount-ro", place)),
        *("--chdir", folder, "--"),
    ]


@cache
def namespaces() -> tuple[str, ...]:
    """The command that puts what follows it into namespaces of its own; empty where that is not allowed."""
    if not (unshare := shutil.which("unshare")):
        return ()
    command = (unshare, "--user", "--map-root-user", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--")
    tried = subprocess.run([*command, "true"], stdin=subprocess.DEVNULL, capture_output=True)
    return command if tried.returncode == 0 else ()


def run_tests(code: str, tests: Sequence[str], *, limits: Limits) -> list[str | None]:
    """Run code, then each test in the code's module.

    Args:
        code: Python.
        tests: Python, one or more; a test passes when it runs to its end and raises nothing.
        limits: over the code and all its tests together.

    Returns:
        ``(n_tests,)``: None for a test that passed, else why not: the error, or an :class:`Ending`.

    Raises:
        OSError: no process or file could be had, for example since the disk is full.
    """
    token = secrets.token_hex(16)
    job = {"token": token, "code": code, "tests": list(tests), "limits": limits.for_kernel()}
    with (
        _folder() as folder,
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as results,
    ):
        stdin.write(json.dumps(job).encode())
        stdin.seek(0)
        ending = _run(folder, stdin, results, limits.seconds)
        results.seek(0)
        reports = _reports(results.read(REPORT_BYTES * len(tests)), token)
    return [reports.get(number, ending) for number in range(len(tests))]


@contextmanager
def _folder() -> Iterator[str]:
    """An empty folder, deleted afterwards with whatever is in it."""
    folder = tempfile.mkdtemp(prefix="promptopt-")
    try:
        yield folder
    finally:
        clear(folder)


def clear(folder: str) -> None:
    """Delete a folder, however deep it is; what resists for 10 s is left."""
    with suppress(OSError, RecursionError):
        shutil.rmtree(folder)
        return
    for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf", "--one-file-system"]):
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([*command, "--", folder], timeout=CLEARING, stdin=subprocess.DEVNULL, capture_output=True)


def _run(folder: str, stdin: IO[bytes], results: IO[bytes], seconds: float) -> Ending:
    """Run the harness to its end or its time limit; how it ended, in words."""
    bwrap = bubblewrap()
    process = subprocess.Popen(
        [*(_bubble(bwrap, folder) if bwrap else namespaces()), *PYTHON, str(HARNESS), str(results.fileno())],
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
        return Ending(f"not finished after {seconds:g} s")
    return Ending(f"the process was ended by {_name(-status)}" if status < 0 else "the process ended early")


def _name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


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
    for line in (line for line in written.split(b"\n") if token.encode() in line):
        with suppress(ValueError, RecursionError):
            match json.loads(line):
                case [str(mark), int(number), (str() | None) as error] if mark == token:
                    reports.setdefault(number, error)
    return reports
