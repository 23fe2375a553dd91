"""One budget over everything a run spends, checked before each spend."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from .core import Usage
from .errors import BudgetExhausted, UserError

ROUNDING = 1e-9  # ten calls at $0.1 fit a budget of $1


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
            if limit is not None and not (limit > 0 and math.isfinite(limit)):
                raise UserError(f"budget.{name} is {limit!r}; give a positive number, or leave it out for no limit.")


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
        self._held = Usage()  # upper bounds of the calls under way
        self._lock = threading.Lock()
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds spent, those before a resumption included."""
        return time.monotonic() - self._started

    def resume_at(self, seconds: float) -> None:
        """Set the clock to what the ledger says has been spent."""
        self._started = time.monotonic() - seconds

    @property
    def costs(self) -> Costs:
        """A snapshot of everything spent."""
        usage = self.usage
        return Costs(self.questions, usage.calls, usage.input_tokens, usage.output_tokens, usage.dollars, self.seconds)

    def end_search(self) -> None:
        """Give free what was kept back. From here on time is not limited: the verdict is worth waiting for."""
        self.reserved, self.kept = 0, Usage()
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
        with self._lock:
            self.usage += usage

    @contextmanager
    def hold(self, at_most: Usage) -> Iterator[Callable[[Usage], None]]:
        """Keep the most that a call can cost out of reach of other calls while it is under way.

        Yields:
            A function that takes what the call did cost.

        Raises:
            BudgetExhausted: the call could exceed the budget; nothing has been spent.
        """
        with self._lock:
            self._refuse(self.usage + self._held + self.kept + at_most)
            self._held += at_most
        cost = Usage()

        def bill(usage: Usage) -> None:
            nonlocal cost
            cost = usage

        try:
            yield bill
        finally:
            with self._lock:
                self._held += -at_most
                self.usage += cost

    def _refuse(self, total: Usage) -> None:
        spent = {
            "calls": total.calls,
            "tokens": total.input_tokens + total.output_tokens,
            "dollars": total.dollars,
        }
        for name, amount in spent.items():
            limit = getattr(self.budget, name)
            if limit is not None and amount > limit * (1 + ROUNDING):
                raise BudgetExhausted(name)
