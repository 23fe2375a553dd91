"""Recipes as JSON values, and back: what of a run's arguments stands in its ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Protocol, runtime_checkable

from ..errors import UserError

CORE = "promptopt.core"
OBJECT, NUMBER = "python object", "python number"


@runtime_checkable
class HasTable(Protocol):
    """A value that recipes hold as a table, such as a budget."""

    def as_table(self) -> dict[str, Any]: ...


def freeze(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as JSON values; what is not one is named only. Arguments left out or None are left out."""
    return {key: _freeze(value) for key, value in recipe.items() if value is not None}


def thaw(frozen: Mapping[str, Any], objects: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe that a manifest holds, with the objects that it can only name put in.

    Raises:
        UserError: an object is missing, or a number is none.
    """
    for key, value in frozen.items():
        if key not in objects and (name := _object(value)):
            raise UserError(
                f"this run was started from Python with an object, {name}, in {key}. "
                f"Resume it from Python: promptopt.resume(folder, {key}=...)."
            )
    return {**{key: _thaw(value) for key, value in frozen.items()}, **objects}


def recipe_in_force(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A run's frozen recipe: as the run was started, with what it was extended by since."""
    extended = [event["extended"] for event in events if event["event"] == "resume"]
    return {**events[0]["recipe"], **(extended[-1] if extended else {})}


def _freeze(value: Any) -> Any:
    """JSON values as they are, a path as text, a budget as a table, a number that JSON lacks and an object by name."""
    if isinstance(value, HasTable):
        value = value.as_table()
    if isinstance(value, Mapping):
        return {key: _freeze(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_freeze(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {NUMBER: str(value)}
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, PurePath):
        return str(value)
    kind = value if hasattr(value, "__qualname__") else type(value)
    module = str(kind.__module__)  # builtin methods have none
    if module.startswith(f"{CORE}."):  # to ledgers core is one module
        module = CORE
    return {OBJECT: f"{module}:{kind.__qualname__}"}


def _thaw(value: Any) -> Any:
    if isinstance(value, list):
        return [_thaw(one) for one in value]
    if not isinstance(value, dict):
        return value
    if [*value] != [NUMBER]:
        return {key: _thaw(one) for key, one in value.items()}
    if value[NUMBER] not in ("inf", "-inf", "nan"):
        raise UserError(f"the recipe of this run holds {value[NUMBER]!r} where a number was: its ledger was changed.")
    return float(value[NUMBER])


def _object(value: Any) -> str | None:
    """The name of the first object in a frozen value."""
    if isinstance(value, dict) and [*value] == [OBJECT]:
        return str(value[OBJECT])
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((name for one in inside if (name := _object(one))), None)
