"""What came of each example, and on how much a score rests: in tables and on the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from chromium import browser, console
from run_parts import CLIMB, rewrite

import promptopt
from promptopt.core import Coverage
from promptopt.record.ledger import read
from promptopt.record.story import Story
from promptopt.record.verdict import Verdict
from promptopt.report import report
from promptopt.report.html import html
from promptopt.report.outcomes import outcomes
from promptopt.report.page import CodeBlock, FactsBlock, Page, Replies
from promptopt.report.run import judgement, run_page
from promptopt.report.told import covered

pytest.importorskip("jinja2")
pytest.importorskip("tomli_w")

LONG = "first line\n" + "a reply that goes on and on " * 20 + "and ends"
NASTY = "<img src=x onerror='window.hacked = 1'>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose verdict tells what happened on each of 40 examples, and whose ratings have coverage."""
    place = tmp_path_factory.mktemp("replies") / "run"
    recipe: dict[str, Any] = {"start": "answer {}", "target": "run_parts:ToyTarget", "data": "run_parts:toy_data"}
    promptopt.optimize(**recipe, optimizer=CLIMB, budget=40, run=place)
    file = place / "ledger.jsonl"
    events = read(file)
    ids = events[0]["examples"]["test"]
    for event in events:
        if event["event"] == "answer" and event["stage"] == "test":
            values = event["per_example"]
            event["per_example"] = values = [None if i == 7 else value for i, value in enumerate(values)]
            replies = {0: NASTY, 1: LONG, 2: None, 3: "right\x1b[31m\x00"}
            event["cases"] = [
                [one, replies.get(i, f"reply {i} to {event['prompt']}"), values[i], "no answer found" if i == 2 else ""]
                for i, one in enumerate(ids)
            ]
            why = {"no answer found": 2, "cut at max_tokens": 1, "the server refused": 1}
            event["coverage"] = {"examples": 40, "scored": 39, "failed": 3, "reasons": why}
        elif event["event"] == "answer":
            event["coverage"] = {"examples": 12, "scored": 12, "failed": 0, "reasons": {}}
            event["feedback"] = "the prompt is too short for this"
        elif event["event"] == "verdict":
            event["verdict"] |= {"examples": 39, "unscored": 1}
    rewrite(file, events)
    return place


def blocks(page: Page, section: str) -> Any:
    [found] = [one for one in page.sections if one.id == section]
    return found.blocks


def test_a_verdict_on_a_part_of_the_examples_says_so_first(folder: Path) -> None:
    headline = blocks(run_page(folder), "verdict")[0]
    assert headline.text.startswith("On 39 of 40 held-out examples only, 1 could not be scored: ")
    assert "only" not in headline.details


def test_replies_stand_beside_their_examples(folder: Path) -> None:
    story = Story.read(folder)
    found = {one.id: one for one in outcomes(story, None)}
    assert found["test-0"].start_output == found["test-0"].best_output == NASTY
    assert found["test-5"].start_output == f"reply 5 to {story.start}"
    assert found["test-5"].best_output == f"reply 5 to {story.best}"
    assert found["test-2"].best_output is None
    assert found["test-2"].best_reason == "no answer found"
    [table] = [table for table in run_page(folder).tables if table.name == "examples"]
    rows = {row["id"]: row for row in table.records()}
    assert rows["test-1"]["start_output"] == LONG
    assert rows["test-2"]["start_reason"] == "no answer found"
    assert [column.title for column in table.columns][-4:] == ["reply to start", "why", "reply to best", "why"]


def test_the_page_shows_replies_escaped_and_folds_long_ones(folder: Path) -> None:
    page = run_page(folder)
    [replies] = [block for block in blocks(page, "examples") if isinstance(block, Replies)]
    assert len(replies.examples) == 24
    assert replies.examples[0].change == "gained"
    text = html(page)
    assert "<img src=x" not in text
    assert text.count("&lt;img src=x onerror=&#39;window.hacked = 1&#39;&gt;") >= 2
    assert '<details class="fold"><summary>first line a reply' in text
    assert "and ends</div></details>" in text
    assert "\x00" not in text
    assert "\x1b" not in text
    assert "right␛[31m␀" in text


def test_without_cases_there_are_no_replies(tmp_path: Path) -> None:
    recipe: dict[str, Any] = {"start": "answer {}", "target": "run_parts:ToyTarget", "data": "run_parts:toy_data"}
    promptopt.optimize(**recipe, optimizer=CLIMB, budget=40, run=tmp_path)
    file = tmp_path / "ledger.jsonl"
    rewrite(file, [{key: value for key, value in event.items() if key != "cases"} for event in read(file)])
    page = run_page(tmp_path)
    assert not [block for block in blocks(page, "examples") if isinstance(block, Replies)]
    [table] = [table for table in page.tables if table.name == "examples"]
    assert "start_output" not in [column.key for column in table.columns]


def test_coverage_stands_beside_every_score(folder: Path) -> None:
    page = run_page(folder)
    [facts] = [block for block in blocks(page, "verdict") if isinstance(block, FactsBlock)]
    rests = {fact[0]: fact[2] for fact in facts.facts if len(fact) > 2}
    why = "39 of 40 scored, 3 failed: no answer found (2), cut at max_tokens (1), the server refused (1)"
    assert rests == {
        "start, held out": why,
        "best, held out": why,
        "start, training": "12 of 12 scored",
        "best, training": "12 of 12 scored",
    }
    tables = {table.name: table for table in page.tables}
    assert {row["coverage"] for row in tables["prompts"].rows} == {"12 of 12 scored"}
    assert tables["verdict"].rows[0]["best_coverage"] == why
    text = html(page)
    assert "Care: it rests on 39 of 40 test examples." in text
    assert text.index("Care: it rests on 39") < text.index("start, held out")
    assert text.count(why) >= 2


@pytest.mark.parametrize(
    ("coverage", "text"),
    [
        (Coverage(20, 20), "20 of 20 scored"),
        (Coverage(20, 18, 0, {"timeout": 2}), "18 of 20 scored: timeout (2)"),
        (Coverage(2000, 2000, 1), "2,000 of 2,000 scored, 1 failed"),
    ],
)
def test_coverage_in_words(coverage: Coverage, text: str) -> None:
    assert covered(coverage) == text


def test_feedback_is_not_compared_with_the_starting_prompt(folder: Path) -> None:
    text = html(run_page(folder))
    assert '<td class="long">the prompt is too short for this</td>' in text
    assert "<ins>the prompt" not in text


def test_equal_scores_share_a_place(tmp_path: Path) -> None:
    scores = {"a": 1.0, "b": 1.0, "c": 0.5, "start": 0.1}
    pool = {"name": "list", "prompts": ["a", "b", "c"]}
    promptopt.optimize(
        start="start", score=scores.get, optimizer={"name": "random-search", "pool": pool}, run=tmp_path, budget=9
    )
    [prompts] = [table for table in run_page(tmp_path).tables if table.name == "prompts"]
    assert [(row["rank"], row["score"]) for row in prompts.rows] == [(1, 1.0), (1, 1.0), (3, 0.5), (4, 0.1)]


def test_a_tie_is_no_verdict_for_anybody() -> None:
    assert judgement(Verdict(0.5, 0.5, 0.0, 0.0, 0.0, 40)) == ("a tie", "unsure")
    assert judgement(Verdict(0.5, 0.5, 0.0, -0.1, 0.1, 40)) == ("a tie", "unsure")
    assert judgement(Verdict(0.5, 0.7, 0.2, 0.1, 0.3, 40)) == ("a significant gain", "gain")


# ── In the browser ────────────────────────────────────────────────────────────────────────────────────────────────

EXACT = [
    "carriage\r\nreturn\rand {}",
    "null \x00 escape \x1b {}\n\n",
    "plain {}  two spaces \n trailing\n",
    "\nbegins {}",
]


@pytest.mark.parametrize("prompt", EXACT)
def test_the_text_to_copy_is_the_prompt_to_the_letter(prompt: str) -> None:
    code = CodeBlock("best-prompt", "the best prompt", prompt)
    kept = re.search(r"[\x00-\x08\x0b-\x1f]", prompt) is not None
    assert (json.loads(code.exact) if code.exact else None) == (prompt if kept else None)


def test_what_is_copied_is_the_prompt_to_the_letter(tmp_path: Path) -> None:
    from promptopt.report.page import Section

    made = [CodeBlock(f"code-{i}", f"the prompt {i}", text) for i, text in enumerate(EXACT)]
    (tmp_path / "page.html").write_text(html(Page("x", [], [Section("best", "Best", made)])), encoding="utf-8")
    with browser(tmp_path) as driver:
        driver.get((tmp_path / "page.html").as_uri())
        driver.execute_script(
            "window.got = [];"
            "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async t => got.push(t)}})"
        )
        for button in driver.find_elements("css selector", "button.copy"):
            button.click()
        assert driver.execute_script("return window.got") == EXACT
        assert console(driver) == []


def test_tables_that_scroll_say_so_and_charts_fill_their_card(folder: Path, tmp_path: Path) -> None:
    file = report(folder, out=tmp_path / "x.html")
    with browser(tmp_path) as driver:
        driver.get(file.as_uri())
        for details in driver.find_elements("css selector", "#examples > details"):
            driver.execute_script("arguments[0].open = true", details)
        driver.execute_async_script("setTimeout(arguments[0], 300)")
        hint = driver.execute_script("return [...document.querySelectorAll('#examples .more')].map(o => o.textContent)")
        assert any(
            re.fullmatch(r"→ \d+ more columns? and \d+ more rows?: scroll inside the table\.", one) for one in hint
        )
        shares = driver.execute_script(
            "return [...document.querySelectorAll('.chart')].filter(o => o.checkVisibility())"
            ".map(o => o.getBoundingClientRect().width / o.closest('section').clientWidth)"
        )
        assert shares
        assert min(shares) > 0.9
        wide = "return [...document.querySelectorAll('.scroll')].filter(o => o.checkVisibility())"
        wide += ".filter(o => o.scrollWidth > o.clientWidth + 1)"
        wide += ".map(o => o.nextElementSibling.className + o.nextElementSibling.hidden)"
        assert set(driver.execute_script(wide)) == {"morefalse"}
        frame = driver.find_elements("css selector", "#examples .scroll")[-1]
        driver.execute_script("arguments[0].scrollTo(99999, 99999)", frame)
        driver.execute_async_script("setTimeout(arguments[0], 300)")
        assert driver.execute_script("return arguments[0].nextElementSibling.hidden", frame)
        assert driver.execute_script("return window.hacked") is None
