"""Run folders as a person sees them, and the live line: prompts stand there as they are, whatever is in them."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_parts import CLIMB

import promptopt
from promptopt.budget import Budget, Costs
from promptopt.core import Prompt, Rating
from promptopt.errors import UserError
from promptopt.ledger import Ledger, read
from promptopt.loop import Progress
from promptopt.optimizers import RandomSearch
from promptopt.optimizers.pools import ListPool
from promptopt.progress import live
from promptopt.show import Story, best_so_far, changes, plain, plot, show

NASTY = [
    "[bold]loud[/bold] {}",
    "[/] {} [link=http://x]y[/link]",
    "smile :smile: {}",
    "back\\slash [red]\\[x] {}",
    "quote \" ' `{}` $x^2$ $\\frac{",
    "日本語 😀 {}",
]


def output(folder: Path, **options: Any) -> str:
    stream = io.StringIO()
    show(folder, Console(file=stream, width=200, soft_wrap=True), **options)
    return stream.getvalue()


def search(folder: Path, start: str, pool: list[str], score: Any = len) -> promptopt.Result:
    optimizer = RandomSearch(pool=ListPool(prompts=pool))
    return promptopt.optimize(start=start, score=score, optimizer=optimizer, run=folder)


def toy(folder: Path, **changes: Any) -> promptopt.Result:
    recipe: dict[str, Any] = {"start": "answer {}", "target": "run_parts:ToyTarget", "data": "run_parts:toy_data"}
    return promptopt.optimize(**{**recipe, "optimizer": CLIMB, "budget": 40, "run": folder, **changes})


# ── What is shown ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_finished_run(tmp_path: Path) -> None:
    result = toy(tmp_path)
    text = output(tmp_path)
    assert str(tmp_path) in text
    assert "seed 0, stopped: budget: questions" in text
    assert result.best in text
    assert "Verdict:" in text
    assert result.verdict is not None
    assert result.verdict.sentence() in text
    assert f"Costs: {result.costs.questions} questions" in text
    assert "after 35 ratings" in text
    rows = [line for line in text.splitlines() if line.startswith(("start", "best"))]
    assert [row.split()[0] for row in rows] == ["start", "best"]
    assert f"{result.score('answer {}'):.3f}" in rows[0]
    assert f"{result.score(result.best):.3f}" in rows[1]


@pytest.mark.parametrize("top", [1, 3])
def test_as_many_prompts_as_asked_for(tmp_path: Path, top: int) -> None:
    search(tmp_path, "start", [f"prompt {'x' * i}" for i in range(9)])
    rows = [line for line in output(tmp_path, top=top).splitlines() if "prompt x" in line]
    assert len(rows) == top


@pytest.mark.parametrize("nasty", NASTY)
def test_prompts_are_shown_literally(tmp_path: Path, nasty: str) -> None:
    search(tmp_path, nasty, [nasty + " more"])
    text = output(tmp_path)
    start, best = (line for line in text.splitlines() if line.startswith(("start", "best")))
    assert start.rstrip().endswith(nasty)
    assert best.rstrip().endswith(nasty + " more")


def test_what_a_terminal_would_act_upon_is_written_out(tmp_path: Path) -> None:
    search(tmp_path, "\x1b[31mred\x1b]0;title\x07 \u2028 {}\x00\x9b", ["b"])
    text = output(tmp_path)
    assert "\x1b" not in text
    assert "\\x1b[31mred\\x1b]0;title\\x07 \\u2028 {}\\x00\\x9b" in text


def test_a_folder_with_brackets_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "[red]x[/red] [/]"
    search(folder, "start", ["b"])
    assert str(folder) in output(folder)


def test_a_very_long_prompt(tmp_path: Path) -> None:
    search(tmp_path, "start", ["word " * 5_000])
    assert output(tmp_path).count("word") == 5_000


def test_an_unfinished_run(tmp_path: Path) -> None:
    toy(tmp_path / "run")
    rows = (tmp_path / "run" / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    for kept in (1, 2, 12):
        (tmp_path / "run" / "ledger.jsonl").write_bytes(b"".join(rows[:kept]) + rows[kept][:20])
        text = output(tmp_path / "run")
        assert "unfinished" in text
        assert "none was measured" in text
        assert f"Costs: {kept - 1} questions" in text


def test_a_run_that_is_under_way_can_be_looked_at(tmp_path: Path) -> None:
    result = toy(tmp_path)
    ledger = Ledger(tmp_path)
    assert result.best in output(tmp_path)
    ledger.close()


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    def score(text: str) -> float:
        raise KeyError("[/bold] no")

    with pytest.raises(KeyError):
        search(tmp_path, "start", ["b"], score)
    assert "failed: KeyError: '[/bold] no'" in output(tmp_path)


def test_a_run_that_was_resumed_and_ended_again_has_ended(tmp_path: Path) -> None:
    toy(tmp_path)
    promptopt.resume(tmp_path)
    assert "stopped: budget: questions" in output(tmp_path)


def test_a_run_that_was_extended_and_killed_shows_its_best_so_far(tmp_path: Path) -> None:
    scores = {"start": 0.1, "a": 0.2, "b": 0.9}
    parts: dict[str, Any] = {"score": scores.__getitem__}
    optimizer = {"name": "random-search", "batch": 1, "pool": {"name": "list", "prompts": ["a", "b"]}}
    first = promptopt.optimize(start="start", optimizer=optimizer, budget=2, run=tmp_path, **parts)
    promptopt.resume(tmp_path, ["budget=3"], **parts)
    file = tmp_path / "ledger.jsonl"
    rows = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(rows[:-1]))  # killed before it said stop
    story = Story.read(tmp_path)
    assert first.best in ("a", "start") or first.best == "b"
    assert story.best == "b"
    assert "unfinished" in story.status


def test_no_run(tmp_path: Path) -> None:
    for content in (None, "", '{"event": "answer"}\n'):
        if content is not None:
            (tmp_path / "ledger.jsonl").write_text(content)
        with pytest.raises(UserError, match="there is no run in"):
            output(tmp_path)


def test_unscored_prompts_have_a_dash(tmp_path: Path) -> None:
    search(tmp_path, "start", ["b"], lambda text: math.nan if text == "start" else 0.5)
    [start] = [line for line in output(tmp_path).splitlines() if line.startswith("start")]
    assert "–" in start


def test_llm_calls_are_among_the_costs(tmp_path: Path) -> None:
    proposer = {"name": "chat", "model": "run_parts:Writer"}
    result = promptopt.optimize(
        start="{}",
        scorer="run_parts:Words",
        optimizer={"name": "hill-climb", "proposer": proposer},
        budget={"calls": 3},
        run=tmp_path,
    )
    assert f"{result.costs.questions} questions" in output(tmp_path)
    assert "3 LLM calls, 150 + 60 tokens, $0.0300" in output(tmp_path)


# ── Parts of it ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_changes_marks_new_words_and_strikes_lost_ones() -> None:
    text = changes("a photo of a {}", "a blurry drawing of a {}", lost=True)
    assert text.plain == "a photo blurry drawing of a {}"
    styles = {text.plain[span.start : span.end].strip(): str(span.style) for span in text.spans if span.style}
    assert styles == {"photo": "strike dim", "blurry drawing": "bold green"}
    assert changes("a photo of a {}", "a drawing of a {}", lost=False).plain == "a drawing of a {}"
    assert changes("", "x", lost=True).plain == "x"
    assert changes("x", "", lost=False).plain == ""


def test_best_so_far() -> None:
    values = [math.nan, 0.5, 0.2, math.nan, 0.7, 0.7]
    curve = best_so_far([("p", Rating(v)) for v in values])
    assert math.isnan(curve[0])
    assert curve[1:] == [0.5, 0.5, 0.5, 0.7, 0.7]


@pytest.mark.parametrize("text", ["a photo of a {}", "日本語 😀", "two\nlines", ""])
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


# ── As a picture ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("start", ["answer {}", "cost $x_{$ and $\\frac$ {}"])
def test_a_picture(tmp_path: Path, start: str) -> None:
    pytest.importorskip("matplotlib")
    search(tmp_path / "run", start, ["b {}", "c " * 20], lambda text: math.nan if text == "b {}" else len(text))
    plot(tmp_path / "run", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    search(tmp_path / "run", "start", ["b"])
    for wrong in ("picture.nope", "no/such/folder.png"):
        with pytest.raises(UserError, match="cannot write"):
            plot(tmp_path / "run", tmp_path / wrong)


def test_no_ratings_no_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    search(tmp_path, "start", ["b"])
    rows = (tmp_path / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "ledger.jsonl").write_bytes(rows[0])
    with pytest.raises(UserError, match="holds no ratings to draw"):
        plot(tmp_path, tmp_path / "x.png")


# ── The live line ─────────────────────────────────────────────────────────────────────────────────────────────────


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


def test_the_ledger_of_a_nasty_run_is_whole(tmp_path: Path) -> None:
    search(tmp_path, "start", NASTY)
    asked = [event["prompt"] for event in read(tmp_path / "ledger.jsonl") if event["event"] == "answer"]
    assert set(asked) == {"start", *NASTY}
