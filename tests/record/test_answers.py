"""One reader of a ledger: show, plot and report say the same of racing runs and of duels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_parts import CLIMB, rewrite

import promptopt
from promptopt.record.answers import counted, leads, rated
from promptopt.record.ledger import read
from promptopt.record.story import Story
from promptopt.report.run import run_page
from promptopt.report.show import plot, show
from promptopt.report.told import Told

RACE: dict[str, Any] = {"start": "answer {}", "target": "run_parts:ToyTarget", "data": "run_parts:toy_data"}
RACING = {"name": "racing", "optimizer": CLIMB, "minibatch": 4}


def ledger(folder: Path, events: list[dict[str, Any]]) -> Path:
    """A run's folder with these events after a beginning."""
    ids = {"train": ["x", "y"]}
    start = {"event": "start", "format": 1, "start": ["start"], "examples": ids, "recipe": {}, "seed": 0}
    folder.mkdir(parents=True, exist_ok=True)
    rewrite(folder / "ledger.jsonl", [start, *events])
    return folder


def rate(n: int, prompt: str, on: list[str], *values: float) -> dict[str, Any]:
    fields = {"event": "answer", "stage": "search", "n": n, "ask": "rate", "prompt": prompt, "origin": {}, "t": 0.1}
    return {**fields, "on": on, "value": sum(values) / len(values), "tiebreak": 0, "per_example": [*values]}


def duel(n: int, a: str, b: str, winner: str) -> dict[str, Any]:
    fields = {"event": "answer", "stage": "search", "n": n, "ask": "duel", "a": a, "b": b, "origin": [{}, {}]}
    return {**fields, "winner": winner, "t": 0.1}


def shown(folder: Path) -> str:
    stream = io.StringIO()
    show(folder, Console(file=stream, width=200, soft_wrap=True))
    return stream.getvalue()


def test_a_race_has_its_ranking_its_curve_and_its_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = promptopt.optimize(**RACE, optimizer=RACING, budget=120, finalists=1, run=tmp_path)
    text = shown(tmp_path)
    score = result.score(result.best)
    assert score is not None
    assert f"{score:.3f}" in text.partition("Verdict:")[0]
    story = Story.read(tmp_path)
    whole = [one for one in story.rated if one.whole]
    assert story.ratings == whole
    assert len(whole) > 1
    assert len(Told(tmp_path, story, None).curve.dots) == len(whole)
    plot(tmp_path, tmp_path / "x.svg")
    assert (tmp_path / "x.svg").stat().st_size > 1000


def test_a_race_that_has_rated_parts_only_has_a_curve_on_every_way(tmp_path: Path) -> None:
    promptopt.optimize(**RACE, optimizer=RACING, budget=20, run=tmp_path)
    file = tmp_path / "ledger.jsonl"
    begun = read(file)[0]
    one, other, *_ = begun["examples"]["train"]
    parts = [rate(0, "start", [one], 0.2), rate(1, "b", [other], 0.9)]
    rewrite(file, [begun, *parts])
    assert "after 2 ratings" in shown(tmp_path)
    [curve] = [section for section in run_page(tmp_path).sections if section.id == "curve"]
    assert "2 prompts were rated on parts of the training examples" in getattr(curve.blocks[0], "caption", "")


def test_an_unfinished_race_is_led_by_the_best_rated(tmp_path: Path) -> None:
    parts = [rate(0, "start", ["x"], 0.2), rate(1, "b", ["y"], 0.9)]
    assert Story.read(ledger(tmp_path / "parts", parts)).best == "b"  # none is rated on all yet
    story = Story.read(ledger(tmp_path / "one", [*parts, rate(2, "start", ["y"], 0.4)]))
    assert story.best == "start"  # the only one that can be told
    assert [(one.prompt, one.rating.value) for one in story.ratings] == [("start", pytest.approx(0.3))]
    assert [one.prompt for one in counted(rated(story.events))] == ["start"]


def test_a_rating_on_all_examples_is_not_displaced_by_one_on_a_few(tmp_path: Path) -> None:
    whole = {key: value for key, value in rate(1, "b", [], 0.2, 0.6).items() if key != "on"}
    some = {"examples": 1, "scored": 1, "failed": 0, "reasons": {}}
    parts = [{**rate(n, "b", ["x"], value), "coverage": some} for n, value in ((0, 0.3), (2, 0.9), (3, 0.9))]
    story = Story.read(ledger(tmp_path, [parts[0], whole, *parts[1:]]))
    assert [(one.n, one.rating.value, one.examples, one.whole) for one in story.rated] == [(1, 0.4, 2, True)]


def test_examples_that_parts_share_are_counted_once(tmp_path: Path) -> None:
    some = {"examples": 2, "scored": 2, "failed": 0, "reasons": {}}
    parts = [{**rate(n, "b", on, 0.2, 0.6), "coverage": some} for n, on in enumerate((["x", "y"], ["y", "z"]))]
    [one] = rated(read(ledger(tmp_path, parts) / "ledger.jsonl"))
    assert one.examples == 3
    assert one.rating.coverage is None  # which of them failed cannot be told
    assert one.rating.value == pytest.approx((0.2 + 0.2 + 0.6) / 3)


def test_unfinished_duels_are_led_by_who_has_won_most_and_have_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    won = [duel(0, "start", "b", "b"), duel(1, "b", "c", "tie"), duel(2, "c", "b", "b")]
    story = Story.read(ledger(tmp_path, won))
    assert story.best == "b"
    assert [(lead.n, lead.prompt, lead.net) for lead in story.leads] == [(0, "b", 1), (2, "b", 2)]
    assert leads([]) == []
    assert "Most duels won so far" in shown(tmp_path)
    assert "Best" not in shown(tmp_path)
    plot(tmp_path, tmp_path / "x.svg")
    assert (tmp_path / "x.svg").stat().st_size > 1000
