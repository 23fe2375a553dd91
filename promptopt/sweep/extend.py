"""Extending a sweep by seeds, tasks, optimizers and values, with everything that its runs have found.

Two runs are the same where their ordinary recipes are. A recipe extends a sweep if it makes all the runs that the sweep
has: with seeds 0 and 1 there, seeds 0, 1 and 2 extend it, and only the runs with seed 2 are done. A recipe that changes
a run or leaves one out, as seeds 0 and 2 would, is refused.

Optuna can neither open an ended trial again nor give a parameter more choices. So an extension is a study of its own,
``compare (2)`` after ``compare``, into which every setting is copied, with its number and what its runs have found. An
attribute of the first study names the one that is in force, that is, which workers are to work on. It is written last:
a worker that is killed before has extended nothing. Workers read it whenever they take a trial, so that none goes on
with a study that was extended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from ..errors import UserError
from ..record.freeze import freeze
from .parts import differences
from .space import Params, Recipe, Space, look, read_space
from .study import NOW, TEST, State, Storage, Study, load, names, optuna
from .table import RUN, outcomes, run_key, settled

LATER = re.compile(r" \(\d+\)$")
SHOWN = 40  # characters of a value in a message


def begin(storage: Storage, space: Space, identity: Mapping[str, Any], *, prune: float | None) -> Study:
    """The study that is in force: laid out now, joined as it is, or extended by what the recipe adds.

    Args:
        space: as of :func:`in_order`.
        identity: as of :func:`promptopt.sweep.parts.identity`.
        prune: as of :class:`Study`.

    Raises:
        UserError: the data, the packages or runs that are there differ, or other workers are at what is to be extended.
    """
    first = Study(storage, space.name, prune=prune)
    if first.created or first.identity() is None:
        first.agree(identity)
        first.lay_out(dict(enumerate(space.settings())), _attributes(space, identity, range(len(space.settings()))))
        return first
    if _same(first.in_force(), identity):
        return _joined(first, space, identity)
    with storage.alone():  # from here on nobody else extends it
        if not _same(first.in_force(), identity):
            _extend(first, space, identity)
    return _joined(first, space, identity)


def in_order(space: Space, study: Any) -> Space:
    """The same sweep, with the seeds that a study has already before the others.

    So the first seed stays the first: it also seeds what draws settings.
    """
    before = [seed for seed in study.user_attrs.get("seeds", ()) if seed in space.seeds]
    return replace(space, seeds=(*before, *(seed for seed in space.seeds if seed not in before)))


def tests(storage: Storage, study: Study) -> tuple[str, dict[int, dict[str, dict[str, Any]]]]:
    """The study of the test splits that belongs to a search's study: its name, and what is known of it already.

    What is known are the outcomes that the studies of test splits of earlier extensions hold, by the setting's number
    and the run's key.
    """
    found: dict[int, dict[str, dict[str, Any]]] = {}
    there = names(storage)
    for name in _lineage(study):
        if name + TEST in there:
            for trial in settled(load(storage, name + TEST)):
                found.setdefault(trial.user_attrs["setting"], {}).update(outcomes(trial))
    return study.name + TEST, found


def is_first(name: str) -> bool:
    """Whether a study is a sweep as it was begun: neither one of test splits nor an extension."""
    return not name.endswith(TEST) and not LATER.search(name)


def _joined(first: Study, space: Space, identity: Mapping[str, Any]) -> Study:
    """The study in force, once this worker agrees with the others and every setting has a trial."""
    study = first.in_force()
    study.agree(identity)
    if study.name == first.name:  # an extension is laid out whole, a sweep may have been left half laid out
        study.lay_out(dict(enumerate(space.settings())), _attributes(space, identity, range(len(space.settings()))))
    return study


def _same(study: Study, identity: Mapping[str, Any]) -> bool:
    """Whether a study was laid out for this very recipe."""
    there = study.identity()
    return there is not None and there["recipe"] == identity["recipe"]


def _attributes(space: Space, identity: Mapping[str, Any], order: Sequence[int]) -> dict[str, Any]:
    """What readers of the table need to know of a sweep; ``order``: the settings' numbers in the recipe's order."""
    lists = {"tasks": list(space.tasks), "seeds": list(space.seeds), "optimizers": list(space.optimizers)}
    return {"sweep": space.name, **lists, "order": list(order), "identity": dict(identity)}


def _lineage(study: Study) -> Iterator[str]:
    """The names of the studies that this one extends, the first of them first."""
    number = LATER.search(study.name)
    last = int(number[0].strip(" ()")) if number else 1
    return (_called(study.first, i) for i in range(1, last))


def _called(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"


# ── What a recipe adds ────────────────────────────────────────────────────────────────────────────────────────────


def design(ours: Space, theirs: Space, held: Mapping[int, Params]) -> dict[int, Params]:
    """The settings of an extended sweep by number, in the recipe's order.

    Settings that are there keep their numbers, and new ones get the next: of a grid over k = 1, 3 (numbers 0 and 1),
    extended to k = 1, 2, 3, the numbers are 0, 2, 1.

    Args:
        ours: the sweep as it is to be.
        theirs: as it was laid out.
        held: its settings by number; empty where the sampler has not drawn them yet.

    Raises:
        UserError: a run that is there would change or be left out.
    """
    kept = {number: _carried(params, ours, theirs) for number, params in held.items()}
    lost = [theirs.optimizer(held[number]) for number, params in kept.items() if params is None]
    found = _left_out(ours, theirs, len(held), lost)
    if found:
        raise UserError(_refused(theirs.name, found, runs=not any("left out" in one for one in found)))
    after = max(held, default=-1) + 1
    listed = ours.settings()
    more = [params for params in listed if params not in kept.values() or ours.options.sampler == "tpe"]
    if ours.options.sampler != "grid":
        more = more[: (ours.options.trials or 0) - len(held)]
    laid = {number: params or {} for number, params in kept.items()} | dict(enumerate(more, start=after))
    if ours.options.sampler != "grid":
        return laid
    places = {json.dumps(params, sort_keys=True): place for place, params in enumerate(listed)}
    return dict(sorted(laid.items(), key=lambda item: places[json.dumps(item[1], sort_keys=True)]))


def _carried(params: Params, ours: Space, theirs: Space) -> Params | None:
    """The setting of the new sweep (ours) that makes the runs of a setting of the old one (theirs), or None.

    Args:
        params: the setting of the old sweep.
    """
    if not params and theirs.options.sampler == "tpe":
        return params
    seed, tasks = theirs.seeds[0], [task for task in theirs.tasks if task in ours.tasks]
    recipes = {task: theirs.arguments(params, task, seed) for task in tasks}
    listed = ours.settings() if ours.options.sampler == "grid" else []
    read = [_read(ours, label, recipes[task]) for label in ours.optimizers for task in tasks[:1]]
    for one in (*(one for one in read if one is not None and (one in listed or not listed)), *listed):
        if all(_canonical(ours.arguments(one, task, seed)) == _canonical(recipes[task]) for task in tasks):
            return one
    return None


def _read(space: Space, label: str, recipe: Recipe) -> Params | None:
    """The values that an optimizer's parameters have in a run's recipe; None where one lies outside the space."""
    values = {name: one.label(look(recipe, one.path)) for name, one in space.free(label).items()}
    return None if None in values.values() else space.named(label, values)


def _canonical(recipe: Recipe) -> str:
    return json.dumps(freeze(recipe), sort_keys=True)


def _left_out(ours: Space, theirs: Space, held: int, lost: Sequence[str]) -> list[str]:
    """In words, what keeps one sweep from being an extension of the other."""
    found = []
    for what, there, here in (
        ("seed", theirs.seeds, ours.seeds),
        ("task", theirs.tasks, ours.tasks),
        ("optimizer", theirs.optimizers, ours.optimizers),
    ):
        out = [str(one) for one in there if one not in here and (what != "optimizer" or one in lost)]
        found += [f"{what} {', '.join(out)} left out"] if out else []
    for key in ("sampler", "prune"):
        before, now = getattr(theirs.options, key), getattr(ours.options, key)
        found += [f"sweep.{key} ({before} there, {now} here)"] if before != now else []
    if ours.options.sampler != "grid" and (ours.options.trials or 0) < held:
        found += [f"sweep.trials ({held} there, {ours.options.trials} here)"]
    if lost and not found:
        found = _changed(theirs.recipe, ours.recipe) or ["settings left out"]
    return found


def _changed(theirs: Recipe, ours: Recipe) -> list[str]:
    """The places in which two recipes differ, with what stands there."""
    inside = {f"sweep.{key}" for key in ("tasks", "optimizers", "space")}
    keys = [*(key for key in {**theirs, **ours} if key != "sweep"), *sorted(inside)]
    found = [(key, look(theirs, key), look(ours, key)) for key in keys]
    changed = [(key, there, here) for key, there, here in found if there != here]
    base = [one for one in changed if one[0] not in inside]
    return [f"the recipe in {key} ({_short(there)} there, {_short(here)} here)" for key, there, here in base or changed]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _refused(name: str, found: Sequence[str], *, runs: bool = True) -> str:
    hint = "put that back" if runs else f"give all of it, or work on it as it is with --join {name}"
    return (
        f"the study {name!r} was begun with another set-up: {'; '.join(found)}. A sweep can be extended, but runs that "
        f"it has cannot be changed or left out: {hint}, or start a sweep with another name. Nothing was lost."
    )


# ── The study that takes over ─────────────────────────────────────────────────────────────────────────────────────


def _extend(first: Study, space: Space, identity: Mapping[str, Any]) -> None:
    """Make the study of the extension, and name it in the first study. To be called inside :meth:`Storage.alone`."""
    before = first.in_force()
    there = before.identity()
    assert there is not None
    theirs = in_order(read_space(there["recipe"], name=space.name), before.study)
    trials = {trial.user_attrs["setting"]: trial for trial in settled(before.study)}
    laid = design(space, theirs, {number: _params(trial) for number, trial in sorted(trials.items())})
    if found := differences({**there, "recipe": {}}, {**identity, "recipe": {}}):
        raise UserError(_refused(space.name, found))
    first.study.set_user_attr("extending", True)  # workers that take a trial now wait for what comes of this
    try:
        _nobody_at(before)
        after = Study(before.storage, _next(before), first=first.name)
        order = [*laid]
        for number in sorted(laid):
            _take_over(after, space, number, laid[number], trials.get(number))
        for key, value in {**_attributes(space, identity, order), "laid out": True}.items():
            after.study.set_user_attr(key, value)
        first.study.set_user_attr(NOW, after.name)
    finally:
        first.study.set_user_attr("extending", False)


def _params(trial: Any) -> Params:
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _nobody_at(study: Study) -> None:
    """Raises UserError if another worker has a trial in hand: it would end where nobody looks any more."""
    there = names(study.storage)
    for name in (study.name, study.name + TEST):
        if name in there and (at_work := Study(study.storage, name, first=study.first).at_work_on()):
            raise UserError(
                f"the study {study.first!r} cannot be extended while others work on it ({', '.join(at_work)}): stop "
                "them or let them end, then give the same command again. One that was lost on another machine "
                "counts as at work until it has given no sign of life for three heartbeats."
            )


def _next(study: Study) -> str:
    """The name of the study that is to come, without what a killed worker may have left under it."""
    name = _called(study.first, len([*_lineage(study)]) + 2)
    if name in names(study.storage):
        optuna.delete_study(study_name=name, storage=study.storage.optuna)
    return name


def _take_over(study: Study, space: Space, number: int, params: Params, trial: Any) -> None:
    """Lay a setting out in the new study: ended where nothing is missing, else waiting with what its runs found."""
    keys = [run_key(task, seed) for task, seed in space.runs]
    runs = {key: value for key, value in (outcomes(trial) if trial else {}).items() if key in keys}
    attributes = {"setting": number, **{RUN + key: value for key, value in runs.items()}}
    state = State.WAITING
    if trial and (trial.state == State.PRUNED or (trial.state == State.COMPLETE and len(runs) == len(keys))):
        state = trial.state
    elif trial and trial.state == State.FAIL and "error" in trial.user_attrs:
        state, attributes["error"] = trial.state, trial.user_attrs["error"]
    if state == State.WAITING:
        study.study.enqueue_trial(dict(params), user_attrs=attributes)
        return
    attributes["optimizer"] = space.optimizer(params)
    steps = {keys.index(key): float(run["score"]) for key, run in runs.items()}
    study.study.add_trial(
        optuna.trial.create_trial(
            state=state,
            value=fmean(steps.values()) if state == State.COMPLETE else None,
            params=dict(params),
            distributions=space.distributions(params),
            intermediate_values=dict(sorted(steps.items())),
            user_attrs=attributes,
            system_attrs={"fixed_params": dict(params)},
        )
    )
