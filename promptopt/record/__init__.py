"""What a run writes down, and the one reader of it: ledger, replay, answers, verdicts, the story of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exports import lazily

if TYPE_CHECKING:
    from .ledger import Ledger
    from .replay import Replay
    from .story import Story
    from .verdict import Verdict

__all__ = [
    "Ledger",
    "Replay",
    "Story",
    "Verdict",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Ledger": "ledger",
        "Replay": "replay",
        "Story": "story",
        "Verdict": "verdict",
    },
)
