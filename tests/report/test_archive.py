"""The archive of a run on a page, in tables and on a terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from archive_parts import START, quality, writer
from rich.console import Console
from typer.testing import CliRunner

import promptopt
from promptopt.cli import app
from promptopt.core import Archive, Dataset, Elite, Example, Prompt
from promptopt.errors import UserError
from promptopt.record.archive import NAME, as_lines, elites, read_archive
from promptopt.record.story import Story
from promptopt.report.archive import planes, show_archive
from promptopt.report.html import html
from promptopt.report.page import Page, Planes
from promptopt.report.run import run_page

pytest.importorskip("jinja2")
pytest.importorskip("tomli_w")

WORDS = {"name": "words", "edges": [6, 10, 14, 18]}


def named(prompt: str, example: Example) -> str:
    """The right answer to as many examples as the prompt names good words, of four a quarter each."""
    return "yes" if example.input % 4 < 4 * quality(prompt) else "no"


def run(folder: Path, measures: Any = (WORDS, "politeness"), budget: int = 30) -> promptopt.Result:
    optimizer = {"name": "map-elites", "model": writer(), "measures": [*measures], "rounds": 12}
    return promptopt.optimize(start=START, score=quality, optimizer=optimizer, budget=budget, run=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    run(folder)
    return folder


@pytest.fixture(scope="module")
def archive(folder: Path) -> Archive:
    found = read_archive(folder)
    assert found
    return found


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return run_page(folder)


def grids(page: Page) -> Planes:
    [section] = [one for one in page.sections if one.id == "archive"]
    [block] = [one for one in section.blocks if isinstance(one, Planes)]
    return block


def shown(folder: Path) -> str:
    stream = io.StringIO()
    show_archive(folder, Console(file=stream, width=200, soft_wrap=True))
    return stream.getvalue()


def test_every_cell_stands_in_the_grid_with_its_number_colour_and_prompt(page: Page, archive: Archive) -> None:
    text, held = html(page), elites(archive)
    assert len(held) > 5
    assert len(grids(page).holders) == len(held)
    for (i, j), one in held.items():
        cell = re.search(
            rf'<td class="number q(\d)"><a href="#elite-{i}-{j}" aria-label="(.*?)">([\d.]+)</a></td>', text
        )
        assert cell
        assert float(cell[3]) == pytest.approx(one.value, abs=5e-4)
        assert cell[2].startswith(f"words {archive.ranges['words'][i]}, politeness {archive.ranges['politeness'][j]}")
        holder = text.partition(f'id="elite-{i}-{j}"')[2].partition("</article>")[0]
        assert one.prompt.text in holder
        assert ('class="descent"' in holder) == (one.prompt.text != START)
    values = [one.value for one in held.values()]
    assert {one.level for one in grids(page).holders if one.value == max(values)} == {8}
    assert {one.level for one in grids(page).holders if one.value == min(values)} == {0}
    assert text.count('<td class="number">–</td>') >= 20 - len(held)


def test_the_grid_has_a_colour_of_each_level_in_light_and_dark(page: Page) -> None:
    style = re.search("<style>(.*?)</style>", html(page), re.DOTALL)
    assert style
    for level in range(9):
        assert f".q{level} {{ background: color-mix(in srgb, var(--s0)" in style[1]


def test_coverage_and_score_over_questions_are_drawn_and_in_the_tables(page: Page, archive: Archive) -> None:
    tables = {table.name: table for table in page.tables}
    grown = tables["archive_growth"].rows
    assert grown[0] == {"question": 0, "coverage": 1 / 20, "qd_score": quality(START)}
    assert grown[-1]["coverage"] == len(elites(archive)) / 20
    assert [row["prompt"] for row in tables["archive"].rows] != []
    assert {row["prompt"] for row in tables["archive"].rows} == {one.prompt.text for one in elites(archive).values()}
    assert f"The coverage went from 0.050 to {len(elites(archive)) / 20:.3f}." in html(page)


def test_a_run_without_one_has_no_such_section(tmp_path: Path) -> None:
    pool = {"name": "list", "prompts": ["a", "b"]}
    optimizer = {"name": "random-search", "pool": pool}
    promptopt.optimize(start=START, score=quality, optimizer=optimizer, run=tmp_path)
    assert "archive" not in [section.id for section in run_page(tmp_path).sections]
    with pytest.raises(UserError, match="holds no archive: its run has not ended, or its optimizer keeps none"):
        shown(tmp_path)


@pytest.mark.parametrize(("measures", "count"), [(["words"], 1), (["words", "lines", "politeness"], 4)])
def test_one_measure_is_a_row_and_of_three_each_kind_has_a_grid(tmp_path: Path, measures: Any, count: int) -> None:
    run(tmp_path, measures)
    page = run_page(tmp_path)
    found = grids(page).planes
    assert len(found) == count
    assert "words below 10" in shown(tmp_path)
    archive = read_archive(tmp_path)
    assert archive
    assert len(grids(page).holders) == len(elites(archive))
    assert "elite-0" in html(page)


def test_equal_ratings_have_a_colour_in_the_middle(folder: Path) -> None:
    archive = Archive({"words": ("few", "many")}, (Elite((0,), Prompt("a"), 0.5, {"words": 1}, 0),))
    [plane] = planes(archive, Story.read(folder))
    assert [one and one.level for _, row in plane.rows for one in row] == [4, None]


def test_a_terminal_has_the_grid_and_the_prompts(folder: Path, archive: Archive) -> None:
    text = shown(folder)
    held = elites(archive)
    assert f"{len(held)} of 20 cells hold a prompt (coverage {len(held) / 20:.3f})" in text
    grid = text.partition("words across")[2].partition("words below 6")[0]
    assert grid.count(" -") + len(re.findall(r"\d\.\d{3}", grid)) == 20
    assert all(one.prompt.text in text for one in held.values())


def test_what_held_out_data_say_of_a_cell_stands_with_it(tmp_path: Path) -> None:
    data = Dataset("toy", *((tuple(Example(f"{s}{i}", i, "yes") for i in range(8))) for s in ("a", "b", "c")))
    optimizer = {"name": "map-elites", "model": writer(), "measures": [WORDS], "rounds": 6}
    given: dict[str, Any] = {"start": START, "data": data, "budget": 20, "finalists": 1, "optimizer": optimizer}
    result = promptopt.optimize(**given, target=named, run=tmp_path, cells=2, watch=False)
    page, text = run_page(tmp_path), shown(tmp_path)
    [(prompt, verdict), *others] = result.cell_verdicts.items()
    assert len(others) == 1
    better = sum(one.significant for one in result.cell_verdicts.values())
    told = (
        f"2 of those who hold a cell were compared with the start on held-out examples; {better} gained significantly."
    )
    assert told in html(page)
    assert told in text
    assert f"{prompt}\nHeld out: {verdict.sentence()}\n" in text
    holders = [one for one in grids(page).holders if one.verdict]
    assert {one.prompt for one in holders} == {*result.cell_verdicts}
    assert html(page).count('<p class="note">Held out: ') == len(holders) == 2
    [rows] = [table.rows for table in page.tables if table.name == "archive"]
    assert {row["prompt"]: row["held_out"] for row in rows if row["held_out"] is not None} == {
        text: one.best for text, one in result.cell_verdicts.items()
    }


def test_a_prompt_is_data(tmp_path: Path) -> None:
    run(tmp_path)
    nasty = "<script>window.hacked = 1</script> [bold]x[/bold]\x1b[2J"
    ranges = {"<b>": ("<i>low", "[red]high")}
    archive = Archive(ranges, (Elite((0,), Prompt(nasty), 0.5, {"<b>": 1}, 0),))
    (tmp_path / NAME).write_text(as_lines(archive), encoding="utf-8")
    text = html(run_page(tmp_path))
    assert nasty not in text
    assert "&lt;script&gt;window.hacked = 1&lt;/script&gt; [bold]x" in text
    assert "<i>" not in text
    assert "[bold]x[/bold]\\x1b[2J" in shown(tmp_path)


def test_an_archive_without_a_prompt_is_told_of(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / NAME).write_text(as_lines(Archive({"words": ("few", "many")}, ())), encoding="utf-8")
    assert "archive" not in [section.id for section in run_page(tmp_path).sections]
    with pytest.raises(UserError, match="holds no prompt: none was rated and measured"):
        shown(tmp_path)


def test_the_command_line_prints_it(folder: Path) -> None:
    done = CliRunner().invoke(app, ["show", str(folder), "--archive"])
    assert done.exit_code == 0
    assert "cells hold a prompt" in done.output
