"""How a run is going, on a terminal, in a notebook and elsewhere."""

from __future__ import annotations

import io
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_parts import CLIMB

import promptopt
from promptopt.core import Prompt, Rating
from promptopt.loading import say
from promptopt.parts import text_of
from promptopt.run import progress
from promptopt.run.budget import Budget, Costs
from promptopt.run.progress import asks_people, live, watching
from promptopt.run.recorder import Progress

NASTY = ["[bold]loud[/bold] {}", "[/] {} [link=http://x]y[/link]", "smile :smile: {}", "日本語 😀 {}"]
NOW = Progress(Prompt("a {}"), Rating(0.5), Costs(questions=7, seconds=3.0), Budget(questions=20), ())


def progress_line(now: Progress, *, terminal: bool) -> str:
    stream = io.StringIO()
    with live(Console(file=stream, force_terminal=terminal, width=200, color_system=None)) as watch:
        watch(now)
    return stream.getvalue()


@pytest.mark.parametrize("nasty", NASTY)
def test_the_live_line_shows_prompts_literally(nasty: str) -> None:
    costs = Costs(questions=7, calls=2, dollars=0.5)
    now = Progress(Prompt(nasty), Rating(0.625), costs, Budget(questions=20), ())
    text = progress_line(now, terminal=True)
    assert f"0.625 {nasty}" in text
    assert "7/20 questions, 2 LLM calls, $0.5000" in text


def test_the_live_line_is_quiet_elsewhere() -> None:
    assert progress_line(Progress(Prompt("p"), None, Costs(), Budget(), ()), terminal=False) == ""


def test_the_live_line_without_any_limit_and_with_a_long_prompt() -> None:
    now = Progress(Prompt("\x1b[31m long\nprompt " * 20), None, Costs(questions=3), Budget(), ())
    text = progress_line(now, terminal=True)
    assert "\\x1b[31m long / prompt" in text
    assert "…" in text
    assert "3 questions" in text


def test_of_a_prompt_of_parts_the_part_that_was_changed_is_shown() -> None:
    prompt = Prompt(text_of({"rules": "Never lie. " * 9, "instruction": "Be\nbrief."}), {"part": "instruction"})
    text = progress_line(Progress(prompt, Rating(0.5), Costs(), Budget(), ()), terminal=True)
    assert "0.500 instruction: Be / brief." in text
    start = Progress(Prompt(prompt.text), None, Costs(), Budget(), ())
    assert "=== rules === / Never lie." in progress_line(start, terminal=True)


def test_everything_fits_into_80_columns() -> None:
    stream = io.StringIO()
    costs = Costs(questions=1234, calls=1234, dollars=12.5)
    now = Progress(
        Prompt("a prompt that is longer than any line " * 3), Rating(0.625), costs, Budget(questions=5000), ()
    )
    with live(Console(file=stream, force_terminal=True, width=80, color_system=None)) as watch:
        watch(now)
    rows = [row for row in stream.getvalue().replace("\r", "\n").splitlines() if "1234/5000" in row]
    assert rows
    for row in rows:
        assert "1234/5000 questions, 1234 LLM calls, $12.5000 0:00:0" in row
        assert "0.625 a pr" in row
        assert len(row.replace("\x1b[2K", "").replace("\x1b[?25h", "").replace("\x1b[?25l", "")) <= 80


def test_the_live_line_says_what_is_loaded() -> None:
    stream = io.StringIO()
    with live(Console(file=stream, force_terminal=True, width=120, color_system=None)):
        say("loading the CLIP model [x]")
    assert "starting" in stream.getvalue()
    assert "loading the CLIP model [x]" in stream.getvalue()


def test_where_there_is_no_terminal_a_line_is_printed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    stream = io.StringIO()
    with live(Console(file=stream, width=60)) as watch:
        say("loading [weights]")
        time.sleep(0.2)
        watch(NOW)
        time.sleep(0.2)
    rows = stream.getvalue().splitlines()
    assert "[0 s] loading [weights]" in rows
    assert rows[-1] == "[0 s] 7/20 questions, 3 s, best 0.500 a {}"
    assert len(rows) < 12


def test_nothing_is_said_where_it_was_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.01)
    stream = io.StringIO()
    for options in ({"show": False}, {"lines": False}):
        with live(Console(file=stream), **options) as watch:
            watch(NOW)
            time.sleep(0.05)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("scorer", "people"),
    [("human", True), ({"name": "human"}, True), ("judge-duel", False), (None, False), (len, False)],
)
def test_people_need_the_terminal(scorer: Any, people: bool) -> None:
    assert asks_people(scorer) is people


# ── From Python ───────────────────────────────────────────────────────────────────────────────────────────────────


def optimize(**options: Any) -> None:
    promptopt.optimize(start="a", score=len, optimizer={**CLIMB, "restarts": 1}, budget=12, run=None, **options)


def test_a_script_whose_output_is_piped_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    optimize()
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal as stderr."""
    stream = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **options: Console(file=stream, force_terminal=True, width=120))
    return stream


def test_a_script_on_a_terminal_shows_a_line(terminal: io.StringIO) -> None:
    optimize()
    assert "12/12 questions" in terminal.getvalue()


def test_resuming_shows_it_too(terminal: io.StringIO, tmp_path: Path) -> None:
    recipe: dict[str, Any] = {"start": "a {}", "scorer": "run_parts:Words", "optimizer": CLIMB, "run": tmp_path}
    promptopt.optimize(**recipe, budget=12, watch=False)
    assert terminal.getvalue() == ""
    promptopt.resume(tmp_path, ["budget=14"])
    assert "14/14 questions" in terminal.getvalue()


def test_it_can_be_turned_off_and_replaced(terminal: io.StringIO) -> None:
    heard: list[Progress] = []
    optimize(watch=False)
    optimize(watch=heard.append)
    assert terminal.getvalue() == ""
    assert heard[-1].costs.questions == 12


def test_a_notebook_shows_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)  # type: ignore[arg-type]
    optimize()
    out, err = capsys.readouterr()
    assert err == ""
    assert "\n" not in out
    assert "questions, " in out or "building" in out
    assert out.endswith(" " * 100 + "\r")


def test_in_ipythons_terminal_there_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: object()))  # type: ignore[arg-type]
    assert not progress._in_notebook()
    with watching(None) as watch:
        assert watch is progress._nobody
