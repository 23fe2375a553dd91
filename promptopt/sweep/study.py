"""A sweep's study in Optuna's storage, as one worker sees it: taking trials, giving them back, ending them.

A *setting* is one choice of an optimizer and its options, with a number. A *trial* is Optuna's record of one attempt
at a setting; a setting has several where a worker was lost. A *worker* is one process of ``promptopt sweep``.

Every setting is laid out as a waiting trial before anything runs. A worker takes a trial by turning it from waiting to
running, which the storage lets only one worker do. On one machine (an SQLite file) workers take trials, and look for
lost workers, under a file lock, since SQLite has no row locks. Each also holds a lock file of its own for as long as it
lives, so a lost one is noticed at once. In a PostgreSQL database the row of the trial is locked, and workers give signs
of life (Optuna's heartbeat).
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import MissingExtra, UserError, require
from ..quiet import optuna_quiet
from ..retries import Retries
from .parts import differences
from .table import RUN, outcomes

optuna: Any = require("optuna", extra="sweep")
State = optuna.trial.TrialState

RETRIES = 5  # so many workers a trial may lose before it counts as failed
GRACE = 3  # heartbeats that may be missed
CLASHES = 4  # that making the tables of a database may survive: seven seconds in all
PATIENCE = 20.0  # seconds to wait for another worker to lay out a study
ADVISORY = ("pg_advisory_lock(7402861)", "pg_advisory_unlock(7402861)")  # any number that is ours alone
DRIVER = "psycopg"  # of PostgreSQL, where the URL names no other


TEST = " test"  # behind the name of the search's study: the study of its test splits, "compare test" for "compare"
NOW = "now"  # an attribute of a sweep's first study: the name of the study that the last extension has made


class Gone(Exception):
    """The trial is no longer this worker's: another took this worker for lost and put the setting up again."""


class Extended(UserError):
    """The sweep was extended while this worker was at it; what it did from here on nobody would read."""


class Storage:
    """Optuna's storage behind a URL, with what makes taking a trial safe there.

    Args:
        url: ``sqlite:///sweeps/mine/study.db`` (four slashes where the path is absolute), or the URL of a PostgreSQL
            database: ``postgresql://user@host/name``, or ``postgresql+driver://...``.
        heartbeat: seconds between signs of life, in a database server.

    Raises:
        UserError: the URL is of another kind, or nothing answers there.
        MissingExtra: the driver is not installed.
    """

    def __init__(self, url: str, *, heartbeat: int = 60) -> None:
        self.url = url
        self.heartbeat = heartbeat
        # called with a trial whose worker was lost: adds a waiting trial of the same setting, up to RETRIES times
        self.retry = quietly(lambda: optuna.storages.RetryHeartbeatStaleTrialCallback(RETRIES, True))
        path = _file(url)
        self.folder = path and path.with_name(path.name + ".workers")
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.optuna = self._database()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Only one worker of this machine at a time; a database server has row locks of its own."""
        with FileLock(self.folder / "lock") if self.folder else contextlib.nullcontext():
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Only one worker on any machine at a time. A process that dies lets go. Do not take it inside :meth:`lock`."""
        if self.folder:
            with FileLock(self.folder / "alone"):
                yield
            return
        from sqlalchemy import text

        with self.optuna.engine.connect() as connection:  # locks of a session: they end with it
            take, free = ADVISORY
            connection.execute(text(f"SELECT {take}"))
            try:
                yield
            finally:
                connection.execute(text(f"SELECT {free}"))

    def _database(self) -> Any:
        kind, _, rest = self.url.partition("://")
        kind = f"postgresql+{DRIVER}" if kind == "postgresql" else kind
        options: dict[str, Any] = {"pool_pre_ping": True}
        beats: dict[str, Any] = {}
        if self.folder:
            options = {"connect_args": {"timeout": 60}}
        else:
            beats = {"heartbeat_interval": self.heartbeat, "grace_period": GRACE * self.heartbeat}
            beats["heartbeat_stale_trial_callback"] = self.retry
        make = partial(optuna.storages.RDBStorage, f"{kind}://{rest}", engine_kwargs=options, **beats)
        try:
            with self.lock():
                made = _insistently(lambda: quietly(make))
        except ImportError:
            raise MissingExtra(kind.partition("+")[2], "postgresql") from None
        except Exception as error:  # SQLAlchemy and every driver raise their own
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot open the storage {hidden(self.url)}: {reason}") from None
        if self.folder:
            _write_ahead(made.engine)
        return made


class Study:
    """One study, as one worker sees it.

    Args:
        storage: where it lies.
        name: the study's name.
        prune: the p-value of the pruner; None never prunes.
        first: the name of the sweep's first study, where this is another one.

    Attributes:
        study: Optuna's own.
        worker: what the storage calls this worker.
    """

    def __init__(self, storage: Storage, name: str, *, prune: float | None = None, first: str | None = None) -> None:
        self.storage = storage
        self.name = name
        self.first = first or name
        self._prune = prune
        self._raw = storage.optuna
        pruners = optuna.pruners
        pruner = pruners.NopPruner() if prune is None else quietly(lambda: pruners.WilcoxonPruner(p_threshold=prune))
        self.created = False
        with optuna_quiet():
            try:
                self.study = optuna.create_study(
                    storage=self._raw, study_name=name, direction="maximize", pruner=pruner
                )
                self.created = True
            except optuna.exceptions.DuplicatedStudyError:
                self.study = optuna.load_study(storage=self._raw, study_name=name, pruner=pruner)
        self._held: set[int] = set()
        self._seen: list[Any] = []  # the trials as they stood when one was last taken
        self._recovered = -math.inf  # when lost workers were last looked for
        self._orphaned: dict[int, float] = {}  # when each orphan was first seen, by the number of the trial
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    # ── The study as a whole ──────────────────────────────────────────────────────────────────────────────────────

    def identity(self) -> dict[str, Any] | None:
        """What all workers of the study share, as :meth:`agree` wrote it down; None where nothing stands there yet."""
        found: dict[str, Any] | None = self.study.user_attrs.get("identity")
        return found

    def in_force(self) -> Study:
        """The study that workers are to work on: that of the sweep's last extension, or this one if there is none.

        It is asked of a sweep's first study.
        """
        name = self.study.user_attrs.get(NOW, self.name)
        return self if name == self.name else Study(self.storage, name, prune=self._prune, first=self.name)

    def at_work_on(self) -> list[str]:
        """The other workers that have a trial in hand, as far as can be told."""
        self.recover()
        held = [trial.user_attrs.get("worker", "?") for trial in self._trials((State.RUNNING,))]
        return list(dict.fromkeys(worker for worker in held if worker != self.worker))

    def agree(self, identity: Mapping[str, Any]) -> None:
        """Write down what all workers must share, or compare it with what stands there.

        Raises:
            UserError: this worker differs; the message says in what.
        """
        if not self.created:
            self._wait_for("identity")
        theirs = self.study.user_attrs.get("identity")
        if theirs is None:
            self.study.set_user_attr("identity", dict(identity))
        elif found := differences(theirs, identity):
            raise UserError(
                f"the study {self.name!r} was begun with another set-up: {'; '.join(found)}. "
                "Make this machine agree with it, or start a sweep with another name."
            )

    def lay_out(
        self,
        settings: Mapping[int, Mapping[str, Any]],
        attributes: Mapping[str, Any],
        *,
        found: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> None:
        """Add a waiting trial for every setting that has none. If another worker is doing that, wait for it first.

        Args:
            settings: the parameters of each setting, by its number. Where they are empty, Optuna's sampler draws them
                when the trial is taken.
            attributes: what else the study is to hold, for readers of the table.
            found: outcomes of runs that need not be repeated, by the setting's number and the run's key.
        """
        if not self.created:
            self._wait_for("laid out")
        for key, value in attributes.items():
            if key not in self.study.user_attrs:
                self.study.set_user_attr(key, value)
        with self.storage.lock(), optuna_quiet():
            there = {trial.user_attrs.get("setting") for trial in self._trials()}
            for setting, params in settings.items():
                if setting not in there:
                    known = {RUN + key: outcome for key, outcome in (found or {}).get(setting, {}).items()}
                    self.study.enqueue_trial(dict(params), user_attrs={"setting": setting, **known})
        if not self.study.user_attrs.get("laid out"):
            self.study.set_user_attr("laid out", True)

    def _wait_for(self, attribute: str) -> None:
        """Wait until the worker that created the study has written this attribute.

        It is waited for no longer where it seems to be dead: it has added no trial for ``PATIENCE`` seconds.
        """
        count, since = -1, time.monotonic()
        while attribute not in self.study.user_attrs and time.monotonic() - since < PATIENCE:
            if len(self._trials()) != count:
                count, since = len(self._trials()), time.monotonic()
            time.sleep(0.2)

    def finished(self) -> bool:
        """Whether no trial is waiting or running, and no setting is left whose worker was lost."""
        trials = self._trials()
        return not (_orphans(trials) or any(trial.state in (State.WAITING, State.RUNNING) for trial in trials))

    def retry_failed(self) -> None:
        """Add a waiting trial for each setting whose last trial failed with an error."""
        latest = {trial.user_attrs.get("setting"): trial for trial in self._trials()}
        for trial in latest.values():
            if trial.state == State.FAIL and "error" in trial.user_attrs:
                self._again(trial)

    # ── One trial ─────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, sampler: Callable[[int], Any]) -> Any:
        """A waiting trial that is now this worker's, or None if there is none.

        Args:
            sampler: makes Optuna's sampler from the number of the setting.

        Raises:
            Extended: another worker has extended the sweep since this one began.
        """
        found = self._take(sampler) if time.monotonic() - self._recovered < self.storage.heartbeat else None
        if found is None:
            self.recover()
            found = self._take(sampler)
        # This is asked after the trial was taken. A worker that extends the sweep first says so and then looks for
        # trials that others have taken: whichever of the two comes first, one of them sees the other.
        if not self._is_in_force():
            if found:
                self.give_back(found)
            raise Extended(
                f"the sweep {self.first!r} was extended by another worker. Nothing was lost; to work on it as it is "
                f"now: promptopt sweep --join {self.first}"
            )
        return found

    def _is_in_force(self) -> bool:
        """Whether the sweep has not been extended beyond this study. Waits for a worker that is about to extend it."""
        first = self._raw.get_study_id_from_name(self.first)
        if self._raw.get_study_user_attrs(first).get("extending"):
            with self.storage.alone():
                self._raw.set_study_user_attr(first, "extending", False)  # who said so has ended, or was killed
        now = self._raw.get_study_user_attrs(first).get(NOW, self.first)
        return self.name in (now, now + TEST)

    def _take(self, sampler: Callable[[int], Any]) -> Any:
        with self.storage.lock():
            self._seen = self._trials()
            for trial in self._seen:
                if trial.state != State.WAITING or not self._claim(trial._trial_id):
                    continue
                if self._stands_twice(trial):
                    self._raw.set_trial_user_attr(trial._trial_id, "duplicate", True)
                    self._raw.set_trial_state_values(trial._trial_id, state=State.FAIL)
                    continue
                self._held.add(trial._trial_id)
                self._raw.set_trial_user_attr(trial._trial_id, "worker", self.worker)
                self.study.sampler = sampler(trial.user_attrs["setting"])
                return optuna.trial.Trial(self.study, trial._trial_id)
        return None

    def _claim(self, trial_id: int) -> bool:
        self._beat(trial_id)  # before the trial runs: a running trial without a sign of life counts as lost
        try:
            return bool(self._raw.set_trial_state_values(trial_id, state=State.RUNNING))
        except optuna.exceptions.UpdateFinishedTrialError:
            return False

    def _stands_twice(self, trial: Any) -> bool:
        """Whether an earlier trial of the same setting is there already: two workers laid it out at once."""
        setting = trial.user_attrs.get("setting")
        return any(
            other.number < trial.number and other.user_attrs.get("setting") == setting and other.state != State.FAIL
            for other in self._seen
        )

    def record(self, trial: Any, key: str, outcome: Mapping[str, Any], *, step: int, value: float) -> None:
        """Write down what came of one run of a trial.

        Raises:
            Gone: the trial is no longer this worker's.
        """
        with self._still_ours(trial):
            if step not in self._raw.get_trial(trial._trial_id).intermediate_values:
                trial.report(value, step)
            trial.set_user_attr(RUN + key, dict(outcome))

    def describe(self, trial: Any, attributes: Mapping[str, Any]) -> None:
        """Add user attributes to a trial. Raises :class:`Gone` if it is no longer this worker's."""
        with self._still_ours(trial):
            for key, value in attributes.items():
                trial.set_user_attr(key, value)

    def end(self, trial: Any, *, value: float | None = None, error: str = "") -> None:
        """End a trial: complete with its value, failed with its error, or else pruned.

        Raises:
            Gone: the trial is no longer this worker's.
        """
        state = State.COMPLETE if value is not None else State.FAIL if error else State.PRUNED
        with self._still_ours(trial), optuna_quiet():
            if error:
                trial.set_user_attr("error", error)
            self.study.tell(trial, value, state=state)
        self._held.discard(trial._trial_id)

    def give_back(self, trial: Any) -> None:
        """Let another worker, or a later one, go on with a trial."""
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self._raw.set_trial_state_values(trial._trial_id, state=State.WAITING)
        self._held.discard(trial._trial_id)

    def known(self, trial: Any, params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Outcomes of runs that need not be repeated, by the run's key.

        They are the trial's own, and those of other trials with the same parameters as these stood when a trial was
        last taken.
        """
        found: dict[str, dict[str, Any]] = {}
        for other in self._seen:
            if other.number != trial.number and params and other.params == params:
                found |= outcomes(other)
        return found | outcomes(self._raw.get_trial(trial._trial_id))

    @contextlib.contextmanager
    def _still_ours(self, trial: Any) -> Iterator[None]:
        """Raises :class:`Gone` where Optuna refuses to change a trial in the block, since another worker has ended it.

        Optuna says that with an error of its own or, from ``tell``, with a ValueError that begins "Cannot tell".
        """
        try:
            yield
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError) as error:
            self._held.discard(trial._trial_id)
            if isinstance(error, ValueError) and "Cannot tell" not in str(error):
                raise
            raise Gone(str(error)) from None

    # ── Lost workers ──────────────────────────────────────────────────────────────────────────────────────────────

    def recover(self) -> None:
        """Fail the trials of lost workers, and add a waiting trial for each of their settings.

        A worker may be lost between these two steps, too. What it leaves is an orphan: a failed trial of a setting that
        has no other. Its setting gets a waiting trial here as well.
        """
        self._recovered = time.monotonic()
        with self.storage.lock(), optuna_quiet():
            if self.storage.folder:
                for trial in self._trials((State.RUNNING,)):
                    if not self._lives(trial.user_attrs.get("worker")):
                        self._raw.set_trial_state_values(trial._trial_id, state=State.FAIL)
            else:
                optuna.storages.fail_stale_trials(self.study)
            orphans = _orphans(self._trials())
            self._orphaned = {t.number: self._orphaned.get(t.number, time.monotonic()) for t in orphans}
            for trial in orphans:
                age = time.monotonic() - self._orphaned[trial.number]
                if self.storage.folder or age > self.storage.heartbeat:  # in a database another may be about to do it
                    self.storage.retry(self.study, copy.deepcopy(trial))

    def _lives(self, worker: str | None) -> bool:
        """Whether a worker of this machine holds its own lock file. To be called inside :meth:`Storage.lock`."""
        if worker is None or self.storage.folder is None:
            return False
        if worker == self.worker:
            return True
        held = FileLock(self.storage.folder / worker)
        try:
            held.acquire(timeout=0)
        except Timeout:
            return True
        held.release()
        with contextlib.suppress(OSError):
            (self.storage.folder / worker).unlink()
        return False

    def _again(self, trial: Any) -> None:
        """Add a waiting trial of a failed one's setting, with what its runs have found; retries are counted anew."""
        attributes = {k: v for k, v in trial.user_attrs.items() if k not in ("error", "worker")}
        self.study.add_trial(
            optuna.create_trial(
                state=State.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=attributes,
                system_attrs={"fixed_params": trial.system_attrs.get("fixed_params", {})},
            )
        )

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Show the other workers that this one lives, until the block ends."""
        if self.storage.folder:
            with FileLock(self.storage.folder / self.worker):
                yield
            with contextlib.suppress(OSError):
                (self.storage.folder / self.worker).unlink()
            return
        stop = threading.Event()
        thread = threading.Thread(target=self._beat_until, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _beat_until(self, stop: threading.Event) -> None:
        while not stop.wait(self.storage.heartbeat):
            for trial_id in list(self._held):
                with contextlib.suppress(Exception):  # the database is away for a moment; the next beat may reach it
                    self._beat(trial_id)

    def _beat(self, trial_id: int) -> None:
        if not self.storage.folder:
            self._raw.record_heartbeat(trial_id)

    def _trials(self, states: Sequence[Any] | None = None) -> list[Any]:
        trials: list[Any] = self.study.get_trials(deepcopy=False, states=states)
        return sorted(trials, key=lambda trial: trial.number)


def _orphans(trials: Sequence[Any]) -> list[Any]:
    """The trials that failed because their worker was lost, of settings that have no other trial to go on with.

    A trial that failed with an error is none, nor is one whose setting has lost ``RETRIES`` workers already.
    """
    latest: dict[int, Any] = {}
    for trial in trials:
        if "setting" in trial.user_attrs and "duplicate" not in trial.user_attrs:
            before = latest.get(trial.user_attrs["setting"])
            if before is None or before.state == State.FAIL:
                latest[trial.user_attrs["setting"]] = trial
    return [
        trial
        for trial in latest.values()
        if trial.state == State.FAIL
        and "error" not in trial.user_attrs
        and len(trial.system_attrs.get("retry_history", ())) < RETRIES
    ]


def load(storage: Storage, name: str) -> Any:
    """Optuna's study of that name, to read from; where the sweep was extended, that of its last extension.

    Raises:
        UserError: there is none.
    """
    try:
        found = optuna.load_study(storage=storage.optuna, study_name=name)
        now = found.user_attrs.get(NOW)
        return optuna.load_study(storage=storage.optuna, study_name=now) if now else found
    except KeyError:
        there = ", ".join(names(storage)) or "none"
        raise UserError(f"there is no study {name!r} in {hidden(storage.url)}. It holds: {there}.") from None


def names(storage: Storage) -> list[str]:
    """The studies in a storage."""
    found: list[str] = optuna.get_all_study_names(storage.optuna)
    return found


def exists(url: str) -> bool:
    """Whether there may be a study behind a URL; False for a file that is not there."""
    path = _file(url)
    return path is None or path.exists()


def hidden(url: str) -> str:
    """A URL without its password, and without what follows a question mark, where drivers take one too."""
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    place, asked, _ = place.partition("?")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{place}{asked and '?...'}"


def _file(url: str) -> Path | None:
    """The file behind the URL of a storage for one machine; None for a database server."""
    kind, separator, path = url.partition("://")
    if not separator or (kind != "sqlite" and kind.partition("+")[0] != "postgresql"):
        raise UserError(
            f"{hidden(url)!r} is no storage. Write sqlite:///file.db for a file, or the URL of a PostgreSQL database, "
            "for example postgresql://user@host/name."
        )
    return Path(path.removeprefix("/")) if kind == "sqlite" else None


def _insistently(make: Callable[[], Any]) -> Any:
    """Make the tables of a database, where other workers may be doing the same at this moment."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    return Retries(CLASHES, on=(IntegrityError, ProgrammingError))(make)


def _write_ahead(engine: Any) -> None:
    """Let SQLite append to a log instead of waiting for the disk at every step: a killed process loses nothing."""
    from sqlalchemy import event

    def set_up(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    event.listen(engine, "connect", set_up)
    engine.dispose()


def quietly(make: Callable[[], Any]) -> Any:
    """What ``make`` returns, without what Optuna logs meanwhile."""
    with optuna_quiet():
        return make()
