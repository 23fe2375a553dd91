"""The prompts of an archive's cells on held-out examples: paid for, written down once, and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from archive_parts import START, quality, writer

import promptopt
from promptopt.api import prepare
from promptopt.core import Dataset, Example, Prompt
from promptopt.errors import UserError
from promptopt.record.archive import NAME, elites, read_archive
from promptopt.record.story import Story
from promptopt.run.estimate import estimate
from promptopt.targets.chat import ChatTarget
from promptopt.testing import ScriptedModel

TRAIN, TEST = (tuple(Example(f"{split}{i}", f"{i}", "yes") for i in range(12)) for split in ("train", "test"))
WORDS = {"name": "words", "edges": [6, 10, 14, 18]}


class Namer:
    """Answers as many examples rightly as its prompt names good words, of four a quarter each."""

    metric = "exact-match"

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Any, /) -> list[str]:
        return ["yes" if int(one.input) % 4 < 4 * quality(prompt.text) else "no" for one in examples]


def recipe(**changes: Any) -> dict[str, Any]:
    optimizer = {"name": "map-elites", "model": writer(), "measures": [WORDS, "politeness"], "rounds": 6}
    given: dict[str, Any] = {"start": START, "target": Namer(), "data": Dataset("toy", TRAIN, (), TEST), "budget": 25}
    return {**given, "optimizer": optimizer, "run": None, "watch": False, **changes}


def asked(result: promptopt.Result) -> list[str]:
    """The prompts that were rated on the test split."""
    return [step.question.prompt.text for step in result.steps if step.stage == "test"]  # type: ignore[union-attr]


def test_the_best_cells_are_compared_with_the_start() -> None:
    result = promptopt.optimize(**recipe(cells=3))
    assert result.archive
    holders = sorted(elites(result.archive).values(), key=lambda one: -one.value)
    wanted = [one.prompt.text for one in holders if one.prompt.text != START][:3]
    assert [*result.cell_verdicts] == wanted
    assert len(asked(result)) == len({*asked(result)}) == len({START, result.best, *wanted})
    for text, verdict in result.cell_verdicts.items():
        assert (verdict.start, verdict.best) == (quality(START), quality(text))
        assert verdict.examples == len(TEST)
    assert result.cell_verdicts[result.best] == result.verdict


def test_without_the_option_nothing_is_measured() -> None:
    result = promptopt.optimize(**recipe())
    assert result.cell_verdicts == {}
    assert asked(result) == [START, result.best]


def test_it_is_made_up_for_later_once_and_stands_in_ledger_and_archive(tmp_path: Path) -> None:
    given = recipe(run=tmp_path)
    first = promptopt.optimize(**given)
    objects = {key: given[key] for key in ("target", "data")} | {"optimizer": given["optimizer"]}
    tests = []
    for _ in range(2):
        result = promptopt.resume(tmp_path, ["cells=100"], watch=False, **objects)
        tests.append(sum('"stage": "test"' in line for line in (tmp_path / "ledger.jsonl").read_text().splitlines()))
        assert result.verdict == first.verdict
        story, archive = Story.read(tmp_path), read_archive(tmp_path)
        assert story.cells == result.cell_verdicts
        assert story.verdict == first.verdict
        assert story.transfers == {}
        assert archive == result.archive
        rows = [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()[1:]]
        told = {row["prompt"]: row["held_out"]["difference"] for row in rows if "held_out" in row}
        assert told == {text: verdict.difference for text, verdict in story.cells.items()}
    assert len(story.cells) == len({one.prompt.text for one in elites(archive).values()} - {START})
    assert tests[0] == tests[1]


def test_room_is_kept_for_them_and_the_estimate_knows_them() -> None:
    def plan(cells: int) -> Any:
        given = recipe(cells=cells, target=ChatTarget(model=ScriptedModel(["yes"], dollars=0.01)))
        return prepare({key: value for key, value in given.items() if key not in ("run", "watch")})

    assert [plan(cells).aftermath for cells in (0, 5)] == [2, 7]
    none, five = (estimate(plan(cells)).shares["target"].expected.calls for cells in (0, 5))
    assert five - none == 5 * len(TEST)


def test_calls_for_them_are_kept_back_from_the_search() -> None:
    model = ScriptedModel(lambda messages: "yes", dollars=0.01)
    given = recipe(cells=4, target=ChatTarget(model=model), reply_cache=False)
    result = promptopt.optimize(**given | {"budget": {"questions": 25, "calls": 330}})
    assert result.costs.calls <= 330
    assert result.verdict
    assert len(result.cell_verdicts) == 4
    assert result.stop_reason == "budget: calls"


def test_a_search_without_an_archive_has_no_cells() -> None:
    optimizer = {"name": "random-search", "pool": {"name": "list", "prompts": ["a"]}}
    with pytest.raises(UserError, match="cells is 2, and RandomSearch keeps no archive; map-elites does"):
        promptopt.optimize(**recipe(optimizer=optimizer, cells=2))
    with pytest.raises(UserError, match="cells is -1; allowed is 0 or more"):
        promptopt.optimize(**recipe(cells=-1))
