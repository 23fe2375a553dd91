"""The stages of a run, and which of their answers the budget of questions counts."""

from __future__ import annotations

from typing import Any

TEST, TRANSFER = "test", "transfer:"  # the stages of verdicts; after the second stands which other target
CALIBRATION = "calibration"  # the stage of what a scorer wants to know before the search


def held_out(stage: str) -> bool:
    """Whether a stage is one of the verdicts'."""
    return stage == TEST or stage.startswith(TRANSFER)


def unpaid(stage: str) -> bool:
    """Whether the budget of questions does not count the answers of a stage."""
    return held_out(stage) or stage == CALIBRATION


def skipped(winner: Any) -> bool:
    """Whether people's answer to a duel is none, so that the budget of questions does not count it."""
    return bool(winner == "unknown")
