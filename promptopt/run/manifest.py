"""The first line of a ledger: everything that a run started from."""

from __future__ import annotations

import itertools
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from typing import Any

from ..attachments import PictureStore
from ..core import Example, HasRecord, HasTarget
from ..errors import UserError
from ..pictures import references_of
from ..record.freeze import freeze
from ..record.ledger import now
from ..record.lines import FORMAT
from .plan import Plan

MOST_REFERENCES = 50  # pictures that are kept beside the ledger, to be shown again
PACKAGES = "promptopt-toolkit numpy scipy torch open_clip_torch transformers openai anthropic gepa dspy optuna".split()


def manifest(plan: Plan, pictures: PictureStore) -> dict[str, Any]:
    """The start event: format, versions, git commit if any, seed, recipe, example ids by split, what targets tell.

    The pictures that examples are compared with are kept, and named there.
    """
    splits = {"train": plan.data.train, "dev": plan.data.dev, "test": plan.data.test} if plan.data else {}
    return {
        "event": "start",
        "format": FORMAT,
        "time": now(),
        "packages": versions(),
        "python": platform.python_version(),
        "git": _commit(),
        "seed": plan.seed,
        "failed": plan.failed,
        "views": plan.views,
        "start": [prompt.text for prompt in plan.start],
        "recipe": freeze(plan.recipe),
        "examples": {split: [example.id for example in examples] for split, examples in splits.items()},
        **({"targets": targets} if (targets := _targets(plan)) else {}),
        **({"references": names} if (names := _references(splits.values(), pictures)) else {}),
    }


def _references(splits: Iterable[Sequence[Example]], pictures: PictureStore) -> list[str]:
    """The names of the first pictures that labels name, each once, kept with the run."""
    labels: dict[str, Example] = {}
    for example in itertools.chain(*splits):
        labels.setdefault(repr(example.label), example)
    names: list[str] = []
    for example in labels.values():
        with suppress(UserError):  # labels that are no pictures after all; the metric says so where it matters
            names += map(pictures.keep, references_of(example))
        if len(names) >= MOST_REFERENCES:
            break
    return list(dict.fromkeys(names))


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
    others = {f"transfer.{name}": one.target for name, one in plan.transfer.items() if isinstance(one, HasTarget)}
    every = {"target": plan.target, **others}
    return {
        where: dict(record)
        for where, target in every.items()
        if isinstance(target, HasRecord) and (record := target.record)
    }


@cache
def versions() -> Mapping[str, str]:
    """The installed versions of what a run's numbers hang on."""
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
