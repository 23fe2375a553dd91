"""No limit is ever exceeded, whoever spends and from however many threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from run_parts import Counting, Judge, Words, Writer, judge_model, run

from promptopt.budget import Budget, Meter
from promptopt.core import Message, Rate, Rating, Usage
from promptopt.errors import BudgetExhausted, UserError
from promptopt.optimizers import HillClimb
from promptopt.optimizers.proposers.chat import ChatProposer
from promptopt.scorers import FunctionScorer
from promptopt.testing import ScriptedModel

# ── Limits ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["questions", "calls", "tokens", "dollars", "seconds"])
def test_a_limit_is_a_positive_number(name: str, limit: float) -> None:
    with pytest.raises(UserError, match=rf"budget\.{name} is .*give a positive number"):
        Budget(**{name: limit})


def test_a_meter_starts_at_nothing() -> None:
    costs = Meter(Budget()).costs
    assert (costs.questions, costs.calls, costs.dollars) == (0, 0, 0.0)
    assert 0 <= costs.seconds < 1


def test_a_call_is_refused_before_it_is_made_and_costs_nothing() -> None:
    meter = Meter(Budget(tokens=100))
    with meter.hold(Usage(1, 60, 30)) as bill:
        bill(Usage(1, 60, 5))
    with pytest.raises(BudgetExhausted) as refusal, meter.hold(Usage(1, 20, 16)):
        raise AssertionError("the call was made")
    assert refusal.value.limit == "tokens"
    assert meter.usage == Usage(1, 60, 5)
    with meter.hold(Usage(1, 20, 15)) as bill:
        bill(Usage(1, 20, 15))
    assert meter.usage == Usage(2, 80, 20)


def test_what_a_failed_call_held_is_free_again() -> None:
    meter = Meter(Budget(calls=1))
    with pytest.raises(RuntimeError), meter.hold(Usage(1)):
        raise RuntimeError
    with meter.hold(Usage(1)) as bill:
        bill(Usage(1))
    assert meter.usage.calls == 1


def test_ten_calls_at_ten_cents_fit_a_dollar() -> None:
    meter = Meter(Budget(dollars=1.0))
    for _ in range(10):
        with meter.hold(Usage(1, dollars=0.1)) as bill:
            bill(Usage(1, dollars=0.1))
    with pytest.raises(BudgetExhausted, match="dollars"), meter.hold(Usage(1, dollars=0.001)):
        pass


def test_calls_under_way_count_at_their_most() -> None:
    meter = Meter(Budget(tokens=100))
    with meter.hold(Usage(1, 0, 60)), pytest.raises(BudgetExhausted), meter.hold(Usage(1, 0, 60)):
        pass


@pytest.mark.parametrize("limit", [{"calls": 7}, {"tokens": 140}, {"dollars": 0.07}])
def test_threads_never_exceed_a_limit(limit: dict[str, Any]) -> None:
    meter = Meter(Budget(**limit))
    together = threading.Barrier(8)

    def spend(_: int) -> bool:
        together.wait()
        try:
            with meter.hold(Usage(1, 10, 10, 0.01)) as bill:
                bill(Usage(1, 10, 10, 0.01))
        except BudgetExhausted:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        made = sum(pool.map(spend, range(64)))
    assert made == meter.usage.calls == 7


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [1, 9, 10, 11, 25])
def test_the_exact_number_of_questions_is_asked(limit: int) -> None:
    asked: list[str] = []
    search = run(FunctionScorer(lambda text: asked.append(text) or 0.0), budget=Budget(questions=limit))
    assert search.search() == "budget: questions"
    assert len(asked) == search.meter.questions == limit
    assert search.optimizer.told[-1][0].prompt.text == f"prompt {limit - 1}"


def test_a_batch_of_a_list_scorer_is_cut_to_the_limit() -> None:
    class All:
        question = Rate

        def answer(self, questions: Any, /) -> list[Rating]:
            seen.extend(questions)
            return [Rating(0.0) for _ in questions]

    seen: list[Any] = []
    assert run(All(), budget=Budget(questions=13)).search() == "budget: questions"
    assert len(seen) == 13


def test_reserved_questions_are_left() -> None:
    search = run(Words(), budget=Budget(questions=20), reserved=7)
    search.search()
    assert search.meter.questions == 13


def test_no_proposer_call_follows_the_last_question() -> None:
    model = Writer()
    calls: list[int] = []
    complete = model.complete
    model.complete = lambda *args, **kw: (calls.append(search.meter.questions), complete(*args, **kw))[1]  # type: ignore[method-assign]
    optimizer = HillClimb(proposer=ChatProposer(model=model), per_call=4, k=2)
    search = run(Words(), optimizer=optimizer, start="{}", budget=Budget(questions=30))
    assert search.search() == "budget: questions"
    assert search.meter.questions == 30
    assert calls
    assert max(calls) < 30


@pytest.mark.parametrize(
    ("limit", "calls"), [({"calls": 5}, 5), ({"tokens": 425}, 5), ({"dollars": 0.05}, 5), ({"tokens": 79}, 0)]
)
def test_a_proposer_stops_the_run_at_its_limit(limit: dict[str, Any], calls: int) -> None:
    optimizer = HillClimb(proposer=ChatProposer(model=Writer()), per_call=4, k=2)
    search = run(Words(), optimizer=optimizer, start="{}", budget=Budget(**limit))
    [name] = limit
    assert search.search() == f"budget: {name}"
    costs = search.meter.costs
    assert costs.calls == calls
    assert {"calls": costs.calls, "tokens": costs.input_tokens + costs.output_tokens, "dollars": costs.dollars}[
        name
    ] <= limit[name] + 1e-9
    assert search.ratings  # what was rated before is kept


@pytest.mark.parametrize("limit", [{"calls": 33}, {"tokens": 200}, {"dollars": 0.33}])
@pytest.mark.parametrize("threads", [1, 8])
def test_a_judge_in_threads_stops_the_run_at_its_limit(limit: dict[str, Any], threads: int) -> None:
    model = judge_model()
    assert isinstance(model, ScriptedModel)
    search = run(Judge(model=model, threads=threads), budget=Budget(**limit))
    [name] = limit
    assert search.search() == f"budget: {name}"
    costs = search.meter.costs
    assert costs.calls == len(model.calls)
    spent = {"calls": costs.calls, "tokens": costs.input_tokens + costs.output_tokens, "dollars": costs.dollars}
    assert spent[name] <= limit[name] + 1e-9
    assert 0 < search.meter.questions <= costs.calls
    assert len(search.optimizer.told) == search.meter.questions


def test_seconds_stop_a_lazy_scorer_within_a_batch() -> None:
    search = run(Words(delay=0.02), optimizer=Counting(batch=1000), budget=Budget(seconds=0.1))
    before = time.monotonic()
    assert search.search() == "budget: seconds"
    assert time.monotonic() - before < 1
    assert 1 <= search.meter.questions <= 6
    assert len(search.optimizer.told) == search.meter.questions


def test_seconds_stop_a_model_before_its_call() -> None:
    model = judge_model(delay=0.03)
    assert isinstance(model, ScriptedModel)
    search = run(Judge(model=model, threads=1), optimizer=Counting(batch=1000), budget=Budget(seconds=0.1))
    assert search.search() == "budget: seconds"
    assert 1 <= len(model.calls) <= 5


def test_counts_from_threads_are_all_there() -> None:
    model = judge_model()
    search = run(Judge(model=model, threads=8), budget=Budget(questions=200), optimizer=Counting(batch=200))
    search.search()
    assert search.counts["judgements"] == 200


def test_a_billed_model_keeps_its_name_and_its_upper_bound() -> None:
    model = judge_model()
    billed = run(Words()).setup("scorer").model(model, role="judge")
    message = [Message("user", "x" * 40)]
    assert billed.name == "judge"
    assert billed.at_most(message, n=3) == model.at_most(message, n=3)
