"""Calls at once, and calls a second: as many as the server takes, found by trying.

A server that limits a *rate* cannot be held to it by a cap on calls in flight: when replies are quick, few calls in
flight are many calls a second. So :class:`LimitedModel` has a fixed cap, and :class:`Pace` adapts the rate at which
calls start; how many are in flight then follows from the replies' latency (Little's law).

The rate is unlimited until the server first refuses a call (429, 503 or 529). A refusal cuts it by a factor; every
call that goes well raises it along a cubic, as TCP CUBIC does: fast at first, flat around the highest rate that went
well, and only then beyond it. A cycle from one refusal to the next is stretched over at least 150 calls and 10 seconds,
so that looking for more costs about one call in a hundred.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from ...checks import at_least
from ...core import ChatModel, Choice, Completion, HasIdentity, Message, Request, Usage
from ...errors import BudgetExhausted, ModelError
from ...loading import say
from ...retries import FIRST_WAIT, LONGEST_ASKED, SILENT, run_ends
from ..choices import chooser

__all__ = ["LimitedModel", "Pace", "throttled"]

R = TypeVar("R")

CUT = 0.85
"""What a refusal leaves of the rate where it came as expected, at the top of a cycle."""
DEEPEST_CUT = 0.25
"""What it leaves at the least. In between decides what the server did take."""
CYCLE_CALLS, CYCLE_SECONDS = 150, 10.0
"""A cycle gets back to the rate that was refused after so many calls, or so many seconds' worth of them if more."""
FIRST_CYCLE_CALLS = 20
"""After the first refusal the rate is a guess, so it is corrected sooner."""
WINDOW = 10.0
"""Seconds over which the rate that the server takes is averaged."""
EPISODE = 0.5
"""Seconds after a cut in which further refusals are put down to the same excess."""
SLOWEST = 0.05
"""Calls a second that are tried whatever the server says."""
UNSAID = FIRST_WAIT
"""Seconds to wait after a refusal that does not say how long: the SDKs' own first wait."""


@dataclass(frozen=True)
class Start:
    """One call on its way: when it was let go, and whether the pace had made it wait."""

    decided: float
    paced: bool


class Pace:
    """When the next call may start. Knows no clock: every time is handed in, in seconds.

    Attributes:
        rate: calls a second; infinite until the first refusal.
    """

    def __init__(self) -> None:
        self.rate = math.inf
        self._top = math.inf  # the rate that was last refused
        self._base = math.inf  # what it was cut to
        self._calls = 0  # that went well since
        self._cycle_calls = CYCLE_CALLS
        self._next = self._held_until = self._cut_at = -math.inf
        self._taken, self._taken_at = 0.0, 0.0  # calls that the server took lately, older ones decayed

    def wait(self, at: float) -> float:
        """Seconds from ``at`` until a call may start; 0 or less means that it may start then."""
        return max(self._next, self._held_until) - at

    def start(self, now: float, at: float) -> Start:
        """Let a call go that will reach the server at ``at``, which is now or, for a retry that sleeps first, later."""
        gap = 1 / self.rate
        paced = at - self._next < gap
        self._next = max(at, self._next) + gap
        self._took(now, 1)
        return Start(now, paced)

    def succeeded(self, start: Start) -> None:
        """A call went well. Calls that did not have to wait show nothing about the rate."""
        if not start.paced or math.isinf(self.rate):
            return
        self._calls += 1
        cycle = max(self._cycle_calls, CYCLE_SECONDS * self._base)
        self.rate = self._top + (self._top - self._base) * (self._calls / cycle - 1) ** 3

    def throttled(self, now: float, retry_after: float | None, start: Start | None) -> None:
        """A call was refused; the server asked to wait so many seconds, if it said."""
        self._held_until = max(self._held_until, now + (UNSAID if retry_after is None else retry_after))
        self._took(now, -1)
        if (start and start.decided < self._cut_at) or now < self._cut_at + EPISODE:
            return
        self._cycle_calls = FIRST_CYCLE_CALLS if math.isinf(self.rate) else CYCLE_CALLS
        self._top = max(self._taken, 1.0) if math.isinf(self.rate) else max(self.rate, SLOWEST / CUT)
        lowest = max(CUT * self._taken / WINDOW, DEEPEST_CUT * self._top, SLOWEST)
        self.rate = self._base = min(CUT * self._top, lowest)
        self._calls = 0
        self._cut_at, self._next = now, self._held_until

    def _took(self, now: float, calls: int) -> None:
        if now > self._taken_at:
            self._taken *= math.exp((self._taken_at - now) / WINDOW)
            self._taken_at = now
        self._taken += calls


class LimitedModel:
    """A chat model that is asked no more, and no faster, than its server takes. Callers are made to wait.

    It hears of every refusal through :func:`throttled`, in the thread of the request. The refused call is held back
    there until its turn has come again; then the model retries it. Where a call runs out of retries while others get
    through, it is begun again.

    Wrappers around the same model share one rate, and those with the same ``most`` also their places. The model itself
    is left as it is.

    Args:
        model: the model; where it does not call :func:`throttled`, only the calls at once are limited.
        most: calls at once.
        clock: seconds, monotonic.
        sleep: waits for so many seconds.

    Raises:
        UserError: ``most`` is smaller than 1.
    """

    def __init__(
        self,
        model: ChatModel,
        *,
        most: int = 64,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        at_least(1, most=most)
        self._model = model
        self._gate = _gate_of(model, clock=clock, sleep=sleep)
        self._places = self._gate.places(most)

    @property
    def name(self) -> str:
        """The model's own."""
        return self._model.name

    @property
    def identity(self) -> Mapping[str, Any] | None:
        """The model's own: what besides its name makes its replies differ; None if it does not say."""
        return self._model.identity if isinstance(self._model, HasIdentity) else None

    @property
    def rate(self) -> float:
        """Calls a second that are let go at present; infinite until the first refusal."""
        return self._gate.pace.rate

    def at_most(self, request: Request, /) -> Usage:
        """The model's own bound."""
        return self._model.at_most(request)

    def complete(self, request: Request, /) -> Completion:
        """What the model returns, as soon as it may be asked.

        Raises:
            ModelError: the model's own.
        """

        with self._places:
            return self._gate.through(lambda: self._model.complete(request))

    def choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Choice:
        """What the model returns, as soon as it may be asked; for models that choose."""
        model = chooser(self._model)
        with self._places:
            return self._gate.through(lambda: model.choose(messages, options))

    def at_most_to_choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Usage:
        """The model's own bound."""
        return chooser(self._model).at_most_to_choose(messages, options)


_LISTENER: ContextVar[Callable[[float | None], None] | None] = ContextVar("listener", default=None)
"""Who hears of refusals of the call that this thread makes."""


def throttled(retry_after: float | None) -> None:
    """Called by a model, in the thread of the request, whenever its server refuses it for being asked too much.

    It returns when the SDK may sleep as long as it was asked to, and try again.

    Args:
        retry_after: the seconds that the server asks to wait; None if it does not say.
    """
    if listener := _LISTENER.get():
        listener(retry_after)


class _Gate:
    """What the callers of one model wait at."""

    def __init__(self, *, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.pace = Pace()
        self._clock, self._sleep = clock, sleep
        self._places: dict[int, threading.Semaphore] = {}
        self._turn = threading.Lock()  # held by the one new call that is next
        self._guard = threading.Lock()
        self._succeeded = 0
        self._mine = threading.local()

    def places(self, most: int) -> threading.Semaphore:
        """So many places, for calls under way."""
        with self._guard:
            return self._places.setdefault(most, threading.Semaphore(most))

    def through(self, ask: Callable[[], R]) -> R:
        """Ask in turn."""
        while True:
            succeeded = self._succeeded
            with self._turn:
                self._mine.start = self._wait()
            self._mine.refused = False
            listening = _LISTENER.set(self.throttled)
            try:
                answer = ask()
            except ModelError:
                if self._mine.refused and self._succeeded > succeeded:
                    continue
                raise
            finally:
                _LISTENER.reset(listening)
                start, self._mine.start = self._mine.start, None
            with self._guard:
                self._succeeded += 1
                self.pace.succeeded(start)
            return answer

    def throttled(self, retry_after: float | None) -> None:
        """Take note of a refusal and, in the thread of the call that was refused, wait for its next turn."""
        if retry_after is not None and retry_after > LONGEST_ASKED:  # it is given up, so nobody else is made to wait
            return
        start: Start | None = getattr(self._mine, "start", None)
        with self._guard:
            self.pace.throttled(self._clock(), retry_after, start)
        if start:
            self._mine.refused = True
            self._mine.start = self._wait(ahead=UNSAID if retry_after is None else retry_after)

    def _wait(self, *, ahead: float = 0.0) -> Start:
        """Wait for a turn. ``ahead``: seconds that the caller will sleep by itself before it asks."""
        while True:
            with self._guard:
                now = self._clock()
                wait = self.pace.wait(now + ahead)
                if wait <= 0:
                    return self.pace.start(now, now + ahead)
            if time.monotonic() + wait >= run_ends():
                raise BudgetExhausted("seconds")
            if wait >= SILENT:
                say(f"a rate limit: the next call of its model is made in {wait:.0f} s")
            self._sleep(wait)


_GATES: dict[int, _Gate] = {}
"""By the id of the model, for as long as it lives."""
_GATES_LOCK = threading.Lock()


def _gate_of(model: ChatModel, *, clock: Callable[[], float], sleep: Callable[[float], None]) -> _Gate:
    """The gate of a model; a new one where it has none yet, or cannot be referred to weakly."""
    with _GATES_LOCK:
        if gate := _GATES.get(id(model)):
            return gate
        gate = _Gate(clock=clock, sleep=sleep)
        try:
            weakref.finalize(model, _GATES.pop, id(model), None).atexit = False
        except TypeError:
            return gate
        _GATES[id(model)] = gate
        return gate
