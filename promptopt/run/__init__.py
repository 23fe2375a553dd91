"""One run: its plan, the search, the budget, what comes after the search, the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exports import lazily

if TYPE_CHECKING:
    from .budget import Budget, Costs
    from .loop import Run
    from .plan import Plan
    from .recorder import Progress, Recorder, Step
    from .result import Candidate, Result

__all__ = [
    "Budget",
    "Candidate",
    "Costs",
    "Plan",
    "Progress",
    "Recorder",
    "Result",
    "Run",
    "Step",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Budget": "budget",
        "Candidate": "result",
        "Costs": "budget",
        "Plan": "plan",
        "Progress": "recorder",
        "Recorder": "recorder",
        "Result": "result",
        "Run": "loop",
        "Step": "recorder",
    },
)
