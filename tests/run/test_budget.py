"""No limit is ever exceeded, whoever spends and from however many threads."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from run_parts import Counting, Judge, Words, Writer, chance, judge_model, run

from promptopt.core import Completion, Example, Message, Prompt, Rate, Rating, Reply, Request, Usage
from promptopt.errors import BudgetExhausted, UserError
from promptopt.fanout import fan_out
from promptopt.models import wrappers as stack
from promptopt.optimizers import HillClimb
from promptopt.optimizers.proposers.chat import ChatProposer
from promptopt.record.ledger import Ledger
from promptopt.retries import Retries, Transient
from promptopt.run.budget import Budget, Meter
from promptopt.run.loop import Run
from promptopt.scorers import FunctionScorer, MetricScorer
from promptopt.scorers.judge.rating import JudgeRating
from promptopt.targets.chat import ChatTarget
from promptopt.testing import ScriptedModel

# ── Limits ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["questions", "calls", "tokens", "dollars", "seconds"])
def test_a_limit_is_a_positive_number(name: str, limit: float) -> None:
    with pytest.raises(UserError, match=rf"budget\.{name} is .*allowed is a number above 0"):
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


def test_what_fits_does_not_depend_on_the_order_of_the_calls_before() -> None:
    fits = set()
    for order in [(0.1, 0.2, 0.3), (0.3, 0.2, 0.1)]:  # 0.6000000000000001 and 0.6
        meter = Meter(Budget(dollars=1.0))
        for dollars in order:
            meter.charge(Usage(1, dollars=dollars))
        fits.add(meter.fit(Usage(1, dollars=0.1)))
    assert fits == {2}


def test_ten_calls_at_ten_cents_fit_a_dollar() -> None:
    meter = Meter(Budget(dollars=1.0))
    for _ in range(10):
        with meter.hold(Usage(1, dollars=0.1)) as bill:
            bill(Usage(1, dollars=0.1))
    with pytest.raises(BudgetExhausted, match="dollars"), meter.hold(Usage(1, dollars=0.001)):
        pass


# ── Calls under way ───────────────────────────────────────────────────────────────────────────────────────────────

SECONDS = 20  # more than anything here takes; reached only where a test fails


class Call:
    """A call in a thread of its own, under way until :meth:`end`."""

    def __init__(self, meter: Meter, at_most: Usage) -> None:
        self.made, self._go = threading.Event(), threading.Event()
        self.refused: str | None = None
        self._thread = threading.Thread(target=self._work, args=(meter, at_most), daemon=True)
        self._thread.start()

    def _work(self, meter: Meter, at_most: Usage) -> None:
        try:
            with meter.hold(at_most) as bill:
                self.made.set()
                self._go.wait(SECONDS)
                bill(self.cost)
        except BudgetExhausted as error:
            self.refused = error.limit

    def end(self, cost: Usage = Usage()) -> None:  # noqa: B008 - frozen
        self.cost = cost
        self._go.set()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


@pytest.mark.parametrize(
    ("limit", "at_most", "cost"),
    [
        ({"calls": 3}, Usage(2), Usage(1)),
        ({"tokens": 100}, Usage(1, 10, 50), Usage(1, 10, 2)),
        ({"dollars": 0.1}, Usage(1, dollars=0.06), Usage(1, dollars=0.01)),
    ],
)
def test_a_call_waits_for_those_under_way_and_is_made_when_they_cost_less(
    limit: dict[str, Any], at_most: Usage, cost: Usage
) -> None:
    meter = Meter(Budget(**limit))
    first, second = Call(meter, at_most), None
    assert first.made.wait(SECONDS)
    second = Call(meter, at_most)
    assert not second.made.wait(0.1)
    first.end(cost)
    assert second.made.wait(SECONDS)
    second.end(cost)
    assert (first.refused, second.refused, meter.usage) == (None, None, cost + cost)


def test_a_call_that_waited_is_refused_when_nothing_is_under_way() -> None:
    meter = Meter(Budget(tokens=100))
    first = Call(meter, Usage(1, 0, 60))
    assert first.made.wait(SECONDS)
    second = Call(meter, Usage(1, 0, 60))
    assert not second.made.wait(0.1)
    first.end(Usage(1, 0, 50))
    second.end()
    assert (second.refused, meter.usage) == ("tokens", Usage(1, 0, 50))


def test_a_call_that_fails_releases_those_that_wait() -> None:
    meter = Meter(Budget(tokens=100))

    def fail() -> None:
        with meter.hold(Usage(1, 0, 60)):
            waiting.append(Call(meter, Usage(1, 0, 60)))
            assert not waiting[0].made.wait(0.1)
            raise RuntimeError

    waiting: list[Call] = []
    with pytest.raises(RuntimeError):
        fail()
    [second] = waiting
    assert second.made.wait(SECONDS)
    second.end()


def test_a_thread_that_holds_twice_does_not_wait_for_itself() -> None:
    meter = Meter(Budget(tokens=100))
    with meter.hold(Usage(1, 0, 60)):
        with pytest.raises(BudgetExhausted), meter.hold(Usage(1, 0, 60)):
            pass
        with meter.hold(Usage(1, 0, 40)) as bill:
            bill(Usage(1, 0, 40))
    assert meter.usage == Usage(1, 0, 40)


def test_threads_that_hold_twice_do_not_wait_for_each_other() -> None:
    meter = Meter(Budget(tokens=100))
    both = threading.Barrier(2, timeout=SECONDS)
    refused: list[str] = []

    def work() -> None:
        with meter.hold(Usage(1, 0, 40)):
            both.wait()
            try:
                with meter.hold(Usage(1, 0, 40)) as bill:
                    bill(Usage(1, 0, 1))
            except BudgetExhausted as error:
                refused.append(error.limit)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert refused == ["tokens"]
    assert meter.usage == Usage(1, 0, 1)


def test_a_call_made_for_another_one_does_not_wait_for_it() -> None:
    meter = Meter(Budget(tokens=100))

    def inner(_: int) -> bool:
        try:
            with meter.hold(Usage(1, 0, 60)):
                return True
        except BudgetExhausted:
            return False

    with meter.hold(Usage(1, 0, 60)):
        assert list(fan_out(inner, range(4), workers=2)) == [False] * 4


def test_calls_of_a_fan_out_are_let_through_in_the_order_of_its_items() -> None:
    meter = Meter(Budget(calls=1_000))
    order: list[int] = []

    def call(i: int) -> None:
        time.sleep(chance(i) / 100)
        with meter.hold(Usage(1)):
            order.append(i)

    list(fan_out(call, range(40), workers=8))
    assert sorted(order[:20]) != order[20:]  # something ran
    assert all(abs(place - i) < 8 for place, i in enumerate(order))


def test_a_refused_call_is_followed_by_no_cheaper_one() -> None:
    meter = Meter(Budget(tokens=100))
    made: list[int] = []

    def call(i: int) -> None:
        time.sleep(0.02 if i == 2 else 0)  # the others come first
        with meter.hold(Usage(1, 0, 90 if i == 2 else 10)) as bill:
            made.append(i)
            bill(Usage(1, 0, 10))

    with pytest.raises(BudgetExhausted):
        list(fan_out(call, range(10), workers=8))
    assert sorted(made) == [0, 1]


def test_an_interrupt_lets_nobody_wait_or_call() -> None:
    meter = Meter(Budget(tokens=100))
    under_way, over, made = threading.Event(), threading.Event(), []

    def call(i: int) -> None:
        with meter.hold(Usage(1, 0, 60)):
            made.append(i)
            under_way.set()
            over.wait(SECONDS / 4)

    results = fan_out(call, range(8), workers=4)
    main = threading.main_thread().ident
    assert main
    before_test = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs behind

    def interrupt() -> None:
        under_way.wait(SECONDS)
        signal.pthread_kill(main, signal.SIGINT)
        threading.Timer(1, over.set).start()

    threading.Thread(target=interrupt).start()
    before = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(results)
    finally:
        signal.signal(signal.SIGINT, before_test)
    assert under_way.is_set()
    assert made == [0]  # the three that waited did not go on when it was done
    assert time.monotonic() - before < SECONDS / 2


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
    search = run(Words(delay=0.2), optimizer=Counting(batch=1000), budget=Budget(seconds=1.0))
    before = time.monotonic()
    assert search.search() == "budget: seconds"
    assert time.monotonic() - before < 10
    assert 1 <= search.meter.questions <= 6
    assert len(search.optimizer.told) == search.meter.questions


def test_seconds_stop_a_model_before_its_call() -> None:
    model = judge_model(delay=0.3)
    assert isinstance(model, ScriptedModel)
    search = run(Judge(model=model, threads=1), optimizer=Counting(batch=1000), budget=Budget(seconds=1.0))
    assert search.search() == "budget: seconds"
    assert 1 <= len(model.calls) <= 5


class Refused:
    """A model whose server is asked too much, for ever."""

    name = "refused"

    def at_most(self, request: Request, /) -> Usage:
        return Usage(calls=1)

    def complete(self, request: Request, /) -> Completion:
        def attempt() -> Completion:
            raise Transient("slow down", retry_after=30.0, status=429)

        return Retries(4, on=Transient, timeout=60.0)(attempt)


@pytest.mark.parametrize("threads", [1, 4])
def test_seconds_hold_whatever_a_server_asks_for(threads: int) -> None:
    model = stack.LimitedModel(Refused(), most=8)
    search = run(Judge(model=model, threads=threads), optimizer=Counting(batch=8), budget=Budget(seconds=20.0))
    before = time.monotonic()
    assert search.search() == "budget: seconds"
    search.meter.end_search()
    with pytest.raises(BudgetExhausted, match="seconds"):  # nor does the verdict wait for a model that never answered
        search.setup("test").model(model, role="judge").complete(Request([Message("user", "?")]))
    assert time.monotonic() - before < 15


def test_after_the_search_each_call_has_as_long_as_the_search_had() -> None:
    for seconds, least in (1.0, 60.0), (1000.0, 1000.0):
        meter = Meter(Budget(seconds=seconds))
        meter.end_search()
        assert least - 10 < meter.ends - time.monotonic() <= least
    meter = Meter(Budget())
    meter.end_search()
    assert meter.ends == float("inf")


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
    assert billed.at_most(Request(message, n=3)) == model.at_most(Request(message, n=3))


# ── Whatever the number of workers ────────────────────────────────────────────────────────────────────────────────

EXAMPLES = tuple(Example(f"example {i}", f"input {i}", "yes") for i in range(7))
LIMITS = [{"tokens": 4_000}, {"dollars": 0.04}, {"calls": 100}]


class Slow:
    """A chat model that needs 7 to 13 tokens and may need 1,000, and whose calls end in another order than they began.

    Attributes:
        asked: the last messages of its calls.
    """

    def __init__(self, name: str, reply: str = "", *, seconds: float = 0.003) -> None:
        self.name = name
        self.asked: list[str] = []
        self._reply, self._seconds = reply, seconds

    def at_most(self, request: Request, /) -> Usage:
        return Usage(1, 10, 990, 0.01)

    def complete(self, request: Request, /) -> Completion:
        text = request.messages[-1].text
        self.asked.append(text)
        time.sleep(self._seconds * chance(text))
        tokens = 7 + int(6 * chance(self.name, text))
        reply = self._reply or str(chance(text))
        return Completion((Reply(reply),), Usage(1, tokens, 0, tokens / 100_000))


def rated(target: Slow, judge: Slow, workers: int) -> MetricScorer:
    return MetricScorer(
        target=ChatTarget(model=target, workers=workers),
        metric=lambda outputs, _: [1.0] * len(outputs),
        examples=EXAMPLES,
    )


def judged(target: Slow, judge: Slow, workers: int) -> JudgeRating:
    return JudgeRating(
        model=judge, target=ChatTarget(model=target, workers=workers), examples=EXAMPLES, workers=workers
    )


def judged_against_its_own(target: Slow, judge: Slow, workers: int) -> JudgeRating:
    chat = ChatTarget(model=target, workers=workers)
    return JudgeRating(model=judge, target=chat, examples=EXAMPLES, workers=workers, self_reference=True)


def bought(
    scorer: Any, limit: dict[str, Any], workers: int, *, ledger: Ledger | None = None, aftermath: float = 0.0
) -> tuple[Any, ...]:
    """What a run buys: how it ends, what was answered, what it cost and which calls were made."""
    target, judge = Slow("target"), Slow("judge", '{"critique": "", "rating": "good"}')
    search = Run(
        Counting(batch=15),
        scorer(target, judge, workers),
        start=[Prompt("start")],
        budget=Budget(**limit),
        ledger=ledger,
        aftermath=aftermath,
    )
    reason = search.search()
    costs = search.meter.usage
    spent = costs.calls, costs.input_tokens, round(costs.dollars, 9)
    return (
        reason,
        [step.question.prompt.text for step in search.steps],
        spent,
        sorted(target.asked),
        sorted(judge.asked),
    )


@pytest.mark.parametrize("aftermath", [0.0, 1.5])
@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: next(iter(limit)))
@pytest.mark.parametrize("scorer", [rated, judged, judged_against_its_own])
def test_a_run_buys_the_same_with_any_number_of_workers(scorer: Any, limit: dict[str, Any], aftermath: float) -> None:
    alone = bought(scorer, limit, 1, aftermath=aftermath)
    assert alone[0] == f"budget: {next(iter(limit))}"
    assert len(alone[1]) >= 2
    for workers in (2, 8):
        assert bought(scorer, limit, workers, aftermath=aftermath) == alone


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: next(iter(limit)))
@pytest.mark.parametrize("workers", [1, 8])
def test_a_resumed_run_goes_on_as_with_one_worker(limit: dict[str, Any], workers: int, tmp_path: Path) -> None:
    half, double = ({name: amount * factor for name, amount in limit.items()} for factor in (0.6, 1.2))
    alone = bought(judged, double, 1)
    first = Ledger(tmp_path)
    _, answered, *_ = bought(judged, half, workers, ledger=first)
    first.close()
    second = Ledger(tmp_path)
    resumed = bought(judged, double, workers, ledger=second)
    second.close()
    assert 0 < len(answered) < len(alone[1])
    assert resumed[:3] == alone[:3]


def test_workers_work_side_by_side_while_the_budget_is_far_away() -> None:
    seconds = {}
    for name, limit in {"none": {}, "far": {"tokens": 10_000_000, "calls": 100_000}}.items():
        target = Slow("target", seconds=0.02)
        search = Run(
            Counting(batch=40, limit=80),
            rated(target, target, 16),
            start=[Prompt("start")],
            budget=Budget(questions=80, **limit),
        )
        before = time.monotonic()
        assert search.search() == "budget: questions"
        seconds[name] = time.monotonic() - before
        assert len(target.asked) == 80 * len(EXAMPLES)
    assert seconds["far"] < 2 * seconds["none"] + 1


def test_a_schema_counts_in_what_a_call_is_bounded_by() -> None:
    class Strict(Slow):
        identity = ("strict",)

        def at_most(self, request: Request, /) -> Usage:
            return Usage(1, 10 + len(str(request.schema or "")), 0)

        def complete(self, request: Request, /) -> Completion:
            self.asked.append("")
            return Completion((Reply("{}"),), Usage(1, 10, 0))

    message, schema = [Message("user", "x")], {"type": "object", "description": "y" * 100}
    for wrap in (lambda model: model, stack.wrap):
        model = Strict("strict")
        billed = run(Words(), budget=Budget(tokens=100), wrap=wrap).setup("scorer").model(model, role="judge")
        assert billed.at_most(Request(message, schema=schema)).input_tokens > 100
        with pytest.raises(BudgetExhausted, match="tokens"):
            billed.complete(Request(message, schema=schema))
        assert model.asked == []
        billed.complete(Request(message))
        assert len(model.asked) == 1
