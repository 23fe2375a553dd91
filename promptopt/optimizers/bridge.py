"""From code that calls back to an optimizer that asks."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

__all__ = ["Bridge"]

PATIENCE = 5.0  # seconds for the thread to end


class Stopped(BaseException):
    """Nobody will answer any more. No Exception, which code that calls back may take for a failure of its own."""


class Bridge:
    """Runs a function that calls back as one that asks: in a thread, which stands still while it waits for an answer.

    At any time only one of the two threads works, so that all comes in the same order each time. The thread is a daemon
    and knows nothing of who asks: it keeps neither the interpreter nor an optimizer alive.

    Args:
        work: is given a function that takes a request and returns its answer.
    """

    def __init__(self, work: Callable[[Callable[[Any], Any]], None]) -> None:
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._stopped = False
        self._thread = Thread(target=self._run, args=(work,), name="promptopt-bridge", daemon=True)
        self._thread.start()

    def request(self) -> Any:
        """The next request; None once the function has returned or was stopped.

        Raises:
            BaseException: what the function raised.
        """
        request = None if self._stopped else self._requests.get()
        if isinstance(request, BaseException):
            raise request
        return request

    def answer(self, answer: Any) -> None:
        """Answer the request."""
        self._answers.put(answer)

    def stop(self) -> None:
        """Have the function end with its next request, or the one that it waits with; returns at once."""
        self._stopped = True
        self._answers.put(None)

    def close(self) -> None:
        """Stop, and wait until the thread has ended."""
        self.stop()
        self._thread.join(PATIENCE)

    def _run(self, work: Callable[[Callable[[Any], Any]], None]) -> None:
        try:
            work(self._ask)
        except Stopped:
            return
        except BaseException as error:
            self._requests.put(error)
        else:
            self._requests.put(None)

    def _ask(self, request: Any) -> Any:
        if not self._stopped:
            self._requests.put(request)
            answer = self._answers.get()
        if self._stopped:
            raise Stopped
        return answer
