"""One policy for what fails in passing: what counts as that, how long is waited, and when it is given up.

A call has a deadline for each attempt and one for all of them, and neither goes on when the run's time is up. Whoever
waits long hears what for.
"""

from __future__ import annotations

import email.utils
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, TypeVar

from .errors import BudgetExhausted
from .loading import say

if TYPE_CHECKING:
    from tenacity import RetryCallState

R = TypeVar("R")

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds to wait before the first retry, doubled for each further one. OpenAI's and Anthropic's SDKs wait likewise."""

LONGEST_ASKED = 120.0
"""Seconds; a server that asks to wait longer is given up. OpenAI's SDK does likewise."""

TRANSIENT = (408, 409, 429)
"""HTTP statuses that may be another one a moment later, besides 5xx: what the SDKs retry."""

ATTEMPTS, LEAST_FOR_ALL = 5, 300.0
"""All attempts of a call together have so many times what one has, and so many seconds at least."""

SILENT = 10.0
"""Seconds that are waited without a word."""

GRACE = 10.0
"""Seconds that an attempt under way is given when the run's time is up, since it is paid for."""

MARGIN = 1.0
"""Seconds beyond an attempt's deadline in which whoever reads the answer may notice by itself and say more."""

LISTENING = 0.2  # seconds after which a wait looks up

_FAILING: dict[str, tuple[float, float]] = {}
"""Who has answered nobody since when, and when that was last seen: many short waits are a long one."""
_FAILING_LOCK = threading.Lock()

_RUN_ENDS: ContextVar[float] = ContextVar("run_ends", default=math.inf)
_ATTEMPT_ENDS: ContextVar[float] = ContextVar("attempt_ends", default=math.inf)


@contextmanager
def until(at: float) -> Iterator[None]:
    """Calls begun while it lasts are not waited for beyond this time of :func:`time.monotonic`."""
    before = _RUN_ENDS.set(at)
    try:
        yield
    finally:
        _RUN_ENDS.reset(before)


def run_ends() -> float:
    """When the time of the run ends that this thread works for, by :func:`time.monotonic`; infinite without a limit."""
    return _RUN_ENDS.get()


def attempt_ends() -> float:
    """When the attempt has to be over that this thread makes, likewise."""
    return _ATTEMPT_ENDS.get()


class Transient(Exception):
    """One attempt failed, and another may succeed.

    Args:
        said: what happened.
        retry_after: seconds that the server asks to wait; None if it does not say.
        status: of HTTP; None if there was no answer.
    """

    def __init__(self, said: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(said)
        self.retry_after, self.status = retry_after, status


class Late(Transient):
    """An attempt was not over in time."""


class Retries:
    """Calls a function until it succeeds, fails for good, or has been tried often enough. For one call in one thread.

    An error that has ``retry_after`` says how many seconds to wait before the next attempt. After any other, and where
    it is None, that is :data:`FIRST_WAIT`, doubled each time up to :data:`LONGEST_WAIT`. Where one has ``status``, that
    is what the user hears.

    With a ``timeout`` an attempt is made in a thread of its own, with the caller's context variables, and left to
    itself when it is late, which is an error after which another may succeed.

    Args:
        most: attempts after the first one.
        on: the errors after which another attempt may succeed: their classes, or a function that tells them.
        name: who is asked.
        timeout: seconds for one attempt; None is no limit, and none for all of them.
        refused: hears, in the caller's thread, of every error after which another attempt may succeed.
        sleep: waits for so many seconds; :func:`time.sleep` by default.
        clock: seconds, as :func:`time.monotonic`.

    Attributes:
        made: retries so far.
    """

    def __init__(
        self,
        most: int,
        *,
        on: type[Exception] | tuple[type[Exception], ...] | Callable[[BaseException], bool],
        name: str = "the server",
        timeout: float | None = None,
        refused: Callable[[BaseException], None] | None = None,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import tenacity

        self.made = 0
        self._most, self._name, self._timeout, self._refused = most, name, timeout, refused
        self._clock = clock
        self._asked = self._next = 0.0
        self._out_of_time = False
        self._doubled = tenacity.wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)
        self._on = (lambda error: isinstance(error, on)) if isinstance(on, type | tuple) else on
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._may_pass),
            wait=self._wait,
            stop=self._is_enough,
            before=self._count,
            before_sleep=self._tell,
            sleep=sleep or time.sleep,
            reraise=True,
        )

    def __call__(self, attempt: Callable[[], R]) -> R:
        """What the first successful attempt returns.

        Raises:
            Exception: the last attempt's own: one that no retry would mend, or one that has outlasted the retries.
            Late: the last attempt was not over in time.
            BudgetExhausted: the time of the run ends before another attempt could begin, or this one is over.
        """
        self._began = self._clock()
        all_of_them = max(ATTEMPTS * self._timeout, LEAST_FOR_ALL) if self._timeout else math.inf
        self._ends = self._began + all_of_them
        try:
            answer: R = self._retrying(lambda: self._in_time(attempt))
        except Exception as error:
            if self._out_of_time:
                raise BudgetExhausted("seconds") from error
            raise
        with _FAILING_LOCK:
            _FAILING.pop(self._name, None)
        return answer

    def __str__(self) -> str:
        """For the message of the last error, for example ``after 4 retries``."""
        asked = f"; it asks to wait {self._asked:.0f} s" if self._asked > LONGEST_ASKED else ""
        return f"after {self.made} retries{asked}"

    def _count(self, state: RetryCallState) -> None:
        self.made = state.attempt_number - 1

    def _wait(self, state: RetryCallState) -> float:
        asked: float | None = getattr(state.outcome and state.outcome.exception(), "retry_after", None)
        self._asked = asked or 0.0
        self._next = self._doubled(state) if asked is None else asked
        return self._next

    def _is_enough(self, state: RetryCallState) -> bool:
        if self.made >= self._most or self._asked > LONGEST_ASKED:
            return True
        begins = self._clock() + self._next
        self._out_of_time = self._out_of_time or begins >= run_ends()
        return self._out_of_time or begins >= self._ends

    def _may_pass(self, error: BaseException) -> bool:
        passes = isinstance(error, Late) or self._on(error)
        if passes:
            self._since = min(self._began, _failing_since(self._name, self._clock()))
            if self._refused:
                self._refused(error)
        return passes

    def _tell(self, state: RetryCallState) -> None:
        """Say what is waited for, if it is long."""
        if self._clock() + self._next - self._since < SILENT:
            return
        status = getattr(state.outcome and state.outcome.exception(), "status", None) or "no answer"
        say(f"{status} from {self._name}, next try in {self._next:.0f} s, {self._attempt(1)}")

    def _attempt(self, further: int = 0) -> str:
        return f"{self.made + 1 + further} of {self._most + 1}"

    # ── One attempt ───────────────────────────────────────────────────────────────────────────────────────────────

    def _in_time(self, attempt: Callable[[], R]) -> R:
        """What the attempt returns, if it does so in time."""
        if self._timeout is None:
            return attempt()
        now = self._clock()
        seconds = max(0.0, min(now + self._timeout, self._ends) - now)
        done = _in_a_thread(attempt, seconds=seconds)
        over, told = now + seconds + MARGIN, False
        while not wait([done], timeout=LISTENING).done:  # an interrupt is heard only between two waits
            now = self._clock()
            if now >= run_ends() + GRACE:
                self._out_of_time = True
            if self._out_of_time or now >= over:
                raise Late(f"timed out: no whole answer within {seconds:g} s")
            if now - self._began >= SILENT and not told:
                told = True
                say(f"{self._name} has not answered for {now - self._began:.0f} s, {self._attempt()}")
        return done.result()


def _failing_since(name: str, now: float) -> float:
    """When the failures began that nothing but failures has followed."""
    with _FAILING_LOCK:
        since, last = _FAILING.get(name, (now, now))
        since = since if now - last <= LONGEST_ASKED else now
        _FAILING[name] = since, now
        return since


def _in_a_thread(attempt: Callable[[], R], *, seconds: float) -> Future[R]:
    """What a function will return; it runs in a thread of its own, which does not keep the process from ending."""
    done: Future[R] = Future()

    def work() -> None:
        _ATTEMPT_ENDS.set(time.monotonic() + seconds)
        try:
            done.set_result(attempt())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=copy_context().run, args=(work,), name="promptopt-attempt", daemon=True).start()
    return done


def is_transient(status: int) -> bool:
    """Whether an HTTP status may be another one a moment later."""
    return status in TRANSIENT or status >= 500


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: ``retry-after-ms``, or ``retry-after`` as a number or a date; else None."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * scale)
        except (KeyError, ValueError):
            continue
    try:
        date = email.utils.parsedate_tz(headers.get("retry-after", ""))
        return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None
    except (OverflowError, ValueError):  # no day that there will be
        return None
