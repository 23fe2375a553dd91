"""From the arguments of a run to its parts, built and checked before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, TypeAlias

from ..checks import at_least
from ..core import (
    NO_START,
    BeginsAlone,
    Dataset,
    Example,
    HasClasses,
    HasMetric,
    HasOptimizer,
    HasTiebreak,
    HasViews,
    KnowsParts,
    Optimizer,
    Prompt,
    Rate,
    Rating,
    Scorer,
    TakesDemonstrations,
    TakesParts,
    Target,
)
from ..demonstrations import PART as DEMONSTRATIONS
from ..errors import UserError
from ..optimizers.part_by_part import PartByPart
from ..parts import check_names, listed, parts_of, text_of
from ..run.budget import Budget
from ..run.loop import check_match
from ..run.plan import Plan
from ..scorers import BradleyTerry, FunctionScorer, MetricScorer
from ..scorers.adapters import meet
from .build import accepts, build, call, models_shared
from .referee import given_by, referee, scorer_of

Start: TypeAlias = str | Mapping[str, str]
"""A starting prompt: one text, or parts by name."""

SPLITS = ("train", "dev", "test")
VIEWS = 16  # of a training example, where there is one for each label: experiments/liu2024
NO_START_GIVEN = (
    'start is missing; give the prompt that you use today, for example start = "a photo of a {}". Only an optimizer '
    "that begins with something else can do without: ape and iad, or evoprompt with a pool."
)
OPTIONS = (  # arguments that a plan holds as they are given
    "patience",
    "goal",
    "finalists",
    "ensemble",
    "shorten",
    "seed",
    "cache",
    "per_example",
    "cases",
    "margin",
    "failed",
    "reply_cache",
    "in_flight",
)


def planned(given: Mapping[str, Any], *, recipe: Mapping[str, Any]) -> Plan:
    """Build the parts that the arguments of :func:`promptopt.optimize` name.

    Args:
        given: all its arguments, checked against its signature, defaults filled in.
        recipe: those that the user gave.

    Raises:
        UserError: something is missing, contradictory, misspelt or of the wrong type.
    """
    with models_shared() as models:
        plan = _planned(given, recipe=recipe)
        return replace(plan, models=tuple(models.used))


def _planned(given: Mapping[str, Any], *, recipe: Mapping[str, Any]) -> Plan:
    seed = given["seed"]
    at_least(0, seed=seed, shorten=given["shorten"], margin=given["margin"])
    objectives = _objectives(given["objectives"])
    at_least(1, **{key: given[key] for key in ("finalists", "ensemble", "patience", "views", "case_length")})
    start = _start(given["start"], frozen=given["frozen"])
    data = _part(given, "data", "datasets", {"seed": seed})
    offered: dict[str, Any] = {"seed": seed, "data": data, "failed": given["failed"]}
    offered |= {"rate_once": given["cache"], "frozen": tuple(given["frozen"]), "case_length": given["case_length"]}
    if data is not None:
        offered |= {"classes": data.classes, "examples": data.train}
    target = _part(given, "target", "targets", offered)
    transfer = _transfer(given, data, offered, start=start) if given["verdict"] else {}
    if target is not None:
        _check_start(start, target)
        offered["target"] = target
        if isinstance(target, HasClasses) and not offered.get("classes"):
            offered["classes"] = tuple(target.classes)
    views = _views(given, target, _examples(data, "train"))
    scorer, dev, test = _scorers(given, target, data, offered, views=views)
    test = (scorer_of(given, target, data, offered) or test) if given["verdict"] else None
    optimizer = _part(given, "optimizer", "optimizers", offered)
    by = given_by(given, target)
    own = not by and (not isinstance(test, MetricScorer) or isinstance(scorer, MetricScorer | BradleyTerry))
    scorer = meet(optimizer.question, scorer, rate_once=given["cache"])
    check_match(optimizer, scorer)
    if given["start"] is None and not (isinstance(optimizer, BeginsAlone) and optimizer.begins_alone):
        raise UserError(NO_START_GIVEN)
    if parts_of(start[0].text):
        optimizer = _part_by_part(optimizer, frozen=_no_texts(start, target, frozen=given["frozen"]))
    plan = Plan(
        start=start,
        frozen=tuple(given["frozen"]),
        optimizer=optimizer,
        scorer=scorer,
        dev=dev,
        test=test,
        transfer=transfer,
        target=target,
        data=data,
        budget=_budget(given["budget"]),
        views=views,
        objectives=objectives,
        cheapest=referee(given["verdict"]).cheapest,
        verdict_by=by,
        own_verdict=own,
        recipe=recipe,
        aftermath_roles=("target",) if isinstance(test, MetricScorer) else None,
        **{key: given[key] for key in OPTIONS},
    )
    plan.check()
    return plan


def _part(given: Mapping[str, Any], key: str, kind: str, offered: Mapping[str, Any]) -> Any:
    return None if given[key] is None else build(kind, given[key], where=key, offered=offered)


def _start(start: Start | Sequence[Start] | None, *, frozen: Sequence[str]) -> tuple[Prompt, ...]:
    """The starting prompts, each once; those of parts have the same parts in the same order.

    Raises:
        UserError: they have different parts, or what is frozen is not there, not the same in all, or everything.
    """
    if start is None:
        if frozen:
            raise UserError("frozen names parts, and there is no start; give start as a table of parts.")
        return (NO_START,)
    given = [start] if isinstance(start, str | Mapping) else start
    if not given:
        raise UserError('start is empty; give the prompt that you use today, for example start = "a photo of a {}".')
    every = [parts_of(one) if isinstance(one, str) else dict(one) for one in given]
    first = every[0]
    for other in every[1:]:
        if {*other} != {*first}:
            raise UserError(f"the starting prompts have {listed(first)} and {listed(other)}; give all the same parts.")
    if frozen and not first:
        raise UserError("frozen names parts, and start is one text; give start as a table of parts.")
    check_names(frozen, first, where="frozen")
    if changed := [name for name in frozen if any(one[name] != first[name] for one in every)]:
        raise UserError(f"frozen: the starting prompts differ in {listed(changed)}; give all the same text there.")
    if first and {*first} == {*frozen}:
        raise UserError(f"frozen names {listed(first)}, which is all there is; leave out what the search may change.")
    if first:
        texts = [text_of({name: one[name] for name in first}) for one in every]
    else:
        texts = [one if isinstance(one, str) else text_of(one) for one in given]
    return tuple(Prompt(text) for text in dict.fromkeys(texts))


def _check_start(start: Sequence[Prompt], target: Target) -> None:
    """Make sure that the run's target can take the starting prompts.

    Raises:
        UserError: it cannot, or it takes no parts, or not these.
    """
    _check_parts(start, target, where="target")
    for prompt in start:
        if prompt is not NO_START and (problem := target.problem_with(prompt)):
            raise UserError(f"start {prompt.text!r} cannot be used: {problem.rstrip('.')}.")


def _check_parts(start: Sequence[Prompt], target: Target, *, where: str) -> None:
    """Make sure that a target takes prompts of the start's parts.

    Raises:
        UserError: it takes no parts, or not these.
    """
    parts = parts_of(start[0].text)
    if isinstance(target, TakesParts):
        check_names(parts, target.takes_parts, where=f"start, for {where}")
    elif parts:
        raise UserError(
            f"{where}: {type(target).__name__} takes a prompt that is one text, and the start has {listed(parts)}. "
            "Give start as one text."
        )


def _no_texts(start: Sequence[Prompt], target: Target | None, *, frozen: Sequence[str]) -> tuple[str, ...]:
    """The parts that a search over texts leaves as they are: the frozen ones, and ids of demonstrations."""
    ids = isinstance(target, TakesDemonstrations) and target.takes_demonstrations
    return (*frozen, DEMONSTRATIONS) if ids and DEMONSTRATIONS in parts_of(start[0].text) else tuple(frozen)


def _part_by_part(optimizer: Optimizer[Any, Any], *, frozen: Sequence[str]) -> Optimizer[Any, Any]:
    """The optimizer, with what it needs around it to search prompts of several parts; inside racing and the like."""
    if isinstance(optimizer, KnowsParts) and optimizer.knows_parts:
        return optimizer
    if not (isinstance(optimizer, HasOptimizer) and hasattr(optimizer.optimizer, "ask")):
        return PartByPart(optimizer=optimizer, frozen=frozen)
    outer = copy(optimizer)
    outer.optimizer = _part_by_part(optimizer.optimizer, frozen=frozen)
    return outer


def _budget(budget: int | Mapping[str, Any] | Budget) -> Budget:
    if isinstance(budget, Budget):
        return budget
    table = {"questions": budget} if isinstance(budget, int) else budget
    built: Budget = call(Budget, table, where="budget")
    return built


def _scorers(
    given: Mapping[str, Any],
    target: Target | None,
    data: Dataset | None,
    offered: Mapping[str, Any],
    *,
    views: int = 1,
) -> tuple[Scorer[Any, Any], Scorer[Rate, Rating] | None, Scorer[Rate, Rating] | None]:
    """Who answers the search, and who rates on the dev and the test split.

    Args:
        views: in how many copies a metric rates each training example; the other splits are rated as they are.
    """
    if given["score"] is not None and (given["scorer"] is not None or target is not None):
        raise UserError("score is a scorer by itself; leave out scorer and target, or leave out score.")
    if given["metric"] is not None and target is None:
        raise UserError("a metric judges a target's outputs; give a target, or leave out metric.")
    if given["score"] is not None:
        return FunctionScorer(given["score"]), None, None
    if target is not None and not _runs_target(given):
        rating = _metric_scorers(given, target, data, offered, views=views)
        if rating[0] is None:
            raise UserError("target needs data with training examples; 'promptopt list datasets' shows what there is.")
        if given["scorer"] is None:
            return rating[0], rating[1], rating[2]
        return _part(given, "scorer", "scorers", {**offered, "scorer": rating[0]}), rating[1], rating[2]
    if given["scorer"] is None:
        raise UserError("say how prompts are scored: score (a function), target with data, or scorer.")
    scorer = _part(given, "scorer", "scorers", offered)
    if scorer.question is Rate:
        dev, test = (_again(given, split, data, offered) for split in SPLITS[1:])
        return scorer, dev, test
    if target is not None and _judged_by(given, target, "metric") is not None:
        return scorer, None, _metric_scorers(given, target, data, offered)[2]
    return scorer, None, None


def _transfer(
    given: Mapping[str, Any], data: Dataset | None, offered: Mapping[str, Any], *, start: Sequence[Prompt]
) -> dict[str, Scorer[Rate, Rating]]:
    """Who rates on the test split with other targets."""
    scorers = {}
    for name, spec in (given["transfer"] or {}).items():
        where = f"transfer.{name}"
        target = build("targets", spec, where=where, offered=offered)
        _check_parts(start, target, where=where)
        offered = {**offered, "target": target}
        scorer = None
        if given["target"]:
            scorer = scorer_of(given, target, data, offered) or _scorers(given, target, data, offered)[2]
        if scorer is None:
            raise UserError(f"{where}: to compare prompts on another target, give target and data with a test split.")
        scorers[name] = scorer
    return scorers


def _examples(data: Dataset | None, split: str) -> tuple[Example, ...]:
    examples: tuple[Example, ...] = getattr(data, split) if data else ()
    return examples


def _metric_scorers(
    given: Mapping[str, Any], target: Target, data: Dataset | None, offered: Mapping[str, Any], *, views: int = 1
) -> list[MetricScorer | None]:
    """Target x metric on each split; the target says which metrics it is judged by unless the recipe does."""
    splits = [_examples(data, split) for split in SPLITS]
    if not any(splits):
        return [None for _ in splits]
    names = {key: _judged_by(given, target, key) for key in ("metric", "tiebreak")}
    if names["metric"] is None:
        raise UserError("say which metric the outputs are judged by; 'promptopt list metrics' shows what there is.")
    metric, tiebreak = (_part(names, key, "metrics", offered) for key in names)
    how: dict[str, Any] = {"target": target, "metric": metric, "tiebreak": tiebreak, "failed": given["failed"]}
    how |= {"objectives": _objectives(given["objectives"]) or (), "case_length": given["case_length"]}
    return [
        MetricScorer(examples=examples, views=views if split == "train" else 1, **how) if examples else None
        for split, examples in zip(SPLITS, splits, strict=True)
    ]


def _objectives(names: str | Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else (names,) if isinstance(names, str) else tuple(names)


def _runs_target(given: Mapping[str, Any]) -> bool:
    """Whether the scorer runs the target itself, as judges and people have it run."""
    return accepts("scorers", given["scorer"], "target")


def _judged_by(given: Mapping[str, Any], target: Target, key: str) -> Any:
    """The recipe's ``metric`` or ``tiebreak``, or else the target's own; None where there is neither."""
    if given[key] is not None:
        return given[key]
    if key == "metric":
        return target.metric if isinstance(target, HasMetric) else None
    return target.tiebreak if isinstance(target, HasTiebreak) else None


def _views(given: Mapping[str, Any], target: Target | None, examples: Sequence[Example]) -> int:
    """In how many copies training examples are tried: the user's number, or several with one for each label."""
    can = isinstance(target, HasViews) and not _runs_target(given)
    if given["views"] is not None:
        if given["views"] > 1 and not can:
            raise UserError(
                f"views is {given['views']}; give 1, or more than that for a target with views of examples, as clip, "
                "that is rated by a metric."
            )
        return int(given["views"])
    labels = {str(example.label) for example in examples}
    return VIEWS if can and len(examples) == len(labels) else 1


def _again(
    given: Mapping[str, Any], split: str, data: Dataset | None, offered: Mapping[str, Any]
) -> Scorer[Rate, Rating] | None:
    """The recipe's scorer on another split, where it takes examples at all."""
    examples = _examples(data, split)
    if not (examples and accepts("scorers", given["scorer"], "examples")):
        return None
    scorer: Scorer[Rate, Rating] = _part(given, "scorer", "scorers", {**offered, "examples": examples})
    return scorer
