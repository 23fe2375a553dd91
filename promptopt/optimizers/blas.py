"""Small linear algebra on one thread.

BLAS shares out products of a few hundred rows among all cores, which gains nothing, and its threads spin while they
wait: on a machine that has other work, a fit of 0.1 s took 20 s.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@cache
def _blas() -> Any:
    import scipy.linalg  # noqa: F401 - it brings a BLAS of its own, and a limit reaches those that are loaded
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()


def single_threaded(method: Callable[P, T]) -> Callable[P, T]:
    """A function whose matrix products run on one thread."""

    @wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with _blas().limit(limits=1, user_api="blas"):
            return method(*args, **kwargs)

    return wrapped
