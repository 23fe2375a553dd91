"""Ratings as a report tells them: parts put together, improvements, lineage, word differences."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import promptopt
from promptopt.core import Coverage, Rating
from promptopt.record.answers import Rated, rated
from promptopt.record.ledger import Ledger
from promptopt.record.story import Story
from promptopt.report.ratings import improvements, lineage
from promptopt.report.told import Told, questions_table
from promptopt.text import changes


def written(folder: Path, events: list[dict[str, Any]], **manifest: Any) -> Story:
    """A ledger with these answers, as a story."""
    ledger = Ledger(folder)
    ids = {"train": ["x", "y", "z"]}
    start = {"event": "start", "format": 1, "start": ["start"], "examples": ids, "recipe": {}, "seed": 0}
    ledger.append({**start, **manifest}, *events)
    ledger.close()
    return Story.read(folder)


def answer(n: int, prompt: str, value: float | None, **more: Any) -> dict[str, Any]:
    fields = {"event": "answer", "stage": "search", "n": n, "ask": "rate", "prompt": prompt, "origin": {}}
    return {**fields, "value": value, "tiebreak": 0, "t": 0.1, **more}


def test_every_rating_in_order(tmp_path: Path) -> None:
    story = written(tmp_path, [answer(0, "start", 0.5), answer(1, "b", None), answer(2, "c", 0.7)])
    found = rated(story.events)
    assert [(one.n, one.prompt, one.whole) for one in found] == [(0, "start", True), (1, "b", True), (2, "c", True)]
    assert math.isnan(found[1].rating.value)


def test_parts_are_put_together(tmp_path: Path) -> None:
    events = [
        answer(0, "a", 1.0, on=["z"], per_example=[1]),
        answer(1, "b", 0.0, on=["x"], per_example=[0]),
        answer(2, "a", 0.0, on=["x", "y"], per_example=[0, None]),
    ]
    b, a = rated(written(tmp_path, events).events)
    assert (b.prompt, b.examples, b.whole) == ("b", 1, False)
    assert (a.prompt, a.examples, a.whole, a.n) == ("a", 3, True, 2)
    assert a.rating.value == 0.5
    assert a.rating.per_example is not None
    np.testing.assert_array_equal(a.rating.per_example, [0, np.nan, 1])


def test_coverage_of_parts_is_that_of_all_together(tmp_path: Path) -> None:
    def part(n: int, on: list[str], **coverage: Any) -> dict[str, Any]:
        given = {"examples": len(on), "scored": len(on), "failed": 0, "reasons": {}} | coverage
        return answer(n, "a", 1.0, on=on, per_example=[1] * len(on), coverage=given)

    parts = [part(0, ["z"], failed=1, reasons={"empty": 1}), part(1, ["x", "y"], failed=1, reasons={"empty": 1})]
    [found] = rated(written(tmp_path, parts).events)
    assert found.rating.coverage == Coverage(3, 3, 2, {"empty": 2})


def test_a_race_is_told_with_the_ratings_that_the_run_had(tmp_path: Path) -> None:
    from run_parts import CLIMB

    options: dict[str, Any] = {"start": "answer {}", "target": "run_parts:ToyTarget", "data": "run_parts:toy_data"}
    racing = {"name": "racing", "optimizer": CLIMB, "minibatch": 4}
    result = promptopt.optimize(**options, optimizer=racing, budget=120, finalists=1, run=tmp_path)
    whole = {one.prompt: one.rating.value for one in rated(Story.read(tmp_path).events) if one.whole}
    assert len(result.candidates) > 1
    assert whole == pytest.approx({one.prompt.text: one.rating.value for one in result.candidates})


def test_an_answer_that_was_changed_counts_once(tmp_path: Path) -> None:
    events = [answer(0, "start", 0.5), answer(1, "b", 0.9), answer(0, "start", 0.8, again=True)]
    assert [(one.prompt, one.rating.value) for one in rated(written(tmp_path, events).events)] == [
        ("start", 0.8),
        ("b", 0.9),
    ]


def test_improvements_have_intervals_where_there_are_examples_enough() -> None:
    values = np.array([0.0, 1.0] * 10)
    better = np.where(np.arange(20) < 15, 1.0, np.nan)
    found = improvements(
        [
            Rated("a", {}, Rating(0.5, per_example=values), 20, True, 0),
            Rated("worse", {}, Rating(0.4), None, True, 1),
            Rated("part", {}, Rating(0.9), 3, False, 2),
            Rated("tie", {}, Rating(0.5), 20, True, 3),
            Rated("b", {}, Rating(1.0, per_example=better), 20, True, 4),
            Rated("c", {}, Rating(1.0, tiebreak=1.0), None, True, 5),
        ]
    )
    assert [one.rated.prompt for one in found] == ["a", "b", "c"]
    low, high = found[0].interval
    assert low is not None
    assert high is not None
    assert 0.2 < low < 0.5 < high < 0.8
    assert found[1].interval == (1.0, 1.0)
    assert found[2].interval == (None, None)


def test_answers_bought_are_counted_at_every_stage(tmp_path: Path) -> None:
    stages = ["calibration", "search", "search", "dev", "final", "shorten", "test"]
    story = written(tmp_path, [answer(n, f"p{n}", 0.5, stage=stage) for n, stage in enumerate(stages)])
    rows = questions_table(Told(tmp_path, story, None)).rows
    assert {row["stage"]: row["answers"] for row in rows} == {**dict.fromkeys(stages, 1), "search": 2}


def test_lineage_follows_the_closest_parent_and_ends(tmp_path: Path) -> None:
    def origin(step: str, *parents: str) -> dict[str, Any]:
        return {"origin": {"step": step, "parents": list(parents)}}

    events = [
        answer(0, "start", 0.1),
        answer(1, "a red cat", 0.2, origin={"step": "pool"}),
        answer(2, "a red dog", 0.3, **origin("0", "start", "a red cat")),
        answer(3, "a blue dog", 0.9, **origin("1", "a red cat", "a red dog", "a blue dog")),
        answer(4, "a red dog", 0.3, **origin("2", "a blue dog")),
    ]
    story = written(tmp_path, events)
    line = lineage(story, rated(story.events))
    assert [(one.prompt, one.step, one.shown) for one in line] == [
        ("a red cat", "pool", 0),
        ("a red dog", "0", 2),
        ("a blue dog", "1", 3),
    ]
    assert line[2].changes == [("same", "a"), ("lost", " red"), ("new", " blue"), ("same", " dog")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a photo of a {}", "a blurry drawing of a {}"),
        ("x a", "y a"),
        ("x a", "a"),
        ("", "x y"),
        ("x", ""),
        ("one\n\ntwo", "one\n\n  three\ttwo\n"),
    ],
)
def test_changes_give_the_new_text_back(old: str, new: str) -> None:
    pieces = changes(old, new)
    assert "".join(text for kind, text in pieces if kind != "lost") == new
    assert " ".join("".join(text for kind, text in pieces if kind != "new").split()) == " ".join(old.split())
