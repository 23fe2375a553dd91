"""The loop: what it asks, what it remembers, when it stops, and what a resumed run is told."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_parts import CLIMB, Counting, Judge, Words, Writer, judge_model, lines, quality, run

from promptopt.core import Duel, Message, Preference, Prompt, Rate, Rating, Request
from promptopt.errors import PromptoptError, ReplayMismatch, UserError
from promptopt.optimizers import HillClimb
from promptopt.optimizers.proposers import asking
from promptopt.optimizers.proposers.chat import ChatProposer
from promptopt.recipe.build import build
from promptopt.record.ledger import Ledger, read
from promptopt.run.budget import Budget
from promptopt.run.loop import IDLE_BATCHES, Run, check_match
from promptopt.run.recorder import Progress
from promptopt.scorers import BradleyTerry, FunctionScorer, WinRate
from promptopt.testing import ScriptedModel


class Asks:
    """Asks the batches that it is given."""

    def __init__(self, *batches: Sequence[Any], question: type = Rate) -> None:
        self.question = question
        self.batches = batches

    def begin(self, setup: Any, /) -> None:
        self._left = iter(self.batches)
        self.told: list[Any] = []
        self._best = setup.start[0]

    def ask(self) -> Sequence[Any]:
        return next(self._left, [])

    def tell(self, answered: Sequence[Any], /) -> None:
        self.told.append([(q, a) for q, a in answered])

    def best(self) -> Prompt:
        return self._best


class Gives:
    """Answers with what a function makes of the questions."""

    def __init__(self, function: Any, *, question: type = Rate) -> None:
        self.question = question
        self.function = function

    def answer(self, questions: Sequence[Any], /) -> Any:
        return self.function(questions)


def rate(*texts: str) -> list[Rate]:
    return [Rate(Prompt(text)) for text in texts]


def told_texts(search: Any) -> list[list[str]]:
    return [[q.prompt.text for q, _ in batch] for batch in search.optimizer.told]


# ── Asking ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_equal_ratings_are_bought_once() -> None:
    asked: list[str] = []
    scorer = FunctionScorer(lambda text: asked.append(text) or float(len(text)))
    search = run(scorer, optimizer=Asks(rate("a", "bb", "a"), rate("bb", "ccc"), rate("a")))
    assert search.search() == "converged"
    assert asked == ["a", "bb", "ccc"]
    assert search.meter.questions == 3
    assert told_texts(search) == [["a", "bb", "a"], ["ccc", "bb"], ["a"]]
    assert all(answer.value == len(q.prompt.text) for batch in search.optimizer.told for q, answer in batch)


def test_ratings_on_other_examples_are_other_ratings() -> None:
    asked: list[Rate] = []
    scorer = Gives(lambda qs: [asked.append(q) or Rating(float(len(q.on))) for q in qs])
    p = Prompt("p")
    search = run(scorer, optimizer=Asks([Rate(p), Rate(p, ("e1",)), Rate(p, ("e2",)), Rate(p, ("e1",))]))
    search.search()
    assert [q.on for q in asked] == [(), ("e1",), ("e2",)]
    assert {prompt: rating.value for prompt, rating in search.ratings.items()} == {p: 0.0}


def test_without_the_cache_every_rating_is_bought() -> None:
    noise = iter(range(100))
    search = run(FunctionScorer(lambda _: next(noise)), optimizer=Asks(rate("a", "a"), rate("a")), cache=False)
    search.search()
    assert [a.value for batch in search.optimizer.told for _, a in batch] == [0, 1, 2]
    assert search.meter.questions == 3


def test_duels_are_never_merged() -> None:
    duel = Duel(Prompt("a"), Prompt("b"))
    winners = iter(["a", "b", "tie", "unknown"])
    scorer = Gives(lambda qs: [Preference(next(winners)) for _ in qs], question=Duel)
    search = run(scorer, optimizer=Asks([duel, duel], [duel, Duel(Prompt("b"), Prompt("a"))], question=Duel))
    search.search()
    assert [a.winner for batch in search.optimizer.told for _, a in batch] == ["a", "b", "tie", "unknown"]
    assert search.meter.questions == 4


def test_questions_are_numbered_across_batches() -> None:
    numbers: list[int] = []
    scorer = Gives(lambda qs: [numbers.append(q.number) or Rating(0.0) for q in qs])
    run(scorer, optimizer=Asks(rate("a", "b", "a"), rate("c", "a", "d"))).search()
    assert numbers == [0, 1, 2, 3]


def test_an_optimizer_that_asks_what_it_knows_for_ever_has_converged() -> None:
    class Stuck(Asks):
        asked = 0

        def ask(self) -> Sequence[Any]:
            self.asked += 1
            return rate("a")

    search = run(Words(), optimizer=Stuck())
    assert search.search() == "converged"
    assert search.meter.questions == 1
    assert search.optimizer.asked == 1 + IDLE_BATCHES  # one that was answered, then so many idle ones


def test_a_run_without_a_prompt_to_start_from_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="no prompt to start from"):
        Run(Asks(), Words(), start=[])


def test_nothing_asked_is_converged() -> None:
    search = run(Words(), optimizer=Asks())
    assert search.search() == "converged"
    assert search.steps == []


# ── Answers ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_answers_fail(lazy: bool, count: int) -> None:
    def answers(questions: Any) -> Any:
        given = [Rating(0.0)] * count
        return iter(given) if lazy else given

    with pytest.raises(PromptoptError, match=r"Gives gave another number of answers than the 2 questions"):
        run(Gives(answers), optimizer=Asks(rate("a", "b"))).search()


@pytest.mark.parametrize("message", ["bad label", "zip() argument 2 is shorter than argument 1"])
def test_a_scorers_own_value_error_is_not_renamed(message: str) -> None:
    def answers(questions: Any) -> Iterator[Rating]:
        yield Rating(0.0)
        raise ValueError(message)

    with pytest.raises(ValueError, match=re.escape(message)):
        run(Gives(answers), optimizer=Asks(rate("a", "b"))).search()


@pytest.mark.parametrize("answer", [0.5, None, Preference("a"), "0.5"])
def test_an_answer_of_another_kind_fails(answer: Any) -> None:
    with pytest.raises(PromptoptError, match=r"Gives answered Rate with .* not a Rating"):
        run(Gives(lambda qs: [answer]), optimizer=Asks(rate("a"))).search()
    wrong = Rating(0.5) if isinstance(answer, Preference) else answer
    duels = run(
        Gives(lambda qs: [wrong], question=Duel), optimizer=Asks([Duel(Prompt("a"), Prompt("b"))], question=Duel)
    )
    with pytest.raises(PromptoptError, match=r"Gives answered Duel with .* not a Preference"):
        duels.search()


def test_what_is_not_finite_is_not_scored() -> None:
    given = [Rating(math.nan), Rating(math.inf), Rating(-math.inf, math.nan), Rating(0.5, math.inf)]
    search = run(Gives(lambda qs: given), optimizer=Asks(rate(*"abcd")))
    search.search()
    [told] = search.optimizer.told
    assert [math.isnan(a.value) for _, a in told] == [True, True, True, False]
    assert [a.tiebreak for _, a in told] == [0.0, 0.0, 0.0, 0.0]
    assert search.counts["answers without a score"] == 3


@pytest.mark.parametrize("folder", [True, False])
def test_the_optimizer_is_told_what_the_ledger_will_say(tmp_path: Path, folder: bool) -> None:
    given = [
        Rating(np.float32(0.1), 3, np.array([1, np.inf, -np.inf, np.nan]), "why"),  # type: ignore[arg-type]
        Rating(1, 0, [0.5, None]),  # type: ignore[arg-type]
    ]
    texts = ["[bold]x[/bold] {}\n\u2028\"'\\ 😀", "y" * 100_000]
    ledger = Ledger(tmp_path if folder else None)
    live = run(Gives(lambda qs: given), optimizer=Asks(rate(*texts)), ledger=ledger)
    live.search()
    ledger.close()
    if not folder:
        return
    ledger = Ledger(tmp_path)
    again = run(Gives(lambda qs: pytest.fail("asked again")), optimizer=Asks(rate(*texts)), ledger=ledger)
    again.search()
    ledger.close()
    for (q1, a1), (q2, a2) in zip(live.optimizer.told[0], again.optimizer.told[0], strict=True):
        assert (q1, a1) == (q2, a2)
        assert type(a1.value) is float
        np.testing.assert_array_equal(a1.per_example, a2.per_example)


def test_per_example_values_can_be_left_out(tmp_path: Path) -> None:
    for keep in (True, False):
        ledger = Ledger(tmp_path / str(keep))
        scorer = Gives(lambda qs: [Rating(0.5, 0.1, np.array([0.0, 1.0]), "because")])
        search = run(scorer, optimizer=Asks(rate("a")), ledger=ledger, per_example=keep)
        search.search()
        ledger.close()
        [event] = read(tmp_path / str(keep) / "ledger.jsonl")
        assert ("per_example" in event) == keep
        assert (event["value"], event["feedback"]) == (0.5, "because")
        assert (search.ratings[Prompt("a")].per_example is not None) == keep


# ── Stopping ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_patience_counts_questions_since_the_best() -> None:
    scores = [1, 2, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9]
    search = run(
        FunctionScorer(lambda text: scores[int(text.split()[1])]),
        optimizer=Counting(batch=1),
        patience=5,
        budget=Budget(),
    )
    assert search.search() == "patience: no better prompt in 5 questions"
    assert search.meter.questions == 10


def test_patience_counts_before_anything_is_better() -> None:
    search = run(FunctionScorer(lambda _: math.nan), optimizer=Counting(batch=2), patience=6)
    assert search.search() == "patience: no better prompt in 6 questions"
    assert search.meter.questions == 6


def test_a_goal_that_is_reached_stops() -> None:
    search = run(FunctionScorer(lambda text: float(text.split()[1])), optimizer=Counting(batch=1), goal=4)
    assert search.search() == "goal: 4 reached"
    assert search.meter.questions == 5
    assert search.optimizer.best() == Prompt("prompt 4")


def test_converged_when_the_optimizer_has_no_more_questions() -> None:
    search = run(Words(), optimizer=Counting(limit=7))
    assert search.search() == "converged"
    assert search.meter.questions == 7


def test_an_interruption_keeps_what_was_answered(tmp_path: Path) -> None:
    def score(text: str) -> float:
        if text == "prompt 7":
            raise KeyboardInterrupt
        return 0.0

    ledger = Ledger(tmp_path)
    search = run(FunctionScorer(score), ledger=ledger, optimizer=Counting(batch=5))
    assert search.search() == "interrupted"
    ledger.close()
    assert [event["n"] for event in read(tmp_path / "ledger.jsonl")] == list(range(7))


# ── Watching ──────────────────────────────────────────────────────────────────────────────────────────────────────


def boom(questions: Sequence[Any]) -> Any:
    raise RuntimeError("boom")


def stop(questions: Sequence[Any]) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("function", [lambda questions: [Rating(0.5)] * len(questions), stop, boom])
def test_an_optimizer_is_closed_once_when_the_search_ends(function: Any) -> None:
    class Holds(Asks):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    optimizer = Holds(rate("a"), rate("b"))
    search = run(Gives(function), optimizer=optimizer, start="a", budget=Budget(questions=9))
    try:
        search.search()
    except RuntimeError:
        assert function is boom
    assert optimizer.closed == 1
    assert optimizer.best() == Prompt("a")


def test_watchers_hear_of_every_answer() -> None:
    heard: list[Progress] = []
    optimizer = build("optimizers", CLIMB, where="optimizer")
    search = run(Words(), optimizer=optimizer, budget=Budget(questions=25), watch=heard.append)
    search.search()
    assert [now.costs.questions for now in heard] == list(range(1, 26))
    assert heard[-1].budget == Budget(questions=25)
    assert heard[-1].notes == ("Prompts were proposed by the lexical proposer; no LLM was used.",)
    assert heard[-1].rating is not None
    assert heard[0].best == Prompt("start")


# ── What parts are given ──────────────────────────────────────────────────────────────────────────────────────────


def test_streams_are_independent_and_depend_on_the_seed() -> None:
    def draw(seed: int, part: str, *key: int) -> float:
        return float(run(Words(), seed=seed).setup(part).rng(*key).random())

    settings = [(s, p, *k) for s in (0, 1) for p in ("optimizer", "scorer", "dev", "test") for k in ((), (0,), (1,))]
    draws = [draw(*setting) for setting in settings]
    assert len(set(draws)) == len(draws)
    assert draws == [draw(*setting) for setting in settings]


def test_a_keyed_stream_does_not_depend_on_earlier_draws() -> None:
    setup = run(Words()).setup("scorer")
    first = setup.rng(5).random()
    setup.rng().random(1000)
    assert setup.rng(5).random() == first


def test_a_setup_passes_on_start_problems_counts_and_notes() -> None:
    search = run(Words(), problem_with=lambda prompt: "bad" if prompt.text == "x" else None)
    setup = search.setup("optimizer")
    assert list(setup.start) == [Prompt("start")]
    assert (setup.problem_with(Prompt("x")), setup.problem_with(Prompt("y"))) == ("bad", None)
    setup.count("things", 2)
    setup.count("things")
    setup.note("one")
    setup.note("one")
    assert (search.counts, search.notes) == ({"things": 3}, ["one"])


# ── Resuming ──────────────────────────────────────────────────────────────────────────────────────────────────────


def story(search: Any) -> list[Any]:
    return [(step.n, step.question, step.answer) for step in search.steps]


@pytest.mark.parametrize("first", [1, 7, 10, 23, 40])
def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path: Path, first: int) -> None:
    def search(folder: Path, questions: int, log: str) -> Any:
        ledger = Ledger(folder)
        optimizer = build("optimizers", CLIMB, where="optimizer")
        found = run(Words(log=log), optimizer=optimizer, ledger=ledger, budget=Budget(questions=questions))
        assert found.search() == "budget: questions"
        ledger.close()
        return found

    whole = search(tmp_path / "whole", 40, str(tmp_path / "whole.log"))
    search(tmp_path / "parts", first, str(tmp_path / "parts.log"))
    resumed = search(tmp_path / "parts", 40, str(tmp_path / "parts.log"))
    assert story(resumed) == story(whole)
    assert resumed.optimizer.best() == whole.optimizer.best()
    assert lines(tmp_path / "parts.log") == lines(tmp_path / "whole.log")


@pytest.mark.parametrize("schema", [asking.SCHEMA, None])
def test_resuming_a_stopped_run_asks_and_proposes_nothing(
    schema: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the run was begun when proposers were asked without a schema."""

    def search(log: str) -> Any:
        ledger = Ledger(tmp_path / "run")
        proposer = ChatProposer(model=Writer(log=log))
        found = run(
            Words(log=log),
            optimizer=HillClimb(proposer=proposer, k=3),
            start="{}",
            ledger=ledger,
            budget=Budget(questions=30),
        )
        assert found.search() == "budget: questions"
        ledger.close()
        return found

    with monkeypatch.context() as then:
        then.setattr(asking, "SCHEMA", schema)
        first = search(str(tmp_path / "first"))
    second = search(str(tmp_path / "second"))
    assert lines(tmp_path / "first")
    assert not lines(tmp_path / "second")
    assert story(first) == story(second)
    assert (first.meter.usage, first.meter.questions) == (second.meter.usage, second.meter.questions)


def test_another_optimizer_does_not_take_up_a_run(tmp_path: Path) -> None:
    for text, expected in (("prompt {}", None), ("other {}", ReplayMismatch)):
        ledger = Ledger(tmp_path)
        search = run(Words(), optimizer=Counting(text=text.format), ledger=ledger, budget=Budget(questions=10))
        if expected:
            with pytest.raises(expected, match=r"question 0 is .*other 0.* now and .*prompt 0.* in the ledger"):
                search.search()
        else:
            search.search()
        ledger.close()


def test_what_a_scorer_spent_before_still_counts_after(tmp_path: Path) -> None:
    """A judge's calls for recorded answers are not made again, and are not forgotten either."""
    models: list[ScriptedModel] = []

    def search(calls: int) -> Any:
        model = judge_model()
        assert isinstance(model, ScriptedModel)
        models.append(model)
        ledger = Ledger(tmp_path)
        found = run(Judge(model=model, threads=1), ledger=ledger, budget=Budget(calls=calls))
        assert found.search() == "budget: calls"
        ledger.close()
        return found

    search(8)
    resumed = search(20)
    assert [len(model.calls) for model in models] == [8, 12]
    assert resumed.meter.usage.calls == 20
    assert resumed.meter.costs.dollars == pytest.approx(0.2)
    assert search(20).meter.usage.calls == 20
    assert not models[-1].calls


def test_calls_made_ahead_of_a_crash_are_not_made_again(tmp_path: Path) -> None:
    class Crashes(Judge):
        def answer(self, questions: Any, /) -> Iterator[Rating]:
            for i, rating in enumerate(list(super().answer(questions))):
                if i == 3 and crash:
                    raise RuntimeError("crash")
                yield rating

    models = []
    for crash in (True, False):
        model = judge_model()
        assert isinstance(model, ScriptedModel)
        models.append(model)
        ledger = Ledger(tmp_path)
        search = run(Crashes(model=model), ledger=ledger, optimizer=Counting(batch=10, limit=10))
        if crash:
            with pytest.raises(RuntimeError, match="crash"):
                search.search()
        else:
            assert search.search() == "converged"
        ledger.close()
    assert [len(model.calls) for model in models] == [10, 0]
    assert search.meter.usage.calls == 10
    assert [a.value for _, a in search.optimizer.told] == [round(quality(f"prompt {i}"), 6) for i in range(10)]


def test_a_repeated_question_is_judged_anew_after_resuming(tmp_path: Path) -> None:
    """A second opinion is a second call, resumed or not."""
    opinions = iter("0.1 0.2 0.3 0.4".split())

    class Repeats(Judge):
        def _one(self, question: Rate) -> Rating:
            completion = self._billed.complete(Request([Message("user", question.prompt.text)]))
            return Rating(float(completion.replies[0].text))

    values = []
    for limit in (1, 3):
        ledger = Ledger(tmp_path)
        scorer = Repeats(model=ScriptedModel(lambda _: next(opinions)), threads=1)
        search = run(
            scorer,
            optimizer=Asks(rate("a"), rate("a"), rate("a")),
            cache=False,
            ledger=ledger,
            budget=Budget(questions=limit),
        )
        search.search()
        values.append([a.value for batch in search.optimizer.told for _, a in batch])
        ledger.close()
    assert values == [[0.1], [0.1, 0.2, 0.3]]


def test_time_goes_on_where_it_stopped(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(
        {"event": "answer", "stage": "search", "n": 0, "ask": "rate", "prompt": "prompt 0", "origin": {}}
        | {"value": 0, "tiebreak": 0, "t": 100.0}
    )
    ledger.close()
    ledger = Ledger(tmp_path)
    search = run(Words(), ledger=ledger, budget=Budget(seconds=99))
    assert search.search() == "budget: seconds"
    assert len(search.steps) == 1
    assert 100 <= search.meter.seconds < 110
    ledger.close()


def test_a_ledger_is_plain_to_read(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    run(Words(), ledger=ledger, budget=Budget(questions=1)).search()
    ledger.close()
    event = json.loads((tmp_path / "ledger.jsonl").read_text())
    assert re.fullmatch("[0-9a-f]{8}", event.pop("crc"))
    assert event.pop("t") >= 0
    value = quality("prompt 0")
    assert event == {"event": "answer", "stage": "search", "n": 0, "ask": "rate", "prompt": "prompt 0"} | {
        "origin": {},
        "value": value,
        "tiebreak": 0,
    }


# ── Who fits whom ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_optimizer_and_a_scorer_of_other_questions_are_told_how_to_meet() -> None:
    duels = BradleyTerry(scorer=Words())
    check_match(Counting(), Words())
    check_match(Counting(), WinRate(scorer=duels))
    with pytest.raises(UserError, match=r"Counting asks Rate and BradleyTerry answers Duel\. Wrap .*win-rate"):
        check_match(Counting(), duels)
    with pytest.raises(UserError, match=r"Asks asks Duel and Words answers Rate\. Wrap .*bradley-terry"):
        check_match(Asks(question=Duel), Words())
