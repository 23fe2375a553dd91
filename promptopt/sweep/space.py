"""The sweep recipe: from TOML to tasks, optimizers with their own parameters, and settings.

A sweep recipe is an ordinary recipe with a table ``[sweep]``. Everything in it is checked as strictly as the rest::

    [sweep]
    seeds = 3                                   # repeats of every setting
    [sweep.tasks.digits]                        # what a task changes in the recipe
    data = {name = "digits", shots = 4, dev = 4}
    [sweep.optimizers.hill-climb]               # an optimizer with parameters of its own: a list is a choice
    optimizer.k = [5, 15, 30]
    [sweep.space]                               # parameters that all optimizers share
    budget.questions = {low = 50, high = 400, log = true}
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np

from ..checks import above_zero, check_argument
from ..errors import UserError
from ..recipe.build import call
from ..recipe.read import without_permissions

if TYPE_CHECKING:
    from optuna.trial import Trial

Recipe: TypeAlias = dict[str, Any]
Params: TypeAlias = dict[str, Any]
Scalar: TypeAlias = "str | int | float | bool"

NAME = re.compile(r"[\w][\w .+-]*")
OWN = ("run", "watch", "verdict", "sweep")  # keys of a recipe that a sweep sets itself
DRAWS = 100  # draws, for each random setting that is wanted, before fewer different settings are enough


# ── Dimensions ────────────────────────────────────────────────────────────────────────────────────────────────────
# A parameter's *value* is what stands in the recipe: a number, a text, a list, a table. Its *label* is what the study
# knows the value by, a number or a text: the label of {name = "phrases", n = 3} is "phrases".


class Choice:
    """A parameter with a few values. Values that are tables or lists go by a label in Optuna.

    Args:
        path: where the value goes in the recipe, for example ``optimizer.k``.
        values: at least one.

    Raises:
        UserError: there are none, or two are the same.
    """

    def __init__(self, path: str, values: Sequence[Any], *, where: str) -> None:
        labels = [value if isinstance(value, str | int | float) else _label(value, values) for value in values]
        holds = 1 <= len(labels) == len(set(labels))
        check_argument(where, list(values), allowed="one or more different values", holds=holds)
        self.path = path
        self.values: dict[Scalar, Any] = dict(zip(labels, values, strict=True))
        self.where = where

    def suggest(self, trial: Trial, name: str) -> Scalar:
        label: Any = trial.suggest_categorical(name, list(self.values))
        return cast("Scalar", label)

    def grid(self) -> list[Scalar]:
        return list(self.values)

    ends = grid  # what is tried in a rehearsal: of a few values all, of a range its two ends

    def distribution(self) -> Any:
        """Optuna's own form of it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(list(self.values))

    def draw(self, rng: np.random.Generator) -> Scalar:
        return list(self.values)[int(rng.integers(len(self.values)))]

    def label(self, value: Any) -> Scalar | None:
        """The label of a value; None where it is not among the values."""
        return next((label for label, one in self.values.items() if one == value and type(one) is type(value)), None)

    def value(self, label: Scalar) -> Any:
        """The value with this label, as it stands in a recipe."""
        return copy.deepcopy(self.values[label])


@dataclass(frozen=True)
class Range:
    """A range of numbers, both ends included; whole numbers where both ends are.

    Args:
        step: between the values; a grid needs one.
        log: draw on a logarithmic scale.
    """

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise UserError(f"low is {self.low} and high is {self.high}; low must be less than high.")
        above_zero(step=self.step)
        if self.log and self.step is not None:
            raise UserError(f"step is {self.step}, but log takes none; leave one of them out.")
        if self.log and self.low <= 0:
            raise UserError(f"low is {self.low}; a logarithmic scale begins above 0.")
        if self._whole and self.step is not None and not isinstance(self.step, int):
            raise UserError(f"step is {self.step}; between whole numbers give a whole number.")

    @property
    def _whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: Trial, name: str) -> Scalar:
        if self._whole:
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def grid(self) -> list[Scalar]:
        """Raises UserError if there is no step to make a grid with."""
        if self.step is None:
            raise UserError('a grid needs a list of values, or a range with a step; or take sampler = "random".')
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        values = [self.low + i * self.step for i in range(count)]
        return [int(value) if self._whole else float(f"{value:.12g}") for value in values]

    def ends(self) -> list[Scalar]:
        return [self.low, self.high]

    def distribution(self) -> Any:
        """Optuna's own form of it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self._whole:
            return IntDistribution(int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return FloatDistribution(self.low, self.high, step=self.step, log=self.log)

    def label(self, value: Any) -> Scalar | None:
        """The value itself; None where it does not lie in the range."""
        number = isinstance(value, int if self._whole else int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high:
            return None
        steps = (value - self.low) / self.step if self.step is not None else 0.0
        return cast("Scalar", value) if abs(steps - round(steps)) < 1e-8 else None

    def draw(self, rng: np.random.Generator) -> Scalar:
        if self.step is not None:
            values = self.grid()
            return values[int(rng.integers(len(values)))]
        if self.log:
            drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high + self._whole)))
        else:
            drawn = rng.uniform(self.low, self.high + self._whole)
        return min(int(drawn), int(self.high)) if self._whole else drawn


class Numbers:
    """A parameter with a range: a :class:`Range`, and where its value goes in the recipe. Values are their own labels.

    Args:
        path: where the value goes in the recipe, for example ``budget.questions``.
    """

    def __init__(self, path: str, values: Range, *, where: str) -> None:
        self.path = path
        self.where = where
        self.suggest, self.draw, self.ends = values.suggest, values.draw, values.ends
        self.distribution, self.label = values.distribution, values.label
        self._range = values

    def grid(self) -> list[Scalar]:
        try:
            return self._range.grid()
        except UserError as error:
            raise UserError(f"{self.where}: {error}") from None

    def value(self, label: Scalar) -> Any:
        """What stands in the recipe."""
        return label


Dimension: TypeAlias = Choice | Numbers


@dataclass(frozen=True)
class Section:
    """What an optimizer, or the shared space, changes in the recipe.

    Attributes:
        fixed: values by their dotted path, the same in every setting.
        free: parameters by their name, whose values differ from setting to setting.
    """

    fixed: Mapping[str, Any]
    free: Mapping[str, Dimension]


# ── The recipe ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Options:
    """The keys of ``[sweep]``.

    Args:
        name: of the study; the recipe's file name by default.
        seeds: how often every setting is repeated, or the seeds themselves.
        sampler: ``grid`` tries everything, ``random`` and ``tpe`` so many settings as ``trials`` says.
        trials: settings to try; not for a grid.
        prune: stop a setting between two seeds when it is worse than the best with a p-value below this
            (Optuna's WilcoxonPruner); never by default.
        heartbeat: seconds between two signs of life of a worker, where several machines share a study. One that gave
            none for three times as long is lost, and its trial is taken by another.
        tasks: what each task changes in the recipe, by name.
        optimizers: what each optimizer changes in the recipe, and its own parameters, by name.
        space: parameters that all optimizers share.
    """

    name: str | None = None
    seeds: int | list[int] = 1
    sampler: Literal["grid", "random", "tpe"] = "grid"
    trials: int | None = None
    prune: float | None = None
    heartbeat: int = 60
    tasks: dict[str, dict[str, Any]] | None = None
    optimizers: dict[str, dict[str, Any]] | None = None
    space: dict[str, Any] | None = None


@dataclass(frozen=True)
class Space:
    """A sweep: what is run, and the settings it is run with.

    Attributes:
        recipe: the sweep recipe as it was given.
        name: of the study.
        tasks: what each changes in the recipe.
        seeds: one run each of every setting and task.
        optimizers: the section of each, by name.
        shared: the section that holds for all.
        options: the other keys of ``[sweep]``.
    """

    recipe: Recipe
    name: str
    tasks: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    optimizers: Mapping[str, Section]
    shared: Section
    options: Options

    @property
    def runs(self) -> list[tuple[str, int]]:
        """The runs of one setting as (task, seed), every task once before any has a second seed."""
        return [(task, seed) for seed in self.seeds for task in self.tasks]

    def arguments(self, params: Params, task: str, seed: int) -> Recipe:
        """The ordinary recipe of one run, as :func:`promptopt.optimize` takes it; without a folder."""
        recipe: Recipe = {k: copy.deepcopy(v) for k, v in self.recipe.items() if k != "sweep"}
        label = self.optimizer(params)
        for section in (self.optimizers[label], self.shared):
            for path, value in section.fixed.items():
                put(recipe, path, copy.deepcopy(value))
            for name, dimension in section.free.items():
                put(recipe, dimension.path, dimension.value(params[name]))
        return without_permissions(overlay(recipe, self.tasks[task]) | {"seed": seed})

    def optimizer(self, params: Params) -> str:
        """The name of a setting's optimizer."""
        return str(params.get("optimizer", next(iter(self.optimizers))))

    def free(self, optimizer: str) -> dict[str, Dimension]:
        """The parameters of an optimizer, shared ones included."""
        return {**self.optimizers[optimizer].free, **self.shared.free}

    def suggest(self, trial: Trial) -> Params:
        """The setting of a trial: what was laid out for it, or what the study's sampler draws."""
        labels = list(self.optimizers)
        label = trial.suggest_categorical("optimizer", labels) if len(labels) > 1 else labels[0]
        params = {name: one.suggest(trial, name) for name, one in self.free(str(label)).items()}
        return self.named(str(label), params)

    def distributions(self, params: Params) -> dict[str, Any]:
        """Optuna's distributions of a setting's parameters, by name."""
        found = {name: one.distribution() for name, one in self.free(self.optimizer(params)).items()}
        labels = Choice("optimizer", list(self.optimizers), where="sweep.optimizers")
        return {**({"optimizer": labels.distribution()} if "optimizer" in params else {}), **found}

    def settings(self) -> list[Params]:
        """The settings in the order of their numbers; empty ones for TPE, which draws each when its trial begins.

        Raises:
            UserError: a grid of a range without a step.
        """
        if self.options.sampler == "tpe":
            return [{} for _ in range(self.options.trials or 0)]
        if self.options.sampler == "random":
            return self._drawn()
        return [setting for label in self.optimizers for setting in self._product(label)]

    def rehearsed(self) -> list[Params]:
        """Settings to check before anything runs: all of them, or where TPE draws them a few that stand for all.

        These are, per optimizer, the first value of every parameter, and then with one parameter at a time at each of
        its other values, or the other end of its range: for k from 5 to 30 and pools "a" and "b" the settings
        (5, a), (30, a) and (5, b).
        """
        if self.options.sampler != "tpe":
            return self.settings()
        return [setting for label in self.optimizers for setting in self._one_by_one(label)]

    def _product(self, label: str) -> Iterator[Params]:
        free = self.free(label)
        for values in itertools.product(*(one.grid() for one in free.values())):
            yield self.named(label, dict(zip(free, values, strict=True)))

    def _one_by_one(self, label: str) -> Iterator[Params]:
        ends = {name: one.ends() for name, one in self.free(label).items()}
        first = {name: values[0] for name, values in ends.items()}
        yield self.named(label, first)
        for name, values in ends.items():
            for value in values[1:]:
                yield self.named(label, {**first, name: value})

    def _drawn(self) -> list[Params]:
        """Random settings, no two the same as long as there are enough."""
        rng = np.random.default_rng([self.seeds[0], len(self.optimizers)])
        labels = list(self.optimizers)
        drawn: dict[str, Params] = {}
        for _ in range(DRAWS * (self.options.trials or 0)):
            label = labels[int(rng.integers(len(labels)))]
            setting = self.named(label, {name: one.draw(rng) for name, one in self.free(label).items()})
            drawn.setdefault(json.dumps(setting, sort_keys=True), setting)
            if len(drawn) == self.options.trials:
                break
        return list(drawn.values())

    def named(self, label: str, params: Params) -> Params:
        """A setting; the optimizer's name is one of its values where there are several."""
        return {"optimizer": label, **params} if len(self.optimizers) > 1 else params


def read_space(recipe: Mapping[str, Any], *, name: str = "sweep") -> Space:
    """A sweep recipe, checked as far as that goes without building anything.

    Args:
        recipe: as from :func:`promptopt.recipe.read.read_recipe`.
        name: of the study, where the recipe gives none.

    Raises:
        UserError: a key is unknown or misplaced, a value is of the wrong type, or a name cannot be used.
    """
    base = {key: value for key, value in recipe.items() if key != "sweep"}
    if "sweep" not in recipe:
        raise UserError("this recipe has no table [sweep]; say there what to vary, or run it with: promptopt run")
    for key in base:
        if key in OWN:
            raise UserError(f"a sweep sets {key!r} itself; leave it out of the recipe.")
    options: Options = call(Options, recipe["sweep"], where="sweep")
    _check_options(options)
    optimizers = _optimizers(base, options)
    shared = _section(options.space or {}, where="sweep.space")
    tasks = options.tasks or {_task_name(base): {}}
    _check_names(tasks, "task")
    _check_names(optimizers, "optimizer")
    _check_apart(tasks, optimizers, shared)
    given = options.name or name
    _check_names([given], "sweep")
    return Space(dict(recipe), given, tasks, _seeds(options, base), optimizers, shared, options)


def _check_options(options: Options) -> None:
    if options.sampler == "grid" and options.trials is not None:
        raise UserError('sweep.trials: a grid tries every setting; leave trials out, or take sampler = "random".')
    if options.sampler != "grid" and (options.trials or 0) < 1:
        raise UserError(f'sweep.trials: say how many settings sampler = "{options.sampler}" is to try.')
    holds = options.prune is None or 0 < options.prune < 1
    check_argument("sweep.prune", options.prune, allowed="a p-value between 0 and 1, for example 0.05", holds=holds)
    check_argument("sweep.heartbeat", options.heartbeat, allowed="1 second or more", holds=options.heartbeat >= 1)


def _seeds(options: Options, base: Recipe) -> tuple[int, ...]:
    first = base.get("seed", 0)
    seeds = range(first, first + options.seeds) if isinstance(options.seeds, int) else options.seeds
    holds = 1 <= len(seeds) == len(set(seeds)) and min(seeds) >= 0
    check_argument("sweep.seeds", options.seeds, allowed="a number of repeats, or different seeds from 0", holds=holds)
    return tuple(seeds)


def _optimizers(base: Recipe, options: Options) -> dict[str, Section]:
    if options.optimizers is None:
        given = base.get("optimizer", "hill-climb")
        name = given.get("name") if isinstance(given, Mapping) else given
        return {name if isinstance(name, str) else type(given).__name__: Section({}, {})}
    if "optimizer" in base:
        raise UserError("give optimizers either as [optimizer] or under [sweep.optimizers], not both.")
    sections = {}
    for label, table in options.optimizers.items():
        where = f"sweep.optimizers.{label}"
        section = _section(table, where=where, prefix=label)
        if not {"optimizer", "optimizer.name"} & {*section.fixed}:
            section = Section({"optimizer.name": label, **section.fixed}, section.free)
        sections[label] = section
    if not sections:
        raise UserError("[sweep.optimizers] is empty; name one at least, for example [sweep.optimizers.hill-climb].")
    return sections


def _task_name(base: Recipe) -> str:
    data = base.get("data", "task")
    name = data.get("name") if isinstance(data, Mapping) else data
    return name if isinstance(name, str) and NAME.fullmatch(name) else "task"


def _section(table: Mapping[str, Any], *, where: str, prefix: str = "") -> Section:
    """A table of an optimizer, or ``[sweep.space]``, as what is fixed and what is free.

    For the optimizer hill-climb, which is the ``prefix`` of its parameters' names::

        optimizer.k = [5, 15]                   free:  hill-climb.k, one of two values
        optimizer.pool = "phrases"              fixed: optimizer.pool
        optimizer.batch = [8]                   fixed: a list of one value is that value
        budget.calls = {low = 50, high = 400}   free:  hill-climb.budget.calls, from a range
    """
    fixed: dict[str, Any] = {}
    free: dict[str, Dimension] = {}
    for path, value in _leaves(table):
        place = f"{where}.{path}"
        name = f"{prefix}.{path.removeprefix('optimizer.')}" if prefix else path
        if isinstance(value, list):
            one = Choice(path, value, where=place)
            if len(value) == 1:
                fixed[path] = value[0]
            else:
                free[name] = one
        elif isinstance(value, Mapping) and value:
            free[name] = Numbers(path, call(Range, value, where=place), where=place)
        else:
            fixed[path] = value
    return Section(fixed, free)


def _leaves(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested tables with their dotted paths; a range (a table with ``low`` or ``high``) is a value.

    ::

        optimizer = {name = "apohf", nu = 2}    optimizer: {}, optimizer.name: "apohf", optimizer.nu: 2
        scorer.swap = true                      scorer.swap: true
        budget.calls = {low = 50, high = 400}   budget.calls: {low = 50, high = 400}

    A table with a name comes as an empty table first, which, put into a recipe, drops what stood there: another
    ``optimizer`` has no use for the options of the one before.
    """
    for key, value in table.items():
        here = f"{path}.{key}" if path else key
        if not isinstance(value, Mapping) or {"low", "high"} & {*value}:
            yield here, value
            continue
        if "name" in value:
            yield here, {}
        yield from _leaves(value, here)


def _check_names(names: Sequence[str] | Mapping[str, Any], what: str) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise UserError(f"{name!r} cannot name a {what}: it also names a folder. Use letters, digits, - and _.")


def _check_apart(tasks: Mapping[str, Mapping[str, Any]], optimizers: Mapping[str, Section], shared: Section) -> None:
    """Raises UserError if a task, or the shared space, sets what another section varies."""
    for label, section in optimizers.items():
        for path in (*section.fixed, *(one.path for one in section.free.values())):
            if path in {*shared.fixed, *(one.path for one in shared.free.values())}:
                raise UserError(f"{path} stands in [sweep.space] and in [sweep.optimizers.{label}]; keep one of them.")
    free = {one.path for section in (shared, *optimizers.values()) for one in section.free.values()}
    for task, table in tasks.items():
        for path, _ in _leaves(table):
            if path in {*OWN, "seed"}:
                raise UserError(f"sweep.tasks.{task}: a sweep sets {path!r} itself; leave it out.")
            if path in free:
                raise UserError(f"sweep.tasks.{task} sets {path}, which the sweep varies; keep one of them.")


# ── Recipes as nested tables ──────────────────────────────────────────────────────────────────────────────────────


def put(recipe: Recipe, path: str, value: Any) -> None:
    """Set a value at a dotted path, in place. What is given in short on the way there is written out as a table::

        recipe                                  path, value        recipe afterwards
        target = "clip"                         target.prefix "x"  target = {name = "clip", prefix = "x"}
        budget = 100                            budget.calls 7     budget = {questions = 100, calls = 7}
        optimizer = {name = "apohf", nu = 2}    optimizer.nu 3     optimizer = {name = "apohf", nu = 3}

    Raises:
        UserError: the path leads through something that cannot be a table, such as a number.
    """
    *tables, last = path.split(".")
    place = recipe
    for table in tables:
        inside = place.get(table, {})
        if table == "budget" and isinstance(inside, int):
            inside = {"questions": inside}
        if not isinstance(inside, str | dict):
            raise UserError(f"{path}: {table} is {inside!r}, which has nothing inside to set.")
        place[table] = place = {"name": inside} if isinstance(inside, str) else dict(inside)
    place[last] = value


def look(recipe: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where there is none. What is given in short is read as in :func:`put`."""
    place: Any = recipe
    for key in path.split("."):
        place = {"questions": place} if key == "questions" and isinstance(place, int) else place
        place = {"name": place} if isinstance(place, str) else place
        place = place.get(key) if isinstance(place, Mapping) else None
    return place


def overlay(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with a task's changes: a table with a name replaces what was there, another table is merged into it::

        recipe                                  change                         merged
        optimizer = {name = "apohf", nu = 2}    optimizer.nu = 3               {name = "apohf", nu = 3}
        optimizer = {name = "apohf", nu = 2}    optimizer = {name = "gcg"}     {name = "gcg"}
        optimizer = {name = "apohf", nu = 2}    optimizer = "gcg"              "gcg"
        target = "clip"                         target.prefix = "x"            {name = "clip", prefix = "x"}
        budget = 100                            budget.calls = 7               {questions = 100, calls = 7}

    The recipe and the changes stay as they are.
    """
    merged = dict(recipe)
    for key, value in changes.items():
        if "." in key:
            put(merged, key, value)
        elif isinstance(value, Mapping) and "name" not in value and isinstance(merged.get(key), str | int | Mapping):
            there = merged[key]
            inside = {"name": there} if isinstance(there, str) else {"questions": there} if _number(there) else there
            merged[key] = overlay(inside, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _number(value: Any) -> bool:
    return isinstance(value, int)


def _label(value: Any, values: Sequence[Any]) -> str:
    """A short text for a table or a list: its name where that tells it apart, else itself as JSON."""
    names = [one.get("name") if isinstance(one, Mapping) else one for one in values]
    if isinstance(value, Mapping) and "name" in value and names.count(value["name"]) == 1:
        return str(value["name"])
    return json.dumps(value, ensure_ascii=False, default=repr)
