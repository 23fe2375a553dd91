"""What writes new prompts for a search that is shown good and bad ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ...core import Setup

__all__ = ["Looks", "Proposer", "Scored"]


@dataclass(frozen=True)
class Scored:
    """A prompt's text and its value as the scorer gave it; higher is better."""

    text: str
    value: float


class Proposer(Protocol):
    """Writes new prompts. All its randomness comes from the setup, so equal calls lead to equal prompts."""

    def begin(self, setup: Setup, /) -> None:
        """Start afresh: a new run."""

    def reset(self) -> None:
        """Forget the conversation: a new one begins."""

    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> Sequence[str]:
        """At most ``n`` new prompts; may be fewer, also none.

        Args:
            good: best first.
            bad: worst first; empty when only positives are shown.
            n: how many are wanted.

        Raises:
            ModelError: an LLM behind it refused for good.
            BudgetExhausted: the next call would exceed the run's budget.
        """


@runtime_checkable
class Looks(Protocol):
    """A proposer that is also told of all prompts tried in this conversation, before each call of ``propose``."""

    def look(self, seen: Sequence[Scored], /) -> None:
        """Take them; best first."""
