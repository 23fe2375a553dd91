"""Comparisons on held-out examples, each written down once."""

from __future__ import annotations

from collections.abc import Mapping

from ..core import Rate, Rating
from ..record.stages import TEST
from ..record.verdict import Verdict, compare
from .loop import Run

__all__ = ["known_verdict", "tested_by", "verdict_on"]


def tested_by(run: Run) -> dict[str, Rating]:
    """The ratings on the test split, by prompt."""
    steps = [(step.question, step.answer) for step in run.steps if step.stage == TEST]
    return {q.prompt.text: answer for q, answer in steps if isinstance(q, Rate) and isinstance(answer, Rating)}


def known_verdict(run: Run, start: str, best: str, *, stage: str) -> Verdict | None:
    """The comparison of two prompts that the ledger holds already, if it does."""
    for event in run.replay.verdicts:
        if (event.get("stage", TEST), event["start_prompt"], event["best_prompt"]) == (stage, start, best):
            return Verdict.from_json(event["verdict"])
    return None


def verdict_on(run: Run, start: str, best: str, tested: Mapping[str, Rating], *, stage: str, by: str = "") -> Verdict:
    """The comparison of two prompts, known or made and written down.

    Args:
        tested: their ratings on the same held-out examples.
        stage: of the verdict: ``TEST``, ``CHEAPEST``, ``CELL``, or ``TRANSFER`` and another target's name.
        by: as of :class:`promptopt.record.verdict.Verdict`.
    """
    if known := known_verdict(run, start, best, stage=stage):
        return known
    verdict = compare(tested[start], tested[best], rng=run.setup("test").rng(), by=by)
    compared = {"stage": stage, "start_prompt": start, "best_prompt": best}
    run.ledger.append({"event": "verdict", **compared, "verdict": verdict.to_json()} | run.counted())
    return verdict
