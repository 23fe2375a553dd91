"""Checks of arguments, with one wording for all: what was given, and what is allowed. NaN passes none of them."""

from __future__ import annotations

import math
from collections.abc import Collection

from .errors import UserError


def check_argument(name: str, value: object, *, allowed: str, holds: bool, where: str = "") -> None:
    """Check an argument: ``retries is -1; allowed is 0 or more.``

    Args:
        name: the argument's.
        value: as it was given.
        allowed: what it may be.
        holds: whether it is; a comparison that NaN fails, so ``x >= 0`` and not ``not x < 0``.
        where: what the argument belongs to, where its name alone does not say.

    Raises:
        UserError: it does not hold.
    """
    if not holds:
        place = f"{where}: " if where else ""
        raise UserError(f"{place}{name} is {value!r}; allowed is {allowed}.")


def at_least(least: float, /, *, where: str = "", **numbers: float | None) -> None:
    """Check that numbers are finite and not smaller than ``least``; None, which stands for a default, passes.

    Raises:
        UserError: one is smaller, infinite or NaN.
    """
    for name, number in numbers.items():
        holds = number is None or least <= number < math.inf
        check_argument(name, number, allowed=f"{least} or more", holds=holds, where=where)


def above_zero(**numbers: float | None) -> None:
    """Check that numbers are finite and greater than 0; None, which stands for a default, passes.

    Raises:
        UserError: one is 0, negative, infinite or NaN.
    """
    for name, number in numbers.items():
        check_argument(name, number, allowed="a number above 0", holds=number is None or 0 < number < math.inf)


def not_empty(**collections: Collection[object]) -> None:
    """Check that none is empty: ``there are no examples; give one or more.``

    Raises:
        UserError: one is.
    """
    for name, collection in collections.items():
        if not len(collection):
            raise UserError(f"there are no {name}; give one or more.")
