"""What every tracker logs, as plain names and values."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..record.ledger import read
from ..run.recorder import Progress
from ..run.result import Result

SECONDS = 1.0  # between two logs of a best prompt that stays the same


class LoggingPace:
    """Lets through every new best prompt, and otherwise one report a second, in which a run may take many answers."""

    def __init__(self) -> None:
        self._best: str | None = None
        self._at = -math.inf

    def due(self, progress: Progress) -> bool:
        """Whether this one is to be logged."""
        now, new = time.monotonic(), progress.best.text != self._best
        if not new and now - self._at < SECONDS:
            return False
        self._best, self._at = progress.best.text, now
        return True


def standing(progress: Progress) -> dict[str, float]:
    """Where a run stands: ``best_score`` (training examples) and the costs so far; unknown numbers are left out."""
    costs = progress.costs
    values: dict[str, float | None] = {
        "best_score": progress.rating.value if progress.rating else None,
        "confidence": progress.belief.confidence if progress.belief else None,
        "questions": costs.questions,
        "llm_calls": costs.calls,
        "tokens": costs.input_tokens + costs.output_tokens,
        "dollars": costs.dollars,
        "seconds": costs.seconds,
    }
    return _known(values)


def outcome(result: Result) -> dict[str, float]:
    """How a run ended: training scores, the verdict on held-out examples, costs, and everything that was counted."""
    costs, verdict = result.costs, result.verdict
    values: dict[str, float | None] = {
        "start_score": result.score(result.start),
        "best_score": result.score(result.best),
        "questions": costs.questions,
        "llm_calls": costs.calls,
        "tokens": costs.input_tokens + costs.output_tokens,
        "dollars": costs.dollars,
        "seconds": costs.seconds,
    }
    if verdict:
        names = ("start", "best", "difference", "low", "high", "examples")
        values |= {f"test_{name}": getattr(verdict, name) for name in names}
    return _known(values) | {f"count_{_word(what)}": float(n) for what, n in result.counts.items()}


def parameters(result: Result) -> dict[str, str]:
    """The run's recipe, flat: ``optimizer.k`` and so on. Only the seed where nothing was recorded."""
    recipe: Mapping[str, Any] = {}
    if result.run:
        recipe = read(result.run / "ledger.jsonl")[0]["recipe"]
    return {"seed": str(result.seed)} | {key: str(value) for key, value in _flat(recipe)}


def files(result: Result) -> list[Path]:
    """What a run leaves on the disk, as far as it is there."""
    names = ("best.txt", "result.json", "ledger.jsonl")
    return [result.run / name for name in names if (result.run / name).exists()] if result.run else []


def _flat(table: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        inner = isinstance(value, Mapping)
        found += _flat(value, f"{before}{key}.") if inner else [(before + _word(str(key)), value)]
    return found


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {key: float(value) for key, value in values.items() if value is not None and math.isfinite(value)}


def _word(text: str) -> str:
    """A name that trackers take: letters, digits, underscores, dashes and dots."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in text)
