"""Names for parts: one table for our own, entry points for everyone else's, ``package.module:Name`` for the rest.

A stranger's distribution registers a part in its own ``pyproject.toml``::

    [project.entry-points."promptopt.scorers"]
    my-scorer = "my_package.scorers:MyScorer"

Nothing is imported before it is named.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeAlias

from .checks import check_argument
from .errors import UnknownName, UserError
from .trust import check_own

LONGEST = 255  # characters of a file's name, and so of a module's

Factory: TypeAlias = Callable[..., Any]

TABLE: dict[str, dict[str, str]] = {
    "optimizers": {
        "bayes": "promptopt.optimizers.bayes:Bayes",
        "hill-climb": "promptopt.optimizers.hill_climb:HillClimb",
        "random-search": "promptopt.optimizers.random_search:RandomSearch",
        "racing": "promptopt.optimizers.racing:Racing",
        "part-by-part": "promptopt.optimizers.part_by_part:PartByPart",
        "ape": "promptopt.optimizers.ape:Ape",
        "opro": "promptopt.optimizers.opro:Opro",
        "evoprompt": "promptopt.optimizers.evoprompt:EvoPrompt",
        "protegi": "promptopt.optimizers.protegi:ProTeGi",
        "gepa": "promptopt.optimizers.gepa:Gepa",
        "behaviour": "promptopt.optimizers.behaviour:Behaviour",
        "demonstrations": "promptopt.optimizers.demonstrations:Demonstrations",
        "mipro": "promptopt.optimizers.mipro:Mipro",
        "map-elites": "promptopt.optimizers.map_elites:MapElites",
        "iad": "promptopt.optimizers.iad:Iad",
        "best-of-n": "promptopt.optimizers.iad:BestOfN",
        "proapo": "promptopt.optimizers.proapo:ProApo",
        "apohf": "promptopt.optimizers.apohf:Apohf",
        "linear-duel": "promptopt.optimizers.linear_duel:LinearDuel",
        "double-ts": "promptopt.optimizers.double_ts:DoubleTS",
        "random-duel": "promptopt.optimizers.random_duel:RandomDuels",
        "preferential-bo": "promptopt.optimizers.preferential_bo:PreferentialBO",
        "greater": "promptopt.optimizers.greater:Greater",
        "gcg": "promptopt.optimizers.gcg:Gcg",
        "interrogate": "promptopt.optimizers.interrogate:Interrogate",
        "pez": "promptopt.optimizers.pez:Pez",
    },
    "proposers": {
        "chat": "promptopt.optimizers.proposers.chat:ChatProposer",
        "lexical": "promptopt.optimizers.proposers.lexical:LexicalProposer",
        "lists": "promptopt.optimizers.proposers.lists:ListsProposer",
    },
    "pools": {
        "list": "promptopt.optimizers.pools.listed:ListPool",
        "file": "promptopt.optimizers.pools.listed:FilePool",
        "imagenet": "promptopt.optimizers.pools.templates:ImagenetTemplates",
        "grammar": "promptopt.optimizers.pools.templates:Grammar",
        "captions": "promptopt.optimizers.pools.captions:Captions",
        "descriptors": "promptopt.optimizers.pools.descriptors:Descriptors",
        "waffle": "promptopt.optimizers.pools.waffle:Waffle",
        "written": "promptopt.optimizers.pools.written:Written",
        "paraphrases": "promptopt.optimizers.pools.written:Paraphrases",
        "responses": "promptopt.optimizers.pools.responses:Responses",
        "replies": "promptopt.optimizers.pools.responses:Replies",
        "distinct": "promptopt.optimizers.pools.distinct:Distinct",
    },
    "embedders": {
        "ngrams": "promptopt.embedders.ngrams:Ngrams",
        "sentence-transformers": "promptopt.embedders.sentence:SentenceTransformer",
        "clip-text": "promptopt.embedders.clip_text:ClipText",
        "outputs": "promptopt.embedders.outputs:Outputs",
        "function": "promptopt.embedders.function:FunctionEmbedder",
    },
    "scorers": {
        "bradley-terry": "promptopt.scorers.adapters:BradleyTerry",
        "win-rate": "promptopt.scorers.adapters:WinRate",
        "judge-rating": "promptopt.scorers.judge.rating:JudgeRating",
        "judge-duel": "promptopt.scorers.judge.duel:JudgeDuel",
        "human": "promptopt.scorers.human:Human",
        "task-loss": "promptopt.scorers.task_loss:TaskLoss",
        "caption-facts": "promptopt.scorers.caption_facts:CaptionFacts",
        "vqa-score": "promptopt.scorers.judge.vqa:VqaScore",
        "dsg": "promptopt.scorers.judge.dsg:Dsg",
    },
    "targets": {
        "clip": "promptopt.targets.clip:Clip",
        "vlm": "promptopt.targets.vlm:VlmClassifier",
        "chat": "promptopt.targets.chat:ChatTarget",
        "local-lm": "promptopt.targets.local_lm:LocalLM",
        "pictures": "promptopt.targets.pictures:Pictures",
        "painter": "promptopt.targets.painter:Painter",
        "function": "promptopt.targets.function:Function",
        "http": "promptopt.targets.http:Http",
        "dspy-program": "promptopt.targets.dspy:DSPyProgram",
        "openai-images": "promptopt.targets.openai_images:OpenAIImages",
    },
    "metrics": {
        "accuracy": "promptopt.metrics.classification:Accuracy",
        "log-probability": "promptopt.metrics.classification:LogProbability",
        "margin": "promptopt.metrics.classification:Margin",
        "exact-match": "promptopt.metrics.text:ExactMatch",
        "match": "promptopt.metrics.text:Match",
        "contains": "promptopt.metrics.text:Contains",
        "set-match": "promptopt.metrics.text:SetMatch",
        "set-f1": "promptopt.metrics.text:SetF1",
        "token-f1": "promptopt.metrics.text:TokenF1",
        "instruction-induction": "promptopt.metrics.text:instruction_induction",
        "regex": "promptopt.metrics.text:Regex",
        "numeric": "promptopt.metrics.answers:Numeric",
        "multiple-choice": "promptopt.metrics.answers:MultipleChoice",
        "json-schema": "promptopt.metrics.schema:JsonSchema",
        "code": "promptopt.metrics.code:Code",
        "similarity": "promptopt.metrics.similarity:Similarity",
        "clip-similarity": "promptopt.metrics.pictures.clip:ClipSimilarity",
        "pick-score": "promptopt.metrics.pictures.trained:PickScore",
        "hps": "promptopt.metrics.pictures.trained:Hps",
        "aesthetic": "promptopt.metrics.pictures.trained:Aesthetic",
        "compressed-size": "promptopt.metrics.pictures.plain:CompressedSize",
        "palette": "promptopt.metrics.pictures.plain:Palette",
        "function": "promptopt.metrics.function:FunctionMetric",
        "dspy": "promptopt.metrics.dspy:DSPyMetric",
    },
    "models": {
        "openai": "promptopt.models.openai:OpenAI",
        "anthropic": "promptopt.models.anthropic:Anthropic",
        "dspy": "promptopt.models.dspy:DSPy",
        "local": "promptopt.models.local:Local",
    },
    "datasets": {
        "digits": "promptopt.data.digits:digits",
        "rendered": "promptopt.data.rendered:rendered",
        "glossary": "promptopt.data.glossary:glossary",
        "folder": "promptopt.data.folder:folder",
        "coop": "promptopt.data.coop:coop",
        "table": "promptopt.data.tables:table",
        "hub": "promptopt.data.hub:hub",
        "list": "promptopt.data.listed:listed",
        "bbh": "promptopt.data.bbh:bbh",
        "induction": "promptopt.data.induction:induction",
        "gsm8k": "promptopt.data.gsm8k:gsm8k",
        "folio": "promptopt.data.folio:folio",
        "reasoning": "promptopt.data.reasoning:reasoning",
        "reviews": "promptopt.data.reviews:reviews",
        "drawings": "promptopt.data.drawings:drawings",
        "painted": "promptopt.data.painted:painted",
    },
}


@dataclass(frozen=True)
class Listed:
    """A registered name: what it resolves to and which distribution brought it."""

    name: str
    path: str
    distribution: str


def listed(kind: str) -> list[Listed]:
    """Everything registered under a kind, ours first.

    Raises:
        UnknownName: there is no such kind.
    """
    if kind not in TABLE:
        raise UnknownName("kind of part", kind, TABLE)
    own = [Listed(name, path, "promptopt-toolkit") for name, path in TABLE[kind].items()]
    return own + [Listed(e.name, e.value, e.dist.name if e.dist else "?") for e in _plugins(kind)]


def table(kind: str) -> list[str]:
    """The same as lines of aligned columns.

    Raises:
        UnknownName: there is no such kind.
    """
    rows = [(one.name, one.path, f"({one.distribution})") for one in listed(kind)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def load(kind: str, name: str, *, where: str = "") -> Factory:
    """The class or function behind a name.

    Args:
        kind: a key of TABLE, for example ``scorers``.
        name: a registered name, or ``package.module:Name``.
        where: where the name was written, for the error.

    Raises:
        UnknownName: nothing has that name.
        UserError: it cannot be imported, two distributions claim it, or it is not ours and only ours may be loaded
            (:func:`promptopt.trust.own_parts`).
    """
    if name in TABLE[kind]:
        return _import(TABLE[kind][name], where=where)
    path = name if ":" in name else _registered(kind, name, where=where)
    check_own(path, where=where)
    return _import(path, where=where)


def comes_from(kind: str, name: str) -> str | None:
    """Where a part that is not ours comes from, for people: its place, or its distribution. None for our own.

    Nothing is imported. A name that nothing has comes from nowhere, and is None too.
    """
    if name in TABLE[kind]:
        return None
    if ":" in name:
        return name
    found = [entry for entry in _plugins(kind) if entry.name == name]
    return " or ".join(f"{name} ({e.value} of {e.dist.name if e.dist else '?'})" for e in found) or None


def _registered(kind: str, name: str, *, where: str) -> str:
    """The place of the part that another distribution registers under a name."""
    found = [entry for entry in _plugins(kind) if entry.name == name]
    if len(found) > 1:
        claims = ", ".join(f"{e.value} of {e.dist.name if e.dist else '?'}" for e in found)
        raise UserError(f"{where or kind}: {name!r} is claimed by {claims}. Write one of them as package.module:Name.")
    if not found:
        raise UnknownName(kind.removesuffix("s"), name, [one.name for one in listed(kind)], where=where)
    return found[0].value


def load_function(function: str | Callable[..., Any], *, where: str = "function") -> Callable[..., Any]:
    """An argument of a part that is a function: as it is, or imported from ``package.module:name``.

    Raises:
        UserError: it is neither, or it cannot be imported.
    """
    holds = ":" in function if isinstance(function, str) else callable(function)
    check_argument(where, function, allowed="a function, or package.module:name of one", holds=holds)
    if not isinstance(function, str):
        return function
    check_own(function, where=where)
    return _import(function, where=where)


def _plugins(kind: str) -> list[EntryPoint]:
    return sorted(entry_points(group=f"promptopt.{kind}"), key=lambda entry: entry.name)


def _import(path: str, *, where: str) -> Factory:
    module, _, attribute = path.partition(":")
    try:
        found: Factory = getattr(importlib.import_module(module), attribute)
        if not callable(found):
            raise AttributeError(f"{attribute!r} is {found!r}, which makes no part")
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        remedy = _remedy(module, attribute, found=module in sys.modules)
        raise UserError(f"{where or 'a part'}: cannot load {path!r}: {error}. {remedy}") from error
    return found


def _remedy(module: str, attribute: str, *, found: bool) -> str:
    """What to do about a part that cannot be loaded; ``found`` says that its module was."""
    if not (module and attribute):
        return "Write it as package.module:Name."
    if found:
        return "Check the spelling."
    if len(module) < LONGEST and (Path(*module.split(".")).with_suffix(".py")).is_file():
        return (
            f"{module}.py lies in this folder, where the command promptopt does not look by itself: run it as "
            "PYTHONPATH=. promptopt ... or python -m promptopt ..., or install the module."
        )
    return "Check the spelling and that the module is installed or on PYTHONPATH."
