"""The verdict by another scorer than the one that the search maximised."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_parts import encoded
from PIL import Image
from rich.console import Console

import promptopt
from promptopt.api import prepare
from promptopt.core import Dataset, Example, Message, Picture, Prompt, Rate, Rating
from promptopt.errors import UserError
from promptopt.recipe.elsewhere import lines
from promptopt.recipe.read import override
from promptopt.record.ledger import read
from promptopt.record.story import Story
from promptopt.report.html import html
from promptopt.report.run import run_page
from promptopt.report.show import show
from promptopt.report.told import verdict_table
from promptopt.run.estimate import estimate
from promptopt.run.own_verdict import OWN
from promptopt.scorers import FunctionScorer
from promptopt.testing import ScriptedModel

WISH = "a red field and a blue one"
COLOURS = ["red", "blue"]
DATA = Dataset(
    "drawn",
    tuple(Example(f"drawn/{n}", WISH, COLOURS) for n in range(12)),
    (),
    tuple(Example(f"drawn/{n}", WISH, COLOURS) for n in range(12, 32)),
)
START, HACK, OTHER = "red blue", "red blue noise", "red"


class Sketch:
    """Draws fields in the colours that a prompt names; with the word noise, half of the pixels are at random."""

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Picture]:
        return [self._drawn(prompt.text.split(), zlib.crc32(example.id.encode())) for example in examples]

    def _drawn(self, words: Sequence[str], seed: int) -> Picture:
        rng = np.random.default_rng(seed)
        colours = [
            (200 + rng.integers(56), 0, 0) if word == "red" else (0, 0, 255) for word in words if word in COLOURS
        ]
        pixels = np.repeat(np.array(colours, dtype=np.uint8)[None], 16, axis=0).repeat(16, axis=1)
        if "noise" in words:
            random = rng.random(pixels.shape[:2]) < 0.5
            pixels[random] = rng.integers(0, 256, (int(random.sum()), 3), dtype=np.uint8)
        return encoded(Image.fromarray(pixels))


def recipe(**more: Any) -> dict[str, Any]:
    return {
        "start": START,
        "data": DATA,
        "target": Sketch(),
        "metric": "compressed-size",
        "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": [HACK, OTHER]}},
        "budget": 3,
        "run": None,
        "watch": False,
        **more,
    }


def run(**more: Any) -> promptopt.Result:
    return promptopt.optimize(**recipe(**more))


def answers(folder: Path, stage: str) -> int:
    return sum(e["event"] == "answer" and e["stage"] == stage for e in read(folder / "ledger.jsonl"))


def test_a_hacked_score_is_caught_by_another_scorer() -> None:
    hacked = run()
    assert hacked.best == HACK  # noise compresses badly, which is what the search was told to like
    assert hacked.verdict is not None
    assert hacked.verdict.significant  # and held-out examples cannot tell
    caught = run(verdict={"metric": "palette"})
    assert caught.best == HACK
    assert caught.verdict is not None
    assert caught.verdict.high is not None
    assert caught.verdict.high < 0
    assert "significantly worse" in caught.verdict.sentence()
    assert "on 20 held-out examples by palette" in caught.verdict.sentence()


def test_pictures_judged_by_what_the_search_maximised_bring_a_warning() -> None:
    assert OWN in run().warnings
    assert OWN in run(verdict={"metric": {"name": "compressed-size"}}).warnings  # by its name it is the same
    assert OWN not in run(verdict={"metric": {"name": "compressed-size", "prefer": "small"}}).warnings
    assert OWN not in run(verdict=False).warnings
    texts = [Example(str(n), str(n), "a") for n in range(30)]
    said = promptopt.optimize(
        start="a", target=lambda prompt, one: "a", data=texts, metric="match", budget=1, run=None, watch=False,
        optimizer={"name": "random-search", "pool": {"name": "list", "prompts": ["b"]}},
    )  # fmt: skip
    assert said.verdict is not None
    assert OWN not in said.warnings


def test_a_metric_is_another_pair_of_eyes_where_a_judge_answered_the_search() -> None:
    def reply(messages: Sequence[Message]) -> str:
        return json.dumps({"critique": "so", "better": "first"})

    duels = {"name": "random-duel", "pool": {"name": "list", "prompts": [HACK, OTHER]}}
    scorer = {"name": "judge-duel", "model": ScriptedModel(reply), "workers": 1}
    judged = run(optimizer=duels, scorer=scorer, budget=2)
    assert judged.verdict is not None
    assert OWN not in judged.warnings
    simulated = run(optimizer=duels, scorer={"name": "bradley-terry"}, budget=2)
    assert simulated.verdict is not None
    assert OWN in simulated.warnings


def test_who_gave_the_verdict_is_told_everywhere(tmp_path: Path) -> None:
    result = run(run=tmp_path, verdict={"metric": "palette"})
    assert result.verdict is not None
    assert result.verdict.by == "palette"
    assert json.loads((tmp_path / "result.json").read_text())["verdict"]["by"] == "palette"
    (event,) = [event for event in read(tmp_path / "ledger.jsonl") if event["event"] == "verdict"]
    assert event["verdict"]["by"] == "palette"
    console = Console(file=io.StringIO(), width=300)
    show(tmp_path, console)
    assert "held-out examples by palette" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "held-out examples by palette" in html(run_page(tmp_path))
    assert verdict_table(Story.read(tmp_path)).records()[0]["by"] == "palette"


def test_the_search_never_asks_it_and_its_examples_are_held_out() -> None:
    seen: list[str] = []

    def spy(output: Any, example: Example) -> float:
        seen.append(example.id)
        return 1.0

    result = run(verdict={"metric": spy})
    assert result.verdict is not None
    assert result.verdict.by == "spy"
    assert set(seen) == {example.id for example in DATA.test}


def judge(**more: Any) -> dict[str, Any]:
    def reply(messages: Sequence[Message]) -> str:
        assert messages[-1].pictures
        return json.dumps({"critique": "so", "rating": "good" if len(messages[-1].pictures[0].data) % 2 else "poor"})

    return {"name": "judge-rating", "model": ScriptedModel(reply, dollars=0.01), "workers": 1, **more}


def test_a_judge_gives_it_and_is_billed(tmp_path: Path) -> None:
    result = run(run=tmp_path, verdict={"scorer": judge()})
    assert result.verdict is not None
    assert result.verdict.by == "judge-rating"
    assert result.costs.calls == 40
    assert result.costs.dollars == pytest.approx(0.4)
    calls = [event for event in read(tmp_path / "ledger.jsonl") if event["event"] == "call"]
    assert {(call["part"], call["role"]) for call in calls} == {("test", "judge")}
    dead = {"name": "judge-rating", "model": ScriptedModel([]), "workers": 1}
    again = run(run=tmp_path, verdict={"scorer": dead})
    assert again.verdict == result.verdict
    assert again.costs.calls == 40


def test_the_budget_bounds_it_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    broke = run(run=tmp_path, budget={"questions": 3, "calls": 25}, verdict={"scorer": judge()})
    assert broke.verdict is None
    assert any("No verdict: the budget for calls is used up" in note for note in broke.notes)
    assert broke.costs.calls <= 25
    whole = promptopt.resume(
        tmp_path, ["budget.calls=60"], watch=False, data=DATA, target=Sketch(), verdict={"scorer": judge()}
    )
    assert whole.verdict is not None
    assert whole.costs.calls == 40


def test_an_estimate_counts_it() -> None:
    plan = prepare({k: v for k, v in recipe(verdict={"scorer": judge()}).items() if k not in ("run", "watch")})
    assert plan.verdict_by == "judge-rating"
    assert plan.aftermath == 2 * 20 / 12
    assert estimate(plan).shares["judge"].expected.calls == 40


def test_the_test_split_is_opened_later_and_once(tmp_path: Path) -> None:
    run(run=tmp_path, verdict=False)
    objects = {"data": DATA, "target": Sketch()}
    opened = promptopt.resume(tmp_path, ["verdict.metric=palette"], watch=False, **objects)
    assert opened.verdict is not None
    assert opened.verdict.by == "palette"
    assert answers(tmp_path, "test") == 2
    again = promptopt.resume(tmp_path, watch=False, **objects)
    assert again.verdict == opened.verdict
    with pytest.raises(UserError, match="has a verdict already, by palette, and held-out examples are rated once"):
        promptopt.resume(tmp_path, ["verdict=true"], watch=False, **objects)
    with pytest.raises(UserError, match="has a verdict already"):
        run(run=tmp_path, verdict={"metric": "compressed-size"})
    assert answers(tmp_path, "test") == 2


def test_transfers_and_the_cheapest_are_measured_by_it_too() -> None:
    result = run(verdict={"metric": "palette", "cheapest": True}, transfer={"other": Sketch()}, margin=1.0)
    assert result.transfers["other"].by == "palette"
    assert result.transfers["other"] == result.verdict
    assert result.cheapest_verdict is not None
    assert result.cheapest_verdict.by == "palette"


def test_a_scorer_object_gives_it_where_there_is_no_data() -> None:
    found = promptopt.optimize(
        start="long prompt", score=lambda text: -len(text), budget=2, run=None, watch=False,
        optimizer={"name": "random-search", "pool": {"name": "list", "prompts": ["short"]}},
        verdict={"scorer": FunctionScorer(len)},
    )  # fmt: skip
    assert found.verdict is not None
    assert (found.verdict.start, found.verdict.best, found.verdict.by) == (11, 5, "FunctionScorer")


class Duels:
    """Decides duels and rates nothing."""

    question = promptopt.Duel

    def answer(self, questions: Sequence[Any], /) -> list[Any]:
        return []


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ({"metric": "palete"}, r"verdict\.metric: unknown metric 'palete'. Did you mean 'palette'"),
        ({"metrik": "palette"}, "verdict: unknown option 'metrik'. Did you mean 'metric'"),
        ({"metric": "palette", "scorer": "dsg"}, "a scorer and a metric"),
        ({"metric": {"name": "palette", "tolerance": -1}}, r"verdict\.metric: tolerance is -1"),
        ({"cheapest": "yes"}, r"verdict\.cheapest is 'yes'"),
        ({"scorer": "judge-rating"}, r"verdict\.scorer: model must be given"),
        ({"scorer": {"name": "bradley-terry"}}, r"verdict\.scorer: bradley-terry rates no examples"),
        ({"scorer": Duels()}, r"verdict\.scorer: Duels decides duels"),
        ("dearest", "verdict is 'dearest'"),
    ],
)
def test_mistakes_are_told_before_anything_is_spent(verdict: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(verdict=verdict)


def test_it_needs_held_out_examples() -> None:
    with pytest.raises(UserError, match=r"verdict\.metric rates held-out examples; give data with a test split"):
        run(data=Dataset("drawn", DATA.train), verdict={"metric": "palette"})


def test_a_table_with_cheapest_alone_is_as_the_word() -> None:
    plan = prepare({k: v for k, v in recipe(verdict={"cheapest": True}).items() if k not in ("run", "watch")})
    assert (plan.cheapest, plan.verdict_by) == (True, "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (True, {"metric": "palette"}),
        (False, {"metric": "palette"}),
        ("cheapest", {"cheapest": True, "metric": "palette"}),
        ({"scorer": "dsg"}, {"scorer": "dsg", "metric": "palette"}),
    ],
)
def test_an_override_goes_into_the_table(before: Any, after: Any) -> None:
    assert override({"verdict": before}, ["verdict.metric=palette"]) == {"verdict": after}


def test_code_from_elsewhere_in_it_is_told() -> None:
    (line,) = lines([{"verdict": {"metric": "stranger.metrics:Best", "scorer": {"name": "stranger.judge:Judge"}}}])
    assert "verdict.metric stranger.metrics:Best" in line
    assert "verdict.scorer stranger.judge:Judge" in line


def test_a_rating_without_examples_can_give_it() -> None:
    class Constant:
        question = Rate

        def answer(self, questions: Sequence[Rate], /) -> list[Rating]:
            return [Rating(float(len(one.prompt.text))) for one in questions]

    found = run(verdict={"scorer": Constant()})
    assert found.verdict is not None
    assert found.verdict.by == "Constant"
