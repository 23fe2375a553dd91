"""One budget over everything a run spends, checked before each spend.

A call is bounded before it is made: ``max_tokens`` of output, a token a byte of input. It costs far less, and with many
calls under way their bounds would fill a budget that their costs hardly touch. So a call for which there is no room
waits for those under way, and is refused only when it could exceed the budget with none of them left. Calls of a
:func:`promptopt.fanout.fan_out` are let through in the order of its items. Both together make what is bought the same
for any number of threads.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, astuple, dataclass, replace

from ..checks import check_argument
from ..core import Usage
from ..errors import BudgetExhausted
from ..fanout import Turn, turn

PATIENCE = 60.0  # seconds that each call after the search has at least
ROUNDING = 1e-9  # ten calls at $0.1 fit a budget of $1
_MINE: ContextVar[frozenset[object]] = ContextVar("held", default=frozenset())
"""The calls under way that this thread works for."""


@dataclass(frozen=True)
class Budget:
    """Limits on one run; None means no limit. Proposer, target and judge draw on the same budget.

    Attributes:
        questions: answers bought from the scorer.
        calls: LLM calls.
        tokens: LLM tokens, in and out together.
        dollars: US dollars spent on LLM calls.
        seconds: wall-clock seconds of the search, over all its resumptions.

    Raises:
        UserError: a limit is not a positive number.
    """

    questions: int | None = None
    calls: int | None = None
    tokens: int | None = None
    dollars: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, limit in asdict(self).items():
            holds = limit is None or 0 < limit < math.inf
            check_argument(f"budget.{name}", limit, allowed="a number above 0, or none for no limit", holds=holds)

    def as_table(self) -> dict[str, float]:
        """Its limits, as a recipe holds them."""
        return {name: limit for name, limit in asdict(self).items() if limit is not None}


@dataclass(frozen=True)
class Costs:
    """What a run has spent."""

    questions: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    seconds: float = 0.0


class Meter:
    """Counts what a run spends. Safe to use from several threads.

    Args:
        budget: the limits.
        reserved: questions kept back for what comes after the search.

    Attributes:
        kept: LLM usage kept back likewise.
    """

    def __init__(self, budget: Budget, *, reserved: int = 0) -> None:
        self.budget = budget
        self.reserved = reserved
        self.kept = Usage()
        self.questions = 0
        self.usage = Usage()
        self._held: dict[object, Usage] = {}  # by call under way: the most that it can cost
        self._highest = Usage()  # the highest of these bounds so far
        self._waiting: list[frozenset[object]] = []  # for each thread that waits: the calls under way that it works for
        self._changed = threading.Condition()
        self._started = time.monotonic()
        self._patience = math.inf

    @property
    def seconds(self) -> float:
        """Seconds spent, those before a resumption included."""
        return time.monotonic() - self._started

    @property
    def ends(self) -> float:
        """When a call that begins now has to be over, by :func:`time.monotonic`; infinite where time is not limited.

        After the search, that is as many seconds from now as the search had, and :data:`PATIENCE` at least.
        """
        if self.budget.seconds is not None:
            return self._started + self.budget.seconds
        return time.monotonic() + self._patience

    def resume_at(self, seconds: float) -> None:
        """Set the clock to what the ledger says has been spent."""
        self._started = time.monotonic() - seconds

    @property
    def costs(self) -> Costs:
        """A snapshot of everything spent."""
        usage = self.usage
        return Costs(self.questions, usage.calls, usage.input_tokens, usage.output_tokens, usage.dollars, self.seconds)

    def end_search(self) -> None:
        """Give free what was kept back. From here on time is limited for each call alone: the verdict is worth it."""
        self.reserved, self.kept = 0, Usage()
        if self.budget.seconds is not None:
            self._patience = max(self.budget.seconds, PATIENCE)
        self.budget = replace(self.budget, seconds=None)

    def room(self) -> int | None:
        """How many more questions may be answered; None means no limit."""
        limit = self.budget.questions
        return None if limit is None else max(0, limit - self.reserved - self.questions)

    def check_seconds(self) -> None:
        """Raises BudgetExhausted when the time is up."""
        if self.budget.seconds is not None and self.seconds >= self.budget.seconds:
            raise BudgetExhausted("seconds")

    def charge(self, usage: Usage) -> None:
        """Add what an LLM call cost."""
        with self._changed:
            self.usage += usage

    def fit(self, cost: Usage) -> int | None:
        """How often this cost fits in half of what is left of the budget; None means no limit.

        The highest bound of a call so far is taken off first: the last of a budget cannot be spent, since a call is
        refused when its bound does not fit. With 1,000 tokens left, a bound of 200 and a cost of 100 it is 4.
        """
        gone = _amounts(self.usage + self.kept + self._highest)
        room = [
            (limit - gone[name]) / (2 * amount)
            for name, amount in _amounts(cost).items()
            if (limit := getattr(self.budget, name)) is not None and amount > 0
        ]
        return max(0, math.floor(min(room) + ROUNDING)) if room else None  # sums of dollars depend on their order

    @contextmanager
    def hold(self, at_most: Usage) -> Iterator[Callable[[Usage], None]]:
        """Keep the most that a call can cost out of reach of other calls while it is under way.

        Where there is no room, wait for calls under way. Those that wait themselves, such as the one that this one is
        made for, are not waited for.

        Yields:
            A function that takes what the call did cost.

        Raises:
            BudgetExhausted: the call could exceed the budget, whatever those under way cost; nothing has been spent.
        """
        mine, hold, cost = _MINE.get(), object(), Usage()
        self._let_through(hold, at_most, mine)

        def bill(usage: Usage) -> None:
            nonlocal cost
            cost = usage

        inside = _MINE.set(mine | {hold})
        try:
            yield bill
        finally:
            _MINE.reset(inside)
            with self._changed:
                del self._held[hold]
                self.usage += cost
                self._changed.notify_all()

    def _let_through(self, hold: object, at_most: Usage, mine: frozenset[object]) -> None:
        """Hold what a call may cost, in turn and when there is room."""
        my_turn = turn() if self.limited else None
        if my_turn:
            my_turn.wait()
        with self._changed:
            self._wait_for_room(at_most, mine, my_turn)
            if my_turn:
                my_turn.check()
            if limit := self._exceeded_with(at_most):
                raise BudgetExhausted(limit)
            self._held[hold] = at_most
            self._highest = dearer(self._highest, at_most)
        if my_turn:
            my_turn.had()

    def _wait_for_room(self, at_most: Usage, mine: frozenset[object], my_turn: Turn | None) -> None:
        self._waiting.append(mine)
        if mine:
            self._changed.notify_all()  # whoever waits for these calls would wait in vain
        try:
            self._changed.wait_for(
                lambda: not self._exceeded_with(at_most) or not self._moving() or (my_turn and my_turn.over)
            )
        finally:
            self._waiting.remove(mine)

    def _moving(self) -> bool:
        """Whether some call under way can end, and free its bound, without a thread that waits here going on first."""
        return bool(self._held.keys() - frozenset().union(*self._waiting))

    @property
    def limited(self) -> bool:
        """Whether there is a limit on calls, tokens or dollars."""
        return any(getattr(self.budget, name) is not None for name in _amounts(Usage()))

    def _exceeded_with(self, at_most: Usage) -> str | None:
        """The name of a limit that a call with this bound could exceed; None if there is none.

        Counted are also what is spent, the bounds of calls under way and what is kept back.
        """
        total = sum(self._held.values(), self.usage + self.kept + at_most)
        for name, amount in _amounts(total).items():
            limit = getattr(self.budget, name)
            if limit is not None and amount > limit * (1 + ROUNDING):
                return name
        return None


def dearer(one: Usage, other: Usage) -> Usage:
    """The higher of two costs, number by number."""
    return Usage(*(max(pair) for pair in zip(astuple(one), astuple(other), strict=True)))


def _amounts(usage: Usage) -> dict[str, float]:
    """The amounts that limits are set on, by the limit's name."""
    tokens = usage.input_tokens + usage.output_tokens
    return {"calls": usage.calls, "tokens": tokens, "dollars": usage.dollars}
