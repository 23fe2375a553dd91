"""A prompt that wins must be better, and a run that gets nothing says why: whole runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from run_parts import Counting, rewrite, run
from shell_parts import shell
from unusable_parts import breakable, reviews, silent, terse

import promptopt
from promptopt.api import execute
from promptopt.core import Coverage, Dataset, Example, Message, Prompt, Rate, Rating, Reply, Request
from promptopt.errors import ModelError, NothingUsable, Rejected, Unanswered
from promptopt.optimizers import RandomSearch
from promptopt.optimizers.pools.listed import ListPool
from promptopt.record.ledger import read
from promptopt.record.story import Story
from promptopt.run.loop import Run
from promptopt.run.usable import ENOUGH, Harvest, comparable, explain, usable
from promptopt.scorers import FunctionScorer
from promptopt.targets.chat import ChatTarget
from promptopt.testing import ScriptedModel

BAD = Rating(0.0, coverage=Coverage(8, 8, 8, {"refused": 8}))
LOST = Rating(math.nan, coverage=Coverage(8, 0, 0, {"no output": 8}))
GOOD = Rating(0.1, coverage=Coverage(8, 8, 7, {"refused": 7}))


def found(model: Any, prompts: Sequence[str], **changes: Any) -> promptopt.Result:
    given: dict[str, Any] = {
        "start": "Judge.",
        "target": ChatTarget(model=model, workers=1),
        "data": reviews(),
        "optimizer": RandomSearch(pool=ListPool(prompts=prompts), batch=1),
        "reply_cache": False,
        "run": None,
    }
    return promptopt.optimize(**{**given, **changes})


# ── A prompt that wins is better ──────────────────────────────────────────────────────────────────────────────────


def test_a_prompt_that_breaks_most_replies_does_not_win(tmp_path: Path) -> None:
    """It was rated 1.000 and chosen over 40 of 50 right; the verdict said 1.000 -> 1.000."""
    result = found(breakable(), ["Judge, breaking it.", "Judge kindly."], run=tmp_path)
    assert result.best == "Judge kindly."
    scores = [result.score(text) for text in ("Judge.", "Judge, breaking it.", "Judge kindly.")]
    assert scores == pytest.approx([0.5, 0.1, 0.8])
    assert result.coverage("Judge, breaking it.") == Coverage(50, 50, 45, {"refused": 45})
    verdict = result.verdict
    assert verdict is not None
    assert (verdict.examples, verdict.unscored, verdict.start, verdict.best) == (20, 0, 0.5, 0.8)
    assert verdict.start_coverage == verdict.best_coverage == Coverage(20, 20)
    assert result.summary()["best"]["coverage"] == {"examples": 50, "scored": 50, "failed": 0, "reasons": {}}
    assert Story.read(tmp_path).verdict == verdict


def test_the_old_way_is_an_option() -> None:
    result = found(breakable(), ["Judge, breaking it.", "Judge kindly."], failed="leave-out")
    assert result.best == "Judge, breaking it."
    assert result.score("Judge, breaking it.") == 1.0
    verdict = result.verdict
    assert verdict is not None
    assert (verdict.examples, verdict.unscored) == (2, 18)
    assert verdict.sentence().startswith("on 2 of 20 held-out examples only, 18 could not be scored: ")


def test_the_verdict_tells_of_failures() -> None:
    result = found(breakable(), ["Judge."], start="Judge, breaking it.")
    assert result.verdict is not None
    assert (result.verdict.start, result.verdict.examples) == (0.1, 20)
    assert result.verdict.sentence().endswith("; 18 of 20 outputs of the starting prompt failed: 18 refused")
    assert result.verdict.best_coverage == Coverage(20, 20)


# ── A run that gets nothing ───────────────────────────────────────────────────────────────────────────────────────

CUT = """
start = "Which sentiment?"
data = {name = "unusable_parts:reviews", train = 8, test = 4}
budget = 100
run = "out"
metric = "contains"
reply_cache = false

[target]
name = "chat"
model = {name = "unusable_parts:talkative"}

[optimizer]
name = "random-search"
pool = {name = "list", prompts = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o"]}
"""


@pytest.mark.parametrize("budget", [1, 100])
def test_replies_cut_off_end_the_run_with_the_reason_and_the_remedy(tmp_path: Path, budget: int) -> None:
    """It said "1 questions, 85 truncated replies ... converged" and exited with 0."""
    (tmp_path / "recipe.toml").write_text(CUT)
    done = shell("run", "recipe.toml", f"budget={budget}", cwd=tmp_path, check=1)
    n = min(budget, ENOUGH) * 8
    assert f"{n} of {n} cut at max_tokens = 5: raise target.model.max_tokens" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    events = read(tmp_path / "out" / "ledger.jsonl")
    assert events[-1]["event"] == "failed"
    assert sum(event["event"] == "answer" for event in events) == min(budget, ENOUGH)
    assert not any(event["event"] == "verdict" for event in events)


def test_with_the_remedy_it_runs(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(CUT)
    done = shell("run", "recipe.toml", "target.model.max_tokens=30", "budget=20", cwd=tmp_path, check=0)
    assert "1.000 → 1.000 on 4 held-out examples" in done.stdout


def test_a_start_with_unreadable_answers_is_searched_from(tmp_path: Path) -> None:
    examples = {name: tuple(Example(f"{name}-{i}", f"{name} {i}", "12") for i in range(12)) for name in ("a", "b")}
    data = Dataset("dozens", examples["a"], (), examples["b"])
    prompts = [*(f"Count {i} times." for i in range(ENOUGH - 2)), "Be brief."]
    result = found(terse(), prompts, start="Count.", data=data, metric="numeric", run=tmp_path)
    assert result.best == "Be brief."
    assert result.verdict is not None
    assert (result.verdict.start, result.verdict.best) == (0.0, 1.0)
    assert result.verdict.sentence().endswith("12 of 12 outputs of the starting prompt failed: 12 no number")


def test_nothing_usable_at_the_end_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(NothingUsable, match=r"no verdict .* 20 of 20 refused: take another model"):
        found(silent(), ["Judge kindly."], run=tmp_path)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("fruitful", [False, True])
def test_an_outage_ends_a_run_even_after_a_good_beginning_and_can_be_resumed(fruitful: bool) -> None:
    scorer = FunctionScorer(lambda text: 1.0 if fruitful and text == "prompt 0" else math.nan)
    search = run(scorer, optimizer=Counting(batch=1))
    with pytest.raises(
        NothingUsable, match="10 different prompts could be used: 10 of 10 no value: see what the scorer"
    ):
        search.search()
    assert len(search.steps) == ENOUGH + fruitful


def test_bad_prompts_after_a_good_one_end_nothing() -> None:
    harvest = Harvest()
    harvest.take(Prompt("good"), GOOD, live=True)
    for i in range(50):
        harvest.take(Prompt(str(i)), BAD, live=True)
    assert harvest.any


def test_the_same_prompt_again_is_one_prompt_and_replays_end_nothing() -> None:
    harvest = Harvest()
    for _ in range(50):
        harvest.take(Prompt("again"), BAD, live=True)
    for i in range(50):
        harvest.take(Prompt(str(i)), LOST, live=False)
    with pytest.raises(NothingUsable):
        harvest.take(Prompt("more"), LOST, live=True)


def test_nothing_rated_is_no_failure() -> None:
    Harvest().end()


@pytest.mark.parametrize(
    ("rating", "expected"), [(GOOD, 1), (BAD, 0), (LOST, 0), (Rating(0.3), 1), (Rating(math.nan), 0)]
)
def test_usable_outputs(rating: Rating, expected: int) -> None:
    assert usable(rating) == expected


def test_what_can_be_compared() -> None:
    assert comparable(GOOD, BAD)
    assert not comparable(BAD, BAD)
    assert not comparable(GOOD, LOST)
    assert comparable(Rating(0.1), Rating(0.2))


def test_reasons_are_told_with_an_example() -> None:
    rating = Rating(0.0, feedback="HTTP 400: no cats", coverage=Coverage(3, 3, 3, {"HTTP 400": 2, "empty": 1}))
    assert explain([rating]) == (
        "2 of 3 HTTP 400, 1 of 3 empty (HTTP 400: no cats): see whether the endpoint takes what url and body send it"
    )


# ── A provider that fails ─────────────────────────────────────────────────────────────────────────────────────────


def faulty(*inputs: str, kind: type[ModelError] = Unanswered) -> ScriptedModel:
    """:func:`breakable`, whose provider fails at some inputs for good."""
    well = breakable()

    def reply(messages: Sequence[Message]) -> str | Reply:
        if any(f"Input: {one}\n" in messages[-1].text for one in inputs):
            raise kind("m: it broke (HTTP 500)")
        return well.complete(Request(messages)).replies[0]

    return ScriptedModel(reply, name="faulty")


@pytest.mark.parametrize("workers", [1, 8])
def test_a_final_error_leaves_its_example_unscored_and_the_run_goes_on(tmp_path: Path, workers: int) -> None:
    prompts = ["Judge, breaking it.", "Judge kindly."]
    model = faulty("train 3", "train 11", "test 2")
    result = found(model, prompts, run=tmp_path, target=ChatTarget(model=model, workers=workers))
    assert result.best == "Judge kindly."
    assert result.coverage("Judge.") == Coverage(50, 48, 0, {"requests lost after all retries": 2})
    assert result.counts["requests lost after all retries"] == 3 * 2 + 2
    verdict = result.verdict
    assert verdict is not None
    assert (verdict.examples, verdict.unscored) == (19, 1)
    assert verdict.sentence().startswith("on 19 of 20 held-out examples only, 1 could not be scored: ")
    again = promptopt.resume(  # where the provider would answer now
        tmp_path,
        target=ChatTarget(model=breakable(), workers=workers),
        data=reviews(),
        optimizer=RandomSearch(pool=ListPool(prompts=prompts), batch=1),
    )
    assert [step.answer for step in again.steps] == [step.answer for step in result.steps]
    assert (again.best, again.verdict, again.costs.calls) == (result.best, verdict, result.costs.calls)


def test_what_a_provider_rejects_for_what_stands_in_it_has_failed() -> None:
    result = found(faulty("train 3", "test 2", kind=Rejected), ["Judge kindly."])
    assert result.coverage("Judge kindly.") == Coverage(50, 50, 1, {"requests rejected by the provider": 1})
    assert result.verdict is not None
    assert (result.verdict.examples, result.verdict.unscored) == (20, 0)


def outage(after: int, *, kind: type[ModelError] = Unanswered, until: int = 10**9) -> ScriptedModel:
    """:func:`breakable`, whose provider answers nothing any more after so many calls."""
    well, calls = breakable(), 0

    def reply(messages: Sequence[Message]) -> str | Reply:
        nonlocal calls
        calls += 1
        if after < calls <= until:
            raise kind("m: it broke (HTTP 500)")
        return well.complete(Request(messages)).replies[0]

    return ScriptedModel(reply, name="outage")


@pytest.mark.parametrize("workers", [1, 8])
def test_an_outage_ends_the_run_with_the_provider_s_words_and_it_can_be_resumed(tmp_path: Path, workers: int) -> None:
    model, prompts = outage(60), ["Judge, breaking it.", "Judge kindly."]
    with pytest.raises(ModelError, match=r"^m: it broke \(HTTP 500\) \(10 calls in a row failed\)") as caught:
        found(model, prompts, run=tmp_path, target=ChatTarget(model=model, workers=workers))
    assert f"promptopt resume {tmp_path}" in caught.value.__notes__[0]
    assert len(model.calls) <= 60 + 10 + 8
    events = read(tmp_path / "ledger.jsonl")
    assert events[-1]["event"] == "failed"
    result = promptopt.resume(
        tmp_path,
        target=ChatTarget(model=breakable(), workers=workers),
        data=reviews(),
        optimizer=RandomSearch(pool=ListPool(prompts=prompts), batch=1),
    )
    assert (result.best, result.score("Judge kindly.")) == ("Judge kindly.", 0.8)
    assert result.verdict is not None
    assert (result.verdict.start, result.verdict.best, result.verdict.unscored) == (0.5, 0.8, 0)


def test_nine_in_a_row_end_nothing() -> None:
    result = found(outage(10, until=19), ["Judge kindly."])
    assert result.coverage("Judge.") == Coverage(50, 41, 0, {"requests lost after all retries": 9})


@pytest.mark.parametrize(("after", "fatal"), [(0, True), (1, False)])
def test_a_provider_that_rejects_everything_from_the_first_call_on_ends_the_run(after: int, fatal: bool) -> None:
    """Then the settings are at fault, and not a prompt."""
    model = outage(after, kind=Rejected)
    with pytest.raises(ModelError if fatal else NothingUsable):
        found(model, ["Judge kindly."])
    assert (len(model.calls) == 10) == fatal


def test_a_resumed_run_knows_that_its_model_has_answered(tmp_path: Path) -> None:
    """A prompt that is rejected throughout must not be taken for wrong settings because it comes first."""

    def reply(messages: Sequence[Message]) -> str | Reply:
        if "breaking" in messages[-1].text:
            raise Rejected("m: filtered (HTTP 400)")
        return breakable().complete(Request(messages)).replies[0]

    prompts = ["Judge, breaking it.", "Judge kindly."]
    given: dict[str, Any] = {"run": tmp_path, "verdict": False}
    found(ScriptedModel(reply, name="picky"), prompts, **given, budget=1)
    result = found(ScriptedModel(reply, name="picky"), prompts, **given, budget=3)
    assert result.coverage("Judge, breaking it.") == Coverage(50, 50, 50, {"requests rejected by the provider": 50})
    assert result.best == "Judge kindly."


# ── Cases ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cases", [False, True])
def test_replies_stand_in_the_ledger_for_the_verdict_and_where_asked_for(tmp_path: Path, cases: bool) -> None:
    result = found(breakable(), ["Judge, breaking it.", "Judge kindly."], cases=cases, run=tmp_path)
    answers = [event for event in read(tmp_path / "ledger.jsonl") if event["event"] == "answer"]
    told = {event["stage"]: len(event.get("cases", ())) for event in answers}
    assert told == {"search": 50 if cases else 0, "test": 20}
    assert answers[-1]["cases"][8] == ["test-8", "negative", 0, "expected 'positive', got 'negative'"]
    again = promptopt.resume(
        tmp_path,
        target=ChatTarget(model=breakable(), workers=1),
        data=reviews(),
        optimizer=RandomSearch(pool=ListPool(prompts=["Judge, breaking it.", "Judge kindly."]), batch=1),
    )
    assert (again.best, again.verdict) == (result.best, result.verdict)


def test_cases_are_for_ratings_alone_and_equal_ratings_are_still_bought_once() -> None:
    asked: list[Rate] = []

    class Scorer:
        question = Rate

        def answer(self, questions: Sequence[Rate], /) -> list[Rating]:
            asked.extend(questions)
            return [Rating(1.0) for _ in questions]

    search = Run(Counting(batch=2, limit=4, text=lambda i: str(i % 2)), Scorer(), start=[Prompt("s")], cases=True)
    search.search()
    assert [question.cases for question in asked] == [True, True]
    assert len(search.ratings) == 2


# ── Older ledgers ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_of_an_older_version_is_shown_and_goes_on_by_its_own_rule(tmp_path: Path) -> None:
    given = {"run": tmp_path, "budget": 1, "verdict": False}
    prompts = ["Judge, breaking it.", "Judge kindly."]
    found(breakable(), prompts, **given)
    ledger = tmp_path / "ledger.jsonl"
    newer = ("failed", "coverage")
    rewrite(ledger, [{key: value for key, value in event.items() if key not in newer} for event in read(ledger)])
    assert Story.read(tmp_path).ratings[0].rating.coverage is None
    result = found(breakable(), prompts, **{**given, "budget": 10})
    assert result.score("Judge, breaking it.") == 1.0
    assert "left failed outputs out" in result.notes[0]


def test_a_run_of_an_older_version_that_named_no_optimizer_goes_on_climbing(tmp_path: Path) -> None:
    given: dict[str, Any] = {"start": "a photo of a {}", "score": len, "budget": 60, "run": tmp_path, "seed": 0}
    whole = execute({**given, "optimizer": "hill-climb"})
    events = read(tmp_path / "ledger.jsonl")
    del events[0]["failed"], events[0]["recipe"]["optimizer"]
    rewrite(tmp_path / "ledger.jsonl", events[:31])
    again = promptopt.resume(tmp_path, score=len)
    assert (again.best, again.costs.questions) == (whole.best, 60)
