"""Many calls at once: order, errors, stopping."""

from __future__ import annotations

import threading

import pytest

from promptopt.errors import BudgetExhausted, ModelError
from promptopt.fanout import fan_out

SECONDS = 10  # more than anything here takes; reached only where a test fails


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_in_order(workers: int) -> None:
    assert list(fan_out(lambda i: i * i, range(20), workers=workers)) == [i * i for i in range(20)]


def test_nothing_from_nothing() -> None:
    assert list(fan_out(str, [], workers=4)) == []


def test_calls_overlap() -> None:
    barrier = threading.Barrier(3, timeout=SECONDS)
    assert sorted(fan_out(lambda i: barrier.wait(), range(3), workers=3)) == [0, 1, 2]


def test_a_result_is_handed_out_before_those_behind_it_are_there() -> None:
    go = threading.Event()
    results = fan_out(lambda i: i == 0 or go.wait(SECONDS), range(2), workers=2)
    assert next(results) is True
    go.set()
    assert list(results) == [True]


@pytest.mark.parametrize("error", [ModelError("no such model"), BudgetExhausted("calls")])
@pytest.mark.parametrize("workers", [1, 3])
def test_after_an_error_nothing_more_begins(workers: int, error: Exception) -> None:
    begun: list[int] = []
    failed = threading.Event()

    def call(i: int) -> int:
        begun.append(i)
        if i == 2:
            failed.set()
            raise error
        if i > 2:
            failed.wait(SECONDS)
        return i

    results = fan_out(call, range(1_000), workers=workers)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(type(error)) as caught:
        list(results)
    assert caught.value is error
    assert len(begun) < 100


def test_calls_under_way_are_waited_for() -> None:
    under_way, finished = threading.Event(), threading.Event()

    def call(i: int) -> None:
        if i == 0:
            under_way.wait(SECONDS)
            raise ModelError("no")
        under_way.set()
        finished.set()

    with pytest.raises(ModelError):
        list(fan_out(call, range(2), workers=2))
    assert finished.is_set()


def test_a_caller_who_stops_listening_stops_the_rest() -> None:
    begun: list[int] = []
    go = threading.Event()

    def call(i: int) -> int:
        begun.append(i)
        if i:
            go.wait(SECONDS)
        return i

    results = fan_out(call, range(1_000), workers=2)
    assert next(results) == 0
    threading.Timer(0.05, go.set).start()
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 4
