"""The recipe of a run, as its ledger holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import require
from ..record.freeze import NUMBER, OBJECT


def toml(recipe: Mapping[str, Any]) -> str:
    """A recipe as TOML; objects stand by the name of their class.

    Raises:
        MissingExtra: tomli-w is not installed.
    """
    text: str = require("tomli_w", extra="report").dumps(_plain(recipe))
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    if [*value] == [OBJECT]:
        return value[OBJECT]
    return float(value[NUMBER]) if [*value] == [NUMBER] else {key: _plain(one) for key, one in value.items()}


def names_of(recipe: Mapping[str, Any]) -> str:
    """The parts that a recipe names, in a few words."""
    named = []
    for key in ("optimizer", "scorer", "target", "data"):
        part = _plain(recipe.get(key))
        name = part.get("name") if isinstance(part, Mapping) else part
        named += [f"{key} {name}"] if name else []
    return ", ".join(named)
