"""Whatever outputs do to a metric, and a metric to a run: the output has failed, and the run goes on."""

from __future__ import annotations

import math
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest

from promptopt.core import Example, FailedRule, Mark, Prompt, Rate, Rating
from promptopt.errors import BudgetExhausted, PromptoptError, UserError
from promptopt.metrics.function import FunctionMetric
from promptopt.run.usable import explain
from promptopt.scorers import marks
from promptopt.scorers.marks import marks_of
from promptopt.scorers.metric import MetricScorer


def examples(n: int) -> list[Example]:
    return [Example(f"e{i}", i, "yes") for i in range(n)]


def marked(metric: Any, *outputs: Any, failed: FailedRule = "worst") -> list[Any]:
    return marks_of(metric, list(outputs), examples(len(outputs)), failed=failed)


def each(function: Callable[[Any], Any]) -> Any:
    """A metric of many outputs from a function of one."""
    return lambda outputs, examples: [function(output) for output in outputs]


def deep(output: str) -> float:
    return 1.0 if output != "bad" else deep(output)


def raising(error: BaseException) -> Callable[[str], float]:
    def mark(output: str) -> float:
        if output == "bad":
            raise error
        return 1.0

    return mark


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (deep, "RecursionError: maximum recursion depth exceeded"),
        (raising(OverflowError("too\nlarge")), "OverflowError: too large"),
        (raising(KeyError("x" * 1000)), "KeyError: 'xxx"),
        (raising(MemoryError()), "MemoryError: "),
        (lambda output: 10**400 if output == "bad" else 1, "OverflowError: int too large to convert to float"),
        (lambda output: math.inf if output == "bad" else 1, "OverflowError: inf is no finite number"),
        (lambda output: Mark(-math.inf) if output == "bad" else 1, "OverflowError: -inf is no finite number"),
    ],
)
def test_an_output_on_which_a_metric_raises_has_failed(function: Callable[[Any], Any], reason: str) -> None:
    first, bad, last = marked(each(function), "good", "bad", "good")
    assert (first, last) == (1, 1)
    assert bad.failed
    assert bad.value is None
    assert bad.feedback.startswith(f"the metric raised {reason}")
    assert len(bad.feedback) <= 200


@pytest.mark.parametrize("error", [UserError("set up"), BudgetExhausted("calls"), PromptoptError("x")])
def test_what_is_no_outputs_fault_is_raised(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        marked(each(raising(error)), "good", "bad")


def test_a_user_who_interrupts_is_heard() -> None:
    with pytest.raises(KeyboardInterrupt):
        marked(each(raising(KeyboardInterrupt())), "bad")


@pytest.mark.parametrize(
    ("given", "message"),
    [([1.0], "gave 1 marks for 2 outputs"), ([1.0, "1"], "gave '1' for example 'e1'"), ([Mark([1]), 1], "gave '.1.'")],  # type: ignore[arg-type]
)
def test_marks_that_are_none_are_an_error(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        marked(lambda outputs, examples: given, "one", "two")


def test_numbers_of_every_kind_are_marks() -> None:
    given = [1, True, np.float32(0.5), np.bool_(True), np.int64(2), math.nan, None, Mark(None)]
    assert len(marked(lambda outputs, examples: given, *given)) == 8
    assert marked(lambda outputs, examples: np.array([0.5, 1.0]), "a", "b") == [0.5, 1.0]


def test_minus_infinity_is_not_left_out() -> None:
    assert marked(each(lambda output: -math.inf), "a", failed="leave-out") == [-math.inf]
    assert marked(each(lambda output: math.inf), "a", failed="leave-out")[0].failed


def test_rows_of_an_array_are_marked_one_by_one() -> None:
    def metric(outputs: Any, examples: Sequence[Example]) -> list[float]:
        if outputs[-1].sum() > 1:
            raise ValueError("no")
        return [float(row[0]) for row in outputs]

    first, second = marks_of(metric, np.array([[0.5, 0.5], [1.0, 1.0]]), examples(2), failed="worst")
    assert first == 0.5
    assert isinstance(second, Mark)
    assert second.failed


# ── Time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

needs_alarms = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms here")


def endless(output: str) -> float:
    while output == "bad":
        pass
    return 1.0


def stubborn(output: str) -> float:
    while output == "bad":
        try:
            time.sleep(60)
        except Exception:
            continue
    return 1.0


def backtracking(output: str) -> float:
    return float(output != "bad" or re.match(r"(a|aa)+$", "a" * 60 + "!") is None)


@needs_alarms
@pytest.mark.parametrize("function", [endless, stubborn, backtracking])
def test_what_takes_too_long_has_failed(function: Callable[[str], float]) -> None:
    metric = FunctionMetric(function=lambda output, example: function(output), seconds=0.3)
    before = signal.getsignal(signal.SIGALRM)
    assert marked(metric, "bad") == [Mark(None, "too slow: the metric took longer than 0.3 s", failed=True)]
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@needs_alarms
def test_one_that_takes_too_long_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "TIME_LIMIT", 1.0)
    monkeypatch.setattr(marks, "EACH", 0.0)
    first, bad, last = marked(each(endless), "good", "bad", "good")
    assert (first, bad.failed, last) == (1, True, 1)


@needs_alarms
def test_an_alarm_of_somebody_else_is_left_alone() -> None:
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        assert marked(FunctionMetric(function=lambda output, example: 1, seconds=0.1), "a") == [1]
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 900
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@needs_alarms
def test_no_alarm_is_set_for_a_metric_with_limits_of_its_own() -> None:
    def alarm(outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float]:
        return [signal.getitimer(signal.ITIMER_REAL)[0] for _ in outputs]

    assert 50 < marked(alarm, "a")[0] <= 61
    alarm.time_limit = math.inf  # type: ignore[attr-defined]
    assert marked(alarm, "a") == [0]


def in_a_thread(call: Callable[[], Any]) -> Any:
    """What a call returns in a thread that is not the main one, as a notebook's or Ray's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_on_other_threads_what_a_metric_raises_is_told_likewise() -> None:
    found = in_a_thread(lambda: marked(each(raising(ValueError("no"))), "good", "bad"))
    assert found == [1, Mark(None, "the metric raised ValueError: no", failed=True)]
    with pytest.raises(UserError, match="set up"):
        in_a_thread(lambda: marked(each(raising(UserError("set up"))), "bad"))


@pytest.mark.parametrize("function", [endless, stubborn])
def test_on_other_threads_what_takes_too_long_has_failed_too(function: Callable[[str], float]) -> None:
    metric = FunctionMetric(function=lambda output, example: function(output), seconds=0.3)
    good, bad = in_a_thread(lambda: marked(metric, "good", "bad"))
    assert (good, bad) == (1, Mark(None, "too slow: the metric took longer than 0.3 s", failed=True))


def test_what_is_late_on_other_threads_ends_there() -> None:
    threads: list[threading.Thread] = []

    def function(output: str) -> float:
        threads.append(threading.current_thread())
        return endless(output)

    in_a_thread(lambda: marked(FunctionMetric(function=lambda output, example: function(output), seconds=0.3), "bad"))
    threads[0].join(20)
    assert not threads[0].is_alive()


@needs_alarms
def test_beside_an_alarm_of_somebody_else_there_is_a_limit_as_well() -> None:
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        metric = FunctionMetric(function=lambda output, example: endless(output), seconds=0.3)
        assert marked(metric, "bad") == [Mark(None, "too slow: the metric took longer than 0.3 s", failed=True)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_what_a_metric_looks_up_in_the_context_is_there_on_other_threads() -> None:
    looked_up: ContextVar[float] = ContextVar("looked_up")

    def call() -> Any:
        looked_up.set(0.5)
        return marked(each(lambda output: looked_up.get()), "good")

    assert in_a_thread(call) == [0.5]


# ── In a rating ───────────────────────────────────────────────────────────────────────────────────────────────────


class Given:
    """A target that gives the outputs it was made with."""

    def __init__(self, *outputs: Any) -> None:
        self.outputs = outputs

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        return [self.outputs[example.input] for example in examples]


def rated(metric: Any, *outputs: Any) -> Rating:
    scorer = MetricScorer(target=Given(*outputs), metric=metric, examples=examples(len(outputs)), tiebreak=metric)
    (rating,) = scorer.answer([Rate(Prompt("p"))])
    return rating


def test_a_rating_counts_it_as_the_worst_and_says_why() -> None:
    rating = rated(each(raising(ValueError("no"))), "good", "bad", "good", "good")
    assert rating.value == 0.75
    assert rating.coverage is not None
    assert (rating.coverage.failed, rating.coverage.reasons) == (1, {"the metric raised ValueError": 1})
    assert rating.feedback == "the metric raised ValueError: no"


def test_a_metric_that_raises_on_everything_is_to_be_mended() -> None:
    rating = rated(each(raising(ValueError("no"))), "bad", "bad")
    assert rating.value == 0
    assert explain([rating]) == (
        "2 of 2 the metric raised ValueError (the metric raised ValueError: no): "
        "mend the metric, or let it return Mark(None, reason, failed=True) for what it cannot read"
    )
