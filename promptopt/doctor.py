"""``promptopt doctor``: which extras, devices, keys and caches are here, and what a recipe still needs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from .core import ChecksKey, Dataset
from .errors import MissingExtra, PromptoptError
from .loading import without_downloads
from .recipe.build import PARTS, build, hints_of, kind_of
from .registry import TABLE, load
from .store import cache_folder
from .trust import own_parts

__all__ = ["examined", "extras", "needed"]

DISTRIBUTION = "promptopt-toolkit"
BUNDLES = ("all", "site", "test")  # extras that no recipe needs
OFFERED = {"classes": ("a", "b"), "data": Dataset("none", ())}  # what a run would give to parts that ask for it


def examined(recipe: Mapping[str, Any] | None = None) -> Iterator[str]:
    """What is here, line by line, and what a recipe needs that is not. Keys are named and never shown."""
    version, python = metadata.version(DISTRIBUTION), platform.python_version()
    yield f"promptopt {version}, Python {python}, {platform.system()} {platform.machine()}"
    yield f"devices    {_devices()}"
    yield f"caches     {cache_folder()} ({_size():,.1f} MB)"
    yield f"keys       {'; '.join(_keys())}"
    yield "extras"
    width = max(map(len, found := extras()))
    for name, state in found.items():
        have = ", ".join(f"{one} {version}" for one, version in state.items() if version)
        lack = ", ".join(one for one, version in state.items() if not version)
        remedy = f'lacks {lack}: pip install "{DISTRIBUTION}[{name}]"' if lack else have
        yield f"  {'-' if lack else '+'} {name.ljust(width)}  {remedy}"
    if recipe is not None:
        yield "recipe"
        yield from (f"  {line}" for line in needed(recipe) or ["Every package that its parts need is installed."])


def extras() -> dict[str, dict[str, str | None]]:
    """The packages of every extra with the version that is installed, None where it is missing or another is needed."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    names = [one for one in metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or () if one not in BUNDLES]
    return {extra: {one.name: _installed(one) for one in _of(extra, wanted)} for extra in names}


def needed(recipe: Mapping[str, Any]) -> list[str]:
    """What parts of a recipe need that is not installed, a line each with its remedy.

    Every part is built by itself, parts within parts too; those of other packages are not loaded.
    """
    found = []
    with own_parts(), without_downloads():
        for kind, spec, where in _parts(recipe):
            try:
                part = build(kind, spec, where=where, offered=OFFERED)
                if isinstance(part, ChecksKey):
                    part.check_key()
            except MissingExtra as error:
                found.append(str(error))
            except Exception:  # whatever else is wrong is said by --check
                continue
    return [*dict.fromkeys(found)]


def _parts(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Every part that a recipe names, with its kind and where it stands; parts within parts come first."""
    transfer = recipe.get("transfer") or {}
    named = [(kind, recipe.get(key), key) for key, kind in PARTS.items()]
    for kind, spec, where in [*named, *(("targets", spec, f"transfer.{name}") for name, spec in transfer.items())]:
        yield from _within(kind, spec, where)


def _within(kind: str, spec: Any, where: str) -> Iterator[tuple[str, Any, str]]:
    name = spec.get("name") if isinstance(spec, Mapping) else spec
    if name not in TABLE[kind]:
        return
    with suppress(PromptoptError):
        hints = hints_of(load(kind, name, where=where))
        for key, value in spec.items() if isinstance(spec, Mapping) else ():
            if inner := kind_of(hints.get(key, Any)):
                yield from _within(inner, value, f"{where}.{key}")
    yield kind, spec, where


def _of(extra: str, wanted: Sequence[Any]) -> Iterator[Any]:
    """The packages of an extra, those of other extras that it asks for among them."""
    for one in wanted:
        if one.marker and one.marker.evaluate({"extra": extra}):
            if one.name == DISTRIBUTION:
                for other in sorted(one.extras):
                    yield from _of(other, wanted)
            else:
                yield one


def _installed(wanted: Any) -> str | None:
    """The version of a package, if it is one that is wanted."""
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return None
    return version if wanted.specifier.contains(version, prereleases=True) else None


def _devices() -> str:
    cores = f"{os.cpu_count()} CPU cores"
    if find_spec("torch") is None:
        return f"{cores}; no torch, so no local models"
    import torch

    found = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("Apple's GPU (mps)")
    return f"{cores}, {', '.join(found) or 'no GPU'}; torch {torch.__version__}"


def _keys() -> Iterator[str]:
    """The variables that our models read by themselves, and whether each is set."""
    for name in TABLE["models"]:
        try:
            variable = getattr(load("models", name), "key_variable", None)
        except PromptoptError:  # what it needs is not installed
            continue
        if variable:
            yield f"{variable} is {'set' if os.environ.get(variable) else 'not set'}"


def _size() -> float:
    """Of all caches, in MB."""
    folder = cache_folder()
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
