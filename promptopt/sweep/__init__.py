"""Sweeps: settings x tasks x seeds, laid out in an Optuna study, run on one machine or many, and compared.

``promptopt.sweep.sweep`` compares them; the modules of this package hold its parts: :mod:`.space` reads the
recipe, :mod:`.study` takes trials, :mod:`.work` does their runs and :mod:`.table` compares the settings.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from .parts import Parts, Rehearsal
    from .pool import RunPool
    from .space import Space
    from .study import Storage, Study
    from .table import SweepTable
    from .work import Stage, SweepProgress

_Where: TypeAlias = "tuple[str | None, str | None]"

__all__ = ["SweepResult", "check", "join", "read", "sweep"]


@dataclass(frozen=True)
class SweepResult:
    """The outcome of a sweep.

    Attributes:
        table: the settings, best first, with what the test splits said of those that were chosen.
        folder: with ``table.md``, ``table.csv`` and ``table.json``, and the runs of this worker.
        storage: the URL of Optuna's storage, without a password.
        study: the name of the study there.
    """

    table: SweepTable
    folder: Path
    storage: str
    study: str


def sweep(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    folder: str | Path | None = None,
    storage: str | None = None,
    workers: int = 1,
    executor: Literal["ray"] | None = None,
    retry_failed: bool = False,
    watch: Callable[[SweepProgress], None] | None = None,
) -> SweepResult:
    """Compare optimizers and their parameters over tasks and seeds.

    The search goes by the score on the dev split. The test splits are opened once, at the end, for the best setting of
    every optimizer. A sweep that was stopped or killed is taken up where it stopped by the same call: what the ledgers
    of its runs hold is not bought again. A recipe with more seeds, tasks, optimizers or values extends it: only what is
    missing is run.

    Args:
        recipe: a recipe with a table ``[sweep]``, as a TOML file or as a mapping.
        overrides: changes to it, for example ``sweep.seeds=5``.
        folder: where the runs are recorded; ``sweeps/NAME`` by default.
        storage: the URL of Optuna's storage; an SQLite file in the folder by default.
        workers: processes to run in; with 1 everything happens in this one.
        executor: ``ray`` shards the scoring of every run over the Ray cluster that this machine is part of.
        retry_failed: try settings that failed once more.
        watch: called after every run and at the end of every trial.

    Raises:
        UserError: something in the recipe cannot work, nothing has been spent; the study was begun with other data or
            other versions, or with runs that this recipe changes or leaves out; or others work on what is to be
            extended.
        KeyboardInterrupt: the user stopped it.
    """
    from .space import read_space

    space = read_space(_read(recipe, overrides), name=_name(recipe))
    place = Path(folder) if folder else Path("sweeps") / space.name
    url = storage or _file_storage(place)
    return _Sweep(space, place, url, workers, executor, watch).run(retry_failed=retry_failed)


def join(
    study: str,
    *,
    storage: str | None = None,
    folder: str | Path | None = None,
    workers: int = 1,
    executor: Literal["ray"] | None = None,
    watch: Callable[[SweepProgress], None] | None = None,
) -> SweepResult:
    """Work on a sweep that was begun elsewhere, until it is finished. Any number of workers may.

    Args:
        study: its name, or its folder where it lies on this machine.
        storage: the URL of Optuna's storage.
        folder: where the runs of this worker are recorded; by default the study's own, or ``sweeps/NAME``.
        workers, executor, watch: as of :func:`sweep`.

    Raises:
        UserError: there is no such study, or this worker's data or package versions differ from the study's.
    """
    from .space import read_space
    from .study import Extended

    name, place, url = _find(study, storage, folder)
    while True:
        recipe = _begun(name, url)["recipe"]
        try:
            return _Sweep(read_space(recipe, name=name), place, url, workers, executor, watch).run()
        except Extended:  # work on what it has become
            continue


def check(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Space:
    """Build every setting for every task once, and spend nothing.

    Raises:
        UserError: one of them cannot work; the message names it.
    """
    from .parts import Parts, rehearse
    from .space import read_space

    space = read_space(_read(recipe, overrides), name=_name(recipe))
    rehearse(space, Parts())
    return space


def elsewhere(recipe: str | Path | Mapping[str, Any] | None, overrides: Sequence[str], where: _Where) -> list[str]:
    """What a sweep brings along that is not promptopt's own, as :func:`promptopt.recipe.elsewhere.lines` says it.

    Args:
        recipe: as of :func:`sweep`; None for a sweep that was begun elsewhere.
        where: of that one, its name and its storage.
    """
    from ..recipe.elsewhere import lines
    from .space import read_space

    if recipe is not None:
        space = read_space(_read(recipe, overrides), name=_name(recipe))
    else:
        name, _, url = _find(where[0] or "", where[1], None)
        space = read_space(_begun(name, url)["recipe"], name=name)
    return lines(space.arguments(params, task, 0) for params in space.rehearsed() for task in space.tasks)


def read(study: str | Path, *, storage: str | None = None) -> SweepTable:
    """The table of a sweep, finished or under way.

    Args:
        study: its name, or its folder.
        storage: the URL of Optuna's storage; not needed with a folder.

    Raises:
        UserError: there is no such study.
    """
    from .study import Storage

    name, _, url = _find(str(study), storage, None)
    return _table(Storage(url), name)


# ── One worker ────────────────────────────────────────────────────────────────────────────────────────────────────


class _Sweep:
    """A worker from its first check to the table."""

    def __init__(
        self,
        space: Space,
        folder: Path,
        url: str,
        workers: int,
        executor: str | None,
        watch: Callable[[SweepProgress], None] | None,
    ) -> None:
        from ..checks import at_least
        from ..errors import UserError
        from .parts import Parts

        at_least(1, workers=workers)
        if executor and workers > 1:
            raise UserError(f"executor {executor!r} uses the whole cluster for one worker; leave workers at 1.")
        self.space = space
        self.folder = folder
        self.url = url
        self.workers = workers
        self.executor = _executor(executor)
        self.watch = watch or (lambda progress: None)
        self.parts: Parts = Parts(self.executor)

    def run(self, *, retry_failed: bool = False) -> SweepResult:
        """Search, open the test splits for the settings that were chosen, and write the table."""
        from .extend import begin
        from .study import Storage, hidden
        from .work import Search

        self.space = space = self._in_order()
        with self._pool() as pool:
            facts = pool.rehearse(space)
            self.folder.mkdir(parents=True, exist_ok=True)
            storage = Storage(self.url, heartbeat=space.options.heartbeat)
            study = begin(storage, space, facts.identity, prune=space.options.prune)
            if retry_failed:
                study.retry_failed()
            self._work(study, Search(space, self.folder), pool, len(study.study.user_attrs["order"]))
            self._test(study, facts, pool, retry_failed=retry_failed)
        table = _table(storage, space.name)
        _write(table, self.folder)
        return SweepResult(table, self.folder, hidden(self.url), space.name)

    def _test(self, search: Study, facts: Rehearsal, pool: RunPool, *, retry_failed: bool) -> None:
        """Open the test splits for the settings that the search has chosen."""
        from .extend import tests
        from .study import Study
        from .work import Verdicts

        chosen = {row.setting: row for row in _table(search.storage, search.name).rows if row.chosen}
        if not chosen or not facts.tested:
            return
        name, found = tests(search.storage, search)
        study = Study(search.storage, name, first=search.first)
        study.agree(facts.identity)
        lists = {key: search.study.user_attrs[key] for key in ("tasks", "seeds", "optimizers")}
        study.lay_out({setting: {} for setting in chosen}, lists, found=found)
        if retry_failed:
            study.retry_failed()
        self._work(study, Verdicts(self.space, self.folder, chosen, facts.tested), pool, len(chosen))

    def _in_order(self) -> Space:
        """The sweep, its seeds in the order in which the study has them, where there is one already."""
        from .extend import in_order
        from .study import Storage, exists, load, names

        if not exists(self.url):
            return self.space
        storage = Storage(self.url)
        return in_order(self.space, load(storage, self.space.name)) if self.space.name in names(storage) else self.space

    def _work(self, study: Study, stage: Stage, pool: RunPool, settings: int) -> None:
        from .work import Worker

        Worker(study, stage, pool, sampler=self._sampler, watch=self.watch, settings=settings).work()

    @contextlib.contextmanager
    def _pool(self) -> Iterator[RunPool]:
        from .pool import Here, Processes

        pool: RunPool = Here(self.parts) if self.workers == 1 else Processes(self.workers, executor=self.executor)
        try:
            yield pool
        finally:
            pool.close()

    def _sampler(self, setting: int) -> Any:
        """Optuna's sampler for one setting, seeded by its number, so that a sweep that goes on repeats no draw."""
        from optuna.samplers import RandomSampler, TPESampler

        seed = int.from_bytes(hashlib.sha256(f"{self.space.seeds[0]} {setting}".encode()).digest()[:4])
        if self.space.options.sampler != "tpe":
            return RandomSampler(seed=seed)
        from .study import quietly

        return quietly(lambda: TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True))


def _executor(name: str | None) -> Any:
    if name is None:
        return None
    from ..errors import UnknownName

    if name != "ray":
        raise UnknownName("executor", name, ["ray"])
    from .ray_executor import shard

    return shard


# ── Names and places ──────────────────────────────────────────────────────────────────────────────────────────────


def _read(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    import copy

    from ..recipe.read import override, read_recipe

    if isinstance(recipe, Mapping):
        return override(copy.deepcopy(dict(recipe)), overrides)
    return read_recipe(recipe, overrides)


def _name(recipe: str | Path | Mapping[str, Any]) -> str:
    return "sweep" if isinstance(recipe, Mapping) else Path(recipe).stem


def _file_storage(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def _find(study: str, storage: str | None, folder: str | Path | None) -> tuple[str, Path, str]:
    """The name, the folder and the storage of a study that exists."""
    from ..errors import UserError

    if storage is not None:
        return study, Path(folder) if folder else Path("sweeps") / study, storage
    for place in (Path(study), Path("sweeps") / study):
        if (place / "study.db").is_file():
            return _only_study(place), Path(folder) if folder else place, _file_storage(place)
    raise UserError(
        f"there is no sweep {study!r} here: neither it nor sweeps/{study} holds a study.db. Give its folder, or the "
        "storage that it lies in with --storage URL."
    )


def _only_study(place: Path) -> str:
    from .extend import is_first
    from .study import Storage, names

    found = [name for name in names(Storage(_file_storage(place))) if is_first(name)]
    if len(found) != 1:
        from ..errors import UserError

        raise UserError(f"{place / 'study.db'} holds {len(found)} sweeps; say which with its name and --storage.")
    return found[0]


def _begun(name: str, url: str) -> dict[str, Any]:
    """What the workers of a study must agree in, as the first of them wrote it down."""
    from ..errors import UserError
    from .study import Storage, load

    identity: dict[str, Any] | None = load(Storage(url), name).user_attrs.get("identity")
    if identity is None:
        raise UserError(f"{name!r} is no sweep, or it was never begun. Start it with: promptopt sweep RECIPE")
    return identity


def _table(storage: Storage, name: str) -> SweepTable:
    from .study import TEST, load, names
    from .table import table

    study = load(storage, name)
    test = study.study_name + TEST
    return table(study, load(storage, test) if test in names(storage) else None)


def _write(table: SweepTable, folder: Path) -> None:
    texts = {"table.md": table.to_markdown(), "table.csv": table.to_csv(), "table.json": table.to_json() + "\n"}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
