"""Checks of arguments."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from promptopt.checks import above_zero, at_least, check_argument, not_empty
from promptopt.errors import UserError
from promptopt.optimizers.apohf import Apohf
from promptopt.optimizers.double_ts import DoubleTS
from promptopt.optimizers.linear_duel import LinearDuel
from promptopt.sweep.space import Range


def test_it_says_what_was_given_and_what_is_allowed() -> None:
    check_argument("name", "x", allowed="a name", holds=True)
    with pytest.raises(UserError, match=r"^name is ' '; allowed is a name\.$"):
        check_argument("name", " ", allowed="a name", holds=False)
    with pytest.raises(UserError, match=r"^prices: input is None; allowed is a number\.$"):
        check_argument("input", None, allowed="a number", holds=False, where="prices")


def test_at_least() -> None:
    at_least(1, workers=1, batch=2.5, ahead=None)
    with pytest.raises(UserError, match=r"^retries is -1; allowed is 0 or more\.$"):
        at_least(0, workers=0, retries=-1)
    with pytest.raises(UserError, match=r"^folder: shots is 0; allowed is 1 or more\.$"):
        at_least(1, where="folder", shots=0)


@pytest.mark.parametrize("number", [0, -1, math.nan, math.inf, -math.inf])
def test_above_zero(number: float) -> None:
    above_zero(timeout=0.5, step=None)
    with pytest.raises(UserError, match=rf"^timeout is {number}; allowed is a number above 0\.$"):
        above_zero(timeout=number)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_at_least_takes_only_finite_numbers(number: float) -> None:
    with pytest.raises(UserError, match=f"temperature is {number}"):
        at_least(0, temperature=number)


def test_not_empty() -> None:
    not_empty(examples=(1,), words={"a"})
    with pytest.raises(UserError, match=r"^there are no words; give one or more\.$"):
        not_empty(examples=[1], words=set())


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Apohf(nu=math.nan), "nu"),
        (lambda: Apohf(lam=math.nan), "lam"),
        (lambda: LinearDuel(nu=math.nan), "nu"),
        (lambda: LinearDuel(lam=math.nan), "lam"),
        (lambda: DoubleTS(lam=math.nan), "lam"),
        (lambda: Range(0.0, 1.0, step=math.nan), "step"),
    ],
)
def test_nan_is_refused(make: Callable[[], object], name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is nan"):
        make()
