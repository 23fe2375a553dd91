"""What a worker keeps between its runs, and what it must share with the other workers of a study."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..api import prepare
from ..core import Dataset, Duel, Example
from ..errors import UserError
from ..recipe.build import Models, build, factory_of, hints_of, kind_of, models_shared
from ..record.freeze import freeze
from ..run.manifest import versions
from ..run.plan import Plan
from .space import Recipe, Space

Executor: TypeAlias = Callable[..., Any]


class Parts:
    """Datasets, targets and chat models, each built once and shared by all runs that ask for the same one.

    Two runs ask for the same part if their recipes describe it alike and it is offered the same values (seed, data).

    Args:
        executor: builds targets, called like :func:`promptopt.recipe.build.build` without the kind.

    Attributes:
        models: the chat models, to be opened with :func:`promptopt.recipe.build.models_shared` where runs are built.
    """

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor
        self._built: dict[str, Any] = {}
        self.models = Models()

    def of(self, recipe: Recipe) -> dict[str, Any]:
        """The parts of a recipe that are kept, as :func:`promptopt.api.prepare` takes them.

        Raises:
            UserError: one of them cannot be built.
        """
        offered: dict[str, Any] = {"seed": recipe.get("seed", 0)}
        parts: dict[str, Any] = {}
        if recipe.get("data") is not None:
            parts["data"] = data = self._part("datasets", recipe["data"], offered, where="data")
            offered |= {"data": data, "classes": data.classes, "examples": data.train}
        if recipe.get("target") is not None:
            parts["target"] = self._part("targets", recipe["target"], {"data": None, **offered}, where="target")
        return parts

    def plan(self, recipe: Recipe) -> Plan:
        """The recipe built and checked; nothing is spent.

        Raises:
            UserError: something in it cannot work.
        """
        with models_shared(self.models):
            return prepare(recipe, parts=self.of(recipe))

    def _part(self, kind: str, spec: Any, offered: Mapping[str, Any], *, where: str) -> Any:
        if not isinstance(spec, str | Mapping):
            return build(kind, spec, where=where, offered=offered)
        wanted = {name: _mark(offered[name]) for name in sorted(wants(kind, spec, offered, where=where))}
        key = json.dumps([kind, freeze({"spec": spec}), wanted], sort_keys=True, default=repr)
        if key not in self._built:
            make = self._executor if self._executor and kind == "targets" else partial(build, kind)
            self._built[key] = make(spec, where=where, offered=offered)
        return self._built[key]


def wants(kind: str, spec: Any, offered: Iterable[str], *, where: str) -> set[str]:
    """The names of the offered values that a part's constructor takes, or that of a part within it.

    A target that takes ``examples`` has to be built for each dataset, one that takes none of them only once.
    """
    if not isinstance(spec, str | Mapping):
        return set()
    table: Mapping[str, Any] = {"name": spec} if isinstance(spec, str) else spec
    if not isinstance(table.get("name"), str):
        return set(offered)
    factory = factory_of(kind, table["name"], where=where)
    hints = hints_of(factory)
    found = {name for name in offered if name in hints and name not in table}
    for key, value in table.items():
        if inner := kind_of(hints.get(key, Any)):
            found |= wants(inner, value, offered, where=f"{where}.{key}")
    return found


def _mark(value: Any) -> Any:
    """What stands for a value in the key of a built part: a dataset's, or its examples', ``id``; else the value."""
    if isinstance(value, Dataset) or (isinstance(value, tuple) and value and isinstance(value[0], Example)):
        return id(value)
    return value


# ── What must agree between workers ───────────────────────────────────────────────────────────────────────────────


def rehearse(space: Space, parts: Parts) -> None:
    """Build every setting's recipe for every task once, and spend nothing.

    Raises:
        UserError: one of them cannot work; the message names the setting and the task.
    """
    for params in space.rehearsed():
        for task in space.tasks:
            try:
                plan = parts.plan(space.arguments(params, task, space.seeds[0]))
                if plan.dev is None and plan.scorer.question is Duel:
                    raise UserError("it is searched by duels, so its data need a dev split to rate the outcome on.")
            except UserError as error:
                named = ", ".join(f"{name}={value}" for name, value in params.items())
                raise UserError(f"task {task}{', ' if named else ''}{named}: {error}") from error


@dataclass(frozen=True)
class Rehearsal:
    """What a worker finds out before it begins.

    Attributes:
        identity: as of :func:`identity`.
        tested: the tasks that have a test split.
    """

    identity: Mapping[str, Any]
    tested: frozenset[str]


def rehearsed(space: Space, parts: Parts) -> Rehearsal:
    """Rehearse a sweep and say what was found.

    Raises:
        UserError: as :func:`rehearse`.
    """
    rehearse(space, parts)
    recipes = {task: space.arguments(space.rehearsed()[0], task, space.seeds[0]) for task in space.tasks}
    tested = frozenset(task for task, recipe in recipes.items() if parts.plan(recipe).test is not None)
    return Rehearsal(identity(space, parts), tested)


def identity(space: Space, parts: Parts) -> dict[str, Any]:
    """What must be the same for every worker of a study, as JSON values: recipe, data and package versions."""
    data = {}
    for task in space.tasks:
        recipe = space.arguments(space.rehearsed()[0], task, space.seeds[0])
        given = parts.of(recipe).get("data")
        data[task] = fingerprint(given) if given else ""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"recipe": freeze(space.recipe), "data": data, "packages": {**versions(), "python": python}}


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """What two identities do not agree in, in words."""
    found = []
    if theirs["recipe"] != ours["recipe"]:
        both = {**theirs["recipe"], **ours["recipe"]}
        keys = [key for key in both if theirs["recipe"].get(key) != ours["recipe"].get(key)]
        found.append(f"the recipe in {', '.join(keys)}")
    for task in {**theirs["data"], **ours["data"]}:
        if theirs["data"].get(task) != ours["data"].get(task) and task in theirs["data"] and task in ours["data"]:
            found.append(f"the data of task {task}")
    for package in {**theirs["packages"], **ours["packages"]}:
        there, here = (one["packages"].get(package, "none") for one in (theirs, ours))
        if there != here:
            found.append(f"{package} ({there} there, {here} here)")
    return found


def fingerprint(data: Dataset) -> str:
    """A hash of the ids, labels and contents of a dataset's examples, split by split."""
    digest = hashlib.sha256(json.dumps([data.name, data.classes]).encode())
    for split in (data.train, data.dev, data.test):
        digest.update(f"split {len(split)}".encode())
        for example in split:
            digest.update(f"{example.id!r} {example.label!r}".encode())
            digest.update(_content(example.input))
    return digest.hexdigest()[:16]


def _content(value: Any) -> bytes:
    """The bytes that an example's input stands for; of a file its contents, wherever it lies."""
    if isinstance(value, Path) or (isinstance(value, str) and len(value) < 4096 and _is_file(value)):
        return hashlib.sha256(Path(value).read_bytes()).digest()
    if isinstance(value, np.ndarray) or hasattr(value, "tobytes"):  # an array or a PIL image
        return hashlib.sha256(f"{getattr(value, 'size', '')}".encode() + value.tobytes()).digest()
    return hashlib.sha256(repr(value).encode()).digest()


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False
