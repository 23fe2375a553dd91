from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import ProgrammingError
from sweep_parts import asked, recipe

from promptopt.core import Dataset
from promptopt.errors import UserError
from promptopt.sweep import SweepResult, join, read, sweep
from promptopt.sweep.parts import Parts
from promptopt.sweep.space import read_space
from promptopt.sweep.study import Storage, Study
from promptopt.sweep.table import SweepTable

HERE = Path(__file__).parent


def seen(table: SweepTable) -> list[Any]:
    """A table without what depends on the clock and the place."""
    return [
        [row.label, row.state, row.score, dict(row.tasks), row.difference, row.test, row.chosen]
        + [[run.best, run.score, run.train, run.questions] for run in row.outcomes]
        for row in table.rows
    ]


def start(call: str) -> subprocess.Popen[bytes]:
    """A process of its own that calls something of promptopt.sweep."""
    code = f"from promptopt.sweep import *\nif __name__ == '__main__': {call}"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it for what runs behind
    )


def wait_for(log: Path, lines: int, *, within: float = 60.0) -> None:
    """Until so much was asked."""
    end = time.monotonic() + within
    while len(asked(log)) < lines:
        assert time.monotonic() < end, f"only {len(asked(log))} of {lines} questions within {within} s"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepResult, Counter[tuple[str, str]], list[str]]:
    """The sweep done by one worker, what it asked, and the splits in order."""
    place = tmp_path_factory.mktemp("alone")
    result = sweep(recipe(place / "log"), folder=place / "sweep")
    questions = asked(place / "log")
    return result, Counter(questions), [split for split, _ in questions]


def test_the_test_split_is_opened_at_the_end_for_the_chosen_settings(
    alone: tuple[SweepResult, Counter[tuple[str, str]], list[str]],
) -> None:
    result, counted, splits = alone
    rows = result.table.rows
    assert [row.state for row in rows] == ["complete"] * 6
    assert splits == sorted(splits, key=lambda split: split == "test")
    assert [row.chosen for row in rows].count(True) == 2
    assert {row.optimizer for row in rows if row.chosen} == {"small", "large"}
    assert all(len(row.test) == (4 if row.chosen else 0) for row in rows)
    assert rows[0].chosen
    best = {"go", *(run.best for row in rows if row.chosen for run in row.outcomes)}
    assert {prompt for split, prompt in counted if split == "test"} == best


def test_scores_are_those_of_the_dev_split_and_every_run_is_an_ordinary_one(
    alone: tuple[SweepResult, Counter[tuple[str, str]], list[str]],
) -> None:
    result, _, _ = alone
    folders = sorted(path.parent.relative_to(result.folder) for path in result.folder.glob("trials/*/*/ledger.jsonl"))
    assert [str(f) for f in folders[:4]] == [
        f"trials/0000/{key}" for key in ("easy-s0", "easy-s1", "hard-s0", "hard-s1")
    ]
    assert len(folders) == 24
    for row in result.table.rows:
        for run in row.outcomes:
            ledger = Path(run.folder, "ledger.jsonl").read_text(encoding="utf-8").splitlines()
            events = [json.loads(line) for line in ledger]
            dev = [e["value"] for e in events if e.get("stage") == "dev" and e["prompt"] == run.best]
            assert [run.score] == dev
            assert run.split == "dev"
            assert not any(e.get("stage") == "test" for e in events)
        assert row.score
        assert row.score.mean == pytest.approx(sum(run.score for run in row.outcomes) / 4)
    means = [row.score.mean for row in result.table.rows if row.score]
    assert means == sorted(means, reverse=True)


def test_a_sweep_that_is_done_asks_nothing_again(tmp_path: Path) -> None:
    given = recipe(tmp_path / "log", most=[3], seeds=1)
    first = sweep(given, folder=tmp_path / "sweep")
    count = len(asked(tmp_path / "log"))
    again = sweep(given, folder=tmp_path / "sweep")
    assert len(asked(tmp_path / "log")) == count > 0
    assert seen(again.table) == seen(first.table) == seen(read(tmp_path / "sweep"))
    assert seen(join(str(tmp_path / "sweep")).table) == seen(first.table)
    assert (tmp_path / "sweep" / "table.md").read_text(encoding="utf-8") == first.table.to_markdown()


@pytest.mark.study
def test_two_processes_and_one_that_is_killed_give_the_same_table(
    tmp_path: Path, alone: tuple[SweepResult, Counter[tuple[str, str]], list[str]]
) -> None:
    log = tmp_path / "log"
    given = recipe(log, seconds=0.02)
    worker = start(f"sweep({given!r}, folder={str(tmp_path / 'sweep')!r}, workers=2)")
    wait_for(log, 20)
    child = next(int(line.split()[0]) for line in log.read_text().splitlines())
    assert child != worker.pid
    os.kill(child, signal.SIGKILL)
    assert worker.wait(120) == 0
    assert seen(read(tmp_path / "sweep")) == seen(alone[0].table)
    twice = Counter(asked(log)) - alone[1]
    assert twice.total() <= 1  # what was under way in the process that was killed
    assert not alone[1] - Counter(asked(log))


@pytest.mark.study
def test_a_sweep_that_was_killed_goes_on(
    tmp_path: Path, alone: tuple[SweepResult, Counter[tuple[str, str]], list[str]]
) -> None:
    log = tmp_path / "log"
    call = f"sweep({recipe(log, seconds=0.01)!r}, folder={str(tmp_path / 'sweep')!r})"
    for lines in (30, 90):
        worker = start(call)
        wait_for(log, lines)
        worker.kill()
        worker.wait()
    result = sweep(recipe(log, seconds=0.01), folder=tmp_path / "sweep")
    assert seen(result.table) == seen(alone[0].table)
    assert (Counter(asked(log)) - alone[1]).total() <= 2
    assert not alone[1] - Counter(asked(log))


@pytest.mark.study
def test_workers_on_postgresql_and_one_that_is_killed_give_the_same_table(
    tmp_path: Path, postgres: str, alone: tuple[SweepResult, Counter[tuple[str, str]], list[str]]
) -> None:
    """Three machines, each with folders of its own: what the killed one had begun is begun anew elsewhere."""
    logs = [tmp_path / "log"] * 3
    given = recipe(logs[0], seconds=0.02)
    given["sweep"] |= {"heartbeat": 2, "name": "shared"}
    first = start(f"sweep({given!r}, folder={str(tmp_path / 'a')!r}, storage={postgres!r})")
    wait_for(logs[0], 1)
    others = [start(f"join('shared', folder={str(tmp_path / x)!r}, storage={postgres!r})") for x in "bc"]
    wait_for(logs[0], 30)
    first.kill()
    first.wait()
    assert [other.wait(120) for other in others] == [0, 0]
    assert seen(read("shared", storage=postgres)) == seen(alone[0].table)
    study = Study(Storage(postgres), "shared").study
    assert [trial.state.name for trial in study.trials].count("COMPLETE") == 6
    lost = {trial.user_attrs["setting"] for trial in study.trials if trial.state.name == "FAIL"}
    ledgers = Counter(path.parent.relative_to(path.parents[3]) for path in tmp_path.glob("*/trials/*/*/ledger.jsonl"))
    begun_twice = {int(path.parts[1]) for path, n in ledgers.items() if n > 1}
    assert begun_twice <= lost
    assert lost


@pytest.mark.study
def test_no_trial_is_taken_twice_by_four_workers_at_once(tmp_path: Path, postgres: str) -> None:
    given = recipe(tmp_path / "log", most=range(2, 12), seeds=1)
    given["sweep"] |= {"heartbeat": 5, "name": "rush"}
    calls = [f"sweep({given!r}, folder={str(tmp_path / str(i))!r}, storage={postgres!r})" for i in range(4)]
    workers = [start(call) for call in calls]
    assert [worker.wait(120) for worker in workers] == [0] * 4
    study = Study(Storage(postgres), "rush").study
    done = [trial.user_attrs["setting"] for trial in study.trials if trial.state.name == "COMPLETE"]
    assert sorted(done) == list(range(20))
    ledgers = [path.parent.relative_to(path.parents[3]) for path in tmp_path.glob("*/trials/*/*/ledger.jsonl")]
    assert len(ledgers) == len(set(ledgers)) == 40
    judged = [path.parent.relative_to(path.parents[3]) for path in tmp_path.glob("*/test/*/*/ledger.jsonl")]
    assert len(judged) == len(set(judged)) == 4


def test_a_setting_that_fails_is_recorded_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    given = recipe(tmp_path / "log", most=[3, 14], seeds=1, fails=str(broken))
    states: list[str] = []
    result = sweep(given, folder=tmp_path / "sweep", watch=lambda progress: states.append(progress.state))
    failed = [row for row in result.table.rows if row.state == "failed"]
    assert [row.params for row in failed] == [{"small.pool.most": 14}, {"large.pool.most": 14}]
    assert all("easy, seed 0: ValueError: cannot run 'xxxx" in str(row.error) for row in failed)
    assert "ValueError" in result.table.to_markdown()
    assert [row.state for row in result.table.rows] == ["complete"] * 2 + ["failed"] * 2
    assert states.count("failed") == 2
    broken.unlink()
    assert [row.state for row in sweep(given, folder=tmp_path / "sweep").table.rows].count("failed") == 2
    mended = sweep(given, folder=tmp_path / "sweep", retry_failed=True)
    assert [row.state for row in mended.table.rows] == ["complete"] * 4
    assert {row.setting for row in mended.table.rows} == {0, 1, 2, 3}


def test_ctrl_c_leaves_the_trial_for_later(tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = start(f"sweep({recipe(log, seconds=0.02)!r}, folder={str(tmp_path / 'sweep')!r})")
    wait_for(log, 20)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(30) != 0
    states = [row.state for row in read(tmp_path / "sweep").rows]
    assert "running" not in states
    assert "failed" not in states
    assert "waiting" in states


def test_a_losing_setting_gets_no_more_seeds(tmp_path: Path) -> None:
    given = recipe(tmp_path / "log", most=[16, 2], seeds=4)
    given["sweep"]["prune"] = 0.3
    del given["sweep"]["optimizers"]["large"]
    table = sweep(given, folder=tmp_path / "sweep").table
    assert [(row.label, row.state) for row in table.rows] == [
        ("small pool.most=16", "complete"),
        ("small pool.most=2", "pruned"),
    ]
    assert len(table.rows[0].outcomes) == 8
    assert len(table.rows[1].outcomes) in (2, 4, 6)
    assert {run.seed for run in table.rows[1].outcomes} == set(range(len(table.rows[1].outcomes) // 2))
    assert not table.rows[1].chosen


@pytest.mark.study
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_samplers_try_as_many_settings_as_asked_and_go_on_where_they_were(tmp_path: Path, sampler: str) -> None:
    given = recipe(tmp_path / "log", seeds=1)
    pool = {"name": "sweep_parts:Letters", "most": {"low": 2, "high": 40}}
    for section in given["sweep"]["optimizers"].values():
        section["optimizer.pool"] = pool
    given["sweep"] |= {"sampler": sampler, "trials": 14}
    whole = sweep(given, folder=tmp_path / "whole").table
    assert len(Study(Storage(f"sqlite:///{tmp_path}/whole/study.db"), "sweep").study.trials) == 14
    assert {row.optimizer for row in whole.rows} == {"small", "large"}

    ended: list[int] = []

    def stop(progress: Any) -> None:
        ended.append(progress.setting)
        if progress.setting == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(given, folder=tmp_path / "parts", watch=stop)
    assert seen(sweep(given, folder=tmp_path / "parts").table) == seen(whole)


def test_a_worker_that_differs_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = recipe(tmp_path / "log", most=[3], seeds=1)
    place: dict[str, Any] = {"folder": tmp_path / "sweep"}
    sweep(given, **place)
    other = {**given, "budget": 20}
    with pytest.raises(UserError, match="another set-up: the recipe in budget"):
        sweep(other, **place)
    import promptopt.sweep.parts as parts

    versions = parts.versions()
    monkeypatch.setattr(parts, "versions", lambda: {**versions, "numpy": "0.1"})
    with pytest.raises(UserError, match=rf"numpy \({versions['numpy']} there, 0.1 here\)"):
        join(str(tmp_path / "sweep"))
    monkeypatch.undo()
    import sweep_parts

    words = sweep_parts.words

    def other_words(*, seed: int = 0, hard: float = 0.5) -> Dataset:
        return words(seed=seed, hard=hard, test=11)

    monkeypatch.setattr(sweep_parts, "words", other_words)
    with pytest.raises(UserError, match="the data of task easy; the data of task hard"):
        join(str(tmp_path / "sweep"))


def test_what_was_laid_out_twice_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptopt.sweep.study.PATIENCE", 0.1)
    given = recipe(tmp_path / "log", most=[3], seeds=1)
    folder = tmp_path / "sweep"
    sweep_once = Study(_storage(folder), "sweep")
    sweep_once.lay_out({0: {"optimizer": "small"}}, {})
    sweep_once.study.enqueue_trial({"optimizer": "small"}, user_attrs={"setting": 0})
    table = sweep(given, folder=folder).table
    assert [row.state for row in table.rows] == ["complete"] * 2
    assert len(list(folder.glob("trials/*/*/ledger.jsonl"))) == 4
    states = [trial.state.name for trial in sweep_once.study.trials]
    assert sorted(states) == ["COMPLETE", "COMPLETE", "FAIL"]


def _storage(folder: Path) -> Storage:
    folder.mkdir(parents=True, exist_ok=True)
    return Storage(f"sqlite:///{folder}/study.db")


@pytest.mark.parametrize("clashes", [3, 99])
def test_tables_that_another_worker_is_making_too_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clashes: int
) -> None:
    slept: list[float] = []
    made = optuna.storages.RDBStorage

    def make(*given: Any, **options: Any) -> Any:
        if len(slept) < clashes:
            raise ProgrammingError("CREATE TABLE", None, Exception("there is one already"))
        return made(*given, **options)

    monkeypatch.setattr(optuna.storages, "RDBStorage", make)
    monkeypatch.setattr("time.sleep", slept.append)
    if clashes == 3:
        assert _storage(tmp_path).optuna.get_all_studies() == []
    else:
        with pytest.raises(UserError, match=r"cannot open the storage .*there is one already"):
            _storage(tmp_path)
    assert slept == [0.5, 1, 2, 4][:clashes]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda tmp: join("nowhere"), "there is no sweep 'nowhere' here"),
        (lambda tmp: join("other", storage=f"sqlite:///{tmp}/x.db"), "there is no study 'other'"),
        (lambda tmp: sweep(recipe(), folder=tmp, storage="postgresql://me:secret@127.0.0.1:9/x"), "cannot open"),
        (lambda tmp: sweep(recipe(), folder=tmp, workers=0), "workers is 0; allowed is 1 or more"),
        (lambda tmp: sweep(recipe(), folder=tmp, executor="spark"), "unknown executor 'spark'"),
    ],
)
def test_mistakes(tmp_path: Path, call: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as raised:
        call(tmp_path)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "here",
        "mysql://me:secret@host/x",
        "journal:///study.log",
        "sqlite+pysqlite:///x.db",
        "postgres://me:secret@host/x",
    ],
)
def test_a_storage_of_another_kind(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match=r"is no storage.*sqlite:///file\.db.*postgresql://user@host/name") as raised:
        sweep(recipe(), folder=tmp_path, storage=url)
    assert "secret" not in str(raised.value)


def test_targets_and_data_are_built_once() -> None:
    parts, space = Parts(), read_space(recipe())
    jobs = [space.arguments(params, task, seed) for params in space.settings() for task, seed in space.runs]
    built = [parts.of(job) for job in jobs]
    assert len(built) == 24
    assert len({id(one["data"]) for one in built}) == 4  # two tasks with two seeds: the draw depends on the seed
    assert len({id(one["target"]) for one in built}) == 1
    assert [built[0]["data"].train[0].input, built[2]["data"].train[0].input] == [1, 2]


def test_a_target_is_built_anew_for_other_classes() -> None:
    parts = Parts()
    clip = {"start": "a {}", "target": {"name": "clip", "cache": False}, "seed": 0}
    digits = parts.of({**clip, "data": {"name": "digits", "shots": 1}})
    again = parts.of({**clip, "data": {"name": "digits", "shots": 2}, "seed": 3})
    roman = parts.of({**clip, "data": {"name": "rendered", "task": "roman", "shots": 1}})
    assert again["target"] is digits["target"]
    assert roman["target"].classes != digits["target"].classes


def test_a_mistake_is_found_in_processes_too(tmp_path: Path) -> None:
    given = recipe()
    given["sweep"]["optimizers"]["small"]["optimizer.bacth"] = 3
    with pytest.raises(UserError, match=r"task easy, optimizer=small.*Did you mean 'batch'"):
        sweep(given, folder=tmp_path / "sweep", workers=2)
    assert not (tmp_path / "sweep").exists()
