"""Who gives the verdict: the search's own scorer, or another one that the recipe names for it.

What a search maximises goes up, whether prompts get better or have found what pleases the scorer; held-out examples do
not tell these apart, and another scorer does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core import Dataset, HasMetric, Metric, Rate, Rating, Scorer, Target
from ..errors import UserError
from ..record.freeze import freeze
from ..scorers import MetricScorer
from .build import accepts, bind, build

__all__ = ["Referee", "given_by", "referee", "scorer_of"]


@dataclass(frozen=True)
class Referee:
    """What a table ``verdict`` says.

    Attributes:
        scorer: a scorer that rates the held-out examples.
        metric: a metric of the target's outputs for them, in its place.
        cheapest: whether the front's cheapest prompt is measured too.
    """

    scorer: Scorer[Rate, Rating] | None = None
    metric: Metric | None = None
    cheapest: bool = False


def referee(verdict: Any) -> Referee:
    """The argument ``verdict`` as a table; its parts are not built.

    Raises:
        UserError: it has an unknown key, or both scorer and metric.
    """
    if not isinstance(verdict, Mapping):
        return Referee(cheapest=verdict == "cheapest")
    found = Referee(**bind(Referee, verdict, where="verdict"))
    if found.scorer is not None and found.metric is not None:
        raise UserError("verdict has a scorer and a metric; one of them gives it, so leave the other out.")
    return found


def given_by(given: Mapping[str, Any], target: Target | None) -> str:
    """The name of the scorer or metric that gives the verdict; empty where it is the one that the search asks."""
    said = referee(given["verdict"])
    own = given["metric"] or (target.metric if isinstance(target, HasMetric) else None)
    for spec, of_search in ((said.scorer, given["scorer"]), (said.metric, None if given["scorer"] else own)):
        if spec is not None:
            return "" if _same(spec, of_search) else _name(spec)
    return ""


def scorer_of(
    given: Mapping[str, Any], target: Target | None, data: Dataset | None, offered: Mapping[str, Any]
) -> Scorer[Rate, Rating] | None:
    """The scorer that the recipe names for the verdict, on the test split; None where it names none.

    Raises:
        UserError: there is no test split or target for it, or it gives no ratings.
    """
    said = referee(given["verdict"])
    if said.scorer is None and said.metric is None:
        return None
    where = "verdict.scorer" if said.scorer is not None else "verdict.metric"
    built = said.scorer is not None and not isinstance(said.scorer, str | Mapping)
    if not built and not (data and data.test):
        raise UserError(f"{where} rates held-out examples; give data with a test split, or leave it out.")
    offered = {**offered, "examples": data.test if data else ()}
    if said.metric is not None:
        if target is None or data is None:
            raise UserError("verdict.metric judges a target's outputs; give a target, or verdict.scorer.")
        metric = build("metrics", said.metric, where=where, offered=offered)
        how = {"failed": given["failed"], "case_length": given["case_length"]}
        return MetricScorer(target=target, metric=metric, examples=data.test, **how)
    if not built and not accepts("scorers", said.scorer, "examples"):
        raise UserError(f"{where}: {_name(said.scorer)} rates no examples; take one that does, such as judge-rating.")
    scorer: Scorer[Rate, Rating] = build("scorers", said.scorer, where=where, offered=offered)
    if scorer.question is not Rate:
        raise UserError(f"{where}: {_name(said.scorer)} decides duels; take a scorer that rates, such as judge-rating.")
    return scorer


def _same(one: Any, other: Any) -> bool:
    return one is other or (other is not None and freeze({"part": _table(one)}) == freeze({"part": _table(other)}))


def _table(spec: Any) -> Any:
    return {"name": spec} if isinstance(spec, str) else spec


def _name(spec: Any) -> str:
    """A part's name for people."""
    if isinstance(spec, Mapping):
        spec = spec.get("name")
    return str(spec) if isinstance(spec, str) else getattr(spec, "__name__", type(spec).__name__)
