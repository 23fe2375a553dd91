"""The page of a sweep, from a real study and its ledgers; and optuna-dashboard on the same study."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chromium import browser, console, requests
from run_parts import WORDS

pytest.importorskip("optuna")
pytest.importorskip("jinja2")
pytest.importorskip("tomli_w")

from promptopt.errors import UserError
from promptopt.report import report
from promptopt.report.html import html
from promptopt.report.page import Page
from promptopt.sweep import sweep
from promptopt.sweep.report import (
    Curve,
    SweepStory,
    _curves,
    _importance,
    _learning,
    _recipe,
    _settings,
    _slices,
    _tasks,
    _tests,
    _verdict,
    sweep_page,
)
from promptopt.sweep.table import Difference, RunOutcome, SettingRow, SweepTable, score

RECIPE: dict[str, Any] = {
    "start": "answer {}",
    "target": "run_parts:ToyTarget",
    "budget": 30,
    "sweep": {
        "seeds": 3,
        "tasks": {
            "small": {"data": {"name": "run_parts:toy_data", "train": 6}},
            "large": {"data": {"name": "run_parts:toy_data", "train": 20}},
        },
        "optimizers": {
            "climb": {
                "optimizer": {"name": "hill-climb", "k": [2, 4], "sample": [2, 6]},
                "optimizer.proposer": {"name": "lexical", "phrases": [WORDS]},
            },
            "random": {
                "optimizer": {
                    "name": "random-search",
                    "batch": [1, 5],
                    "pool": {"name": "list", "prompts": [[f"{a} {b} {{}}" for a in WORDS for b in WORDS]]},
                },
            },
        },
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sweeps") / "toy"
    sweep(RECIPE, folder=place)
    return place


def test_its_sections_and_tables(folder: Path) -> None:
    page = sweep_page(folder)
    assert [section.id for section in page.sections] == [
        "verdict",
        "settings",
        "tasks",
        "tests",
        "curves",
        "importance",
        "slices",
        "recipe",
    ]
    tables = {table.name: table for table in page.tables}
    assert len(tables["settings"].rows) == 6
    assert len(tables["tasks"].rows) == 12
    assert len(tables["runs"].rows) == 36
    assert {row["setting"].split()[0] for row in tables["tests"].rows} == {"climb", "random"}
    slices = {name for name in tables if name.startswith("slice-")}
    assert "slice-optimizer" in slices
    assert len(slices) == 4
    importance = {row["parameter"]: row["importance"] for row in tables["importance"].rows}
    assert "optimizer" in importance
    assert any(name != "optimizer" for name in importance)  # parameters that only one optimizer has
    assert sum(importance.values()) == pytest.approx(1)


def test_learning_curves_rise_and_end_at_the_runs_best(folder: Path) -> None:
    rows = [row for table in sweep_page(folder).tables if table.name == "curves" for row in table.rows]
    runs = [row for table in sweep_page(folder).tables if table.name == "runs" for row in table.rows]
    for task in ("small", "large"):
        for setting in {row["setting"] for row in rows}:
            scores = [row["score"] for row in rows if row["task"] == task and row["setting"] == setting]
            assert scores == sorted(scores)
            best = [row["train"] for row in runs if row["task"] == task and row["setting"] == setting]
            assert scores[-1] >= sum(best) / 3 - 1e-9


@pytest.mark.study
def test_in_the_browser(folder: Path, tmp_path: Path) -> None:
    file = report(folder, tables=tmp_path / "tables")
    assert (tmp_path / "tables" / "settings.md").exists()
    with browser(tmp_path) as driver:
        driver.get(file.as_uri())
        assert requests(driver) == [file.as_uri()]
        assert console(driver) == []
        names = driver.execute_script(
            "return [...document.querySelectorAll('svg')].map(o => o.getAttribute('aria-label'))"
        )
        assert len(names) == 8  # differences, a curve for each of two tasks, importance, four slices
        assert all(names)
        ids = driver.execute_script("return [...document.querySelectorAll('[id]')].map(o => o.id)")
        assert len(ids) == len({*ids})
        nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        named = ("button", "link", "image", "region", "DisclosureTriangle")
        found = [one for one in nodes if not one["ignored"] and one["role"]["value"] in named]
        assert all(one["name"]["value"].strip() for one in found)


def test_ledgers_that_lie_elsewhere_are_said_to(folder: Path, tmp_path: Path) -> None:
    import shutil

    (tmp_path / "copy").mkdir()
    for file in folder.glob("study.db*"):  # SQLite may hold the last of it in files beside
        if file.is_file():
            shutil.copy(file, tmp_path / "copy" / file.name)
    shutil.move(folder, tmp_path / "away")
    try:
        page = sweep_page(tmp_path / "copy")
    finally:
        shutil.move(tmp_path / "away", folder)
    [curves] = [section for section in page.sections if section.id == "curves"]
    assert "the ledgers lie elsewhere" in getattr(curves.blocks[0], "text", "")
    assert "settings" in {table.name for table in page.tables}


def test_a_study_by_name_and_storage(folder: Path, tmp_path: Path) -> None:
    storage = f"sqlite:///{folder / 'study.db'}"
    file = report(sweep_page(folder).title, storage=storage, out=tmp_path / "x.html")
    assert "climb" in file.read_text(encoding="utf-8")
    with pytest.raises(UserError):
        report("no such study", storage=storage, out=tmp_path / "y.html")


# ── optuna-dashboard ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.study
def test_optuna_dashboard_reads_the_study_as_it_stands(folder: Path) -> None:
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"sqlite:///{folder / 'study.db'}"
    program = Path(sys.executable).parent / "optuna-dashboard"
    server = subprocess.Popen([program, url, "--host", "127.0.0.1", "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        studies = wait_for(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        [study] = [one for one in studies if not one["study_name"].endswith(" test")]
        details = wait_for(f"http://127.0.0.1:{port}/api/studies/{study['study_id']}")
        states = [trial["state"] for trial in details["trials"]]
        assert states == ["Complete"] * 6
        assert all(trial["values"] for trial in details["trials"])
    finally:
        server.terminate()
        server.wait(10)


def wait_for(url: str) -> Any:
    """What a server answers, once it is there."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return json.load(reply)
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")


# ── Sweeps that are not at their end ──────────────────────────────────────────────────────────────────────────────


def row(setting: int, scores: list[float], state: Any = "complete", **more: Any) -> SettingRow:
    runs = tuple(
        RunOutcome("task", i, v, "dev", "p", None, 10, 0, 0, 0.0, 1.0, "converged", "here", "")
        for i, v in enumerate(scores)
    )
    mean = score([*enumerate(scores)], within=(0, 1)) if scores else None
    return SettingRow(
        setting, setting, "climb", {"climb.k": setting}, state, mean, {"task": mean} if mean else {}, None, runs, **more
    )


def shown(*rows: SettingRow) -> Page:
    """The page of a table that no study stands behind."""
    study: Any = SimpleNamespace(user_attrs={})
    told = SweepStory(Path("nowhere"), SweepTable("mine", ("task",), (0, 1), rows), study)
    made = [make(told) for make in (_verdict, _settings, _tasks, _tests, _curves, _importance, _slices, _recipe)]
    return Page("mine", [], [section for section in made if section], told.tables())


def test_one_setting_is_the_best_without_a_comparison() -> None:
    text = html(shown(row(0, [0.5])))
    assert "Best: climb k=0" in text
    assert "Its score is 0.500 over 1 run with 1 seed. " in text
    assert "Holm&#39;s correction" not in text


def test_a_sweep_without_a_complete_setting() -> None:
    page = shown(row(0, [0.5], "running"), row(1, [], "waiting"), row(2, [], "failed", error="KeyError: <b>"))
    text = html(page)
    assert "No setting has run on every task with every seed" in text
    assert "too few to say which parameters matter" not in text  # only one setting has a score: nothing to compare
    assert [line["state"] for line in page.tables[0].rows] == ["running", "waiting", "failed"]


def test_scores_of_settings_say_what_they_rest_on() -> None:
    given = row(0, [0.9, 0.8])
    coverage = {"examples": 10, "scored": 9, "failed": 1, "reasons": {"empty": 1}}
    known = replace(given, outcomes=tuple(replace(one, coverage=coverage) for one in given.outcomes))
    text = html(shown(known))
    assert "18 of 20 scored, 2 failed: empty (2)" in text
    assert "rests on" not in html(shown(given))


def test_a_tie_names_no_winner() -> None:
    text = html(shown(row(0, [0.9, 0.8, 0.7]), row(1, [0.7, 0.8, 0.9]), row(2, [0.1, 0.2, 0.3])))
    assert "A tie: climb k=0 and climb k=1" in text
    assert "Best: climb" not in text
    assert text.count("tied best") >= 2


def test_learning_curves_stay_in_the_range_of_their_scores(folder: Path) -> None:
    rows = [row for table in sweep_page(folder).tables if table.name == "curves" for row in table.rows]
    assert rows
    assert all(0 <= row["low"] <= row["score"] <= row["high"] <= 1 for row in rows)
    table = SweepTable("mine", ("task",), (0, 1), (row(0, [0.5]),))
    points = [score([(0, -1.0), (1, 0.0), (2, 0.5)]), score([(0, 0.0), (1, 0.1), (2, 0.5)])]
    assert points[0].low is not None
    assert points[0].low < -2
    [figure] = [_learning("task", [Curve(table.rows[0], "task", [0.0, 1.0], points)])]
    ticks = [float(text) for text in re.findall(r'text-anchor="end">([-.\d]+)<', figure.svg)]
    assert -1 < min(ticks) < max(ticks) < 1


def test_significance_is_counted_for_settings_that_are_worse() -> None:
    worse = Difference(-0.2, -0.3, -0.1, 0.001, 0.002, 6)
    rows = [row(0, [0.9, 0.8]), replace(row(1, [0.6, 0.7]), difference=worse)]
    text = html(shown(*rows))
    assert "It is significantly better than 1 of the 1 other settings" in text
    assert 'class="headline gain"' in text
