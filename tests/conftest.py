"""The network is off: tests may connect to 127.0.0.1 and to nothing else."""

from __future__ import annotations

import functools
import gc
import os
import shlex
import shutil
import socket
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # recipes in tests name parts as run_parts:...

import warm

gc.disable()  # until the tests are collected
os.environ["OMP_NUM_THREADS"] = "1"  # a worker a core; with one thread sums come out alike however rows are batched
ssl.create_default_context = functools.cache(ssl.create_default_context)  # 45 ms a client, and hundreds of clients
settings.register_profile("busy machine", deadline=None)
settings.register_profile("long", deadline=None, max_examples=3000)  # pytest --hypothesis-profile=long
settings.load_profile("busy machine")

HERE = {"127.0.0.1", "localhost", "::1"}
FIRST = """test_docs test_demo test_text_task test_papers sweep/test_ray_executor sweep/test_sweep
sweep/test_extend optimizers/test_apohf_contract test_smollm2 targets/local_lm/test_gradient
targets/local_lm/test_likelihood test_api test_typing optimizers/test_preferential_bo
targets/local_lm/test_generate optimizers/test_greater_lms browser/test_duels models/ test_cli
optimizers/test_apohf run/test_budget optimizers/test_bayes targets/clip/ metrics/test_code""".split()


def pytest_configure(config: pytest.Config) -> None:
    """A folder for the process that ``warm.python`` forks from; workers of xdist share it.

    Where all tests are run, the workers too are forked from it and need not import torch and its like themselves.
    """
    if hasattr(config, "workerinput"):
        return
    os.environ[warm.FOLDER], os.environ[warm.OWNER] = tempfile.mkdtemp(prefix="promptopt-tests-"), str(os.getpid())
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and (workers := config.getoption("tx", None)):
        config.option.tx = [f"popen//python={shlex.join(warm.python())}"] * len(workers)


def pytest_unconfigure(config: pytest.Config) -> None:
    gc.unfreeze()
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(warm.FOLDER), ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that the workers end together."""

    def place(item: pytest.Item) -> int:
        return next((n for n, name in enumerate(FIRST) if item.nodeid.startswith(f"tests/{name}")), len(FIRST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What was imported stays: the collector need not look through it again, and forked processes need not copy it."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Caches lie with the tests and not in the user's home; what one test computes another may find there."""
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _network_off(monkeypatch: pytest.MonkeyPatch) -> None:
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded(self: socket.socket, address: Any, /) -> None:
        if isinstance(address, tuple) and address[0] not in HERE:
            raise OSError(f"a test tried to connect to {address[0]!r}")
        connect(self, address)

    def resolved(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host is not None and host not in HERE:
            raise OSError(f"a test tried to look up {host!r}")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", resolved)
