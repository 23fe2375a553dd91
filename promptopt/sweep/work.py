"""The loop of a worker: take a trial, do its runs, write down what came of them, take the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, TypeAlias

from .pool import Job, RunPool, folder_of
from .space import Params, Space
from .study import Gone, Study
from .table import RunOutcome, SettingRow, run_key

POLL = 1.0  # seconds between looks at what other workers have done


@dataclass(frozen=True)
class SweepProgress:
    """Where a sweep stands, as given to its watchers after every run and at the end of every trial.

    Attributes:
        stage: ``search``, or ``test`` once the test splits are opened.
        setting: the number of the setting, and ``params`` its values.
        outcome: of the run that has just ended, in the search; None at the end of a trial.
        state: of the trial: ``running``, ``complete``, ``pruned`` or ``failed``.
        value: the trial's mean score, once it is complete.
        error: why it failed.
        settings: how many settings the stage has.
    """

    stage: str
    setting: int
    params: Mapping[str, Any]
    state: str
    outcome: RunOutcome | None = None
    value: float | None = None
    error: str | None = None
    settings: int = 0


Watch: TypeAlias = Callable[[SweepProgress], None]


class Stage(Protocol):
    """Says what runs a trial consists of and what their outcomes are worth: in the search, or on the test splits."""

    name: str
    space: Space

    def params(self, trial: Any) -> Params:
        """The setting of a trial that was taken."""

    def jobs(self, setting: int, params: Params) -> list[list[Job]]:
        """The runs of a setting, in lists that are done one after another; between two of them it may be pruned."""

    def score(self, outcome: Mapping[str, Any]) -> float:
        """The score of a run; the trial's value is the mean over its runs."""


class Search:
    """The sweep itself: every run searches, and none opens the test split."""

    name = "search"

    def __init__(self, space: Space, folder: Path) -> None:
        self.space = space
        self.folder = folder

    def params(self, trial: Any) -> Params:
        """The parameters that were laid out for the trial, or those that the sampler draws now."""
        return self.space.suggest(trial)

    def jobs(self, setting: int, params: Params) -> list[list[Job]]:
        """All runs at once; with pruning, seed by seed."""
        jobs = [self._job(setting, params, task, seed) for task, seed in self.space.runs]
        if self.space.options.prune is None:
            return [jobs]
        return [[job for job in jobs if job.seed == seed] for seed in self.space.seeds]

    def score(self, outcome: Mapping[str, Any]) -> float:
        """The dev score."""
        return float(outcome["score"])

    def _job(self, setting: int, params: Params, task: str, seed: int) -> Job:
        folder = folder_of(self.folder, "trials", setting, run_key(task, seed))
        return Job(task, seed, {**self.space.arguments(params, task, seed), "run": str(folder)})


class Verdicts:
    """The test splits, opened once, for the prompts of the settings that were chosen."""

    name = "test"

    def __init__(self, space: Space, folder: Path, chosen: Mapping[int, SettingRow], tasks: frozenset[str]) -> None:
        self.space = space
        self.folder = folder
        self.chosen = chosen
        self.tasks = tasks

    def params(self, trial: Any) -> Params:
        """Those of the setting in the search."""
        row = self.chosen[trial.user_attrs["setting"]]
        return {"optimizer": row.optimizer, **row.params}

    def jobs(self, setting: int, params: Params) -> list[list[Job]]:
        """One verdict for every run whose task has a test split."""
        jobs = []
        for run in self.chosen[setting].outcomes:
            if run.task in self.tasks:
                folder = folder_of(self.folder, "test", setting, run.key)
                recipe = self.space.arguments(params, run.task, run.seed)
                jobs.append(Job(run.task, run.seed, {**recipe, "run": str(folder)}, run.best))
        return [jobs]

    def score(self, outcome: Mapping[str, Any]) -> float:
        """The score of the chosen prompt on the test split."""
        return float(outcome["best"])


@dataclass
class Taken:
    """A trial that this worker has taken and not ended yet.

    Attributes:
        rungs: its runs, in lists that are done one after another; it may be pruned before any but the first.
        outcomes: what its finished runs gave, by :func:`promptopt.sweep.table.run_key`.
        ready: runs that may start now.
        under_way: how many of its runs the pool is doing.
        error: why it will fail, once a run has failed; empty else.
        gone: whether another worker took it over, since this one seemed lost.
    """

    trial: Any
    setting: int
    params: Params
    rungs: list[list[Job]]
    outcomes: dict[str, dict[str, Any]]
    ready: list[Job] = field(default_factory=list)
    under_way: int = 0
    error: str = ""
    gone: bool = False

    @property
    def keys(self) -> list[str]:
        """The keys of all its runs, in order; a run's index in this list is its step in Optuna."""
        return [run_key(job.task, job.seed) for rung in self.rungs for job in rung]


class Worker:
    """Works on a study until none of its trials is waiting or under way anywhere.

    Args:
        study: where trials are taken from.
        stage: what they stand for.
        pool: does the runs.
        sampler: makes Optuna's sampler from the number of a setting.
        watch: called with a :class:`SweepProgress`.
        settings: how many there are.
    """

    def __init__(
        self,
        study: Study,
        stage: Stage,
        pool: RunPool,
        *,
        sampler: Callable[[int], Any],
        watch: Watch,
        settings: int,
    ) -> None:
        self.study = study
        self.stage = stage
        self.pool = pool
        self.sampler = sampler
        self.watch = watch
        self.settings = settings
        self.taken: list[Taken] = []
        self.futures: dict[Future[dict[str, Any]], tuple[Taken, Job]] = {}

    def work(self) -> None:
        """Take trials until there are none.

        Raises:
            KeyboardInterrupt: the user stopped; the trials in hand wait for whoever comes next.
        """
        try:
            with self.study.at_work():
                while self._fill() or not self.study.finished():
                    if self.futures:
                        done, _ = wait(self.futures, timeout=POLL, return_when=FIRST_COMPLETED)
                        for future in done:
                            self._settle(*self.futures.pop(future), future.result())
                    else:
                        time.sleep(POLL)
        finally:
            for taken in self.taken:
                self.study.give_back(taken.trial)

    def _fill(self) -> bool:
        """Give the pool as many runs as it can do at once; False if it has none to do."""
        while len(self.futures) < self.pool.size:
            taken = next((one for one in self.taken if one.ready), None) or self._take()
            if taken is None:
                break
            if taken.ready:
                job = taken.ready.pop(0)
                taken.under_way += 1
                self.futures[self.pool.submit(job)] = (taken, job)
        return bool(self.futures)

    def _take(self) -> Taken | None:
        trial = self.study.take(self.sampler)
        if trial is None:
            return None
        setting = trial.user_attrs["setting"]
        params = self.stage.params(trial)
        taken = Taken(trial, setting, params, self.stage.jobs(setting, params), {})
        self.taken.append(taken)
        try:
            self.study.describe(trial, {"optimizer": self.stage.space.optimizer(params)})
            known = self.study.known(trial, params)
            for key in taken.keys:
                if key in known:
                    self._keep(taken, key, known[key])
            self._go_on(taken)
        except Gone:
            self._drop(taken)
        return taken

    def _settle(self, taken: Taken, job: Job, outcome: dict[str, Any]) -> None:
        """Record a finished run's outcome, and go on with its trial."""
        taken.under_way -= 1
        try:
            if "error" in outcome:
                taken.error, taken.ready = taken.error or f"{job.task}, seed {job.seed}: {outcome['error']}", []
            elif not taken.gone:
                self._keep(taken, run_key(job.task, job.seed), outcome)
                self._tell(taken, outcome=outcome)
            self._go_on(taken)
        except Gone:
            self._drop(taken)

    def _keep(self, taken: Taken, key: str, outcome: dict[str, Any]) -> None:
        value = self.stage.score(outcome)
        self.study.record(taken.trial, key, outcome, step=taken.keys.index(key), value=value)
        taken.outcomes[key] = outcome

    def _go_on(self, taken: Taken) -> None:
        """Once nothing of a trial is under way: end it, or make its next runs ready."""
        if taken.gone or taken.ready or taken.under_way:
            return
        if taken.error:
            self._end(taken, error=taken.error)
            return
        for rung in taken.rungs:
            if missing := [job for job in rung if run_key(job.task, job.seed) not in taken.outcomes]:
                if rung is not taken.rungs[0] and missing == rung and taken.trial.should_prune():
                    self._end(taken)
                else:
                    taken.ready = missing
                return
        self._end(taken, value=fmean(self.stage.score(taken.outcomes[key]) for key in taken.keys))

    def _end(self, taken: Taken, *, value: float | None = None, error: str = "") -> None:
        self.study.end(taken.trial, value=value, error=error)
        self.taken.remove(taken)
        taken.ready = []
        state = "complete" if value is not None else "failed" if error else "pruned"
        self._tell(taken, state=state, value=value, error=error)

    def _drop(self, taken: Taken) -> None:
        """Leave a trial to the worker that took it over; outcomes of its runs that are under way are dropped."""
        taken.gone, taken.ready = True, []
        if taken in self.taken:
            self.taken.remove(taken)

    def _tell(
        self,
        taken: Taken,
        *,
        state: str = "running",
        outcome: dict[str, Any] | None = None,
        value: float | None = None,
        error: str = "",
    ) -> None:
        ended = RunOutcome(**outcome) if outcome and self.stage.name == "search" else None
        self.watch(
            SweepProgress(
                self.stage.name, taken.setting, taken.params, state, ended, value, error or None, self.settings
            )
        )
