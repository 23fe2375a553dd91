from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from sweep_parts import recipe

from promptopt.errors import UserError
from promptopt.sweep import check
from promptopt.sweep.space import _leaves, overlay, put, read_space

CLIMB = {"optimizer": {"k": [5, 15], "proposer": "lexical"}}


def space(**sweep: Any) -> Any:
    return read_space({"start": "a {}", "data": "digits", "target": "clip", "sweep": sweep})


def test_a_grid_is_every_combination_of_an_optimizers_own_parameters() -> None:
    found = space(
        optimizers={"hill-climb": CLIMB, "random-search": {"optimizer.pool": "grammar"}},
        space={"budget.questions": [50, 100]},
    )
    assert found.settings() == [
        {"optimizer": "hill-climb", "hill-climb.k": k, "budget.questions": questions}
        for k in (5, 15)
        for questions in (50, 100)
    ] + [{"optimizer": "random-search", "budget.questions": questions} for questions in (50, 100)]


def test_a_setting_becomes_an_ordinary_recipe() -> None:
    found = space(
        seeds=[3, 8],
        tasks={"roman": {"data": {"name": "rendered", "task": "roman"}, "start": "roman {}"}},
        optimizers={"hill-climb": CLIMB},
        space={"budget": {"questions": [50, 100]}},
    )
    assert found.runs == [("roman", 3), ("roman", 8)]
    assert found.arguments({"hill-climb.k": 15, "budget.questions": 100}, "roman", 8) == {
        "start": "roman {}",
        "data": {"name": "rendered", "task": "roman"},
        "target": "clip",
        "optimizer": {"name": "hill-climb", "k": 15, "proposer": "lexical"},
        "budget": {"questions": 100},
        "seed": 8,
    }


def test_without_sections_the_recipe_is_one_setting_of_one_task() -> None:
    found = space(seeds=2)
    assert found.settings() == [{}]
    assert found.runs == [("digits", 0), ("digits", 1)]
    assert found.arguments({}, "digits", 1) == {"start": "a {}", "data": "digits", "target": "clip", "seed": 1}


def test_a_list_in_a_list_is_one_value_and_a_table_goes_by_its_name() -> None:
    found = space(
        optimizers={
            "random-search": {"optimizer": {"pool": [{"name": "grammar"}, {"name": "list", "prompts": ["x {}"]}]}},
            "fixed": {"optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": [["a {}", "b {}"]]}}},
        }
    )
    grammar, listed, fixed = found.settings()
    assert listed == {"optimizer": "random-search", "random-search.pool": "list"}
    assert found.arguments(listed, "digits", 0)["optimizer"]["pool"] == {"name": "list", "prompts": ["x {}"]}
    assert found.arguments(grammar, "digits", 0)["optimizer"]["pool"] == {"name": "grammar"}
    assert found.arguments(fixed, "digits", 0)["optimizer"]["pool"]["prompts"] == ["a {}", "b {}"]


def test_ranges() -> None:
    found = space(
        space={"budget.questions": {"low": 10, "high": 30, "step": 10}, "goal": {"low": 0.1, "high": 0.3, "step": 0.1}}
    )
    assert [s["budget.questions"] for s in found.settings()] == [10] * 3 + [20] * 3 + [30] * 3
    assert [s["goal"] for s in found.settings()[:3]] == [0.1, 0.2, 0.3]


def test_random_settings_differ_stay_in_range_and_do_not_depend_on_when_they_are_drawn() -> None:
    def make() -> Any:
        return space(
            sampler="random",
            trials=40,
            optimizers={"hill-climb": CLIMB, "random-search": {"optimizer.pool": "grammar"}},
            space={"budget.questions": {"low": 10, "high": 1000, "log": True}},
        )

    settings = make().settings()
    assert settings == make().settings()
    assert len({str(setting) for setting in settings}) == 40
    budgets = [setting["budget.questions"] for setting in settings]
    assert all(isinstance(one, int) and 10 <= one <= 1000 for one in budgets)
    assert sum(one < 100 for one in budgets) > 10  # half of a logarithmic scale
    assert {setting["optimizer"] for setting in settings} == {"hill-climb", "random-search"}
    assert all(("hill-climb.k" in setting) == (setting["optimizer"] == "hill-climb") for setting in settings)


def test_a_small_space_gives_each_setting_once() -> None:
    settings = space(sampler="random", trials=10, optimizers={"hill-climb": CLIMB}).settings()
    assert sorted(setting["hill-climb.k"] for setting in settings) == [5, 15]


def test_tpe_draws_conditional_parameters_when_a_trial_is_due() -> None:
    found = space(
        sampler="tpe",
        trials=3,
        optimizers={"hill-climb": CLIMB, "random-search": {"optimizer.pool": "grammar"}},
        space={"goal": {"low": 0.5, "high": 1.0}},
    )
    assert found.settings() == [{}, {}, {}]
    fixed = optuna.trial.FixedTrial({"optimizer": "random-search", "goal": 0.75})
    assert found.suggest(fixed) == {"optimizer": "random-search", "goal": 0.75}
    assert [s.get("goal") for s in found.rehearsed()] == [0.5, 0.5, 1.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r["sweep"].update(seedz=1), "Did you mean 'seeds'"),
        (lambda r: r["sweep"].update(sampler="gird"), "'grid', 'random' or 'tpe'"),
        (lambda r: r["sweep"].update(trials=3), "a grid tries every setting"),
        (lambda r: r["sweep"].update(sampler="random"), "say how many settings"),
        (lambda r: r["sweep"].update(prune=5.0), "p-value"),
        (lambda r: r["sweep"].update(seeds=0), "number of repeats"),
        (lambda r: r["sweep"].update(seeds=[1, 1]), "different seeds"),
        (
            lambda r: r["sweep"].update(space={"budget.questions": {"low": 5, "high": 50}}),
            "budget.questions: a grid needs",
        ),
        (lambda r: r["sweep"].update(space={"budget.questions": {"low": 50, "high": 5}}), "low must be less"),
        (lambda r: r["sweep"].update(space={"budget.questions": {"low": 5, "hihg": 50}}), "Did you mean 'high'"),
        (lambda r: r["sweep"].update(space={"budget.questions": []}), "one or more different values"),
        (lambda r: r["sweep"].update(space={"optimizer.batch": [1, 2]}), "keep one of them"),
        (lambda r: r["sweep"]["tasks"].update({"../out": {}}), "cannot name a task"),
        (lambda r: r["sweep"]["tasks"]["easy"].update({"seed": 1}), "a sweep sets 'seed' itself"),
        (lambda r: r.update(run="here"), "a sweep sets 'run' itself"),
        (lambda r: r.update(optimizer="hill-climb"), "not both"),
        (lambda r: r.pop("sweep"), "no table \\[sweep\\]"),
        (lambda r: r["sweep"]["optimizers"]["small"].update({"optimizer.bacth": [1, 2]}), "Did you mean 'batch'"),
        (lambda r: r["sweep"]["tasks"]["hard"].update({"metric": "acuracy"}), "task hard, .*Did you mean 'accuracy'"),
        (lambda r: r["sweep"]["tasks"]["hard"].update({"budget": 3}), "task hard, .*leaves none for the search"),
    ],
)
def test_mistakes_are_found_before_anything_runs(change: Callable[[dict[str, Any]], None], says: str) -> None:
    given = recipe()
    check(given)
    change(given)
    with pytest.raises(UserError, match=says):
        check(given)


def test_put_and_overlay() -> None:
    given: dict[str, Any] = {"optimizer": "hill-climb", "budget": 30, "data": {"name": "digits", "shots": 4}}
    put(given, "optimizer.k", 5)
    put(given, "budget.seconds", 9)
    assert given["optimizer"] == {"name": "hill-climb", "k": 5}
    assert given["budget"] == {"questions": 30, "seconds": 9}
    assert overlay(given, {"data": {"dev": 2}})["data"] == {"name": "digits", "shots": 4, "dev": 2}
    assert overlay(given, {"data": {"name": "rendered"}})["data"] == {"name": "rendered"}
    assert overlay({"budget": 30}, {"budget": {"seconds": 9}}) == {"budget": {"questions": 30, "seconds": 9}}
    assert given["data"] == {"name": "digits", "shots": 4}


@pytest.mark.parametrize(
    ("recipe", "change", "merged"),
    [
        ('part = {name = "apohf", nu = 2}', "part.nu = 3", 'part = {name = "apohf", nu = 3}'),
        ('part = {name = "apohf", nu = 2}', 'part = {name = "gcg"}', 'part = {name = "gcg"}'),
        ('part = {name = "apohf", nu = 2}', 'part = "gcg"', 'part = "gcg"'),
        ('part = "clip"', 'part.prefix = "x"', 'part = {name = "clip", prefix = "x"}'),
        ("budget = 100", "budget.calls = 7", "budget = {questions = 100, calls = 7}"),
    ],
)
def test_the_examples_of_overlay_hold(recipe: str, change: str, merged: str) -> None:
    assert overlay(tomllib.loads(recipe), tomllib.loads(change)) == tomllib.loads(merged)


def test_the_examples_of_leaves_hold() -> None:
    given = 'optimizer = {name = "apohf", nu = 2}\nscorer.swap = true\nbudget.calls = {low = 50, high = 400}'
    assert list(_leaves(tomllib.loads(given))) == [
        ("optimizer", {}),
        ("optimizer.name", "apohf"),
        ("optimizer.nu", 2),
        ("scorer.swap", True),
        ("budget.calls", {"low": 50, "high": 400}),
    ]
