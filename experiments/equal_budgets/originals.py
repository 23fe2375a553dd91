"""Searches of other packages, each a program in an environment of its own, at the address of :mod:`wire`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from searches import Cell, Found
from wire import Desk, Server, served

PROGRAMS = Path(__file__).resolve().parent / "packages"
PACKAGES = {  # the environment, the program, and what it is to do
    "gepa.optimize": ("gepa", "gepa_alone.py", "gepa"),
    "DSPy MIPROv2": ("dspy", "dspy_alone.py", "mipro"),
    "DSPy COPRO": ("dspy", "dspy_alone.py", "copro"),
    "promptolution CAPO": ("promptolution", "capo_alone.py", "capo"),
}


class Program:
    """A program that reads a job a line and writes an answer a line. It is started when it is first needed.

    What it prints besides stands in ``log.txt`` of its environment.
    """

    def __init__(self, python: Path, script: Path) -> None:
        self.command = [str(python), str(script)]
        self.log = python.parents[1] / "log.txt"
        self._process: subprocess.Popen[str] | None = None

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer to a job.

        Raises:
            RuntimeError: it ended.
        """
        if self._process is None:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            with self.log.open("w") as log:
                environment = {**os.environ, "PYTHONPATH": ""}
                self._process = subprocess.Popen(self.command, env=environment, stderr=log, **pipes)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("ANSWER "):
                found: dict[str, Any] = json.loads(line.removeprefix("ANSWER "))
                return found
        raise RuntimeError(f"{' '.join(self.command)} ended with {self._process.wait()}")

    def close(self) -> None:
        """End it."""
        if self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()


def search(program: Program, what: str, server: Server, cell: Cell) -> Found:
    """One search. Where the package gives no prompt, its best so far counts."""
    server.desk = desk = Desk(cell)
    job = {
        "what": what,
        "url": f"http://127.0.0.1:{server.server_port}/v1",
        "start": cell.task.start,
        "about": cell.task.about,
        "train": [{"input": cell.task.asked(one), "label": str(one.label)} for one in cell.data.train],
        "seed": cell.seed,
        "calls": cell.calls,
    }
    answer = program.ask(job)
    prefix = answer.get("prefix")
    usable = bool(prefix) and cell.answers.problem_with(prefix) is None
    ended = "budget spent" if desk.spent else str(answer["ended"])
    ended += "" if usable else "; best so far"
    return Found(prefix if usable else desk.best, desk.target, desk.proposer, ended)


@contextmanager
def started(folder: Path) -> Iterator[dict[str, Callable[[Cell], Found]]]:
    """The searches whose environments are in a folder."""
    programs: dict[tuple[str, str], Program] = {}
    found: dict[str, Callable[[Cell], Found]] = {}
    with served() as server:
        for name, (environment, script, what) in PACKAGES.items():
            python = folder / environment / "bin" / "python"
            if python.exists():
                program = programs.setdefault((environment, script), Program(python, PROGRAMS / script))
                found[name] = partial(search, program, what, server)
        try:
            yield found
        finally:
            for program in programs.values():
                program.close()
