"""The stages of a run, and which of their answers the budget of questions counts."""

from __future__ import annotations

from typing import Any

CALIBRATION = "calibration"  # what a scorer wants to know before the search
SEARCH = "search"
DEV = "dev"  # the best prompts of the search on the dev split, and there the answer with parts left out
FINAL = "final"  # the ensemble: several of the best as one prompt
SHORTEN = "shorten"  # the answer with parts left out, on the training split where there is no dev split
TEST = "test"  # the verdict
TRANSFER = "transfer:"  # the verdict on another target, whose name stands behind the colon
CHEAPEST = "cheapest"  # of verdict events alone: the front's cheapest prompt against the best, on the test split
CELL = "cell"  # of verdict events alone: the prompt of a cell of an archive against the start, on the test split
STAGES = (CALIBRATION, SEARCH, DEV, FINAL, SHORTEN, TEST)  # in the order of a run; transfers come behind them


def held_out(stage: str) -> bool:
    """Whether a stage is one of the verdicts'."""
    return stage == TEST or stage.startswith(TRANSFER)


def unpaid(stage: str) -> bool:
    """Whether the budget of questions does not count the answers of a stage."""
    return held_out(stage) or stage == CALIBRATION


def skipped(winner: Any) -> bool:
    """Whether people's answer to a duel is none, so that the budget of questions does not count it."""
    return bool(winner == "unknown")
