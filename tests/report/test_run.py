"""Pages of runs in every state, and the recipe that reproduces them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from run_parts import CLIMB, ToyTarget

import promptopt
from promptopt.api import prepare
from promptopt.record.freeze import freeze, recipe_in_force
from promptopt.record.story import Story
from promptopt.report.html import html
from promptopt.report.page import Headline, Page
from promptopt.report.recipe import toml
from promptopt.report.run import run_page

pytest.importorskip("jinja2")
pytest.importorskip("tomli_w")

TOY: dict[str, Any] = {
    "start": "answer {}",
    "target": "run_parts:ToyTarget",
    "data": "run_parts:toy_data",
    "budget": 40,
}


def toy(folder: Path, **changes: Any) -> promptopt.Result:
    return promptopt.optimize(**{**TOY, "optimizer": CLIMB, "run": folder, **changes})


def sections(page: Page) -> list[str]:
    return [section.id for section in page.sections]


def headline(page: Page) -> Headline:
    block = page.sections[0].blocks[0]
    assert isinstance(block, Headline)
    return block


def test_a_finished_run(tmp_path: Path) -> None:
    result = toy(tmp_path)
    page = run_page(tmp_path)
    assert sections(page) == ["verdict", "best", "curve", "front", "lineage", "prompts", "examples", "costs", "recipe"]
    verdict = result.verdict
    assert verdict is not None
    sentence = f"{headline(page).text}: {headline(page).details}"
    assert sentence[1:] == verdict.sentence()[1:]
    tables = {table.name: table for table in page.tables}
    final = {row["prompt"]: row["final"] for row in tables["prompts"].rows if row["final"] is not None}
    assert len(final) == 5
    assert final[result.best] == max(final.values())
    assert "the search ended with 5 prompts" in html(page).lower()
    assert len(tables["prompts"].rows) == len(result.candidates)
    assert tables["questions"].rows[0]["answers"] == len([step for step in result.steps if step.stage == "search"])
    assert tables["lineage"].rows[-1]["prompt"] == result.best


@pytest.mark.parametrize("kept", [1, 2, 20])
def test_a_killed_run_has_a_page_and_no_verdict(tmp_path: Path, kept: int) -> None:
    toy(tmp_path)
    file = tmp_path / "ledger.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:kept]))
    (tmp_path / "result.json").unlink()
    page = run_page(tmp_path)
    assert headline(page).text == "No verdict"
    assert any("unfinished" in fact for fact in page.facts)
    assert "examples" not in sections(page)
    assert "answer {}" in html(page)


def test_llm_calls_are_among_the_costs(tmp_path: Path) -> None:
    proposer = {"name": "chat", "model": "run_parts:Writer"}
    optimizer = {"name": "hill-climb", "proposer": proposer}
    promptopt.optimize(start="{}", scorer="run_parts:Words", optimizer=optimizer, budget={"calls": 3}, run=tmp_path)
    [calls] = [table for table in run_page(tmp_path).tables if table.name == "calls"]
    assert calls.rows[0]["role"] == "proposer"
    assert calls.to_csv().splitlines()[1] == "proposer,writer,3,150,60,0.03"


def test_the_recipe_runs_again_to_the_same_end(tmp_path: Path) -> None:
    first = toy(tmp_path / "first", seed=3)
    promptopt.resume(tmp_path / "first", ["budget=45"])
    recipe = tomllib.loads(toml(recipe_in_force(Story.read(tmp_path / "first").events)))
    assert recipe["budget"] == 45
    again = promptopt.optimize(**{**recipe, "budget": 40, "run": tmp_path / "again"})
    assert again.best == first.best
    assert [c.rating.value for c in again.candidates] == [c.rating.value for c in first.candidates]


def test_texts_survive_in_the_recipe() -> None:
    start = ["two {}\nlines {}", "quote \" ' \\ {}", "日本語 😀 {}", "tab\tand \x7f and \x01 {}"]
    recipe = {**TOY, "start": start, "optimizer": CLIMB, "goal": 0.5}
    again = tomllib.loads(toml(freeze(recipe)))
    assert again == recipe
    prepare(again)


def test_objects_stand_in_the_recipe_by_name(tmp_path: Path) -> None:
    toy(tmp_path, target=ToyTarget())
    page = run_page(tmp_path)
    assert 'target = "run_parts:ToyTarget"' in toml(recipe_in_force(Story.read(tmp_path).events))
    assert "objects it was given stand here by the name of their class" in html(page)


def test_warnings_and_notes_are_shown(tmp_path: Path) -> None:
    toy(tmp_path)
    note = "Prompts were proposed by the lexical proposer"
    assert note in html(run_page(tmp_path))


def test_long_tables_are_cut_and_say_so(tmp_path: Path) -> None:
    promptopt.optimize(start="a", score=len, optimizer="run_parts:Counting", budget=300, run=tmp_path)
    page = run_page(tmp_path)
    text = html(page)
    assert "The first and the last 100 of" in text
    [prompts] = [table for table in page.tables if table.name == "prompts"]
    assert len(prompts.rows) == 300


def test_a_prompt_of_many_lines_is_folded_in_its_cell_and_its_new_words_stay_marked(tmp_path: Path) -> None:
    long = "\n".join(f"answer {{}} by rule{i}" for i in range(50))
    optimizer = {"name": "random-search", "pool": {"name": "list", "prompts": [long, "say {}"]}}
    toy(tmp_path, optimizer=optimizer, finalists=1, budget=9)
    text = html(run_page(tmp_path))
    cells = [cell.partition("</td>")[0] for cell in text.split('<td class="prompt">')[1:]]
    folded, short = ([cell for cell in cells if word in cell] for word in ("rule49", "say"))
    assert folded
    assert short
    assert all(cell.startswith('<details class="fold"><summary>answer {} by rule0 answer') for cell in folded)
    assert any("<ins>" in cell for cell in folded)
    assert not any("<details" in cell for cell in short)
