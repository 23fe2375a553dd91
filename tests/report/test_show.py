"""Run folders as a person sees them, and the live line: prompts stand there as they are, whatever is in them."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_parts import CLIMB, rewrite

import promptopt
from promptopt.core import Coverage, Rating
from promptopt.errors import UserError
from promptopt.optimizers import RandomSearch
from promptopt.optimizers.pools.listed import ListPool
from promptopt.parts import text_of
from promptopt.record.ledger import Ledger, read
from promptopt.record.story import Story
from promptopt.report.show import plot, score, show, show_cases
from promptopt.report.terminal import changes, print_changes, print_prompt
from promptopt.text import plain

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


def prompts(text: str) -> list[str]:
    """The lines below ``Start`` and ``Best``."""
    rows = text.splitlines()
    return [rows[i + 1] for i, row in enumerate(rows) if row.startswith(("Start", "Best"))]


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
    rows = text.splitlines()
    start, best = (next(i for i, row in enumerate(rows) if row.startswith(title)) for title in ("Start", "Best"))
    assert rows[start].startswith(f"Start, rated {result.score('answer {}'):.3f}")
    assert rows[best].startswith(f"Best, rated {result.score(result.best):.3f}")
    assert (rows[start + 1], rows[best + 1]) == ("answer {}", result.best)


@pytest.mark.parametrize("top", [1, 3])
def test_as_many_prompts_as_asked_for(tmp_path: Path, top: int) -> None:
    search(tmp_path, "start", [f"prompt {'x' * i}" for i in range(9)])
    ranked, _, weighed = output(tmp_path, top=top).partition("Score against prompt tokens:")
    assert sum("prompt x" in line for line in ranked.splitlines()) == top
    assert sum("prompt x" in line for line in weighed.splitlines()) == top - 1  # besides the best


@pytest.mark.parametrize("nasty", NASTY)
def test_prompts_are_shown_literally(tmp_path: Path, nasty: str) -> None:
    search(tmp_path, nasty, [nasty + " more"])
    assert prompts(output(tmp_path)) == [nasty, nasty + " more"]


def test_what_a_terminal_would_act_upon_is_written_out(tmp_path: Path) -> None:
    search(tmp_path, "\x1b[31mred\x1b]0;title\x07 \u2028 {}\x00\x9b", ["b"])
    text = output(tmp_path)
    assert "\x1b" not in text
    assert "\\x1b[31mred\\x1b]0;title\\x07 \\u2028 {}\\x00\\x9b" in text
    assert "best.txt has them" in text


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
    [start] = [line for line in output(tmp_path).splitlines() if line.startswith("Start")]
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


def test_changes_mark_new_words_and_lost_ones() -> None:
    text = changes("a photo of a {}", "a blurry drawing of a {}", styled=True)
    assert text.plain == "a photo blurry drawing of a {}"
    styles = {text.plain[span.start : span.end].strip(): str(span.style) for span in text.spans if span.style}
    assert styles == {"photo": "strike dim", "blurry drawing": "bold green"}
    assert changes("a photo of a {}", "a drawing of a {}", styled=False).plain == "a [-photo-] {+drawing+} of a {}"
    assert changes("", "x", styled=True).plain == "x"
    assert changes("x", "", styled=False).plain == "[-x-]"
    long = " ".join(f"word{i}" for i in range(40))
    assert changes(f"{long} old", f"{long} new", styled=False).plain == (
        "word0 word1 word2 word3 word4 word5 … word34 word35 word36 word37 word38 word39 [-old-] {+new+}"
    )


EXACT = [
    "a\tb {}",
    "tight\u00a0space {}",
    "👩\u200d💻 ❤\ufe0f {}",
    "  spaces at both ends {} ",
    "x" * 300 + " {}",
    "two\nlines {}",
]


@pytest.mark.parametrize("prompt", EXACT)
@pytest.mark.parametrize("colour", [None, "truecolor"])
def test_what_is_copied_is_the_prompt(prompt: str, colour: Any) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, soft_wrap=True, force_terminal=bool(colour), color_system=colour)
    print_prompt(console, "Best", prompt)
    shown = re.sub("\x1b\\[[0-9;]*m", "", stream.getvalue())
    assert shown == f"Best:\n{prompt}\n"


@pytest.mark.parametrize(
    ("options", "styled"), [({}, True), ({"no_color": True}, False), ({"color_system": None}, False)]
)
def test_without_colours_what_changed_is_marked_by_characters(options: dict[str, Any], styled: bool) -> None:
    stream = io.StringIO()
    settings: dict[str, Any] = {"force_terminal": True, "color_system": "truecolor", **options}
    print_changes(Console(file=stream, width=80, **settings), "a photo of {}", "a drawing of {}")
    assert ("[-photo-]" in stream.getvalue()) is not styled
    assert ("\x1b[9m" in stream.getvalue() or "\x1b[2;9m" in stream.getvalue()) is styled


@pytest.mark.parametrize("start", ["x", "quite another"])
def test_no_changes_are_shown_where_none_or_all_is_new(start: str) -> None:
    stream = io.StringIO()
    print_changes(Console(file=stream), start, "x")
    assert stream.getvalue() == ""


def test_of_parts_it_is_said_in_which_something_changed() -> None:
    stream = io.StringIO()
    start = text_of({"rules": "a b c", "instruction": "a photo of {}"})
    print_changes(Console(file=stream, width=80), start, text_of({"rules": "a b c", "instruction": "a drawing of {}"}))
    assert stream.getvalue() == "Changed in instruction: a [-photo-] {+drawing+} of {}\n"


def test_of_a_prompt_with_hundreds_of_lines_the_first_are_shown() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80)
    prompt = "\n".join(["a {}", *(f"class {i}: text {i}" for i in range(200))])
    print_prompt(console, "Best", prompt)
    print_changes(console, "a {}", prompt)
    lines = stream.getvalue().splitlines()
    assert lines[1:4] == ["a {}", "class 0: text 0", "class 1: text 1"]
    assert lines[-2:] == [
        "(161 more lines; best.txt and the ledger have them)",
        "Changed lines: 0 less, 200 more",
    ]
    assert len(lines) == 43


# ── Coverage and cases ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rating", "shown"),
    [
        (None, "–"),
        (Rating(0.5), "0.500"),
        (Rating(math.nan, coverage=Coverage(3, 0)), "– (0 of 3 examples)"),
        (Rating(0.8, coverage=Coverage(50, 50)), "0.800 (50 examples)"),
        (Rating(0.8, coverage=Coverage(50, 45, 3)), "0.800 (45 of 50 examples, 3 failed)"),
        (Rating(0.1, coverage=Coverage(50, 50, 45)), "0.100 (50 examples, 45 failed)"),
    ],
)
def test_coverage_stands_beside_a_score(rating: Rating | None, shown: str) -> None:
    assert score(rating) == shown


def recorded(folder: Path, *cases: tuple[str, str, float, list[list[Any]]]) -> Path:
    """A run whose ledger holds ratings: stage, prompt, value and cases."""
    ledger = Ledger(folder)
    start = {"event": "start", "format": 1, "seed": 0, "start": ["start"], "recipe": {}, "examples": {"train": ["a"]}}
    answers = [
        {"event": "answer", "stage": stage, "n": n, "ask": "rate", "prompt": prompt, "origin": {}, "value": value}
        | {"tiebreak": 0, "coverage": {"examples": 4, "scored": 3, "failed": 1, "reasons": {"cut": 1}}, "cases": cases}
        for n, (stage, prompt, value, cases) in enumerate(cases)
    ]
    ledger.append(start, *answers, {"event": "stop", "reason": "converged", "best": "best"})
    ledger.close()
    return folder


def shown_cases(folder: Path, **options: Any) -> list[str]:
    stream = io.StringIO()
    show_cases(folder, Console(file=stream, width=300, soft_wrap=True), **options)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_replies_stand_beside_their_examples(tmp_path: Path) -> None:
    before = [
        ["e1", "no [b]", 0.0, "not right"],
        ["e2", "yes", 1.0, ""],
        ["e3", None, None, "HTTP 500"],
        ["e4", "x", 1, ""],
    ]
    after = [
        ["e1", "two\nlines\x1b[31m", 1.0, ""],
        ["e2", "oh", 0.0, "wrong"],
        ["e3", "y", 1.0, ""],
        ["e4", "x", 1, ""],
    ]
    folder = recorded(tmp_path, ("test", "start", 0.5, before), ("test", "best", 0.5, after))
    assert shown_cases(folder) == [
        "e2",
        "  start  1         yes",
        "  best   0         oh  [wrong]",
        "e1",
        "  start  0         no [b]  [not right]",
        "  best   1         two / lines\\x1b[31m",
        "e3",
        "  start  unscored  (no output)  [HTTP 500]",
        "  best   1         y",
        "e4",
        "  start  1         x",
        "  best   1         x",
    ]
    with pytest.raises(UserError, match="holds no outputs of its prompts"):
        shown_cases(folder, stage="transfer:other")


def test_coverage_and_reasons_are_among_what_is_shown(tmp_path: Path) -> None:
    text = output(recorded(tmp_path, ("search", "start", 0.5, []), ("search", "best", 0.75, [])))
    assert "Best, rated 0.750 (3 of 4 examples, 1 failed):" in text
    assert "2 outputs over all prompts: cut" in text


def test_what_targets_tell_is_shown(tmp_path: Path) -> None:
    recorded(tmp_path)
    file = tmp_path / "ledger.jsonl"
    start, *rest = read(file)
    told = {"model": "ViT-B-32", "pretrained": "openai", "activation": "quick_gelu"}
    rewrite(file, [{**start, "targets": {"target": told}}, *rest])
    assert "target: model ViT-B-32, pretrained openai, activation quick_gelu" in output(tmp_path)


def test_a_run_that_rated_on_parts_shows_its_ratings(tmp_path: Path) -> None:
    optimizer = {"name": "racing", "optimizer": CLIMB, "minibatch": 3}
    result = toy(tmp_path, optimizer=optimizer, budget=60)
    text = output(tmp_path)
    assert f"Best, rated {result.score(result.best):.3f}" in text
    assert "ratings" in text


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


def test_the_ledger_of_a_nasty_run_is_whole(tmp_path: Path) -> None:
    search(tmp_path, "start", NASTY)
    asked = [event["prompt"] for event in read(tmp_path / "ledger.jsonl") if event["event"] == "answer"]
    assert set(asked) == {"start", *NASTY}
