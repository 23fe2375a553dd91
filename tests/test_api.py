"""optimize and resume from Python, in all the ways, and what a killed run loses: nothing."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import run_parts
from run_parts import CLIMB, START, Counting, Right, ToyTarget, Words, Writer, lines, quality, rewrite, toy_data

import promptopt
from promptopt import Budget, Prompt, Rating, Result, UserError
from promptopt.core import ChatModel, Dataset, Example, Message, Rate, Request, Setup
from promptopt.errors import LockedRun, NothingUsable, UnknownName
from promptopt.optimizers import HillClimb, LexicalProposer, RandomSearch
from promptopt.optimizers.pools.listed import ListPool
from promptopt.record.freeze import OBJECT
from promptopt.record.ledger import Ledger, read
from promptopt.scorers import FunctionScorer, MetricScorer
from promptopt.testing import ScriptedModel

FORK = multiprocessing.get_context("fork")
CLIMBER = {"restarts": 1, "resets": 1, "iterations": 4, "per_call": 4, "k": 3}


def climber() -> HillClimb:
    return HillClimb(proposer=LexicalProposer(phrases=run_parts.WORDS), **CLIMBER)


def toy(run: Path | None, **changes: Any) -> dict[str, Any]:
    """A recipe with every stage: search, dev, ensemble, verdict."""
    recipe: dict[str, Any] = {
        "start": START,
        "target": {"name": "run_parts:ToyTarget"},
        "data": {"name": "run_parts:toy_data"},
        "optimizer": CLIMB,
        "budget": 60,
        "finalists": 4,
        "ensemble": 2,
        "run": None if run is None else str(run),
    }
    return {**recipe, **changes}


def outcome(result: Result) -> list[Any]:
    """Everything about a result that does not tell the time."""
    return [
        result.best,
        result.start,
        [(c.prompt, c.rating, c.parents) for c in result.candidates],
        result.verdict,
        result.stop_reason,
        replace(result.costs, seconds=0.0),
        result.counts,
        result.notes,
        result.warnings,
        [(s.n, s.stage, s.question, s.answer) for s in result.steps],
    ]


def answers(folder: Path) -> list[dict[str, Any]]:
    """The answers and the verdict in a ledger, without times."""
    events = (e for e in read(folder / "ledger.jsonl") if e["event"] in ("answer", "verdict"))
    return [{k: v for k, v in event.items() if k != "t"} for event in events]


# ── Ways to say the same ──────────────────────────────────────────────────────────────────────────────────────────


def test_five_lines_are_enough() -> None:
    result = promptopt.optimize(start=START, score=quality, optimizer=climber(), budget=30, run=None)
    assert result.score(result.best) > quality(START)  # type: ignore[operator]
    assert result.best == max(result.candidates, key=lambda c: c.rating.value).prompt.text
    assert str(result) == result.best
    assert result.costs.questions == len(result.steps) == len(result.history())
    assert result.run is None
    assert result.verdict is None


def test_objects_tables_and_names_give_the_same_run() -> None:
    one = promptopt.optimize(**toy(None))
    phrases = LexicalProposer(phrases=run_parts.WORDS)
    objects = {
        "target": ToyTarget(),
        "data": toy_data(),
        "metric": Right(),
        "optimizer": HillClimb(proposer=phrases, restarts=2, resets=2, iterations=6, k=4, per_call=5),
        "budget": Budget(questions=60),
    }
    named = {"target": "run_parts:ToyTarget", "data": "run_parts:toy_data", "metric": "run_parts:Right"}
    for changes in (objects, named, {"budget": {"questions": 60}}, {"start": [START]}):
        assert outcome(promptopt.optimize(**toy(None, **changes))) == outcome(one)


def test_a_score_counts_as_given_whatever_its_truth() -> None:
    class Scores(list[str]):
        def __call__(self, text: str) -> float:
            return quality(text)

    result = promptopt.optimize(start=START, score=Scores(), optimizer=climber(), budget=5, run=None)
    assert result.costs.questions == 5
    with pytest.raises(UserError, match="score is a scorer by itself"):
        promptopt.optimize(**toy(None, score=Scores()))


def test_a_scorer_object_and_a_function_agree() -> None:
    parts: dict[str, Any] = {"start": START, "budget": 25, "run": None}
    by_function = promptopt.optimize(score=quality, optimizer=climber(), **parts)
    by_scorer = promptopt.optimize(scorer=FunctionScorer(quality), optimizer=climber(), **parts)
    by_name = promptopt.optimize(scorer="run_parts:Words", optimizer=climber(), **parts)
    assert outcome(by_function) == outcome(by_scorer) == outcome(by_name)


def test_a_function_may_give_whole_ratings() -> None:
    result = promptopt.optimize(
        start="a", score=lambda text: Rating(1.0, feedback=f"saw {text}"), optimizer=climber(), budget=5, run=None
    )
    assert result.candidates[0].rating.feedback == "saw a"


def test_same_seed_same_result_and_seed_zero_is_a_seed() -> None:
    outcomes = [outcome(promptopt.optimize(**toy(None, seed=seed))) for seed in (0, 0, 1, 1)]
    assert outcomes[0] == outcomes[1] != outcomes[2] == outcomes[3]


def test_an_optimizer_object_can_be_used_again() -> None:
    optimizer = climber()
    first, second = (
        promptopt.optimize(start=START, score=quality, optimizer=optimizer, budget=30, run=None) for _ in range(2)
    )
    assert outcome(first) == outcome(second)


def test_several_starts_are_all_rated_and_the_first_is_compared_with() -> None:
    starts = ["dry {}", "vivid {}", "dry {}"]
    result = promptopt.optimize(**toy(None, start=starts))
    assert result.start == "dry {}"
    assert [s.question.prompt.text for s in result.steps[:2]] == ["dry {}", "vivid {}"]  # type: ignore[union-attr]


def test_a_function_that_returns_nothing_is_told_so() -> None:
    with pytest.raises(promptopt.PromptoptError, match="score function returned None"):
        promptopt.optimize(start="a", score=lambda text: None, optimizer=climber(), budget=5, run=None)  # type: ignore[arg-type, return-value]


def test_nothing_scored_ends_as_failed(tmp_path: Path) -> None:
    with pytest.raises(NothingUsable, match="not one output of the only prompt rated could be used: 1 of 1 no value"):
        promptopt.optimize(start="a", score=lambda text: math.nan, optimizer=climber(), budget=5, run=tmp_path / "run")
    assert read(tmp_path / "run" / "ledger.jsonl")[-1]["event"] == "failed"


# ── Folders ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_by_default_a_run_makes_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = promptopt.optimize(start=START, score=quality, optimizer=climber(), budget=5)
    assert result.run is not None
    assert result.run.parent == Path("runs")
    assert (result.run / "best.txt").read_text() == result.best + "\n"
    assert json.loads((result.run / "result.json").read_text()) == json.loads(result.to_json())
    assert read(result.run / "ledger.jsonl")[0]["event"] == "start"
    assert read(result.run / "ledger.jsonl")[-1]["event"] == "stop"


def test_runs_of_the_same_second_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    together = threading.Barrier(6)

    def search(seed: int) -> Path | None:
        together.wait()
        return promptopt.optimize(start=START, score=quality, optimizer=climber(), budget=3).run

    with ThreadPoolExecutor(6) as pool:
        folders = list(pool.map(search, range(6)))
    assert len(set(folders)) == 6


def test_a_folder_with_this_run_is_taken_up(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    target = {"name": "run_parts:ToyTarget", "log": log}
    first = promptopt.optimize(**toy(tmp_path / "run", target=target))
    paid = lines(log)
    again = promptopt.optimize(**toy(tmp_path / "run", target=target))
    assert lines(log) == paid
    assert outcome(first) == outcome(again)


class Refuses(RandomSearch):
    """Begins with nothing."""

    def begin(self, setup: Any, /) -> None:
        raise UserError("no.")


def test_nobody_is_sent_to_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(UserError) as caught:
        promptopt.optimize(**toy(folder, optimizer=Refuses(pool=ListPool(prompts=["a"]))))
    assert not folder.exists()
    assert not getattr(caught.value, "__notes__", [])


def test_an_object_is_the_same_where_its_module_has_moved(tmp_path: Path) -> None:
    def optimizer() -> HillClimb:
        return HillClimb(proposer=LexicalProposer(phrases=["clear"]), restarts=1, resets=1, iterations=2, k=4)

    first = promptopt.optimize(**toy(tmp_path, optimizer=optimizer()))
    ledger = tmp_path / "ledger.jsonl"
    events = read(ledger)
    assert events[0]["recipe"]["optimizer"] == {OBJECT: "promptopt.optimizers.hill_climb:HillClimb"}
    events[0]["recipe"]["optimizer"] = {OBJECT: "promptopt.climbing:HillClimb"}
    rewrite(ledger, events)
    assert outcome(promptopt.optimize(**toy(tmp_path, optimizer=optimizer()))) == outcome(first)
    with pytest.raises(UserError, match="holds a run with other optimizer"):
        promptopt.optimize(**toy(tmp_path, optimizer=RandomSearch(pool=["a {}"])))


def test_a_folder_with_another_run_is_refused(tmp_path: Path) -> None:
    promptopt.optimize(**toy(tmp_path))
    with pytest.raises(UserError, match="holds a run with other data, seed"):
        promptopt.optimize(**toy(tmp_path, seed=1, data={"name": "run_parts:toy_data", "train": 5}))
    assert "failed" not in {e["event"] for e in read(tmp_path / "ledger.jsonl")}


def test_what_a_recipe_left_out_is_the_default(tmp_path: Path) -> None:
    """A run that was started from a recipe can be taken up by a call that spells its defaults out."""
    from promptopt.api import execute

    first = execute(toy(tmp_path))
    again = promptopt.optimize(**toy(tmp_path, cache=True, per_example=True, seed=0))
    assert outcome(first) == outcome(again)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(LockedRun):
        promptopt.optimize(**toy(tmp_path))
    ledger.append({"event": "start"})
    with pytest.raises(LockedRun):
        promptopt.resume(tmp_path)
    ledger.close()


# ── Resuming ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run in"):
        promptopt.resume(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "ledger.jsonl").write_text('{"event": "sta')
    with pytest.raises(UserError, match="was stopped before it began"):
        promptopt.resume(tmp_path)


@pytest.mark.parametrize("first", ['{"event": "answer"}', '{"event": "start", "format": 99, "recipe": {}}'])
def test_resume_refuses_what_is_no_run_of_this_version(tmp_path: Path, first: str) -> None:
    (tmp_path / "ledger.jsonl").write_text(first + "\n")
    with pytest.raises(UserError, match="no run that this version can take up"):
        promptopt.resume(tmp_path)


def test_resume_gives_the_same_result_and_pays_nothing(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    first = promptopt.optimize(**toy(tmp_path / "run", target={"name": "run_parts:ToyTarget", "log": log}))
    paid = lines(log)
    assert outcome(promptopt.resume(tmp_path / "run")) == outcome(first)
    assert lines(log) == paid
    assert [e["event"] for e in read(tmp_path / "run" / "ledger.jsonl") if e["event"] == "verdict"] == ["verdict"]


OBJECTS: dict[str, Callable[[], Any]] = {"score": lambda: quality, "optimizer": climber}


def test_resume_with_objects(tmp_path: Path) -> None:
    parts = {key: make() for key, make in OBJECTS.items()}
    first = promptopt.optimize(start=START, budget=12, run=tmp_path, **parts)
    for key in OBJECTS:
        left = {other: make() for other, make in OBJECTS.items() if other != key}
        with pytest.raises(UserError, match=rf"with an object, .*, in {key}\..*resume\(folder, {key}=\.\.\.\)"):
            promptopt.resume(tmp_path, **left)
    again = promptopt.resume(tmp_path, **{key: make() for key, make in OBJECTS.items()})
    assert outcome(first) == outcome(again)


def test_resume_with_a_misspelt_object(tmp_path: Path) -> None:
    promptopt.optimize(start=START, score=quality, optimizer=climber(), budget=5, run=tmp_path)
    with pytest.raises(UnknownName, match=r"unknown option 'scroe'\. Did you mean 'score'"):
        promptopt.resume(tmp_path, score=quality, optimizer=climber(), scroe=quality)


def test_prompts_about_python_objects_are_not_objects(tmp_path: Path) -> None:
    start = 'explain this python object: {"python object": "x"} {}'
    recipe: dict[str, Any] = {"start": start, "scorer": "run_parts:Words", "optimizer": CLIMB, "budget": 5}
    first = promptopt.optimize(run=tmp_path, **recipe)
    assert outcome(promptopt.resume(tmp_path)) == outcome(first)


@pytest.mark.parametrize(
    "budget",
    [Budget(questions=20), 20, {"questions": 20}, {"questions": 20, "calls": 7}, {"seconds": 60, "questions": 20}],
)
def test_resume_extends_any_budget(tmp_path: Path, budget: Any) -> None:
    recipe = toy(tmp_path / "run", data={"name": "run_parts:toy_data", "dev": 0}, ensemble=1)
    promptopt.optimize(**{**recipe, "budget": budget})
    longer = promptopt.resume(tmp_path / "run", ["budget.questions=45"])
    whole = promptopt.optimize(**{**recipe, "budget": 45, "run": None})
    assert outcome(longer) == outcome(whole)
    assert outcome(promptopt.resume(tmp_path / "run")) == outcome(whole), "the larger budget stays in force"


def test_a_larger_budget_may_also_be_given_to_optimize(tmp_path: Path) -> None:
    recipe = toy(tmp_path, data={"name": "run_parts:toy_data", "dev": 0}, ensemble=1)
    promptopt.optimize(**{**recipe, "budget": 20})
    longer = promptopt.optimize(**{**recipe, "budget": 45})
    assert outcome(longer) == outcome(promptopt.optimize(**{**recipe, "budget": 45, "run": None}))


def test_an_extended_run_with_finalists_stays_within_its_budget(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    target = {"name": "run_parts:ToyTarget", "log": log}
    for budget in (25, 40, 60):
        result = promptopt.optimize(**toy(tmp_path / "run", target=target, budget=budget))
        paid = [line for line in lines(log) if not line.startswith("test")]
        assert len(paid) == result.costs.questions <= budget
        assert len(set(paid)) == len(paid)
        events = [e for e in answers(tmp_path / "run") if e["event"] == "answer" and e["stage"] != "test"]
        assert len(events) == result.costs.questions
    assert lines(log).count(f"test\t{START}") == 1, "the start was bought anew for each verdict"


def test_resume_with_patience_and_goal(tmp_path: Path) -> None:
    recipe: dict[str, Any] = {"start": START, "scorer": "run_parts:Words", "optimizer": CLIMB}
    stopped = promptopt.optimize(**recipe, patience=3, run=tmp_path)
    assert stopped.stop_reason.startswith("patience")
    longer = promptopt.resume(tmp_path, ["patience=30"])
    assert outcome(longer) == outcome(promptopt.optimize(**recipe, patience=30, run=None))
    reached = promptopt.resume(tmp_path, ["patience=1000", f"goal={longer.candidates[0].rating.value}"])
    assert reached.stop_reason.startswith("goal")


def test_resume_with_another_seed_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    first = promptopt.optimize(**toy(tmp_path))
    with pytest.raises(UserError, match="'seed' cannot change"):
        promptopt.resume(tmp_path, ["seed=5"])
    assert outcome(promptopt.resume(tmp_path)) == outcome(first)


def test_infinity_in_a_recipe_survives(tmp_path: Path) -> None:
    """JSON has no infinity, TOML has, and a BradleyTerry's scale may be it."""
    recipe: dict[str, Any] = {
        "start": START,
        "scorer": {
            "name": "win-rate",
            "reference": "plain {}",
            "scorer": {"name": "bradley-terry", "scale": math.inf, "scorer": "run_parts:Words"},
        },
        "optimizer": CLIMB,
        "budget": 8,
    }
    first = promptopt.optimize(**recipe, run=tmp_path)
    assert outcome(promptopt.resume(tmp_path)) == outcome(first)


# ── Failing and interrupting ──────────────────────────────────────────────────────────────────────────────────────


class Trips(Words):
    """Raises once, before a question of a given number."""

    error: BaseException | None = None
    at = 0

    def answer(self, questions: Any, /) -> Any:
        for question in questions:
            if self.error and question.number == self.at:
                raise self.error
            yield from super().answer([question])


@pytest.mark.parametrize("at", [0, 1, 11, 29])
def test_a_failed_run_says_so_and_goes_on_later(tmp_path: Path, at: int) -> None:
    scorer = Trips(log=str(tmp_path / "log"))
    scorer.error, scorer.at = RuntimeError("no [/bold] luck"), at
    parts: dict[str, Any] = {"start": START, "optimizer": CLIMB, "budget": 30}
    with pytest.raises(RuntimeError) as failure:
        promptopt.optimize(scorer=scorer, run=tmp_path / "a run", **parts)
    assert f"promptopt resume '{tmp_path / 'a run'}'" in "".join(failure.value.__notes__)
    last = read(tmp_path / "a run" / "ledger.jsonl")[-1]
    assert (last["event"], last["error"]) == ("failed", "RuntimeError: no [/bold] luck")
    assert not (tmp_path / "a run" / "best.txt").exists()
    scorer.error = None
    resumed = promptopt.resume(tmp_path / "a run", scorer=scorer)
    assert outcome(resumed) == outcome(promptopt.optimize(scorer=Words(), run=None, **parts))
    assert len(lines(tmp_path / "log")) == 30


@pytest.mark.parametrize("at", [0, 1, 11, 29])
def test_an_interrupted_run_gives_what_it_has_and_goes_on_later(tmp_path: Path, at: int) -> None:
    scorer = Trips(log=str(tmp_path / "log"))
    scorer.error, scorer.at = KeyboardInterrupt(), at
    parts: dict[str, Any] = {"start": START, "optimizer": CLIMB, "budget": 30}
    result = promptopt.optimize(scorer=scorer, run=tmp_path / "run", **parts)
    assert result.stop_reason == "interrupted"
    assert result.costs.questions == at
    assert read(tmp_path / "run" / "ledger.jsonl")[-1]["reason"] == "interrupted"
    scorer.error = None
    resumed = promptopt.resume(tmp_path / "run", scorer=scorer)
    assert outcome(resumed) == outcome(promptopt.optimize(scorer=Words(), run=None, **parts))
    assert len(lines(tmp_path / "log")) == 30


class Stage(ToyTarget):
    """Is interrupted when it sees examples of one split."""

    split = ""

    def run(self, prompt: Prompt, examples: Any, /) -> list[Any]:
        if self.split and examples[0].id.startswith(self.split):
            raise KeyboardInterrupt
        return super().run(prompt, examples)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_an_interruption_after_the_search(tmp_path: Path, split: str) -> None:
    target = Stage(log=str(tmp_path / "log"))
    target.split = split
    result = promptopt.optimize(**toy(tmp_path / "run", target=target))
    assert (result.stop_reason, result.verdict) == ("interrupted", None)
    target.split = ""
    resumed = promptopt.resume(tmp_path / "run", target=target)
    assert outcome(resumed) == outcome(promptopt.optimize(**toy(None)))
    promptopt.optimize(**toy(None, target={"name": "run_parts:ToyTarget", "log": str(tmp_path / "whole")}))
    assert lines(tmp_path / "log") == lines(tmp_path / "whole")


# ── Dev, ensemble, verdict ────────────────────────────────────────────────────────────────────────────────────────


def stages(result: Result) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for step in result.steps:
        assert isinstance(step.question, Rate)
        found.setdefault(step.stage, []).append(step.question.prompt.text)
    return found


def test_the_finalists_are_rated_on_the_dev_split_and_the_best_there_wins() -> None:
    result = promptopt.optimize(**toy(None, ensemble=1, finalists=6))
    train = [c.prompt.text for c in result.candidates]
    dev = [s for s in result.steps if s.stage == "dev"]
    texts = [s.question.prompt.text for s in dev]  # type: ignore[union-attr]
    assert len(texts) == 6
    assert set(texts) == set(train[:6])
    values = [s.answer.value for s in dev]  # type: ignore[union-attr]
    assert result.best == texts[values.index(max(values))]
    assert (result.costs.questions, result.stop_reason) == (60, "budget: questions")


def test_an_ensemble_wins_only_if_it_is_rated_better() -> None:
    kept = set()
    for seed in range(6):
        result = promptopt.optimize(**toy(None, seed=seed, ensemble=3))
        dev = [s for s in result.steps if s.stage == "dev"]
        (together,) = (s for s in result.steps if s.stage == "final")
        alone = max(dev, key=lambda step: step.answer.rank)  # type: ignore[union-attr]
        assert isinstance(alone.answer, Rating)
        assert isinstance(together.answer, Rating)
        better = together.answer.rank > alone.answer.rank
        assert result.best == (together if better else alone).question.prompt.text  # type: ignore[union-attr]
        assert "\n" in together.question.prompt.text  # type: ignore[union-attr]
        kept.add(better)
    assert True in kept, "no seed had an ensemble that was better, so this shows nothing"


def test_an_ensemble_that_wins_without_a_dev_split_has_its_score() -> None:
    won = 0
    for seed in range(8):
        recipe = toy(None, seed=seed, ensemble=3, data={"name": "run_parts:toy_data", "dev": 0})
        result = promptopt.optimize(**recipe)
        won += "\n" in result.best
        assert result.score(result.best) is not None
    assert won, "no seed had an ensemble that was better, so this shows nothing"


def test_prompts_that_could_not_be_scored_are_in_no_ensemble() -> None:
    scores = {"a {}": 1.0, "b {}": 0.5}
    result = promptopt.optimize(
        start="a {}",
        scorer=FunctionScorer(lambda text: scores.get(text, math.nan)),
        optimizer=RandomSearch(pool=ListPool(prompts=["b {}", "c {}", "d {}"])),
        ensemble=4,
        run=None,
    )
    assert stages(result)["final"] == ["a {}\nb {}"]
    assert result.counts["answers without a score"] == 3


def test_the_search_never_sees_dev_or_test_examples(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    result = promptopt.optimize(**toy(None, target={"name": "run_parts:ToyTarget", "log": log}))
    seen = [line.split("\t")[0] for line in lines(log)]
    searched = len(stages(result)["search"])
    assert set(seen[:searched]) == {"train"}
    assert set(seen[searched:-2]) == {"dev"}
    assert seen[-2:] == ["test", "test"]


def test_parts_are_offered_the_training_examples_alone() -> None:
    seen: list[Any] = []
    Peeks.seen = seen
    promptopt.optimize(
        start=START, scorer="test_api_peeks:Peeks", data=toy_data(), optimizer=climber(), budget=8, run=None
    )
    assert [ids[0] for ids in seen] == ["train-0", "dev-0", "test-0"]


class Peeks(FunctionScorer):
    """Takes examples from the run."""

    seen: list[Any]

    def __init__(self, *, examples: tuple[Example, ...]) -> None:
        super().__init__(quality)
        self.seen.append([example.id for example in examples])


@pytest.fixture(autouse=True)
def _peeks(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("test_api_peeks")
    module.Peeks = Peeks  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "test_api_peeks", module)


def test_the_verdict_compares_start_and_best_on_the_test_examples() -> None:
    result = promptopt.optimize(**toy(None))
    data, verdict = toy_data(), result.verdict
    assert verdict is not None
    scorer = MetricScorer(target=ToyTarget(), metric=Right(), examples=data.test)
    start, best = scorer.answer([Rate(Prompt(START)), Rate(Prompt(result.best))])
    assert (verdict.start, verdict.best, verdict.examples) == (start.value, best.value, 40)
    assert verdict.difference == pytest.approx(best.value - start.value)


def test_no_test_split_no_verdict() -> None:
    assert promptopt.optimize(**toy(None, data={"name": "run_parts:toy_data", "test": 0})).verdict is None


class Unscored:
    def __call__(self, outputs: Any, examples: Any, /) -> list[float | None]:
        right = Right()(outputs, examples)
        return [None if example.id.startswith("test") else one for one, example in zip(right, examples, strict=True)]


def test_a_verdict_is_never_computed_from_nothing_and_asked_for_again(tmp_path: Path) -> None:
    """The outage is over when the run is taken up again."""
    with pytest.raises(NothingUsable, match=r"no verdict \(test\): not one output on held-out examples"):
        promptopt.optimize(**toy(tmp_path, metric=Unscored()))
    assert not any(event["event"] in ("verdict", "stop") for event in read(tmp_path / "ledger.jsonl"))
    again = promptopt.resume(tmp_path, metric=Right())
    assert again.verdict is not None
    assert again.verdict.examples == 40


def test_a_verdict_from_nothing_of_an_older_ledger_is_kept(tmp_path: Path) -> None:
    first = promptopt.optimize(**toy(tmp_path, metric=Right()))
    ledger = tmp_path / "ledger.jsonl"
    events = read(ledger)
    for event in events:
        if event["event"] == "answer" and event["stage"] == "test":
            event["value"], event["per_example"] = None, [None] * 40
            event.pop("coverage")
            event.pop("cases")
        if event["event"] == "verdict":
            numbers = dict.fromkeys(("start", "best", "difference", "low", "high"))
            event["verdict"] = {**numbers, "examples": 0, "unscored": 40}
    events[0].pop("failed")
    rewrite(ledger, events)
    again = promptopt.resume(tmp_path, metric=Right())
    assert again.best == first.best
    assert again.verdict is not None
    assert (again.verdict.examples, again.verdict.start_coverage) == (0, None)
    assert json.loads(again.to_json())["verdict"]["difference"] is None


def test_training_text_in_the_best_prompt_is_warned_of() -> None:
    data = Dataset("d", train=(Example("q1", "how many legs does a spider have", "8"),))
    words = "how many legs does a spider"
    result = promptopt.optimize(start=words, score=len, data=data, optimizer=climber(), budget=3, run=None)
    assert "training examples: q1" in result.warnings[0]


class Talks(ToyTarget):
    """Asks a chat model about every example."""

    def __init__(self, *, model: ChatModel) -> None:
        super().__init__()
        self.model = model

    def begin(self, setup: Setup, /) -> None:
        self._billed = setup.model(self.model, role="target")

    def run(self, prompt: Prompt, examples: Any, /) -> list[Any]:
        right = super().run(prompt, examples)
        for example in examples:
            self._billed.complete(Request([Message("user", f"{prompt.text} {example.id}")]))
        return right


def _spent(result: Result) -> dict[str, float]:
    costs = result.costs
    tokens = costs.input_tokens + costs.output_tokens
    return {"calls": costs.calls, "dollars": costs.dollars, "tokens": tokens}


@pytest.mark.parametrize("limit", [{"calls": 800}, {"dollars": 8}])
def test_a_budget_for_calls_leaves_enough_for_the_verdict(tmp_path: Path, limit: dict[str, Any]) -> None:
    model = ScriptedModel(lambda _: "ok", max_tokens=1, dollars=0.01)
    result = promptopt.optimize(**toy(tmp_path, target=Talks(model=model), budget=limit))
    [name] = limit
    assert result.stop_reason == f"budget: {name}"
    assert result.verdict is not None
    assert 0.8 * limit[name] < _spent(result)[name] <= limit[name] + 1e-9
    resumed = promptopt.resume(tmp_path, target=Talks(model=model))
    assert outcome(resumed) == outcome(result)
    assert len(model.calls) == result.costs.calls


@pytest.mark.parametrize("limit", [200, 2_000, 5_000])
def test_tokens_are_never_exceeded_and_a_missing_verdict_is_explained(tmp_path: Path, limit: int) -> None:
    model = ScriptedModel(lambda _: "ok", max_tokens=1)
    result = promptopt.optimize(**toy(tmp_path, target=Talks(model=model), budget={"tokens": limit}))
    assert result.stop_reason == "budget: tokens"
    assert _spent(result)["tokens"] <= limit
    assert result.verdict is not None or "No verdict: the budget for tokens is used up" in result.notes[-1]
    longer = promptopt.resume(tmp_path, ["budget.tokens=20000"], target=Talks(model=model))
    assert _spent(longer)["tokens"] <= 20_000
    assert len(model.calls) == longer.costs.calls


def test_a_missing_verdict_of_a_run_without_a_folder_names_no_folder() -> None:
    model = ScriptedModel(lambda _: "ok", max_tokens=1)
    parts = toy(None, target=Talks(model=model), budget={"calls": 40}, ensemble=1, finalists=1)
    result = promptopt.optimize(**{**parts, "data": toy_data(dev=0)})
    assert result.verdict is None
    assert "No verdict: the budget for calls is used up. Raise it" in result.notes[-1]
    assert "None" not in result.notes[-1]


# ── What cannot work, before anything is spent ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": []}, "start is empty"),
        ({"start": "no placeholder"}, "start 'no placeholder' cannot be used: it needs one"),
        ({"seed": -1}, "seed is -1; allowed is 0 or more"),
        ({"finalists": 0}, "finalists is 0; allowed is 1 or more"),
        ({"ensemble": 0}, "ensemble is 0; allowed is 1 or more"),
        ({"patience": 0}, "patience is 0; allowed is 1 or more"),
        ({"budget": 5}, "a budget of 5 questions leaves none for the search: the final choice takes 5"),
        ({"budget": 0}, r"budget.questions is 0"),
        ({"score": quality}, "score is a scorer by itself"),
        ({"target": None}, "a metric judges a target's outputs|say how prompts are scored"),
        ({"data": None}, "target needs data with training examples"),
        ({"optimizer": HillClimb}, "optimizer is <class .*HillClimb'>; give a name, a table"),
        ({"optimizer": 5}, "optimizer is 5; give a name, a table"),
        ({"target": "run_parts:Nobody"}, "target: cannot load 'run_parts:Nobody'"),
        ({"metric": "acuracy"}, "metric: unknown metric 'acuracy'. Did you mean 'accuracy'"),
        ({"scorer": "win-rate"}, "MetricScorer decides no duels"),
    ],
)
def test_mistakes_cost_nothing(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    log = str(tmp_path / "log")
    recipe = toy(tmp_path / "run", target={"name": "run_parts:ToyTarget", "log": log})
    with pytest.raises(UserError, match=message):
        promptopt.optimize(**{**recipe, **changes})
    assert not lines(log)
    assert not (tmp_path / "run").exists()


def test_a_metric_without_a_target_is_a_mistake() -> None:
    with pytest.raises(UserError, match="a metric judges a target's outputs"):
        promptopt.optimize(start="a", score=quality, metric="accuracy", run=None)


# ── Kill -9 ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _toy_run(folder: Path) -> Result:
    target = {"name": "run_parts:ToyTarget", "log": str(folder / "paid")}
    return promptopt.optimize(**toy(folder / "run", target=target))


def _chat_run(folder: Path) -> Result:
    model = {"name": "run_parts:Writer", "log": str(folder / "calls")}
    proposer = {"name": "chat", "model": model, "conversation": "continued"}
    return promptopt.optimize(
        start=START,
        scorer={"name": "run_parts:Words", "log": str(folder / "paid")},
        optimizer={"name": "hill-climb", "proposer": proposer, "k": 3, "per_call": 4, "iterations": 5},
        budget=40,
        run=folder / "run",
    )


def _judge_run(folder: Path) -> Result:
    model = {"name": "run_parts:judge_model", "log": str(folder / "calls")}
    return promptopt.optimize(
        start=START,
        scorer={"name": "run_parts:Judge", "model": model, "threads": 1},
        optimizer=CLIMB,
        budget={"calls": 35},
        run=folder / "run",
    )


def _slowly(search: Callable[[Path], Result], folder: Path) -> None:
    run_parts.DELAY = 0.004
    search(folder)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.study) for seed in (1, 2))])
@pytest.mark.parametrize("search", [_toy_run, _chat_run, _judge_run])
def test_kill_at_any_moment_and_resume(tmp_path: Path, search: Any, seed: int) -> None:
    rng = random.Random(seed)
    (tmp_path / "whole").mkdir()
    whole = search(tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()
    kills = 0
    while True:
        child = FORK.Process(target=_slowly, args=(search, folder))
        child.start()
        child.join(rng.uniform(0.02, 0.06 + 0.03 * kills))
        if child.exitcode is not None:
            assert child.exitcode == 0
            break
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1
        assert kills < 200
    assert kills >= 2, "the run was too fast to be killed"
    resumed = search(folder)
    assert outcome(resumed) == outcome(whole)
    assert answers(folder / "run") == answers(tmp_path / "whole" / "run")
    assert (folder / "run" / "best.txt").read_text() == (tmp_path / "whole" / "run" / "best.txt").read_text()
    for log in ("paid", "calls"):
        once, paid = lines(tmp_path / "whole" / log), lines(folder / log)
        assert set(paid) == set(once)
        assert len(once) <= len(paid) <= len(once) + kills
        repeats = [line for before, line in pairwise(paid) if before == line]
        if len(set(once)) == len(once):
            assert len(paid) - len(once) == len(repeats), "something other than the question in flight was bought again"


def _suicide(folder: Path, at: int) -> None:
    class Dies(Words):
        def answer(self, questions: Any, /) -> Any:
            for question in questions:
                if question.number == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield from super().answer([question])

    promptopt.optimize(
        start=START, scorer=Dies(log=str(folder / "paid")), optimizer=CLIMB, budget=30, run=folder / "run"
    )


@pytest.mark.parametrize("at", [0, 1, 5, 6, 17, 29])
def test_killed_between_two_questions_nothing_is_bought_twice(tmp_path: Path, at: int) -> None:
    child = FORK.Process(target=_suicide, args=(tmp_path, at))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert len(lines(tmp_path / "paid")) == at
    parts: dict[str, Any] = {"start": START, "optimizer": CLIMB, "budget": 30}
    resumed = promptopt.resume(tmp_path / "run", scorer=Words(log=str(tmp_path / "paid")))
    whole = promptopt.optimize(scorer=Words(log=str(tmp_path / "whole")), run=None, **parts)
    assert outcome(resumed) == outcome(whole)
    assert lines(tmp_path / "paid") == lines(tmp_path / "whole")


@pytest.mark.study
def test_a_torn_last_line_costs_one_question_at_most(tmp_path: Path) -> None:
    parts: dict[str, Any] = {"start": START, "scorer": "run_parts:Words", "optimizer": CLIMB, "budget": 12}
    whole = promptopt.optimize(run=tmp_path / "whole", **parts)
    rows = (tmp_path / "whole" / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    last = next(i for i, row in enumerate(rows) if b'"n": 7' in row)
    for length in range(0, len(rows[last]) + 1, 3):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / "ledger.jsonl").write_bytes(b"".join(rows[:last]) + rows[last][:length])
        assert outcome(promptopt.resume(folder)) == outcome(whole)


def test_the_clock_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in a result but its times depends on when it was made."""
    first = promptopt.optimize(**toy(tmp_path / "one"))
    monkeypatch.setattr(time, "strftime", lambda *a: "2000-01-01T00:00:00+0000")
    assert outcome(promptopt.optimize(**toy(tmp_path / "two"))) == outcome(first)


def test_counting_optimizer_is_enough_of_an_optimizer() -> None:
    result = promptopt.optimize(start="s", score=len, optimizer=Counting(limit=12), run=None)
    assert result.stop_reason == "converged"
    assert result.best == "prompt 10"


def test_writer_is_deterministic() -> None:
    """The kill tests rest on a model that says the same twice."""
    asked = [Message("user", "x")]
    assert Writer().complete(Request(asked, seed=3)) == Writer().complete(Request(asked, seed=3))
    assert Writer().complete(Request(asked, seed=3)) != Writer().complete(Request(asked, seed=4))


def test_what_an_optimizer_rates_piece_by_piece_is_a_candidate(tmp_path: Path) -> None:
    """Racing asks about minibatches only; the ratings that it puts together count like any other."""
    racing = {"name": "racing", "minibatch": 4, "optimizer": CLIMB}
    result = promptopt.optimize(**toy(tmp_path, optimizer=racing, budget=400))
    assert result.score(START if isinstance(START, str) else START[0]) is not None
    assert len(result.candidates) > 1
    assert all(rating.per_example is not None and len(rating.per_example) == 12 for _, rating in _rated(result))


def _rated(result: Result) -> list[tuple[Prompt, Rating]]:
    return [(candidate.prompt, candidate.rating) for candidate in result.candidates]


# ── Other targets ─────────────────────────────────────────────────────────────────────────────────────────────────


class Deaf(ToyTarget):
    """Answers everything as if nothing had been asked well."""

    def run(self, prompt: Prompt, examples: Any, /) -> list[Any]:
        return ["wrong"] * len(examples)


def test_a_prompt_is_compared_on_other_targets_too(tmp_path: Path) -> None:
    transfer = {"twin": {"name": "run_parts:ToyTarget"}, "deaf": Deaf()}
    result = promptopt.optimize(**toy(tmp_path / "run", transfer=transfer))
    assert result.verdict is not None
    assert result.transfers["twin"].difference == result.verdict.difference > 0
    assert result.transfers["deaf"].best == result.transfers["deaf"].start == 0
    stages = {step.stage for step in result.steps}
    assert stages >= {"test", "transfer:twin", "transfer:deaf"}
    plain = promptopt.optimize(**toy(tmp_path / "plain"))
    assert plain.best == result.best
    assert plain.costs.questions == result.costs.questions


def test_transfer_verdicts_are_not_bought_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    transfer = {"twin": {"name": "run_parts:ToyTarget", "log": str(log)}}
    first = promptopt.optimize(**toy(tmp_path / "run", transfer=transfer))
    paid = lines(log)
    assert paid
    again = promptopt.resume(tmp_path / "run")
    assert lines(log) == paid
    assert again.transfers == first.transfers


@pytest.mark.parametrize(
    "changes", [{"target": None, "data": None, "score": len}, {"data": {"name": "run_parts:toy_data", "test": 0}}]
)
def test_transfer_needs_a_target_and_a_test_split(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"transfer\.twin"):
        promptopt.optimize(**toy(None, **{"transfer": {"twin": ToyTarget()}, "ensemble": 1, **changes}))


def test_without_a_verdict_the_test_split_stays_closed_until_asked_for(tmp_path: Path) -> None:
    result = promptopt.optimize(**toy(tmp_path / "run", verdict=False, transfer={"twin": "run_parts:ToyTarget"}))
    assert result.verdict is None
    assert not result.transfers
    opened = promptopt.resume(tmp_path / "run", ["verdict=true"])
    assert opened.best == result.best
    assert opened.verdict is not None
    assert [*opened.transfers] == ["twin"]
