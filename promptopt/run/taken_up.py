"""Taking up a run again: what may have changed since, and what it goes on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import HasPresentation
from ..errors import UserError
from ..record.freeze import OBJECT, freeze, recipe_in_force
from ..record.ledger import Ledger, now
from ..record.lines import FORMAT
from .plan import Plan

OLD_RULE = "This run was begun by a version that left failed outputs out of the mean; it goes on that way."
EXTENDS = ("budget", "patience", "goal", "verdict", "cells")  # what may differ when a run is taken up again


def check_same(ledger: Ledger, plan: Plan, *, defaults: Mapping[str, Any]) -> None:
    """Make sure that the folder holds a run with this recipe.

    Args:
        defaults: what the arguments that a recipe leaves out come to.

    Raises:
        UserError: its recipe is another one.
    """
    defaults = freeze(defaults)
    then, now = (_compared(plan, {**defaults, **recipe}) for recipe in (in_force(ledger), freeze(plan.recipe)))
    changed = sorted(key for key in {*then, *now} - {*EXTENDS} if then.get(key) != now.get(key))
    if changed:
        raise UserError(
            f"{ledger.folder} holds a run with other {', '.join(changed)}. Give another folder, or take that run up "
            f"with: promptopt resume {ledger.folder}"
        )


def _compared(plan: Plan, recipe: dict[str, Any]) -> dict[str, Any]:
    """What of a recipe has to be the same when a run is taken up: all of it, but for some of the scorer's options.

    Those are the ones that the scorer lists as ``presentation``: they say how people are asked and not what, such as
    the port of the page, so they may change from one session to the next.
    """
    scorer = recipe.get("scorer")
    leave_out = plan.scorer.presentation if isinstance(plan.scorer, HasPresentation) else ()
    if isinstance(scorer, str):
        scorer = {"name": scorer}
    if isinstance(scorer, dict):
        scorer = {key: value for key, value in scorer.items() if key not in leave_out}
    compared: dict[str, Any] = _without_modules({**recipe, "scorer": scorer})
    return compared


def _without_modules(frozen: Any) -> Any:
    """A frozen recipe in which an object is told by its class alone: the module that it stands in may have moved."""
    if isinstance(frozen, list):
        return [_without_modules(one) for one in frozen]
    if not isinstance(frozen, dict):
        return frozen
    if [*frozen] == [OBJECT]:
        return {OBJECT: frozen[OBJECT].rpartition(":")[2]}
    return {key: _without_modules(value) for key, value in frozen.items()}


def in_force(ledger: Ledger) -> dict[str, Any]:
    """The recipe in force: the one that the run began with, changed as the last resumption said.

    Raises:
        UserError: the ledger does not begin as a run does.
    """
    if ledger.past[0].get("format") != FORMAT:
        raise UserError(f"{ledger.folder} holds no run that this version can take up; start a new one.")
    return recipe_in_force(ledger.past)


def old_rule(ledger: Ledger) -> dict[str, Any]:
    """The options that an old run goes on with, since they were its defaults when it began; empty for a new run.

    There are two such times: before outputs that failed counted as the worst value, and before there were views.
    """
    first = ledger.past[0]
    if "failed" in first:
        return {} if "views" in first else {"views": 1}
    return {"failed": "leave-out", "views": 1} | ({} if "optimizer" in first["recipe"] else {"optimizer": "hill-climb"})


def resumed(plan: Plan) -> dict[str, Any]:
    """The event that says that a run is taken up again, and with what."""
    recipe = freeze(plan.recipe)
    return {"event": "resume", "time": now(), "extended": {key: recipe[key] for key in EXTENDS if key in recipe}}
