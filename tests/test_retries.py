from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from promptopt import retries as policy
from promptopt.errors import BudgetExhausted
from promptopt.loading import heard
from promptopt.retries import Late, Retries, Transient, attempt_ends, is_transient, retry_after, until


def failing(*errors: BaseException) -> Callable[[], str]:
    """A call that raises these, one after the other, and then returns."""
    left = iter(errors)

    def attempt() -> str:
        for error in left:
            raise error
        return "done"

    return attempt


def test_the_waits_are_doubled_up_to_the_longest() -> None:
    slept: list[float] = []
    retries = Retries(7, on=Transient, sleep=slept.append)
    with pytest.raises(Transient, match="number 7"):
        retries(failing(*[Transient(f"number {i}") for i in range(9)]))
    assert slept == [0.5, 1, 2, 4, 8, 8, 8]
    assert (retries.made, str(retries)) == (7, "after 7 retries")


@pytest.mark.parametrize("most", [0, 1, 4])
def test_it_is_tried_as_often_as_was_said(most: int) -> None:
    slept: list[float] = []
    assert Retries(most, on=Transient, sleep=slept.append)(failing(*[Transient("busy")] * most)) == "done"
    with pytest.raises(Transient):
        Retries(most, on=Transient, sleep=slept.append)(failing(*[Transient("busy")] * (most + 1)))
    assert len(slept) == 2 * most


def test_a_server_s_wait_is_kept_to_and_the_others_go_on_doubling() -> None:
    slept: list[float] = []
    asked = [None, 0.0, 120.0, None]
    errors = [Transient("busy", retry_after=seconds) for seconds in asked]
    assert Retries(4, on=Transient, sleep=slept.append)(failing(*errors)) == "done"
    assert slept == [0.5, 0, 120, 4]


def test_a_server_that_asks_for_too_long_a_wait_is_given_up() -> None:
    slept: list[float] = []
    retries = Retries(4, on=Transient, sleep=slept.append)
    with pytest.raises(Transient, match="come back"):
        retries(failing(Transient("busy"), Transient("come back", retry_after=3600.0)))
    assert slept == [0.5]
    assert str(retries) == "after 1 retries; it asks to wait 3600 s"


@pytest.mark.parametrize("last", [ValueError("no"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_what_no_retry_would_mend_comes_at_once(last: BaseException) -> None:
    slept: list[float] = []
    retries = Retries(4, on=Transient, sleep=slept.append)
    with pytest.raises(type(last)) as caught:
        retries(failing(Transient("busy"), last))
    assert caught.value is last
    assert (slept, str(retries)) == ([0.5], "after 1 retries")


@pytest.mark.parametrize(
    "on", [(KeyError, Transient), lambda error: isinstance(error, KeyError)], ids=["classes", "a function"]
)
def test_ways_to_say_what_may_pass(on: Any) -> None:
    slept: list[float] = []
    assert Retries(1, on=on, sleep=slept.append)(failing(KeyError())) == "done"
    with pytest.raises(ValueError, match="no"):
        Retries(1, on=on, sleep=slept.append)(failing(ValueError("no")))
    assert slept == [0.5]


def test_the_statuses_that_may_pass() -> None:
    statuses = [200, 302, 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503, 529]
    assert [status for status in statuses if is_transient(status)] == [408, 409, 429, 500, 503, 529]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": format_datetime(datetime.now(UTC) - timedelta(days=1))}, 0.0),
        ({"retry-after": "Mon, 01 Jan 99999 00:00:00 GMT"}, None),
        ({"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
    ],
)
def test_what_a_server_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_date_to_come_is_counted_in_seconds() -> None:
    asked = retry_after({"retry-after": format_datetime(datetime.now(UTC) + timedelta(days=1))})
    assert asked is not None
    assert 80_000 < asked <= 86_400


# ── Deadlines ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """A time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = time.monotonic(), list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def busy() -> str:
    """What a server that is asked too much says, for ever."""
    raise Transient("busy", retry_after=100.0, status=429)


def test_all_attempts_together_have_a_deadline() -> None:
    clock = Clock()
    retries = Retries(99, on=Transient, timeout=10.0, sleep=clock.sleep, clock=clock)
    with pytest.raises(Transient, match="busy"):
        retries(busy)
    assert (clock.slept, str(retries)) == ([100.0, 100.0], "after 2 retries")  # the next one would begin after 300 s


def test_no_attempt_begins_when_the_run_s_time_is_up() -> None:
    clock = Clock()
    with until(clock.now + 150), pytest.raises(BudgetExhausted, match="seconds") as caught:
        Retries(99, on=Transient, timeout=60.0, sleep=clock.sleep, clock=clock)(busy)
    assert clock.slept == [100.0]
    assert isinstance(caught.value.__cause__, Transient)


def hang() -> str:
    """An attempt that is over only after the test."""
    threading.Event().wait(30)
    return "too late"


def test_an_attempt_has_a_deadline_and_another_may_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MARGIN", 0.0)
    slept: list[float] = []
    attempts = iter([hang, lambda: "done"])
    retries = Retries(1, on=Transient, timeout=0.05, sleep=slept.append)
    assert retries(lambda: next(attempts)()) == "done"
    assert slept == [0.5]
    with pytest.raises(Late, match=r"timed out: no whole answer within 0.05 s"):
        Retries(0, on=KeyError, timeout=0.05)(hang)


def test_an_attempt_under_way_is_not_waited_for_long_when_the_run_s_time_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy, "GRACE", 0.05)
    with until(time.monotonic()), pytest.raises(BudgetExhausted, match="seconds"):
        Retries(4, on=Transient, timeout=60.0)(hang)


def test_an_attempt_knows_its_caller_s_context_and_its_own_end() -> None:
    known = ContextVar("known", default="nothing")
    known.set("it")
    found, ends = Retries(0, on=Transient, timeout=9.0)(lambda: (known.get(), attempt_ends()))
    assert (found, 0 < ends - time.monotonic() <= 9) == ("it", True)
    with pytest.raises(ValueError, match="no"):
        Retries(0, on=Transient, timeout=9.0)(failing(ValueError("no")))


def test_whoever_waits_long_hears_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = Clock(), list[str]()
    with heard(said.append):
        errors = [Transient("oops"), Transient("busy", retry_after=20.0, status=429), Transient("gone")]
        Retries(4, on=Transient, name="long", sleep=clock.sleep, clock=clock)(failing(*errors))
    assert said == ["429 from long, next try in 20 s, 3 of 5", "no answer from long, next try in 2 s, 4 of 5"]
    monkeypatch.setattr(policy, "SILENT", 0.05)
    monkeypatch.setattr(policy, "MARGIN", 0.0)
    said.clear()
    with heard(said.append), pytest.raises(Late):
        Retries(0, on=Transient, name="long", timeout=0.5)(hang)
    assert said == ["long has not answered for 0 s, 1 of 1"]


def test_many_short_waits_are_a_long_one() -> None:
    clock, said = Clock(), list[str]()

    def call(*errors: Exception) -> None:
        Retries(1, on=Transient, name="short", sleep=clock.sleep, clock=clock)(failing(*errors))

    def lose(times: int) -> None:
        for _ in range(times):
            with pytest.raises(Transient):
                call(Transient("busy", status=429), Transient("busy", status=429))
            clock.now += 4

    with heard(said.append):
        lose(2)
        assert said == []
        lose(2)
        assert said == ["429 from short, next try in 0 s, 2 of 2"]
        call()
        lose(2)
        assert len(said) == 1
        clock.now += 1000  # nobody waited meanwhile
        lose(1)
        assert len(said) == 1


def test_refusals_are_heard_in_the_caller_s_thread() -> None:
    told: list[tuple[str, int]] = []
    retries = Retries(
        1,
        on=Transient,
        timeout=9.0,
        refused=lambda error: told.append((str(error), threading.get_ident())),
        sleep=lambda seconds: None,
    )
    assert retries(failing(Transient("busy"))) == "done"
    assert told == [("busy", threading.get_ident())]
