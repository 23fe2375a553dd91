"""Other people's text on a terminal and on a page: nothing in it acts."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from run_parts import ToyTarget, toy_data

import promptopt
from promptopt import cli
from promptopt.errors import UserError
from promptopt.report import report
from promptopt.report.figures import forest
from promptopt.report.show import show
from promptopt.text import plain, shortened, visible

ACTS = "\x00\x07\x1b\x7f\x9b\u202e\u2066"
EVIL = f"e\x1b]0;owned\x07vil\x9b31m\x00\u202e{ACTS}"


def test_a_page_shows_what_it_cannot_hold() -> None:
    assert visible("a\tb\nc\x00\x1b\x7f\x9b\u202e") == "a\tb\nc␀␛␡\\x9b\\u202e"
    assert visible("Grüße 👩‍💻") == "Grüße 👩‍💻"


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    text = f"begin {'x' * 20_000} end"
    short = shortened(text)
    assert len(short) <= 950
    assert short.startswith("begin x")
    assert short.endswith("x end")
    assert "characters" in short
    assert shortened("short") == "short"


def test_messages_of_the_command_line_act_on_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise UserError(f"the server said {EVIL}")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit):
        cli.main()
    err = capsys.readouterr().err
    assert err.startswith("promptopt: the server said e\\x1b]0;owned")
    assert not {*err} & {*ACTS}


def test_runs_are_shown_and_reported_without_what_acts(tmp_path: Path) -> None:
    folder = tmp_path / "ru\x1bn"
    promptopt.optimize(
        start="answer {}",
        target=ToyTarget(),
        data=toy_data(),
        transfer={f"other{EVIL}": ToyTarget()},
        optimizer={"name": "bayes", "phrases": [f"clear {EVIL}", "short"]},
        budget=30,
        run=folder,
    )
    out = io.StringIO()
    console = Console(file=out, width=200)
    show(folder, console)
    page = report(folder).read_text(encoding="utf-8")
    shown = out.getvalue()
    assert "On othere\\x1b" in shown
    assert not {*shown} & {*ACTS}
    assert not {*page} & {*ACTS}


def test_a_figures_texts_are_made_visible_on_the_page() -> None:
    assert not {*visible(forest(EVIL, EVIL, [(EVIL, 0.1, 0.0, 0.2)]))} & {*ACTS}
    assert plain(EVIL).isprintable()
