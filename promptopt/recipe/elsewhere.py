"""What a recipe brings along that is not promptopt's own: other people's code, and the environment variables it reads.

Nothing of it is imported to find out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ..errors import PromptoptError
from ..registry import TABLE, comes_from, load
from .build import PARTS, ReadsVariables, hints_of, kind_of

PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
FUNCTIONS = ("function", "encoder")  # options of our own parts that can be package.module:name
READ_BY = {"dspy": "the keys of its provider"}  # by models whose packages know the variables


def lines(recipes: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the user should read before recipes are built: a line on code from elsewhere, a line on variables."""
    found = [one for recipe in recipes for one in _recipe(recipe)]
    code, read = (list(dict.fromkeys(text for kind, text in found if kind == which)) for which in ("code", "read"))
    said = [f"Code from elsewhere is run, which may do whatever you may: {'; '.join(code)}."] if code else []
    return said + ([f"Environment variables are read: {'; '.join(read)}."] if read else [])


def _recipe(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, kind in PARTS.items():
        yield from _part(kind, recipe.get(key), where=key)
    verdict = recipe.get("verdict")
    if isinstance(verdict, Mapping):
        yield from _part("scorers", verdict.get("scorer"), where="verdict.scorer")
        yield from _part("metrics", verdict.get("metric"), where="verdict.metric")
    transfer = recipe.get("transfer")
    for name, spec in transfer.items() if isinstance(transfer, Mapping) else ():
        yield from _part("targets", spec, where=f"transfer.{name}")


def _part(kind: str, spec: Any, *, where: str) -> Iterator[tuple[str, str]]:
    """What one part brings along, and the parts within it."""
    table = {"name": spec} if isinstance(spec, str) else spec
    if not isinstance(table, Mapping) or not isinstance(name := table.get("name"), str):
        return
    if origin := comes_from(kind, name):
        yield "code", f"{where} {origin}"
        yield from _unknown({key: value for key, value in table.items() if key != "name"}, where=where)
        return
    if name not in TABLE[kind]:
        return
    try:
        factory = load(kind, name, where=where)
    except PromptoptError:  # what it needs is not installed; it will be said when it is built
        return
    yield from _variables(factory, name, table)
    hints = hints_of(factory)
    for key, value in table.items():
        if inner := kind_of(hints.get(key, Any)):
            yield from _part(inner, value, where=f"{where}.{key}")
        else:
            yield from _functions(key, value, where=f"{where}.{key}")


def _functions(key: str, value: Any, *, where: str) -> Iterator[tuple[str, str]]:
    """The functions that an option of our own parts names, itself or in tables within it."""
    if key in FUNCTIONS and isinstance(value, str) and PLACE.fullmatch(value):
        yield "code", f"{where} {value}"
    for one in value if isinstance(value, list) else [value]:
        for inner, named in one.items() if isinstance(one, Mapping) else ():
            yield from _functions(inner, named, where=f"{where}.{inner}")


def _unknown(value: Any, *, where: str) -> Iterator[tuple[str, str]]:
    """What looks like a place of code among the options of a part that is not ours: what they are, only it knows."""
    if isinstance(value, str) and PLACE.fullmatch(value):
        yield "code", f"{where} {value}"
    inside = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from _unknown(one, where=f"{where}.{key}")


def _variables(factory: Any, name: str, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The environment variables that one of our parts would read, and where it would send them."""
    read = sorted(factory.variables_in(table)) if isinstance(factory, ReadsVariables) else []
    read += [variable] if (variable := getattr(factory, "key_variable", None)) else []
    read += [READ_BY[name]] if name in READ_BY else []
    address = next((table[key] for key in ("url", "base_url") if isinstance(table.get(key), str)), None)
    for one in read:
        yield "read", f"{one}, sent to {_host(address)}" if address else f"{one}, for {name}"


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or "?"
    except ValueError:
        return "?"
