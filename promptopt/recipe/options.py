"""What recipes can say: the options of every part, for people (``promptopt list``) and for editors (a JSON schema).

Both are read off the signatures that recipes are checked against, and the docstrings beside them.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import PromptoptError
from ..registry import TABLE, listed, load
from .build import hints_of, kind_of, parameters_of

GIVEN = ("classes", "data", "examples", "scorer", "seed", "target")  # a run gives these where a recipe does not
PYTHON_ONLY = ("score", "watch", "allow_env")  # arguments of optimize that no recipe can hold
SCHEMA = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Option:
    """An option of a part.

    Attributes:
        name: as a recipe has it.
        type: as its annotation is written.
        default: as Python writes it; None where it must be given.
        help: what the docstring says.
    """

    name: str
    type: str
    default: str | None
    help: str

    @property
    def line(self) -> str:
        """The option in one line."""
        if self.default is not None:
            value = f" = {self.default}"
        else:
            value = " (given by the run)" if self.name in GIVEN else " (must be given)"
        return f"{self.name}: {self.type}{value}" + (f"  # {self.help}" if self.help else "")


@dataclass(frozen=True)
class Part:
    """A part, as a person reads of it.

    Attributes:
        name, kind, path: what it is called, of which kind it is, and where it lies.
        summary: the first paragraph of its docstring, as one line.
        options: in the order of its signature.
    """

    name: str
    kind: str
    path: str
    summary: str
    options: tuple[Option, ...]

    def lines(self) -> Iterator[str]:
        """The part and its options, line by line."""
        yield f"{self.name}  ({self.path})"
        if self.summary:
            yield self.summary
        yield ""
        for option in self.options:
            yield f"  {option.line}"
        if not self.options:
            yield "  It has no options."


def part(kind: str, name: str) -> Part:
    """A part with its options.

    Args:
        kind: a kind of the registry.
        name: a registered name, or ``package.module:Name``.

    Raises:
        UnknownName: nothing has that name.
        UserError: it cannot be imported.
    """
    factory = load(kind, name, where=f"promptopt list {kind}")
    paths = {one.name: one.path for one in listed(kind)}
    summary, helps = documented(factory)
    options = tuple(
        Option(key, _written(p.annotation), None if p.default is p.empty else repr(p.default), helps.get(key, ""))
        for key, p in parameters_of(factory).items()
    )
    return Part(name, kind, paths.get(name, name), summary, options)


def _written(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return "any"
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def documented(factory: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The first paragraph of a docstring, and what its ``Args`` say, each as one line; a class has its bases' too."""
    texts = [inspect.getdoc(one) or "" for one in reversed(getattr(factory, "__mro__", (factory, object))[:-1])]
    helps = {name: line for text in texts for name, line in _arguments(text).items()}
    return " ".join(texts[-1].partition("\n\n")[0].split()), helps


def _arguments(text: str) -> dict[str, str]:
    found = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.DOTALL | re.MULTILINE)
    helps: dict[str, list[str]] = {}
    last: list[str] = []
    for line in found[1].splitlines() if found else ():
        if named := re.match(r" {4}\*{0,2}(\w+(?:, \w+)*): (.*)", line):
            last = [named[2]]
            helps |= dict.fromkeys(named[1].split(", "), last)
        elif line.strip():
            last.append(line.strip())
    return {name: " ".join(lines) for name, lines in helps.items()}


# ── For editors ───────────────────────────────────────────────────────────────────────────────────────────────────


def schema(optimize: Callable[..., Any]) -> dict[str, Any]:
    """A JSON schema of recipes. Parts of packages that are not installed are open tables in it.

    Args:
        optimize: :func:`promptopt.optimize`, whose arguments recipes hold.
    """
    from ..run.budget import Budget
    from .referee import Referee

    definitions: dict[str, Any] = {}
    for kind in TABLE:
        names = [one.name for one in listed(kind)]
        tables = {f"{kind}.{name}": _table(kind, name) for name in names}
        definitions |= tables
        definitions[kind] = {
            "anyOf": [
                {"enum": names},
                {"type": "string", "pattern": "^[^:]+:[^:]+$", "description": "package.module:Name"},
                *({"$ref": f"#/$defs/{table}"} for table in tables),
                _other(names),
            ]
        }
    recipe = _object(optimize, without=PYTHON_ONLY)
    recipe["properties"]["transfer"]["additionalProperties"] = {"$ref": "#/$defs/targets"}
    recipe["properties"]["budget"] = {"anyOf": [{"type": "integer"}, _object(Budget)]}
    words = [{"type": "boolean"}, {"enum": ["cheapest"]}]
    recipe["properties"]["verdict"] |= {"anyOf": [*words, _object(Referee)]}
    recipe["properties"]["sweep"] = {"type": "object", "description": "for promptopt sweep: what is compared"}
    title = {"$schema": SCHEMA, "title": "A recipe of promptopt"}
    return {**title, **recipe, "$defs": definitions}


def _table(kind: str, name: str) -> dict[str, Any]:
    """A part with its options, as a table."""
    try:
        table = _object(load(kind, name))
    except PromptoptError:  # what it needs is not installed
        table = {"type": "object", "properties": {}}
    table["properties"] = {"name": {"const": name}, **table["properties"]}
    return {**table, "required": ["name", *table.get("required", ())]}


def _other(names: Sequence[str]) -> dict[str, Any]:
    """A table of a part that is written as ``package.module:Name``."""
    name = {"type": "string", "pattern": ":", "not": {"enum": list(names)}}
    return {"type": "object", "properties": {"name": name}, "required": ["name"]}


def _object(factory: Callable[..., Any], *, without: Sequence[str] = ()) -> dict[str, Any]:
    summary, helps = documented(factory)
    hints, properties, required = hints_of(factory), {}, []
    for name, p in parameters_of(factory).items():
        if name in without:
            continue
        told = {"description": helps[name]} if name in helps else {}
        properties[name] = _property(hints.get(name, Any), p.default) | told
        if p.default is p.empty and name not in GIVEN:
            required.append(name)
    table = {"type": "object", "description": summary, "properties": properties, "additionalProperties": False}
    return table | ({"required": required} if required else {})


def _property(annotation: Any, default: Any) -> dict[str, Any]:
    """The schema of one option."""
    found: dict[str, Any] = {"$ref": f"#/$defs/{kind}"} if (kind := kind_of(annotation)) else _values(annotation)
    if default is not inspect.Parameter.empty and default is not None and _is_json(default):
        found = {**found, "default": default}
    return found


def _values(annotation: Any) -> dict[str, Any]:
    """The JSON values that fit an annotation, as far as JSON can say it; null is left out, since TOML has none."""
    import pydantic

    try:
        adapter = pydantic.TypeAdapter(annotation, config={"arbitrary_types_allowed": True})
        found: dict[str, Any] = adapter.json_schema()
    except (pydantic.PydanticUserError, pydantic.errors.PydanticInvalidForJsonSchema):
        return {}
    if "anyOf" in found:
        kept = [one for one in found["anyOf"] if one != {"type": "null"}]
        found = {**found, "anyOf": kept} if len(kept) > 1 else {**kept[0]}
    return {key: value for key, value in found.items() if key != "title"}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, Mapping)
