"""Python with the heavy packages imported already: ``warm.py SOCKET -m promptopt ...`` is ``python -m promptopt ...``.

The program runs in a process that is forked from one that has imported torch, CLIP and their like, and nothing of
promptopt. It has the arguments, environment, folder and standard streams of the one that asks, who waits for its exit
status, hands on signals, and takes it along when killed. Where the start is what is tested, start ``sys.executable``.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from typing import Any, NoReturn

FOLDER, OWNER = "PROMPTOPT_TESTS_WARM", "PROMPTOPT_TESTS_OWNER"  # where the socket lies, and the process of pytest
HEAVY = """numpy scipy.stats pydantic typer rich torch torchvision transformers transformers.generation open_clip
sklearn.linear_model safetensors.torch PIL.Image""".split()


# ── The one that asks ─────────────────────────────────────────────────────────────────────────────────────────────


def ask(address: str, words: list[str]) -> int:
    """Have a program run and wait for it; the exit status as of ``subprocess``: negative for a signal."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        asked = json.dumps([words, dict(os.environ), os.getcwd()]).encode()
        socket.send_fds(server, [len(asked).to_bytes(4, "big")], [0, 1, 2])
        server.sendall(asked)
        pid = int.from_bytes(server.recv(4), "big")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: os.kill(pid, number))
        return int.from_bytes(server.recv(4), "big", signed=True)


def python() -> list[str]:
    """What to start in place of ``sys.executable``. The first to ask in a run of the tests waits for the imports."""
    folder = os.environ.get(FOLDER)
    if folder is None or sys.platform != "linux":
        return [sys.executable]
    address = os.path.join(folder, "python")
    started = None
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.join(folder, "started"))
        words = [sys.executable, __file__, address, "serve", os.environ[OWNER]]
        started = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    while not os.path.exists(address):
        assert started is None or started.poll() is None, "the process to fork from has ended"
        time.sleep(0.05)
    return [sys.executable, "-I", "-S", __file__, address]


# ── The one that forks ────────────────────────────────────────────────────────────────────────────────────────────


def serve(listener: socket.socket, owner: int) -> list[Any]:
    """Fork a process for each that asks, for as long as the owner lives; returns in the forked ones alone."""
    waiting: dict[int, tuple[socket.socket, int]] = {}  # by the descriptor of the forked process: who asked, and its id
    chosen = selectors.DefaultSelector()
    chosen.register(listener, selectors.EVENT_READ)
    while os.path.exists(f"/proc/{owner}") and os.path.exists(listener.getsockname().removesuffix(".new")):
        for key, _ in chosen.select(timeout=1):
            if key.fileobj is listener:
                asker, _ = listener.accept()
                head, streams, _, _ = socket.recv_fds(asker, 4, 3)
                asked = asker.makefile("rb").read(int.from_bytes(head, "big"))
                pid = os.fork()
                if not pid:
                    for number, stream in enumerate(streams):
                        os.dup2(stream, number)
                    os.closerange(3, os.sysconf("SC_OPEN_MAX") if len(os.listdir("/proc/self/fd")) > 200 else 256)
                    return json.loads(asked)
                for stream in streams:
                    os.close(stream)
                asker.sendall(pid.to_bytes(4, "big"))
                ended = os.pidfd_open(pid)
                waiting[ended] = asker, pid
                chosen.register(ended, selectors.EVENT_READ)
                chosen.register(asker, selectors.EVENT_READ, data=pid)
            elif key.data:  # whoever asked is gone
                chosen.unregister(key.fileobj)
                os.kill(key.data, signal.SIGKILL)
            else:
                asker, pid = waiting.pop(key.fd)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                chosen.unregister(key.fd)
                os.close(key.fd)
                if asker in (one.fileobj for one in chosen.get_map().values()):
                    chosen.unregister(asker)
                    asker.sendall(status.to_bytes(4, "big", signed=True))
                asker.close()
    os._exit(0)


def become(words: list[str], environment: dict[str, str], folder: str) -> NoReturn:
    """Run a program as Python does: ``-m module``, ``-c code`` or a file, with its arguments.

    With ``-u``, as xdist starts its workers, the collector sees what has been imported: Hypothesis asks it who holds
    generators of random numbers.
    """
    import atexit
    import gc
    import random
    import runpy
    import threading

    import numpy as np

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    encoding, _, errors = environment.get("PYTHONIOENCODING", "utf-8").partition(":")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        how = errors or ("backslashreplace" if name == "stderr" else "strict")
        stream = open(number, "r" if name == "stdin" else "w", encoding=encoding, errors=how, closefd=False)  # noqa: SIM115
        if name == "stderr":
            stream.reconfigure(line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    random.seed()
    np.random.seed()
    if words[0] == "-u":
        gc.unfreeze()
        words = words[1:]
    path = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    first = {"-m": folder, "-c": ""}.get(words[0], os.path.dirname(os.path.abspath(words[0])))
    sys.path[:] = [first, *path, *(place for place in sys.path if place not in path)]
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(compile(words[1], "<string>", "exec"), sys.modules["__main__"].__dict__)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)  # without taking torch down, which takes long and prints what it did not give back


def main() -> None:
    address, owner, *words = sys.argv[1:]
    if owner != "serve":
        status = ask(address, [owner, *words])
        if status < 0:
            with contextlib.suppress(OSError):  # SIGKILL has no handler
                signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
        sys.exit(status)

    import gc
    import importlib

    sys.path.pop(0)  # where this file lies
    os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # pyarrow, which pandas imports, would start one
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads must not be forked"
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(64)
    os.rename(f"{address}.new", address)  # it is there when it can be used
    become(*serve(listener, int(words[0])))


if __name__ == "__main__":
    main()
