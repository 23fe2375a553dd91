from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from promptopt.retries import Retries, Transient, is_transient, retry_after


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
