"""Scorers: what answers an optimizer's questions. One file per kind of feedback; judges and people have rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exports import lazily

if TYPE_CHECKING:
    from .adapters import BradleyTerry, WinRate
    from .caption_facts import CaptionFacts
    from .function import FunctionScorer
    from .human import Human
    from .judge.dsg import Dsg
    from .judge.duel import JudgeDuel
    from .judge.rating import JudgeRating
    from .judge.vqa import VqaScore
    from .metric import MetricScorer
    from .task_loss import TaskLoss

__all__ = [
    "BradleyTerry",
    "CaptionFacts",
    "Dsg",
    "FunctionScorer",
    "Human",
    "JudgeDuel",
    "JudgeRating",
    "MetricScorer",
    "TaskLoss",
    "VqaScore",
    "WinRate",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "BradleyTerry": "adapters",
        "CaptionFacts": "caption_facts",
        "Dsg": "judge.dsg",
        "FunctionScorer": "function",
        "Human": "human",
        "JudgeDuel": "judge.duel",
        "JudgeRating": "judge.rating",
        "MetricScorer": "metric",
        "TaskLoss": "task_loss",
        "VqaScore": "judge.vqa",
        "WinRate": "adapters",
    },
)
