"""Recipes: typed, strict, and an error says where it stands, what is allowed and what is closest."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_parts import CLIMB, Words, toy_data

from promptopt.api import prepare
from promptopt.core import ChatModel, Example, Prompt
from promptopt.errors import UnknownName, UserError
from promptopt.loading import heard
from promptopt.metrics.function import FunctionMetric
from promptopt.optimizers import HillClimb, LexicalProposer
from promptopt.optimizers.pools.listed import ListPool
from promptopt.recipe.build import accepts, bind, build, call, check
from promptopt.recipe.read import override, read_recipe
from promptopt.run.budget import Budget
from promptopt.targets.function import Function


def part(
    positional: str = "p",
    *,
    number: int = 1,
    ratio: float = 0.5,
    texts: Sequence[str] = (),
    mode: Literal["on", "off"] = "on",
    flag: bool = False,
    path: str | Path | None = None,
    model: ChatModel | None = None,
    table: Mapping[str, Sequence[str]] | None = None,
    seed: int = 7,
) -> dict[str, Any]:
    return dict(locals())


# ── Checking values ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nmber": 2}, r"here: unknown option 'nmber'\. Did you mean 'number'\? Allowed: .*ratio"),
        ({"number": "2"}, r"here\.number is '2'\. Input should be a valid integer"),
        ({"number": 2.5}, r"here\.number is 2\.5\. Input should be a valid integer"),
        ({"number": True}, r"here\.number is True\. Input should be a valid integer"),
        ({"ratio": "half"}, r"here\.ratio is 'half'\. Input should be a valid number"),
        ({"texts": "one"}, r"here\.texts is 'one'"),
        ({"texts": ["one", 2]}, r"here\.texts is \['one', 2\]\. Input should be a valid string"),
        ({"mode": "of"}, r"here\.mode is 'of'\. Input should be 'on' or 'off'"),
        ({"flag": 1}, r"here\.flag is 1\. Input should be a valid boolean"),
        ({"path": 3}, r"here\.path is 3\. Input should be a valid string"),
        ({"model": 3}, r"here\.model is 3; give a name, a table"),
        ({"model": ["openai"]}, r"here\.model is \['openai'\]; give a name, a table"),
        ({"model": {"nme": "openai"}}, r"here\.model: say which one with name = .* list models"),
        ({"model": "opnai"}, r"here\.model: unknown model 'opnai'\. Did you mean 'openai'"),
        ({"table": {"frames": "x"}}, r"here\.table is "),
    ],
)
def test_a_wrong_option_says_where_and_what_is_allowed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call(part, options, where="here")


@pytest.mark.parametrize(
    "options",
    [
        {"number": 3, "ratio": 1, "texts": ["a", "b"], "mode": "off", "flag": True, "path": "x"},
        {"positional": "q", "path": Path("x"), "table": {"frames": ["a"]}, "model": None},
    ],
)
def test_right_options_arrive(options: dict[str, Any]) -> None:
    made = call(part, options, where="here")
    assert {key: made[key] for key in options} == options


def test_required_options_are_asked_for() -> None:
    def strict(first: int, *, second: int, third: int = 3, **rest: int) -> int:
        return first + second + third

    with pytest.raises(UserError, match=r"here: first, second must be given"):
        call(strict, {}, where="here")
    with pytest.raises(UnknownName, match="Allowed: first, second, third"):
        call(strict, {"first": 1, "second": 2, "rest": {}}, where="here")
    assert call(strict, {"first": 1, "second": 2}, where="here") == 6


def test_offered_values_fill_what_is_left_out() -> None:
    offered = {"seed": 3, "classes": ["a"], "number": 5}
    assert call(part, {"number": 2}, where="here", offered=offered)["number"] == 2
    assert call(part, {}, where="here", offered=offered)["seed"] == 3


def test_offered_values_reach_parts_inside_parts() -> None:
    found = build(
        "scorers",
        {"name": "win-rate", "scorer": {"name": "bradley-terry"}},
        where="scorer",
        offered={"scorer": Words()},
    )
    assert isinstance(found.scorer.scorer, Words)


def test_a_factorys_own_refusal_says_where() -> None:
    with pytest.raises(UserError, match=r"optimizer: k is 0; allowed is 1 or more"):
        build("optimizers", {"name": "hill-climb", "k": 0}, where="optimizer")
    with pytest.raises(UserError, match=r"^optimizer\.proposer: explore is 2\.0; allowed is a probability"):
        build("optimizers", {"name": "hill-climb", "proposer": {"name": "lexical", "explore": 2}}, where="optimizer")


def test_objects_pass_as_they_are() -> None:
    optimizer = HillClimb()
    assert build("optimizers", optimizer, where="optimizer") is optimizer
    data = toy_data()
    assert build("datasets", data, where="data") is data


@pytest.mark.parametrize("kind", ["optimizers", "scorers", "targets", "models", "datasets", "proposers", "pools"])
@pytest.mark.parametrize("wrong", [0, 1.5, True, {"hill-climb"}, object(), Words])
def test_what_is_no_part_is_refused(kind: str, wrong: Any) -> None:
    with pytest.raises(UserError, match=r"here is .*; give a name, a table with a name and options, or the object"):
        build(kind, wrong, where="here")


def test_accepts_reads_the_factory_not_the_object() -> None:
    assert accepts("scorers", "bradley-terry", "scorer")
    assert accepts("scorers", {"name": "win-rate", "repeats": 3}, "repeats")
    assert not accepts("scorers", "bradley-terry", "examples")
    assert not accepts("scorers", Words(), "log")


@given(st.integers() | st.floats(allow_nan=False) | st.text() | st.booleans() | st.lists(st.text(), max_size=3))
def test_a_value_that_fits_comes_back_unchanged_and_no_other_comes_back(value: Any) -> None:
    allowed = {int: int, float: (int, float), str: str, bool: bool}
    for annotation, kinds in allowed.items():
        fits = isinstance(value, kinds) and (annotation is bool or not isinstance(value, bool))  # type: ignore[arg-type]
        if fits:
            assert check(value, annotation, where="x") == (float(value) if annotation is float else value)
        else:
            with pytest.raises(UserError, match=r"^x is "):
                check(value, annotation, where="x")
    if isinstance(value, list):
        assert list(check(value, Sequence[str], where="x")) == value
    else:
        with pytest.raises(UserError):
            check(value, Sequence[str], where="x")


def test_bind_leaves_parts_alone() -> None:
    assert bind(part, {"model": "anything", "number": 3}, where="x") == {"model": "anything", "number": 3}


def test_examples_may_be_offered_to_a_sequence() -> None:
    def takes(*, examples: Sequence[Example]) -> Sequence[Example]:
        return examples

    examples = toy_data().train
    assert call(takes, {}, where="x", offered={"examples": examples}) is examples


# ── Recipe files ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_recipe_is_toml(tmp_path: Path) -> None:
    file = tmp_path / "a recipe.toml"
    file.write_text('start = "a photo of a {}"\n[optimizer]\nname = "hill-climb"\nk = 3\n')
    assert read_recipe(file, ["optimizer.k=5", "seed=3"]) == {
        "start": "a photo of a {}",
        "optimizer": {"name": "hill-climb", "k": 5},
        "seed": 3,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there is no recipe '.*r\.toml'\. Recipes are TOML files"),
        (b"start = ", r"cannot read .*r\.toml as TOML: Invalid value"),
        (b"start = 'a'\nstart = 'b'", r"cannot read .*r\.toml as TOML: Cannot overwrite a value"),
        (b"\xff\xfe", r"cannot read .*r\.toml as TOML"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "r.toml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_recipe(tmp_path / "r.toml")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_recipe(tmp_path)


# ── Overrides ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed=3", {"seed": 3}),
        ("goal=0.5", {"goal": 0.5}),
        ("goal=inf", {"goal": math.inf}),
        ("cache=false", {"cache": False}),
        ("start=a photo of a {}", {"start": "a photo of a {}"}),
        ('start="true"', {"start": "true"}),
        ('start=["a {}", "b {}"]', {"start": ["a {}", "b {}"]}),
        ("start=a=b", {"start": "a=b"}),
        ("start=", {"start": ""}),
        ("start=1\nseed = 2", {"start": "1\nseed = 2"}),
        ("start=[bold] {}", {"start": "[bold] {}"}),
        (" seed =3", {"seed": 3}),
        ("optimizer.k=5", {"optimizer": {"name": "hill-climb", "k": 5}}),
        ("optimizer.proposer.explore=0.1", {"optimizer": {"name": "hill-climb", "proposer": {"explore": 0.1}}}),
        ("target.model=ViT", {"target": {"model": "ViT"}}),
        ('optimizer={name="random-search"}', {"optimizer": {"name": "random-search"}}),
        ("budget.calls=5", {"budget": {"questions": 20, "calls": 5}}),
        ("budget.questions=50", {"budget": {"questions": 50}}),
        ("budget=50", {"budget": 50}),
    ],
)
def test_overrides(text: str, expected: dict[str, Any]) -> None:
    recipe = {"optimizer": "hill-climb", "budget": 20}
    assert override(dict(recipe), [text]) == {**recipe, **expected}


def test_later_overrides_win_and_names_become_tables_once() -> None:
    recipe = override({"optimizer": "hill-climb"}, ["optimizer.k=5", "optimizer.k=6", "optimizer.sample=2"])
    assert recipe == {"optimizer": {"name": "hill-climb", "k": 6, "sample": 2}}


@pytest.mark.parametrize(
    ("changes", "left", "said"),
    [
        (
            ["optimizer.name=random-search"],
            {"name": "random-search"},
            "optimizer is random-search now, which has no k, proposer",
        ),
        (["optimizer.name=hill-climb"], {"name": "hill-climb", "k": 2, "proposer": {"name": "lexical"}}, None),
        (
            ["optimizer.name=random-search", "optimizer.k=9"],
            {"name": "random-search", "k": 9},
            "which has no proposer:",
        ),
        (
            ["optimizer.proposer.name=chat"],
            {"name": "hill-climb", "k": 2, "proposer": {"name": "chat", "conversation": "fresh"}},
            "optimizer.proposer is chat now, which has no explore: left out.",
        ),
    ],
)
def test_another_name_drops_the_options_it_does_not_have(
    changes: list[str], left: dict[str, Any], said: str | None
) -> None:
    proposer = {"name": "lexical"} | ({"explore": 0.5, "conversation": "fresh"} if "proposer" in changes[0] else {})
    heard_of: list[str] = []
    with heard(heard_of.append):
        recipe = override({"optimizer": {"name": "hill-climb", "k": 2, "proposer": proposer}}, changes)
    assert recipe == {"optimizer": left}
    assert len(heard_of) == (said is not None)
    assert said is None or said in heard_of[0]


def test_a_part_of_nobody_knows_where_drops_nothing() -> None:
    recipe = {"sweep": {"name": "a", "x": 1}}
    assert override(recipe, ["sweep.name=b"]) == {"sweep": {"name": "b", "x": 1}}


def test_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("start = 'a'\n", encoding="utf-8-sig")
    assert read_recipe(tmp_path / "recipe.toml") == {"start": "a"}


# ── Plain functions and lists ─────────────────────────────────────────────────────────────────────────────────────


def test_a_plain_function_stands_for_the_part_function() -> None:
    metric = build("metrics", lambda output, example: float(output == example.label), where="metric")
    assert isinstance(metric, FunctionMetric)
    assert metric(["a", "b"], [Example("1", "x", "a"), Example("2", "y", "a")]) == [1.0, 0.0]
    target = build("targets", partial(str.format), where="target")
    assert isinstance(target, Function)


def test_a_function_written_as_a_metric_is_one() -> None:
    def whole(outputs: Any, examples: Any) -> list[float]:
        return [1.0] * len(outputs)

    assert build("metrics", whole, where="metric") is whole


def test_a_function_of_the_text_is_told_to_be_a_score() -> None:
    with pytest.raises(UserError, match="A function of the prompt's text goes into score"):
        build("scorers", len, where="scorer")


class Unnamed:
    """A part whose annotations name what is imported for type checkers alone."""

    def __init__(self, *, seed: int, other: Nowhere | None = None) -> None:  # type: ignore[name-defined]  # noqa: F821
        self.seed = seed


def test_annotations_that_only_type_checkers_can_read_are_passed_over() -> None:
    assert call(Unnamed, {"seed": 3, "other": "x"}, where="part").seed == 3
    with pytest.raises(UserError, match="valid integer"):
        call(Unnamed, {"seed": "3"}, where="part")


def test_no_class_of_ours_is_a_hint() -> None:
    with pytest.raises(UserError) as error:
        prepare({**GOOD, "budget": "lots"})
    assert "instance of" not in str(error.value)


def test_only_names_that_are_alike_are_taken_for_each_other() -> None:
    with pytest.raises(UserError) as error:
        raise UnknownName("option", "temperature", ["chat_template", "model"])
    assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", r"'seed' is not an override\. Write key=value, for example seed=3"),
        ("=3", r"'=3' is not an override"),
        ("", r"'' is not an override"),
        ("seed.x=3", r"'seed\.x=3': seed is 1, which has nothing inside to set"),
        ("start.x=3", r"'start\.x=3': start is \['a'\], which has nothing inside"),
        ("optimizer.k.x=3", r"'optimizer\.k\.x=3': k is 2, which has nothing inside"),
    ],
)
def test_wrong_overrides(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        override({"seed": 1, "start": ["a"], "optimizer": {"name": "hill-climb", "k": 2}}, [text])


def test_a_start_that_is_one_text_has_no_parts_to_set() -> None:
    with pytest.raises(UserError, match=r"'start\.rules=x': start is 'a', which has nothing inside to set"):
        override({"start": "a"}, ["start.rules=x"])
    assert override({"start": {"rules": "a"}}, ["start.rules=x"]) == {"start": {"rules": "x"}}


# ── Whole recipes ─────────────────────────────────────────────────────────────────────────────────────────────────

GOOD: dict[str, Any] = {"start": "a {}", "scorer": "run_parts:Words", "optimizer": CLIMB, "budget": 20}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"optimiser": "hill-climb"}, r"recipe: unknown option 'optimiser'\. Did you mean 'optimizer'\?"),
    ({"start": 3}, r"recipe\.start is 3\. Input should be a valid string"),
    ({"start": None}, "start is missing; give the prompt that you use today"),
    ({"seed": "zero"}, r"recipe\.seed is 'zero'\. Input should be a valid integer"),
    ({"seed": -1}, r"seed is -1; allowed is 0 or more"),
    ({"goal": "high"}, r"recipe\.goal is 'high'\. Input should be a valid number"),
    ({"cache": "no"}, r"recipe\.cache is 'no'\. Input should be a valid boolean"),
    ({"budget": "lots"}, r"recipe\.budget is 'lots'\. Input should be a valid integer"),
    ({"budget": {"question": 5}}, r"budget: unknown option 'question'\. Did you mean 'questions'\?"),
    ({"budget": {"dollars": "5"}}, r"budget\.dollars is '5'\. Input should be a valid number"),
    ({"budget": {"dollars": -1}}, r"budget: budget\.dollars is -1\.0; allowed is a number above 0"),
    ({"optimizer": "hillclimb"}, r"optimizer: unknown optimizer 'hillclimb'\. Did you mean 'hill-climb'\? Allowed: "),
    ({"optimizer": {"k": 3}}, r"optimizer: say which one with name = .*'promptopt list optimizers'"),
    ({"optimizer": {"name": 3}}, r"optimizer: say which one with name"),
    ({"optimizer": {"name": "hill-climb", "kk": 3}}, r"optimizer: unknown option 'kk'\. .*Allowed: .*per_call"),
    ({"optimizer": {"name": "hill-climb", "k": "3"}}, r"optimizer\.k is '3'\. Input should be a valid integer"),
    (
        {"optimizer": {"name": "hill-climb", "feedback": "bad"}},
        r"optimizer\.feedback is 'bad'\. Input should be 'good' or 'good\+bad'",
    ),
    (
        {"optimizer": {"name": "hill-climb", "proposer": {"name": "lexcal"}}},
        r"optimizer\.proposer: unknown proposer 'lexcal'\. Did you mean 'lexical'",
    ),
    (
        {"optimizer": {"name": "hill-climb", "proposer": {"name": "lexical", "explor": 1}}},
        r"optimizer\.proposer: unknown option 'explor'\. Did you mean 'explore'",
    ),
    ({"optimizer": {"name": "hill-climb", "proposer": "chat"}}, r"optimizer\.proposer: model must be given"),
    ({"optimizer": "random-search"}, r"optimizer: pool must be given"),
    ({"optimizer": 5}, r"optimizer is 5; give a name, a table"),
    ({"scorer": None}, r"say how prompts are scored: score"),
    ({"scorer": "os:sep"}, r"scorer: cannot load 'os:sep': 'sep' is '/', which makes no part"),
    ({"scorer": "bradley-terry"}, r"scorer: scorer must be given"),
    ({"target": {"name": "klip"}}, r"target: unknown target 'klip'\. Did you mean 'clip'"),
    ({"target": {"name": "local-lm", "model": "m", "one_pass": False}}, r"target: unknown option 'one_pass'\."),
    ({"data": {"name": "run_parts:toy_data", "trian": 3}}, r"data: unknown option 'trian'\. Did you mean 'train'"),
    ({"data": [1]}, r"give a list of at least two examples"),
    ({"data": 1}, r"data is 1; give a name"),
]


def test_the_good_recipe_is_good() -> None:
    plan = prepare(GOOD)
    assert isinstance(plan.optimizer, HillClimb)
    assert plan.budget == Budget(questions=20)


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_recipe_says_where_and_what_is_allowed(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare({**GOOD, **change})


@pytest.mark.parametrize("missing", ["start", "scorer"])
def test_what_a_recipe_must_have(missing: str) -> None:
    with pytest.raises(UserError, match=r"start is missing|say how prompts are scored"):
        prepare({key: value for key, value in GOOD.items() if key != missing})


class Knows(Function):
    """A target that knows the prompt of today."""

    start = "look for {}"


@pytest.mark.parametrize(("own", "start"), [({}, "look for {}"), ({"start": "find {}"}, "find {}")])
def test_a_target_may_know_what_the_search_starts_from(own: dict[str, Any], start: str) -> None:
    target = Knows(function=lambda prompt, example: prompt)
    plan = prepare({"target": target, "data": [("a", "b"), ("c", "d")], "optimizer": CLIMB, "budget": 20, **own})
    assert plan.start == (Prompt(start),)


def test_nested_parts_are_built() -> None:
    recipe = {**GOOD, "optimizer": {**CLIMB, "pool": {"name": "list", "prompts": ["x {}"]}}}
    optimizer = prepare(recipe).optimizer
    assert isinstance(optimizer, HillClimb)
    assert isinstance(optimizer.proposer, LexicalProposer)
    assert isinstance(optimizer.pool, ListPool)
    assert (optimizer.restarts, optimizer.k) == (2, 4)


def test_parts_with_mappings_are_not_taken_for_tables() -> None:
    space = types.MappingProxyType({"questions": 5})
    assert prepare({**GOOD, "budget": space}).budget == Budget(questions=5)


# ── Plug-ins ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_parts_are_known_by_types_that_only_a_type_checker_imports() -> None:
    table = {
        "model": {"name": "run_parts:judge_model"},
        "inner": {"name": "run_parts:Words"},
        "pool": {"name": "list", "prompts": ["a"]},
        "weights": [0.5, 0.5],
        "size": 2,
    }
    built = call_weighted(table)
    assert isinstance(built.inner, Words)
    assert isinstance(built.pool, ListPool)
    assert built.model.name == "judge"
    assert (built.weights, built.size) == ([0.5, 0.5], 2)
    with pytest.raises(UserError, match=r"here\.size is 'two'"):
        call_weighted({**table, "size": "two"})
    with pytest.raises(UnknownName, match=r"here\.pool: unknown pool 'lsit'"):
        call_weighted({**table, "pool": {"name": "lsit"}})


def call_weighted(table: Mapping[str, Any]) -> Any:
    from plug_in_parts import Weighted

    return call(Weighted, table, where="here")


@pytest.mark.parametrize("given", ["five", "none of our pools"])
def test_a_class_that_is_named_like_a_part_is_none(given: str) -> None:
    from plug_in_parts import Pool, Swims

    assert call(Swims, {"pool": given}, where="here").pool == given
    pool = Pool(3)
    assert call(Swims, {"pool": pool, "lanes": [pool]}, where="here").pool is pool
