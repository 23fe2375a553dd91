"""When the verdict is the search's own word: a warning for pictures, and one verdict a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..attachments import PICTURES
from ..core import Rating
from ..errors import UserError
from ..record.freeze import freeze, recipe_in_force
from ..record.ledger import Ledger
from ..record.stages import TEST
from ..record.verdict import Verdict
from .loop import Run
from .plan import Plan

__all__ = ["check_verdict", "own_verdict"]

OWN = (
    "The verdict is by the scorer that the search maximised, and pictures can please a scorer without being better. "
    "Have another one give it: verdict = {metric = ...} or {scorer = ...} (docs/pictures.md)."
)


def own_verdict(plan: Plan, run: Run, verdict: Verdict | None) -> list[str]:
    """A warning where pictures were judged by the scorer that the search maximised."""
    if verdict is None or not plan.own_verdict:
        return []
    cases = (
        case
        for step in run.steps
        if step.stage == TEST and isinstance(step.answer, Rating)
        for case in step.answer.cases
    )
    return [OWN] if any((case.output or "").startswith(f"{PICTURES}/") for case in cases) else []


def check_verdict(ledger: Ledger, plan: Plan) -> None:
    """Make sure that held-out examples that a run has rated are not rated again by somebody else.

    Raises:
        UserError: its recipe names another scorer for the verdict than the one that has begun to give it.
    """
    begun = any(event["event"] == "answer" and event["stage"] == TEST for event in ledger.past)
    then, now = _giver(recipe_in_force(ledger.past)), _giver(freeze(plan.recipe))
    if begun and now is not None and then != now:
        raise UserError(
            f"{ledger.folder} has a verdict already, by {_called(then)}, and held-out examples are rated once. Leave "
            "verdict as it was, or start a new run."
        )


def _giver(recipe: Mapping[str, Any]) -> Any:
    """What of a recipe says who gives the verdict; None where it wants none."""
    verdict = recipe.get("verdict", True)
    if not verdict:
        return None
    table = verdict if isinstance(verdict, Mapping) else {}
    return {key: table[key] for key in ("scorer", "metric") if key in table}


def _called(giver: Any) -> str:
    spec = next(iter((giver or {}).values()), "the search's own scorer")
    return str(spec.get("name", spec)) if isinstance(spec, Mapping) else str(spec)
