"""Where the runs of a sweep are done: in this process, or in several of its own.

A process keeps the datasets and targets of the runs that it did, so that a model is loaded once per process. Processes
are spawned, since forking a process that has run torch is not safe, and so they share no weights: each loads its own,
all at the same time, in the rehearsal. The process that hands out the jobs loads no model.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..api import execute, judge
from ..core import Rating
from ..errors import LockedRun, UserError
from ..recipe.build import models_shared
from ..record.stages import DEV, FINAL
from ..retries import Retries
from ..run.result import Result
from .parts import Executor, Parts, Rehearsal, rehearsed
from .space import Recipe, Space

RETRIES = 7  # half a minute in all: a process that was killed may hold its run for a moment


@dataclass(frozen=True)
class Job:
    """One run, or the verdict on what it found.

    Attributes:
        task, seed: which run of the setting.
        recipe: as :func:`promptopt.api.execute` takes it, ``run`` included.
        best: the prompt to judge; None to search for one.
    """

    task: str
    seed: int
    recipe: Recipe
    best: str | None = None


def do(job: Job, parts: Parts) -> dict[str, Any]:
    """What came of a job as JSON values: the fields of an :class:`~promptopt.sweep.table.RunOutcome` or of a
    :class:`~promptopt.sweep.table.Test`, or ``error``.

    Raises:
        KeyboardInterrupt: the user stopped the run.
    """
    try:
        with models_shared(parts.models):
            given = parts.of(job.recipe)
            result = Retries(RETRIES, on=LockedRun)(lambda: _run(job, given))
        found = _judged(job, result) if job.best is not None else _searched(job, result)
    except Exception as error:  # whatever ends a run must not end the sweep
        return {"error": f"{type(error).__name__}: {error}"}
    if result.stop_reason == "interrupted":
        raise KeyboardInterrupt
    return {"task": job.task, "seed": job.seed, "host": socket.gethostname(), "folder": str(job.recipe["run"]), **found}


def _run(job: Job, parts: Mapping[str, Any]) -> Result:
    if job.best is None:
        return execute({**job.recipe, "verdict": False}, parts=parts)
    return judge(job.recipe, job.best, parts=parts)


def _searched(job: Job, result: Result) -> dict[str, Any]:
    """The chosen prompt with its dev score, or with its rating where there is no dev split."""
    rated = [step for step in result.steps if step.stage in (DEV, FINAL)]
    has_dev = any(step.stage == DEV for step in rated)
    on_dev = [s.answer for s in rated if has_dev and _text(s.question) == result.best and isinstance(s.answer, Rating)]
    train = result.score(result.best)
    on_train = [one.rating for one in result.candidates if one.prompt.text == result.best]
    value = on_dev[-1].value if on_dev else train
    coverage = next((rating.coverage for rating in reversed(on_dev or on_train)), None)
    if (value is None or value != value) and result.stop_reason != "interrupted":
        raise ValueError("the chosen prompt has no score; see the run's notes: " + " ".join(result.notes))
    return {
        "score": value,
        "split": "dev" if on_dev else "train",
        "best": result.best,
        "train": train,
        "questions": result.costs.questions,
        "calls": result.costs.calls,
        "tokens": result.costs.input_tokens + result.costs.output_tokens,
        "dollars": result.costs.dollars,
        "seconds": round(result.costs.seconds, 3),
        "stop_reason": result.stop_reason,
        "coverage": coverage and asdict(coverage),
    }


def _judged(job: Job, result: Result) -> dict[str, Any]:
    if result.verdict is None:
        raise ValueError("there is no verdict: " + " ".join(result.notes))
    return result.verdict.to_json()


def _text(question: Any) -> str | None:
    prompt = getattr(question, "prompt", None)
    return prompt.text if prompt else None


# ── Pools ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class RunPool(Protocol):
    """Takes jobs; ``size`` of them are done at once."""

    size: int

    def rehearse(self, space: Space) -> Rehearsal: ...

    def submit(self, job: Job) -> Future[dict[str, Any]]: ...

    def close(self) -> None: ...


class Here:
    """Does every job in this process, at once when it is submitted."""

    size = 1

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def rehearse(self, space: Space) -> Rehearsal:
        """As :func:`promptopt.sweep.parts.rehearsed`."""
        return rehearsed(space, self._parts)

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """A future that is done already.

        Raises:
            KeyboardInterrupt: the user stopped the run.
        """
        future: Future[dict[str, Any]] = Future()
        future.set_result(do(job, self._parts))
        return future

    def close(self) -> None:
        """Nothing is held."""


class Processes:
    """Does jobs in processes of their own. Where one dies all are started anew; the jobs under way are done again.

    Args:
        size: how many processes.
        executor: as of :class:`Parts`; it must be importable.
    """

    CRASHES = 2  # how often a job is done again that was under way when a process died; after that it has failed

    def __init__(self, size: int, *, executor: Executor | None = None) -> None:
        self.size = size
        self._executor = executor
        self._threads = max(1, (os.cpu_count() or 1) // size)
        self._processes = self._start()
        self._guard = threading.Lock()

    def rehearse(self, space: Space) -> Rehearsal:
        """As :func:`promptopt.sweep.parts.rehearsed`, by every process, so that all have loaded what they need."""
        found = [future.result() for future in [self._processes.submit(_rehearse, space) for _ in range(self.size)]]
        if isinstance(found[0], str):
            raise UserError(found[0])
        return found[0]

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """A future of the outcome; it does not fail when a process dies."""
        outer: Future[dict[str, Any]] = Future()
        self._send(job, outer, crashes=0)
        return outer

    def close(self) -> None:
        """End the processes, whatever they are doing: what their runs bought is on the disk."""
        for process in list((self._processes._processes or {}).values()):
            process.terminate()
        self._processes.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.size,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._executor, self._threads),
        )

    def _send(self, job: Job, outer: Future[dict[str, Any]], *, crashes: int) -> None:
        """Have a job done, and its outcome put into ``outer``; ``crashes``: how often processes have died meanwhile."""
        with self._guard:  # done() is called in a thread of the pool, which may send while submit() does
            try:
                inner = self._processes.submit(_do, job)
            except BrokenProcessPool:
                self._processes = self._start()
                inner = self._processes.submit(_do, job)

        def done(inner: Future[dict[str, Any]]) -> None:
            error = inner.exception() if not inner.cancelled() else None
            if error is None and not inner.cancelled():
                outer.set_result(inner.result())
            elif isinstance(error, BrokenProcessPool) and crashes < self.CRASHES:
                self._send(job, outer, crashes=crashes + 1)
            else:
                outer.set_result({"error": f"{type(error).__name__}: {error}" if error else "cancelled"})

        inner.add_done_callback(done)


_parts = Parts()  # of a process in the pool


def _begin(executor: Executor | None, threads: int) -> None:
    """Prepare a process: it ends with its parent, leaves Ctrl-C to it, and takes its share of the cores."""
    global _parts
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _parts = Parts(executor)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _rehearse(space: Space) -> Rehearsal | str:
    """What the rehearsal found, or a UserError's message: an error that holds other objects may not be sendable."""
    try:
        return rehearsed(space, _parts)
    except UserError as error:
        return str(error)


def _do(job: Job) -> dict[str, Any]:
    return do(job, _parts)


def folder_of(folder: Path, stage: str, setting: int, key: str) -> Path:
    """Where a run is recorded, for example ``trials/0007/digits-s2``."""
    return folder / stage / f"{setting:04d}" / key
