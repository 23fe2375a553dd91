"""Sweeps that are extended: what was paid for is kept, and only what is missing is run."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sweep_parts import asked, recipe
from test_sweep import seen, start, wait_for

from promptopt.errors import UserError
from promptopt.sweep import join, read, sweep
from promptopt.sweep.extend import begin
from promptopt.sweep.study import Storage, Study
from promptopt.sweep.table import SweepTable

Questions = Counter[tuple[str, str]]
TASK = {"data": {"name": "sweep_parts:words", "hard": 0.3}}


def small(log: Path | str = "", *, most: tuple[int, ...] = (3, 14), seeds: int = 2, **target: Any) -> dict[str, Any]:
    """A sweep of one optimizer; what is added to it is the rest of :func:`whole`."""
    given = recipe(log, most=most, seeds=seeds, **target)
    del given["sweep"]["optimizers"]["large"], given["sweep"]["tasks"]["hard"]
    return given


def whole(log: Path | str = "", **target: Any) -> dict[str, Any]:
    """Two optimizers, three values, two tasks, three seeds."""
    return recipe(log, most=(3, 8, 14), seeds=3, **target)


def searched(log: Path) -> Questions:
    """What was asked but for the verdicts: which settings go on to the test split may change with an extension."""
    return Counter(one for one in asked(log) if one[0] != "test")


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepTable, Questions]:
    """The whole sweep, begun whole, and what it asked."""
    place = tmp_path_factory.mktemp("whole")
    return sweep(whole(place / "log"), folder=place / "sweep").table, searched(place / "log")


def folders(place: Path) -> list[str]:
    return [str(path.parent.relative_to(place)) for path in place.glob("trials/*/*/ledger.jsonl")]


@pytest.mark.study
def test_by_seeds_tasks_values_and_optimizers_one_after_the_other(
    tmp_path: Path, at_once: tuple[SweepTable, Questions]
) -> None:
    log, folder = tmp_path / "log", tmp_path / "sweep"
    steps = [small(log) for _ in range(4)]
    for step in steps[1:]:
        step["sweep"]["seeds"] = 3
    for step in steps[2:]:
        step["sweep"]["tasks"] = whole()["sweep"]["tasks"]
    steps[3]["sweep"]["optimizers"]["small"]["optimizer.pool"]["most"] = [3, 8, 14]
    counts = []
    for i, step in enumerate([*steps, whole(log)]):
        before = len(folders(folder))
        table = sweep(step, folder=folder).table
        counts.append(len(folders(folder)) - before)
        assert [row.state for row in table.rows] == ["complete"] * len(table.rows), i
    assert counts == [4, 2, 6, 6, 18]
    assert seen(table) == seen(at_once[0]) == seen(read(folder)) == seen(join(str(folder)).table)
    assert searched(log) == at_once[1]
    assert table.name == "sweep"
    numbers = {row.params["small.pool.most"]: row.setting for row in table.rows if row.optimizer == "small"}
    assert numbers == {3: 0, 14: 1, 8: 2}


@pytest.mark.study
def test_one_optimizer_becomes_several_and_a_fixed_value_one_of_several(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "sweep"
    first = small(log, most=(8,), seeds=1)
    first["optimizer"] = {"name": "random-search", "batch": 1, "pool": {"name": "sweep_parts:Letters", "most": 8}}
    del first["sweep"]["optimizers"]
    assert [row.label for row in sweep(first, folder=folder).table.rows] == ["random-search"]
    more = small(log, most=(8, 14), seeds=1)
    again = sweep(more, folder=folder).table
    assert {row.setting: row.params for row in again.rows} == {0: {"small.pool.most": 8}, 1: {"small.pool.most": 14}}
    assert Counter(path.split("/")[1] for path in folders(folder)) == {"0000": 1, "0001": 1}


@pytest.mark.study
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_sampled_designs_by_trials_and_seeds(tmp_path: Path, sampler: str) -> None:
    log, folder = tmp_path / "log", tmp_path / "sweep"

    def sampled(trials: int, seeds: int, high: int = 40) -> dict[str, Any]:
        given = recipe(log, seeds=seeds)
        for section in given["sweep"]["optimizers"].values():
            section["optimizer.pool"] = {"name": "sweep_parts:Letters", "most": {"low": 2, "high": high}}
        del given["sweep"]["tasks"]["hard"]
        given["sweep"] |= {"sampler": sampler, "trials": trials}
        return given

    first = sweep(sampled(5, 1), folder=folder).table
    before = {row.setting: (row.label, row.outcomes) for row in first.rows}
    more = sweep(sampled(8, 1), folder=folder).table
    assert {row.setting: (row.label, row.outcomes) for row in more.rows if row.setting < 5} == before
    assert Study(Storage(f"sqlite:///{folder}/study.db"), "sweep").in_force().study.user_attrs["order"] == [*range(8)]
    if sampler == "random":  # what tpe draws depends on what it has seen
        assert seen(more) == seen(sweep(sampled(8, 1), folder=tmp_path / "whole").table)
    ledgers = len(folders(folder))
    wider = sweep(sampled(8, 2, high=60), folder=folder).table
    assert {row.setting: row.label for row in wider.rows if row.setting < 5} == {n: one[0] for n, one in before.items()}
    assert len(folders(folder)) == 2 * ledgers
    assert {row.state for row in wider.rows} == {"complete"}


@pytest.mark.study
@pytest.mark.parametrize("place", ["sqlite", "postgres"])
def test_an_extension_that_is_killed_goes_on(
    tmp_path: Path, place: str, at_once: tuple[SweepTable, Questions], request: pytest.FixtureRequest
) -> None:
    log, folder = tmp_path / "log", tmp_path / "sweep"
    storage = request.getfixturevalue("postgres") if place == "postgres" else None
    first, last = small(log, seconds=0.01), whole(log, seconds=0.01)
    for given in (first, last):
        given["sweep"] |= {"heartbeat": 1, "name": "mine"}
    sweep(first, folder=folder, storage=storage)
    worker = start(f"sweep({last!r}, folder={str(folder)!r}, storage={storage!r}, workers=2)")
    wait_for(log, len(asked(log)) + 60)
    worker.kill()
    worker.wait()
    result = join("mine" if storage else str(folder), storage=storage, folder=folder)
    assert seen(result.table) == seen(at_once[0])
    assert (searched(log) - at_once[1]).total() <= 4  # under way in a process that was killed
    assert not at_once[1] - searched(log)


@pytest.mark.study
def test_what_a_killed_worker_left_half_copied_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, folder = tmp_path / "log", tmp_path / "sweep"
    before = seen(sweep(small(log), folder=folder).table)
    count = len(asked(log))
    copied: list[int] = []

    def die(study: Study, space: Any, number: int, *rest: Any) -> None:
        copied.append(number)
        if number == 1:
            raise KeyboardInterrupt
        take_over(study, space, number, *rest)

    from promptopt.sweep import extend

    take_over = extend._take_over
    monkeypatch.setattr(extend, "_take_over", die)
    with pytest.raises(KeyboardInterrupt):
        sweep(small(log, seeds=3), folder=folder)
    monkeypatch.undo()
    assert copied == [0, 1]
    assert seen(read(folder)) == before
    assert len(asked(log)) == count
    assert seen(sweep(small(log), folder=folder).table) == before  # the sweep as it was can still be worked on
    assert [len(row.outcomes) for row in sweep(small(log, seeds=3), folder=folder).table.rows] == [3, 3]


@pytest.mark.study
def test_workers_that_extend_at_once_do_every_run_once(tmp_path: Path, postgres: str) -> None:
    log = tmp_path / "log"
    first, last = small(log), whole(log)
    for given in (first, last):
        given["sweep"] |= {"heartbeat": 5, "name": "rush"}
    sweep(first, folder=tmp_path / "0", storage=postgres)
    ends = [start(f"sweep({last!r}, folder={str(tmp_path / str(i))!r}, storage={postgres!r})") for i in range(3)]
    assert [worker.wait(240) for worker in ends] == [0] * 3
    ledgers = Counter(path.parent.relative_to(path.parents[3]) for path in tmp_path.glob("*/trials/*/*/ledger.jsonl"))
    assert sorted(ledgers.values()) == [1] * 36
    names = {study for study in _names(postgres) if "test" not in study}
    assert names == {"rush", "rush (2)"}


def _names(url: str) -> list[str]:
    from promptopt.sweep.study import names

    return names(Storage(url))


@pytest.mark.study
def test_a_worker_that_is_at_it_is_not_pulled_the_rug_from_under(tmp_path: Path) -> None:
    """Who extends is told to wait while another has a trial in hand; a worker without one goes on with the rest."""
    log, folder = tmp_path / "log", tmp_path / "sweep"
    given = small(log, most=(3, 8, 14))
    worker = start(f"sweep({small(log, most=(3, 8, 14), seconds=0.2)!r}, folder={str(folder)!r})")
    wait_for(log, 2)
    with pytest.raises(UserError, match="another set-up: the recipe in target") as raised:
        sweep(given, folder=folder)
    slow = small(log, most=(3, 8, 14), seeds=3, seconds=0.2)
    with pytest.raises(UserError, match="cannot be extended while others work on it") as raised:
        sweep(slow, folder=folder)
    assert str(worker.pid) in str(raised.value)
    worker.kill()
    worker.wait()


@pytest.mark.study
def test_a_worker_whose_sweep_was_extended_is_told_and_a_joined_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, folder = tmp_path / "log", tmp_path / "sweep"
    sweep(small(log), folder=folder)
    study = Study(Storage(f"sqlite:///{folder}/study.db"), "sweep")
    assert study.take(lambda setting: None) is None
    extended: list[SweepTable] = []

    def take(self: Study, sampler: Any) -> Any:
        if not extended:
            extended.append(read(folder))
            extended.append(sweep(whole(log), folder=folder).table)
        return taking(self, sampler)

    taking = Study.take
    monkeypatch.setattr(Study, "take", take)
    assert seen(join(str(folder)).table) == seen(extended[1]) != seen(extended[0])
    with pytest.raises(UserError, match=r"was extended by another worker.*--join sweep"):
        study.take(lambda setting: None)


def _changed(what: str) -> dict[str, Any]:
    given = small()
    section = given["sweep"]
    match what:
        case "budget":
            given["budget"] = 20
        case "seed":
            section["seeds"] = [0, 2]
        case "task":
            section["tasks"] = {"hard": whole()["sweep"]["tasks"]["hard"]}
        case "data":
            section["tasks"]["easy"]["data"] = {"name": "sweep_parts:words", "hard": 0.9}
        case "optimizer":
            section["optimizers"] = {"large": whole()["sweep"]["optimizers"]["large"]}
        case "value":
            section["optimizers"]["small"]["optimizer.pool"]["most"] = [3, 8]
        case "prune":
            section["prune"] = 0.1
        case "sampler":
            section |= {"sampler": "tpe", "trials": 9}
    return given


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("budget", r"the recipe in budget \(30 there, 20 here\)"),
        ("seed", "seed 1 left out"),
        ("task", "task easy left out"),
        ("data", "the recipe in sweep.tasks"),
        ("optimizer", "optimizer small left out"),
        ("value", "the recipe in sweep.optimizers"),
        ("prune", r"sweep.prune \(None there, 0.1 here\)"),
        ("sampler", r"sweep.sampler \(grid there, tpe here\)"),
    ],
)
def test_what_cannot_be_extended_is_said_and_nothing_is_lost(
    begun: tuple[Path, list[Any]], what: str, says: str
) -> None:
    folder, before = begun
    with pytest.raises(UserError, match=says) as raised:
        sweep(_changed(what), folder=folder)
    assert "'sweep' was begun with another set-up" in str(raised.value)
    assert "Nothing was lost" in str(raised.value)
    assert seen(read(folder)) == before
    assert seen(sweep(small(), folder=folder).table) == before


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    folder = tmp_path_factory.mktemp("begun") / "sweep"
    return folder, seen(sweep(small(), folder=folder).table)


def test_data_that_changed_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sweep_parts

    folder = tmp_path / "sweep"
    sweep(small(), folder=folder)
    words = sweep_parts.words
    monkeypatch.setattr(sweep_parts, "words", lambda *, seed=0, hard=0.5: words(seed=seed, hard=hard, test=11))
    with pytest.raises(UserError, match="the data of task easy"):
        sweep(small(seeds=3), folder=folder)


@pytest.mark.study
def test_seeds_before_the_others(tmp_path: Path) -> None:
    """The first seed of a study stays the first, whatever the order in the recipe: its data were agreed in."""
    folder = tmp_path / "sweep"
    first, more = small(), small()
    first["sweep"]["seeds"], more["sweep"]["seeds"] = [5], [1, 5]
    sweep(first, folder=folder)
    assert sweep(more, folder=folder).table.seeds == (5, 1)
    assert join(str(folder)).table.seeds == (5, 1)
    assert len(folders(folder)) == 4


@pytest.mark.study
def test_failed_and_pruned_settings_stay_so(tmp_path: Path) -> None:
    log, folder, broken = tmp_path / "log", tmp_path / "sweep", tmp_path / "broken"
    broken.touch()
    given = small(log, most=(3, 14), fails=str(broken))
    table = sweep(given, folder=folder).table
    assert [row.state for row in table.rows] == ["complete", "failed"]
    broken.unlink()
    more = copy.deepcopy(given)
    more["sweep"]["seeds"] = 3
    table = sweep(more, folder=folder).table
    assert [(row.state, len(row.outcomes)) for row in table.rows] == [("complete", 3), ("failed", 0)]
    assert "cannot run" in str(table.rows[1].error)
    assert [row.state for row in sweep(more, folder=folder, retry_failed=True).table.rows] == ["complete"] * 2

    pruned = recipe(log, most=[16, 2], seeds=4)
    pruned["sweep"]["prune"] = 0.3
    del pruned["sweep"]["optimizers"]["large"]
    before = sweep(pruned, folder=tmp_path / "pruned").table
    again = copy.deepcopy(pruned)
    again["sweep"]["seeds"] = 5
    after = sweep(again, folder=tmp_path / "pruned").table
    assert [(row.state, len(row.outcomes)) for row in after.rows] == [
        ("complete", 10),
        ("pruned", len(before.rows[1].outcomes)),
    ]


def test_begin_lays_out_once(tmp_path: Path) -> None:
    """A study that was left half laid out is completed, not extended."""
    from promptopt.sweep.parts import Parts, rehearsed
    from promptopt.sweep.space import read_space

    space = read_space(small())
    identity = rehearsed(space, Parts()).identity
    (tmp_path / "x").mkdir()
    storage = Storage(f"sqlite:///{tmp_path}/x/study.db")
    for _ in range(2):
        study = begin(storage, space, identity, prune=None)
        assert study.name == "sweep"
        assert len(study.study.trials) == 2
