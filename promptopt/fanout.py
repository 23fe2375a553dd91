"""Many calls at once, results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Turn", "fan_out", "turn"]

LISTENING = 0.2  # seconds after which the wait for a result looks up

T = TypeVar("T")
R = TypeVar("R")


class _NotBegun(Exception):
    """A call that was not begun, since another one had failed or nobody wants its result any more."""


class _Line:
    """The items of one fan-out, as they stand in line for what they share: each after those before it."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._through: set[int] = set()  # further back than the first that is not through yet
        self._first = 0
        self.stopped = False

    def wait_for(self, place: int) -> None:
        """Return when all before this place are through, or nobody is let through any more."""
        with self._moved:
            self._moved.wait_for(lambda: self.stopped or self._first >= place)

    def through(self, place: int) -> None:
        """Let the next one come forward."""
        with self._moved:
            self._through.add(place)
            while self._first in self._through:
                self._through.remove(self._first)
                self._first += 1
            self._moved.notify_all()

    def stop(self) -> None:
        """Let nobody through any more, and nobody wait."""
        with self._moved:
            self.stopped = True
            self._moved.notify_all()


@dataclass(frozen=True)
class Turn:
    """The place of an item in its fan-out, for what is to be had in the order of the items, whoever is quicker."""

    line: _Line
    place: int

    @property
    def over(self) -> bool:
        """Whether another item has failed, or nobody wants results any more."""
        return self.line.stopped

    def wait(self) -> None:
        """Wait until the items before this one have had their turn, or are done. Raises as :meth:`check`."""
        self.line.wait_for(self.place)
        self.check()

    def check(self) -> None:
        """Raises an exception that only the fan-out knows, if the turn is over."""
        if self.over:
            raise _NotBegun

    def had(self) -> None:
        """Let the next item come forward. An item that never says so has had its turn when it is done."""
        self.line.through(self.place)


_TURN: ContextVar[Turn | None] = ContextVar("turn", default=None)


def turn() -> Turn | None:
    """The turn of the item that this thread works on; None outside a fan-out."""
    return _TURN.get()


def fan_out(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> Generator[R, None, None]:
    """``function`` of each item, in order, each as soon as it and those before it are there.

    After the first error no further call begins. Results before the gap are still handed out, then that error is
    raised. Calls under way are waited for, since they are paid for; so also where the caller stops listening. Context
    variables are the caller's own.

    Args:
        function: safe to call from several threads.
        items: what to call it with; read to the end at once.
        workers: threads; with 1 there is none, and a call begins when its result is asked for.
    """
    if workers == 1:
        yield from map(function, items)
        return
    errors: list[BaseException] = []
    line = _Line()

    def call(place: int, item: T) -> R:
        _TURN.set(Turn(line, place))
        try:
            if line.stopped:
                raise _NotBegun
            return function(item)
        except _NotBegun:
            raise
        except BaseException as error:
            errors.append(error)
            line.stop()
            raise
        finally:
            line.through(place)

    with ThreadPoolExecutor(workers, thread_name_prefix="promptopt") as pool:
        try:  # an interrupt may come as early as here
            waiting: deque[Future[R]] = deque(
                pool.submit(copy_context().run, call, place, item) for place, item in enumerate(items)
            )
            while waiting:
                while not wait([waiting[0]], timeout=LISTENING).done:
                    pass  # Python hears an interrupt that came just before it began to wait only when it wakes up
                yield waiting.popleft().result()
        except _NotBegun:
            raise errors[0] from None
        finally:
            line.stop()
            pool.shutdown(cancel_futures=True)
