"""Test examples: start against best, with the examples where the recipe can make them again."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_parts import CLIMB, rewrite, toy_data

import promptopt
from promptopt.core import Dataset, Example
from promptopt.parts import text_of
from promptopt.record.freeze import recipe_in_force
from promptopt.record.ledger import read
from promptopt.record.story import Story
from promptopt.report.html import html
from promptopt.report.outcomes import (
    HeldOutOutcome,
    changed_first,
    examples_of,
    is_image,
    outcomes,
    shown_examples,
    thumbnail,
)
from promptopt.report.page import Grid
from promptopt.report.run import run_page
from promptopt.testing import ScriptedModel


def toy(folder: Path, **changes: Any) -> promptopt.Result:
    recipe: dict[str, Any] = {"start": "answer {}", "target": "run_parts:ToyTarget", "data": "run_parts:toy_data"}
    return promptopt.optimize(**{**recipe, "optimizer": CLIMB, "budget": 40, "run": folder, **changes})


def test_outcomes_are_those_of_the_verdict(tmp_path: Path) -> None:
    verdict = toy(tmp_path).verdict
    story = Story.read(tmp_path)
    data, why = examples_of(story, recipe_in_force(story.events), trust=True)
    assert why == ""
    found = outcomes(story, data)
    assert verdict is not None
    assert len(found) == verdict.examples == 40
    assert sum(one.start for one in found) / 40 == pytest.approx(verdict.start)
    assert sum(one.best for one in found) / 40 == pytest.approx(verdict.best)
    gained, lost = (sum(one.change == name for one in found) for name in ("gained", "lost"))
    assert gained - lost == pytest.approx(40 * verdict.difference)
    assert (found[3].id, found[3].input, found[3].label) == ("test-3", "3", "label 3")
    assert [one.change for one in changed_first(found)][:gained] == ["gained"] * gained


def test_without_a_verdict_there_are_none(tmp_path: Path) -> None:
    promptopt.optimize(start="a", score=len, optimizer="run_parts:Counting", budget=5, run=tmp_path)
    story = Story.read(tmp_path)
    assert outcomes(story, None) == []
    assert examples_of(story, recipe_in_force(story.events)) == (None, "The run had no data set.")


def test_data_given_as_an_object_cannot_be_made_again(tmp_path: Path) -> None:
    toy(tmp_path, data=toy_data())
    story = Story.read(tmp_path)
    data, why = examples_of(story, recipe_in_force(story.events))
    assert data is None
    assert "as an object" in why
    assert len(outcomes(story, None)) == 40


@pytest.mark.parametrize(
    ("spec", "reason"),
    [({"name": "no-such-data"}, "no-such-data"), ({"name": "run_parts:toy_data", "test": 39}, "has changed")],
)
def test_data_that_is_not_there_any_more(tmp_path: Path, spec: dict[str, Any], reason: str) -> None:
    toy(tmp_path)
    file = tmp_path / "ledger.jsonl"
    events = read(file)
    events[0]["recipe"]["data"] = spec
    rewrite(file, events)
    story = Story.read(tmp_path)
    data, why = examples_of(story, recipe_in_force(story.events), trust=True)
    assert data is None
    assert reason in why


def test_changes() -> None:
    pairs = [(0, 1), (1, 0), (1, 1), (math.nan, 1), (0, math.nan), (0.2, 0.3)]
    kinds = [HeldOutOutcome("i", a, b, None).change for a, b in pairs]
    assert kinds == ["gained", "lost", "same", "not scored", "not scored", "gained"]


def test_images_become_small_data_uris(tmp_path: Path) -> None:
    images = pytest.importorskip("PIL.Image")
    large, tiny = images.new("RGB", (640, 320), "red"), images.new("L", (8, 8), 128)
    large.save(tmp_path / "large.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    for given in (large, str(tmp_path / "large.png"), tmp_path / "large.png", np.zeros((640, 640), np.uint8), tiny):
        uri = thumbnail(Example("x", given, "label"))
        assert uri is not None
        kind, _, data = uri.partition(";base64,")
        assert kind in ("data:image/png", "data:image/jpeg")
        assert max(images.open(io.BytesIO(base64.b64decode(data))).size) == (8 if given is tiny else 96)
    for broken in (str(tmp_path / "broken.png"), str(tmp_path / "missing.png")):
        assert is_image(Example("x", broken, "label"))
        assert thumbnail(Example("x", broken, "label")) is None


@pytest.mark.parametrize("given", ["a question", 7, {"question": "x"}, ["a", "b"], np.zeros(3)])
def test_other_inputs_are_text(given: Any) -> None:
    assert not is_image(Example("x", given, "label"))
    assert thumbnail(Example("x", given, "label")) is None
    assert HeldOutOutcome("x", 0, 1, Example("x", given, "label")).input


def test_long_inputs_are_cut() -> None:
    assert len(HeldOutOutcome("x", 0, 1, Example("x", "word " * 1000, "label")).input) == 400


# ── What the best prompt shows ────────────────────────────────────────────────────────────────────────────────────


def test_the_texts_of_demonstrations_stand_in_the_report_cut_and_escaped(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    nasty = "<script>hack()</script>" + "long " * 1000
    train = (Example("a", nasty, "yes"), Example("b", "two", ["no", "nein"]), Example("c", "three", "yes"))
    data = Dataset("d", train, (), (Example("t", "four", "yes"),))
    start = {"instruction": "Answer.", "demonstrations": 'b\na: "since it is, <b>yes</b>"'}
    model = ScriptedModel(lambda messages: "yes")
    promptopt.optimize(
        start=start,
        target={"name": "chat", "model": model},
        data=data,
        optimizer="run_parts:Counting",
        budget=2,
        run=tmp_path,
        watch=False,
    )
    page = run_page(tmp_path, data=data)
    [table] = [one for one in page.tables if one.name == "demonstrations"]
    assert [(row["id"], row["answer"]) for row in table.rows] == [
        ("b", '["no", "nein"]'),
        ("a", "since it is, <b>yes</b>"),
    ]
    assert table.rows[0]["input"] == "two"
    assert len(str(table.rows[1]["input"])) == 400
    text = html(page)
    assert "&lt;script&gt;hack()" in text
    assert "<b>yes" not in text
    assert "<script>hack" not in text
    [section] = [one for one in page.sections if one.id == "best"]
    assert [block.folded for block in section.blocks if isinstance(block, Grid)] == [True]
    without = run_page(tmp_path)
    assert "demonstrations" not in [one.name for one in without.tables]


def test_a_text_called_demonstrations_is_no_list_of_examples() -> None:
    prompt = text_of({"instruction": "x", "demonstrations": "cat\ndog"})
    assert shown_examples(prompt, Dataset("d", (Example("cat", 1, 2),))) == []
    assert shown_examples("cat", Dataset("d", (Example("cat", 1, 2),))) == []
