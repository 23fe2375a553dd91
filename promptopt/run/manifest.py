"""The first line of a ledger: everything that a run started from."""

from __future__ import annotations

import math
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import PurePath
from typing import Any

from .budget import Budget
from ..errors import UserError
from ..record.ledger import FORMAT
from ..recipe.plan import Plan

PACKAGES = ("promptopt-toolkit", "numpy", "scipy", "torch", "open_clip_torch", "transformers", "openai", "anthropic")
OBJECT, NUMBER = "python object", "python number"


def manifest(plan: Plan) -> dict[str, Any]:
    """The start event: format, versions, git commit if any, seed, recipe, example ids by split, what targets tell."""
    splits = {"train": plan.data.train, "dev": plan.data.dev, "test": plan.data.test} if plan.data else {}
    return {
        "event": "start",
        "format": FORMAT,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "packages": _versions(),
        "python": platform.python_version(),
        "git": _commit(),
        "seed": plan.seed,
        "failed": plan.failed,
        "views": plan.views,
        "start": [prompt.text for prompt in plan.start],
        "recipe": freeze(plan.recipe),
        "examples": {split: [example.id for example in examples] for split, examples in splits.items()},
        **({"targets": targets} if (targets := _targets(plan)) else {}),
    }


def check_targets(first: Mapping[str, Any], plan: Plan) -> None:
    """Make sure that a run's targets are what they were when its manifest was written.

    Raises:
        UserError: one is not, for example a CLIP that was built with another activation then. Ratings from before and
            from now could not be compared.
    """
    then, now = first.get("targets", {}), _targets(plan)
    for where, record in now.items():
        changed = [key for key in record if where in then and record[key] != then[where].get(key)]
        if where not in then and record.get("forced"):  # before this was recorded it was not looked after either
            changed = ["activation"]
        if changed:
            raise UserError(
                f"{where} is not what it was when this run began: {', '.join(changed)} differ, so its ratings from "
                f"before and from now cannot be compared. Start a new run."
            )


def _targets(plan: Plan) -> dict[str, dict[str, Any]]:
    """What the targets tell of themselves, by where they stand in the recipe; those that tell nothing are left out."""
    others = {f"transfer.{name}": getattr(scorer, "target", None) for name, scorer in plan.transfer.items()}
    every = {"target": plan.target, **others}
    return {where: dict(record) for where, target in every.items() if (record := getattr(target, "record", None))}


def freeze(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as JSON values; what is not one is named only. Arguments left out or None are left out."""
    return {key: _freeze(value) for key, value in recipe.items() if value is not None}


def thaw(frozen: Mapping[str, Any], objects: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe that a manifest holds, with the objects that it can only name put in.

    Raises:
        UserError: an object is missing.
    """
    for key, value in frozen.items():
        if key not in objects and (name := _object(value)):
            raise UserError(
                f"this run was started from Python with an object, {name}, in {key}. "
                f"Resume it from Python: promptopt.resume(folder, {key}=...)."
            )
    return {**{key: _thaw(value) for key, value in frozen.items()}, **objects}


def _freeze(value: Any) -> Any:
    """JSON values as they are, a path as text, a budget as a table, a number that JSON lacks and an object by name."""
    if isinstance(value, Budget):
        value = {key: limit for key, limit in asdict(value).items() if limit is not None}
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
    return {OBJECT: f"{kind.__module__}:{kind.__qualname__}"}


def _thaw(value: Any) -> Any:
    if isinstance(value, list):
        return [_thaw(one) for one in value]
    if not isinstance(value, dict):
        return value
    return float(value[NUMBER]) if [*value] == [NUMBER] else {key: _thaw(one) for key, one in value.items()}


def _object(value: Any) -> str | None:
    """The name of the first object in a frozen value."""
    if isinstance(value, dict) and [*value] == [OBJECT]:
        return str(value[OBJECT])
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((name for one in inside if (name := _object(one))), None)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The git commit of the folder that the run was started in."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
