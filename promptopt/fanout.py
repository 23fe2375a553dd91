"""Many calls at once, results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["fan_out"]

T = TypeVar("T")
R = TypeVar("R")


class _NotBegun(Exception):
    """A call that was not begun, since another one had failed."""


def fan_out(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> Generator[R, None, None]:
    """``function`` of each item, in order, each as soon as it and those before it are there.

    After the first error no further call begins. Results before the gap are still handed out, then that error is
    raised. Calls under way are waited for, since they are paid for; so also where the caller stops listening.

    Args:
        function: safe to call from several threads.
        items: what to call it with; read to the end at once.
        workers: threads; with 1 there is none, and a call begins when its result is asked for.
    """
    if workers == 1:
        yield from map(function, items)
        return
    errors: list[BaseException] = []
    stop = threading.Event()

    def call(item: T) -> R:
        if stop.is_set():
            raise _NotBegun
        try:
            return function(item)
        except BaseException as error:
            errors.append(error)
            stop.set()
            raise

    with ThreadPoolExecutor(workers, thread_name_prefix="promptopt") as pool:
        waiting: deque[Future[R]] = deque(pool.submit(call, item) for item in items)
        try:
            while waiting:
                yield waiting.popleft().result()
        except _NotBegun:
            raise errors[0] from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
