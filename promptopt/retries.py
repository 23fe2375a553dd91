"""One policy for what fails in passing: what counts as that, how long is waited, and when it is given up."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tenacity import RetryCallState

R = TypeVar("R")

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds to wait before the first retry, doubled for each further one. OpenAI's and Anthropic's SDKs wait likewise."""

LONGEST_ASKED = 120.0
"""Seconds; a server that asks to wait longer is given up. OpenAI's SDK does likewise."""

TRANSIENT = (408, 409, 429)
"""HTTP statuses that may be another one a moment later, besides 5xx: what the SDKs retry."""


class Transient(Exception):
    """One attempt failed, and another may succeed.

    Args:
        said: what happened.
        retry_after: seconds that the server asks to wait; None if it does not say.
    """

    def __init__(self, said: str, *, retry_after: float | None = None) -> None:
        super().__init__(said)
        self.retry_after = retry_after


class Retries:
    """Calls a function until it succeeds, fails for good, or has been tried often enough. For one call in one thread.

    An error that has ``retry_after`` says how many seconds to wait before the next attempt. After any other, and where
    it is None, that is :data:`FIRST_WAIT`, doubled each time up to :data:`LONGEST_WAIT`.

    Args:
        most: attempts after the first one.
        on: the errors after which another attempt may succeed: their classes, or a function that tells them.
        sleep: waits for so many seconds; :func:`time.sleep` by default.

    Attributes:
        made: retries so far.
    """

    def __init__(
        self,
        most: int,
        *,
        on: type[Exception] | tuple[type[Exception], ...] | Callable[[BaseException], bool],
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        import tenacity

        self.made = 0
        self._most = most
        self._asked = 0.0
        self._doubled = tenacity.wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)
        may_pass = (lambda error: isinstance(error, on)) if isinstance(on, type | tuple) else on
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_pass),
            wait=self._wait,
            stop=self._is_enough,
            before=self._count,
            sleep=sleep or time.sleep,
            reraise=True,
        )

    def __call__(self, attempt: Callable[[], R]) -> R:
        """What the first successful attempt returns.

        Raises:
            Exception: the last attempt's own: one that no retry would mend, or one that has outlasted the retries.
        """
        return self._retrying(attempt)

    def __str__(self) -> str:
        """For the message of the last error, for example ``after 4 retries``."""
        asked = f"; it asks to wait {self._asked:.0f} s" if self._asked > LONGEST_ASKED else ""
        return f"after {self.made} retries{asked}"

    def _count(self, state: RetryCallState) -> None:
        self.made = state.attempt_number - 1

    def _wait(self, state: RetryCallState) -> float:
        asked: float | None = getattr(state.outcome and state.outcome.exception(), "retry_after", None)
        self._asked = asked or 0.0
        return self._doubled(state) if asked is None else asked

    def _is_enough(self, state: RetryCallState) -> bool:
        return self.made >= self._most or self._asked > LONGEST_ASKED


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
