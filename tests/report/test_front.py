"""The front as a picture, a table and words: the same points everywhere, and nothing in it is markup."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console
from run_parts import CLIMB

import promptopt
from promptopt.core import Rating
from promptopt.record.front import Front, front_of
from promptopt.record.verdict import Verdict
from promptopt.report.front import as_svg, caption, draw, front_table, held_out, legend, print_cheapest, shown
from promptopt.report.html import html
from promptopt.report.run import run_page
from promptopt.report.show import plot, show

NASTY = "<b>&[red] short"


def made(*, objectives: tuple[str, ...] = ("prompt-tokens",), n: int = 30) -> Front:
    """A best prompt of 9, one that is as good of 5, a bad one of 1, and two that are dominated."""
    right = np.array([1.0] * (n - 6) + [0.0] * 6)
    fewer = right.copy()
    fewer[0] = 0.0
    ratings = {"the best": (right, 9), NASTY: (fewer, 5), "bad": (1 - right, 1)}
    ratings |= {"long": (fewer, 12), "worst": (right * 0, 2)}
    front = front_of(
        {text: Rating(float(values.mean()), per_example=values) for text, (values, _) in ratings.items()},
        {text: {name: cost / 2**i for i, name in enumerate(objectives)} for text, (_, cost) in ratings.items()},
        objectives=objectives,
        best="the best",
        gain=0.5,
        tokens="4 bytes as a token: the target names no tokenizer",
    )
    assert front is not None
    return front


def group(svg: str, kind: str) -> list[dict[str, str]]:
    root = ElementTree.fromstring(svg)
    return [circle.attrib for one in root.iter("g") if one.get("class") == kind for circle in one]


def test_a_page_draws_every_point_and_says_what_it_shows() -> None:
    front = made()
    svg = as_svg(front, "prompt-tokens")
    assert [len(group(svg, kind)) for kind in ("rated", "best", "chosen", "cheapest")] == [2, 3, 1, 1]
    lines = [line for line in ElementTree.fromstring(svg).iter("line") if line.get("class") == "whisker best"]
    assert len(lines) == 3
    assert ElementTree.fromstring(svg).get("aria-label") == caption(front, "prompt-tokens")
    assert [kind for kind, _ in legend(front)] == ["rated", "best", "chosen", "cheapest"]
    assert "3 of 5 prompts are on the front" in caption(front, "prompt-tokens")
    assert "From 1 prompt token to 9 prompt tokens, scores from 0.200 to 0.800." in caption(front, "prompt-tokens")


def test_a_line_joins_the_points_of_one_objective_alone() -> None:
    one, two = made(), made(objectives=("prompt-tokens", "dollars"))
    paths = [len([*ElementTree.fromstring(as_svg(front, "prompt-tokens")).iter("path")]) for front in (one, two)]
    assert paths == [1, 0]
    assert "dollars an example" in as_svg(two, "dollars")


def test_without_intervals_there_are_no_bars() -> None:
    front = made(n=9)
    assert "whisker" not in as_svg(front, "prompt-tokens")
    assert "bars" not in caption(front, "prompt-tokens")
    assert not {"low", "examples"} & {column.key for column in front_table(front).columns}


def test_the_table_has_the_numbers() -> None:
    table = front_table(made())
    assert [(row["prompt"], row["prompt-tokens"], row["role"]) for row in table.rows] == [
        ("the best", 9, "best"),
        (NASTY, 5, "cheapest"),
        ("bad", 1, ""),
    ]
    assert "estimated: 4 bytes as a token" in table.note
    assert table.to_json()


def test_matplotlib_draws_the_same_points() -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw(made(), axes)
    assert [len(line.get_xdata()) for line in axes.lines] == [2, 3, 1, 1]  # type: ignore[arg-type]
    assert axes.lines[1].get_xdata().tolist() == [1, 5, 9]  # type: ignore[union-attr]


def test_on_a_terminal_prompts_are_literal() -> None:
    said = io.StringIO()
    verdict = Verdict(0.8, 0.75, -0.05, -0.1, 0.0, examples=40)
    print_cheapest(Console(file=said, width=200, soft_wrap=True), made(), verdict)
    text = said.getvalue()
    assert f"Cheapest (prompt tokens) that is good enough:\n{NASTY}\n5 prompt tokens instead of 9" in text
    assert "Held out: 0.750 instead of 0.800 on 40 examples (difference -0.050, 95% interval -0.100 to +0.000)." in text
    assert "interval" not in held_out(Verdict(0.8, 0.75, -0.05, None, None, examples=5))


def test_one_prompt_is_nothing_to_weigh() -> None:
    front = front_of({"best": Rating(1.0)}, {"best": {"a": 1.0}}, objectives=["a"], best="best")
    assert front is not None
    assert shown(front) is shown(None) is None
    assert shown(made()) is not None


def test_a_run_shows_its_front_everywhere(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    result = promptopt.optimize(
        start="answer {}",
        target="run_parts:ToyTarget",
        data={"name": "run_parts:toy_data", "train": 40, "dev": 0},
        optimizer=CLIMB,
        budget=60,
        margin=0.5,
        run=tmp_path,
        watch=False,
    )
    assert result.front is not None
    said = io.StringIO()
    show(tmp_path, Console(file=said, width=200, soft_wrap=True), top=2)
    assert "Score against prompt tokens:" in said.getvalue()
    assert f"({len(result.front.points) - 2} more; front.json has all of them)" in said.getvalue()
    assert f"good enough:\n{result.cheapest}\n" in said.getvalue()
    page = run_page(tmp_path)
    section = next(section for section in page.sections if section.id == "front")
    assert [block.kind for block in section.blocks] == ["text", "code", "figure"]
    assert next(table for table in page.tables if table.name == "front").rows[0]["role"] == "best"
    assert 'class="swatch cheapest"' in html(page)
    plot(tmp_path, tmp_path / "picture.svg")
    assert "prompt tokens" in (tmp_path / "picture.svg").read_text()
