"""What a stranger's recipe or run may do here: whose parts are loaded, and which environment variables are read.

A recipe is code as far as it names parts of other packages. Whoever only looks at a run loads none of them
(:func:`own_parts`); whoever runs a recipe is told of them first (:mod:`promptopt.recipe.elsewhere`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import UserError

ALLOW = "PROMPTOPT_ALLOW_ENV"
"""The environment variable with the names, set apart by commas, of those that every recipe may read."""

_own: ContextVar[bool] = ContextVar("own", default=False)
_allowed: ContextVar[frozenset[str]] = ContextVar("allowed", default=frozenset())


@contextmanager
def own_parts(on: bool = True) -> Iterator[None]:
    """While this is open, only parts of promptopt's own table are loaded, whatever is named; ``on=False``: any."""
    before = _own.set(on)
    try:
        yield
    finally:
        _own.reset(before)


def check_own(path: str, *, where: str) -> None:
    """Called before code from elsewhere is imported.

    Raises:
        UserError: only our own parts may be loaded now.
    """
    if _own.get():
        raise UserError(
            f"{where or 'a part'} is {path!r}, which is code from elsewhere, and looking at a run loads none. "
            "If you trust it, give --trust."
        )


@contextmanager
def allowing(names: Iterable[str]) -> Iterator[None]:
    """While this is open, recipes may read these environment variables too."""
    before = _allowed.set(_allowed.get() | {*names})
    try:
        yield
    finally:
        _allowed.reset(before)


def allowed() -> frozenset[str]:
    """The environment variables that the user lets every recipe read."""
    return _allowed.get() | {name.strip() for name in os.environ.get(ALLOW, "").split(",")}


def check_variables(names: Iterable[str], *, where: str) -> None:
    """Called before a part is built that a recipe tells to read environment variables.

    Raises:
        UserError: the user has not allowed one of them.
    """
    if refused := sorted({*names} - allowed()):
        options = " ".join(f"--allow-env {name}" for name in refused)
        raise UserError(
            f"{where} reads the environment variable {' and '.join(refused)}, and would send it. If that is right, "
            f"give {options}, from Python allow_env={refused}, or name it in {ALLOW}."
        )


def allow(names: Iterable[str] | None) -> None:
    """Let recipes read these environment variables in this process and all that it starts: for a command line."""
    if names:
        os.environ[ALLOW] = ",".join(sorted(allowed() | {*names}))
