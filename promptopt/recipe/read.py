"""Recipe files, and ``key=value`` overrides."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..loading import say
from .build import PARTS, factory_of, parts_of


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A recipe file with ``key=value`` overrides applied.

    Args:
        path: a TOML file.
        overrides: for example ``seed=3`` or ``optimizer.k=5``; a value is read as TOML, or else as text.

    Raises:
        UserError: the file is missing or not TOML, or an override is not ``key=value``.
    """
    path = Path(path)
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(
            f"there is no recipe {str(path)!r}. Recipes are TOML files; experiments/ holds examples."
        ) from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} as TOML: {error}") from None
    return without_permissions(override(recipe, overrides))


def without_permissions(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe, which may not permit itself anything.

    Raises:
        UserError: it tries to.
    """
    if "allow_env" in recipe:
        raise UserError("allow_env cannot stand in a recipe: what it may read, its user says, with --allow-env NAME.")
    return recipe


def override(recipe: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply ``key=value`` overrides to a recipe, in place. A dotted key goes into a table.

    Where the name of a part changes, the options that the recipe had for the old part and the new one lacks are
    dropped, and :func:`promptopt.loading.say` tells which.

    Raises:
        UserError: an override is not ``key=value``.
    """
    renamed: dict[tuple[str, ...], set[str]] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not (equals and key):
            raise UserError(f"{text!r} is not an override. Write key=value, for example seed=3 or optimizer.k=5.")
        *tables, last = key.strip().split(".")
        place = recipe
        for table in tables:
            inside = place.get(table, {})
            if table == "budget" and isinstance(inside, int):
                inside = {"questions": inside}
            if table == "verdict" and not isinstance(inside, dict):
                inside = {"cheapest": True} if inside == "cheapest" else {}
            if not isinstance(inside, str | dict) or (table == "start" and isinstance(inside, str)):
                raise UserError(f"{text!r}: {table} is {inside!r}, which has nothing inside to set.")
            place[table] = place = {"name": inside} if isinstance(inside, str) else inside
        if last == "name" and tables and place.get("name", _value(value)) != _value(value):
            renamed[tuple(tables)] = {*place} - {"name"}
        elif tuple(tables) in renamed:
            renamed[tuple(tables)].discard(last)
        place[last] = _value(value)
    for where in sorted(renamed, key=len):
        _drop(recipe, where, renamed[where])
    return recipe


def _drop(recipe: dict[str, Any], where: Sequence[str], old: set[str]) -> None:
    """Remove the options of a part that has another name now, if the part of that name does not have them."""
    kinds, place = PARTS, recipe
    for key in where:
        kind = kinds.get(key)
        if kind is None or not isinstance(place.get(key), dict) or not isinstance(place[key].get("name"), str):
            return
        place = place[key]
        factory = factory_of(kind, place["name"], where=".".join(where))
        kinds = parts_of(factory)
    dropped = sorted(key for key in old if key in place and key not in inspect.signature(factory).parameters)
    for key in dropped:
        del place[key]
    if dropped:
        say(f"{'.'.join(where)} is {place['name']} now, which has no {', '.join(dropped)}: left out.")


def _value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if [*table] == ["value"] else text
