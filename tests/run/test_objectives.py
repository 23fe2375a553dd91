"""What prompts cost, in runs: who provides it, that it is told of the right prompt, and what it costs to know."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from run_parts import CLIMB, Counting, Right, ToyTarget, rewrite

import promptopt
from promptopt.api import prepare
from promptopt.core import Completion, Example, Prompt, Rate, Rating, Request, Usage
from promptopt.errors import UserError
from promptopt.record.front import Front
from promptopt.record.ledger import read
from promptopt.record.story import Story
from promptopt.run.estimate import estimate
from promptopt.run.objectives import Tokens
from promptopt.targets.chat import ChatTarget
from promptopt.testing import ScriptedModel

PROMPTS = ["say it", "say it in many more words than that", "it", "say the word as it stands here"]
LISTED = {"name": "random-search", "pool": {"name": "list", "prompts": PROMPTS}}


class PerWord(ScriptedModel):
    """Answers rightly for prompts with "say"; a call costs a dollar for each word of the prompt."""

    def __init__(self) -> None:
        super().__init__(lambda messages: "yes" if "say" in messages[-1].text else "no")

    def complete(self, request: Request, /) -> Completion:
        return Completion(super().complete(request).replies, self.at_most(request))

    def at_most(self, request: Request, /) -> Usage:
        return Usage(1, 10, 10, float(len(request.messages[-1].text.partition("\n\nInput:")[0].split())))


def chat(model: Any = None, **changes: Any) -> dict[str, Any]:
    examples = [Example(str(i), f"input {i}", "yes") for i in range(40)]
    data = promptopt.Dataset("yes", tuple(examples[:12]), (), tuple(examples[12:]))
    target = ChatTarget(model=model or PerWord())
    recipe = {"start": "say it again and again", "target": target, "data": data, "optimizer": LISTED, "watch": False}
    return {**recipe, "budget": 5, "run": None, "reply_cache": False, **changes}


def toy(folder: Path | None = None, **changes: Any) -> promptopt.Result:
    data = {"name": "run_parts:toy_data", "train": 40, "dev": 0, "test": 40}
    recipe: dict[str, Any] = {"start": "answer {}", "target": "run_parts:ToyTarget", "data": data, "budget": 40}
    return promptopt.optimize(**{**recipe, "optimizer": CLIMB, "run": folder, "watch": False, **changes})


def answers(folder: Path) -> list[dict[str, Any]]:
    return [event for event in read(folder / "ledger.jsonl") if event["event"] == "answer"]


# ── By default ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_prompt_length_is_weighed_by_default_and_costs_nothing(tmp_path: Path) -> None:
    result, without = toy(tmp_path / "with"), toy(tmp_path / "without", objectives=[])
    assert result.front is not None
    assert result.front.objectives == ("prompt-tokens",)
    assert (without.front, without.cheapest) == (None, None)
    assert (result.best, result.costs.questions) == (without.best, without.costs.questions)
    lines = [[{**event, "t": 0} for event in answers(tmp_path / one)] for one in ("with", "without")]
    assert lines[0] == lines[1]
    assert not any("objectives" in event for event in lines[0])


def test_every_candidate_says_what_it_costs() -> None:
    result = toy()
    for candidate in result.candidates:
        text = candidate.prompt.text
        assert candidate.rating.objectives == {"prompt-tokens": -(-len(text) // 4)}
    assert result.front is not None
    assert result.front.tokens == "4 bytes as a token: the target names no tokenizer"


def test_front_and_cheapest_stand_in_the_folder(tmp_path: Path) -> None:
    result = toy(tmp_path)
    front = result.front
    assert front is not None
    assert Front.from_json(json.loads((tmp_path / "front.json").read_text())) == front
    assert Story.read(tmp_path).front == front
    assert (tmp_path / "best.txt").read_text().strip() == result.best == front.best.prompt
    summary = json.loads((tmp_path / "result.json").read_text())
    assert summary["cheapest"]["prompt"] == result.cheapest == front.cheapest.prompt
    ratings = {c.prompt.text: c.rating for c in result.candidates}
    assert all(ratings[point.prompt].value == point.value for point in front.points)


def test_an_optimizer_of_duels_has_no_front() -> None:
    result = promptopt.optimize(start="a", score=len, optimizer=_duels(), budget=4, run=None, watch=False)
    assert result.front is None


def _duels() -> dict[str, Any]:
    return {"name": "random-duel", "pool": {"name": "list", "prompts": ["a", "bb", "ccc"]}}


def test_questions_are_asked_one_at_a_time_only_where_something_is_metered() -> None:
    class Scorer:
        question = Rate
        sizes: list[int]

        def answer(self, questions: Sequence[Rate], /) -> list[Rating]:
            self.sizes.append(len(questions))
            return [Rating(float(len(question.prompt.text))) for question in questions]

    for objectives, sizes in ((None, [10, 10]), (["prompt-tokens"], [10, 10]), (["seconds"], [1] * 20)):
        scorer = Scorer()
        scorer.sizes = []
        promptopt.optimize(
            start="a", scorer=scorer, optimizer=Counting(), objectives=objectives, budget=20, run=None, watch=False
        )
        assert scorer.sizes == sizes


# ── Dollars and seconds ───────────────────────────────────────────────────────────────────────────────────────────


def test_dollars_are_those_of_the_prompt() -> None:
    result = promptopt.optimize(**chat(objectives=["dollars", "prompt-tokens"]))
    costs = {c.prompt.text: c.rating.objectives["dollars"] for c in result.candidates}
    assert costs == {text: len(text.split()) for text in [*PROMPTS, "say it again and again"]}
    assert result.cheapest == "say it"
    assert result.front is not None
    assert [point.prompt for point in result.front.points] == ["say it", "it"]


def test_seconds_are_measured_an_example() -> None:
    class Slow(ToyTarget):
        def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
            time.sleep(0.05 if "long" in prompt.text else 0)
            return super().run(prompt, examples)

    pool = {"name": "list", "prompts": ["long {}", "short {}"]}
    result = toy(target=Slow(), objectives="seconds", optimizer={"name": "random-search", "pool": pool})
    costs = {c.prompt.text: c.rating.objectives["seconds"] for c in result.candidates}
    assert costs["long {}"] >= 0.05 / 40
    assert all(cost > 0 for cost in costs.values())


def test_a_reply_from_the_cache_tells_no_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path))

    class Cached(PerWord):
        identity: Mapping[str, Any] = {}

    found = [
        promptopt.optimize(**chat(Cached(), objectives=names, reply_cache=True)) for names in (["dollars"], ["dollars"])
    ]
    fronts = [result.front for result in found]
    assert [(f.candidates, f.unknown) for f in fronts if f] == [(5, 0), (0, 5)]
    assert "5 prompts are left out of the front, since their dollars are not known" in " ".join(found[1].notes)
    assert found[1].cheapest == found[1].best


def test_a_resumed_run_has_the_same_front(tmp_path: Path) -> None:
    """Also where it stopped with a question half answered: what its calls cost then stands in the ledger."""
    recipe = chat(objectives=["dollars"], run=tmp_path)
    whole = promptopt.optimize(**recipe)
    events = read(tmp_path / "ledger.jsonl")
    place = [i for i, event in enumerate(events) if event["event"] == "answer"][2]
    for end in (len(events), place, place - 5):
        rewrite(tmp_path / "ledger.jsonl", events[:end])
        again = promptopt.optimize(**{**recipe, "target": ChatTarget(model=PerWord())})
        assert again.front == whole.front
        assert json.loads((tmp_path / "front.json").read_text()) == json.loads(json.dumps(whole.front.to_json()))  # type: ignore[union-attr]


def test_a_question_that_was_half_answered_before_has_no_seconds(tmp_path: Path) -> None:
    recipe = chat(objectives=["seconds"], run=tmp_path)
    promptopt.optimize(**recipe)
    events = read(tmp_path / "ledger.jsonl")
    place = [i for i, event in enumerate(events) if event["event"] == "answer"][2]
    rewrite(tmp_path / "ledger.jsonl", events[: place - 5])
    result = promptopt.optimize(**{**recipe, "target": ChatTarget(model=PerWord())})
    assert result.front is not None
    assert result.front.unknown == 1


def test_an_old_ledger_is_read_and_its_run_gets_a_front(tmp_path: Path) -> None:
    result = toy(tmp_path)
    old = [{k: v for k, v in event.items() if k not in ("crc", "front")} for event in read(tmp_path / "ledger.jsonl")]
    rewrite(tmp_path / "ledger.jsonl", old)
    assert Story.read(tmp_path).front is None
    again = promptopt.resume(tmp_path, watch=False)
    assert again.front == result.front
    assert again.costs.questions == result.costs.questions


def test_parts_of_a_rating_come_together() -> None:
    """Where prompts are rated part by part, as in a race, costs are means over all examples."""

    class Halves(Counting):
        def ask(self) -> list[Rate]:
            ids = [f"train-{i}" for i in range(40)]
            batch = super().ask()
            return [Rate(q.prompt, tuple(part)) for q in batch for part in (ids[:10], ids[10:], ())]

    halves = Halves(batch=2, limit=2, text=lambda i: f"prompt {i} {{}}")
    result = toy(target=AllBut(()), optimizer=halves, metric=Longer(), objectives="id")
    assert {c.rating.objectives["id"] for c in result.candidates} == {19.5}


# ── The metric's own ──────────────────────────────────────────────────────────────────────────────────────────────


class AllBut(ToyTarget):
    """Gives no output for examples of some numbers."""

    def __init__(self, without: Collection[int]) -> None:
        super().__init__()
        self.without = without

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        return [None if int(e.id.partition("-")[2]) in self.without else "output" for e in examples]


class Longer(Right):
    """Measures the number in an example's id, and nothing where there is no output."""

    objectives = ("id", "other")

    def measure(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> Mapping[str, Sequence[float | None]]:
        assert all(output is not None for output in outputs)
        return {"id": [int(e.id.partition("-")[2]) for e in examples], "other": [None for _ in examples]}

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | None]:
        return [1.0 for _ in outputs]


def test_a_metric_measures_what_is_asked_for(tmp_path: Path) -> None:
    result = toy(tmp_path, target=AllBut(range(10, 100)), metric=Longer(), objectives=["id"], budget=3)
    assert {c.rating.objectives["id"] for c in result.candidates} == {4.5}
    searched = [event for event in answers(tmp_path) if event["stage"] == "search"]
    assert [event["objectives"] for event in searched] == [{"id": 4.5}] * 3


def test_a_score_function_brings_its_own() -> None:
    def score(text: str) -> Rating:
        return Rating(1.0, objectives={"letters": len(text), "unasked": 1.0, "odd": float("nan")})

    score.objectives = ["letters", "odd"]  # type: ignore[attr-defined]
    result = promptopt.optimize(
        start="start", score=score, optimizer=LISTED, objectives=["letters"], budget=5, run=None, watch=False
    )
    assert result.cheapest == "it"
    assert all(c.rating.objectives == {"letters": len(c.prompt.text)} for c in result.candidates)


# ── Mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"objectives": ["prompt-token"]},
            "nobody provides 'prompt-token'. There are prompt-tokens, seconds; a",
        ),
        ({"objectives": "dollars"}, "nobody provides 'dollars' \\(no model of the target says what its calls cost"),
        ({"objectives": ["seconds", "seconds"]}, "name each once"),
        (
            {"objectives": [], "verdict": "cheapest"},
            'verdict = "cheapest": there is no cheapest prompt where',
        ),
        ({"objectives": [], "margin": 0.1}, "margin: there is no cheapest prompt where objectives is empty"),
        ({"margin": -0.1}, "margin is -0.1; allowed is 0 or more"),
        ({"optimizer": _duels(), "objectives": "seconds"}, "objectives: RandomDuels asks for duels"),
    ],
)
def test_a_mistake_is_told_before_anything_is_spent(changes: dict[str, Any], told: str) -> None:
    recipe = chat(ScriptedModel([]), **changes)
    for key in ("run", "watch"):
        recipe.pop(key)
    with pytest.raises(UserError, match=told):
        prepare(recipe)


def test_dollars_are_provided_where_calls_have_a_price() -> None:
    recipe = chat(ScriptedModel([], dollars=0.01), objectives=["dollars"])
    assert prepare({key: value for key, value in recipe.items() if key not in ("run", "watch")}).objectives


# ── With a dev split, and on held-out examples ────────────────────────────────────────────────────────────────────


def test_with_objectives_some_of_the_front_are_rated_on_the_dev_split() -> None:
    data = {"name": "run_parts:toy_data", "train": 40, "dev": 30, "test": 40}
    plain, named = (toy(data=data, budget=50, margin=0.4, objectives=one) for one in (None, ["prompt-tokens"]))
    dev = [[step.question.prompt for step in one.steps if step.stage == "dev"] for one in (plain, named)]  # type: ignore[union-attr]
    assert len(dev[0]) == 5
    assert 5 < len(dev[1]) <= 10
    for result in (plain, named):
        assert result.costs.questions <= 50
        assert result.front is not None
        assert (result.front.split, result.front.best.prompt) == ("dev", result.best)
        assert result.front.best.examples == 30


def test_the_cheapest_is_measured_where_it_is_asked_for(tmp_path: Path) -> None:
    result = toy(tmp_path, margin=0.5)
    assert result.front is not None
    assert result.front.saves
    assert result.cheapest_verdict is None
    tests = [sum(event["stage"] == "test" for event in answers(tmp_path))]
    for _ in range(2):  # the second time it is there
        again = promptopt.resume(tmp_path, ["verdict=cheapest"], watch=False)
        tests.append(sum(event["stage"] == "test" for event in answers(tmp_path)))
        verdict = again.cheapest_verdict
        assert verdict is not None
        assert again.verdict is not None
        assert verdict.start == again.verdict.best
        assert again.verdict == result.verdict
        assert Story.read(tmp_path).cheapest == verdict
        assert Story.read(tmp_path).verdict == again.verdict
    assert tests == [2, 3, 3]


def test_no_third_rating_where_the_best_is_the_cheapest() -> None:
    result = toy(margin=0.0, verdict="cheapest", budget=1)
    assert result.front is not None
    assert not result.front.saves
    assert result.cheapest_verdict is None
    assert sum(step.stage == "test" for step in result.steps) == 1


def test_the_estimate_counts_the_third_rating() -> None:
    def calls(verdict: Any) -> int:
        recipe = chat(ScriptedModel([], dollars=0.01), verdict=verdict)
        plan = prepare({key: value for key, value in recipe.items() if key not in ("run", "watch")})
        assert plan.aftermath == {True: 2, "cheapest": 3}[verdict] * 28 / 12
        return estimate(plan).shares["target"].expected.calls

    assert calls("cheapest") - calls(True) == 28


# ── Tokens ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tokens_are_counted_by_who_can() -> None:
    class Words:
        def count_tokens(self, text: str, /) -> int:
            return len(text.split())

    assert Tokens([None, Words()]).of("two words") == 2
    assert Tokens([None, Words()]).said == "with the target's tokenizer"
    assert [Tokens([None]).of(text) for text in ("", "a", "four", "fives", "字", "\ud83d half")] == [0, 1, 1, 2, 1, 2]


def test_the_tokenizer_of_the_targets_model_counts() -> None:
    class Counts(PerWord):
        def count_tokens(self, text: str, /) -> int:
            return 7

    result = promptopt.optimize(**chat(Counts()))
    assert {c.rating.objectives["prompt-tokens"] for c in result.candidates} == {7}


def test_what_shortening_tried_is_weighed_too() -> None:
    result = toy(shorten=10)
    tried = [step.question.prompt.text for step in result.steps if step.stage == "shorten"]  # type: ignore[union-attr]
    assert tried
    assert {*tried} <= {candidate.prompt.text for candidate in result.candidates}
    assert result.front is not None
    assert result.front.candidates == len(result.candidates)
    assert result.front.best.prompt == result.best
