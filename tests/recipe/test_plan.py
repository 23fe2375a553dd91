"""From a recipe to its parts: what is built, and how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from run_parts import START, Right, chance, toy_data

from promptopt import Result, optimize
from promptopt.api import prepare
from promptopt.core import ChatModel, Example, Message, Prompt, Request, Setup
from promptopt.sweep.parts import Parts
from promptopt.testing import ScriptedModel

JUDGE = {"name": f"{__name__}:Counted", "model": "judge"}
TARGET = {"name": f"{__name__}:Counted", "model": "target"}
built: list[str] = []


class Counted(ScriptedModel):
    """A chat model whose constructions are counted."""

    def __init__(self, *, model: str) -> None:
        built.append(model)
        super().__init__(lambda _: '{"critique": "", "rating": "good"}', name=model)


class Chat:
    """A target with a chat model."""

    metric = "run_parts:Right"

    def __init__(self, *, model: ChatModel) -> None:
        self.model = model

    def begin(self, setup: Setup, /) -> None:
        self._billed = setup.model(self.model, role="target")

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        return [self._billed.complete(Request([Message("user", prompt.text)])).replies[0].text for _ in examples]


@pytest.fixture(autouse=True)
def count(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    built.clear()
    yield
    built.clear()


def recipe(**changes: Any) -> dict[str, Any]:
    return {
        "start": START,
        "target": {"name": f"{__name__}:Chat", "model": TARGET},
        "data": {"name": "run_parts:toy_data"},
        "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": ["one {}", "two {}"]}},
        "run": None,
        **changes,
    }


# ── Metrics ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Measure(Right):
    """A metric whose constructions are counted."""

    def __init__(self) -> None:
        built.append("metric")


def test_a_metric_is_built_once_for_all_splits() -> None:
    prepare(recipe(target={"name": "run_parts:ToyTarget"}, metric=f"{__name__}:Measure"))
    assert built == ["metric"]


# ── Models ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_judge_that_rates_on_every_split_is_built_once() -> None:
    plan = prepare(recipe(scorer={"name": "judge-rating", "model": JUDGE}))
    assert built == ["target", "judge"]
    scorers = [plan.scorer, plan.dev, plan.test]
    assert len({id(scorer) for scorer in scorers}) == 3
    [judge] = {id(scorer._judge._model): scorer._judge._model for scorer in scorers}.values()  # type: ignore[union-attr]
    assert [model.name for model in plan.models] == ["target", "judge"]
    assert judge is plan.models[1]


def test_a_judge_of_duels_is_built_once() -> None:
    prepare(recipe(scorer={"name": "judge-duel", "model": JUDGE}, optimizer={**recipe()["optimizer"]}))
    assert built == ["target", "judge"]


def test_parts_of_a_recipe_that_name_the_same_model_share_it() -> None:
    plan = prepare(
        recipe(
            scorer={"name": "judge-rating", "model": TARGET},
            optimizer={"name": "hill-climb", "proposer": {"name": "chat", "model": dict(TARGET)}},
            transfer={"other": {"name": f"{__name__}:Chat", "model": dict(TARGET)}},
        )
    )
    assert built == ["target"]
    assert plan.optimizer.proposer._asker._model is plan.target.model  # type: ignore[attr-defined, union-attr]


def test_models_that_differ_in_an_option_are_two() -> None:
    prepare(recipe(scorer={"name": "judge-rating", "model": {**TARGET, "model": "target 2"}}))
    assert built == ["target", "target 2"]


def test_two_runs_do_not_share_a_model() -> None:
    one, other = prepare(recipe()), prepare(recipe())
    assert built == ["target", "target"]
    assert one.models != other.models


def test_the_runs_of_a_sweep_share_the_models_of_their_scorers() -> None:
    parts = Parts()
    plans = [parts.plan(recipe(scorer={"name": "judge-rating", "model": JUDGE}, seed=seed)) for seed in range(3)]
    assert built == ["target", "judge"]
    assert len(plans[0].models) == 2  # so that the keys of both are checked before the first run


# ── What is kept back for the verdict ─────────────────────────────────────────────────────────────────────────────

CALLS = 1_500
POOL = {"name": "list", "prompts": [f"prompt {i} {{}}" for i in range(400)]}
RANDOM = {"name": "random-search", "pool": POOL}
DUELS = {"name": "random-duel", "pool": POOL}
DUEL_JUDGE = {"name": "judge-duel", "model": f"{__name__}:duel_judge", "n_examples": 4}
SEARCHES: dict[str, dict[str, Any]] = {
    "ratings": {"optimizer": RANDOM},
    "racing": {"optimizer": {"name": "racing", "optimizer": RANDOM}},
    "duels by ratings": {"optimizer": DUELS},
    "duels by ratings, all anew": {"optimizer": DUELS, "cache": False},
    "duels by a judge": {"optimizer": DUELS, "scorer": DUEL_JUDGE},
    "ratings by duels of a judge": {"optimizer": RANDOM, "scorer": DUEL_JUDGE},
    "ratings by a judge": {"optimizer": RANDOM, "scorer": {"name": "judge-rating", "model": JUDGE}},
}


def duel_judge() -> ChatModel:
    return ScriptedModel(lambda _: '{"critique": "", "better": "first"}', name="duel judge")


class Told:
    """What a chat model answers is worth something by chance."""

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float]:
        return [float(chance(output, example.id) < 0.5) for output, example in zip(outputs, examples, strict=True)]


class Says(Chat):
    """A target that answers with the prompt and the example, at one call an example."""

    def __init__(self) -> None:
        super().__init__(model=ScriptedModel(lambda messages: f"says {messages[-1].text}", name="says"))

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        asked = [Message("user", f"{prompt.text} {example.id}") for example in examples]
        return [self._billed.complete(Request([message])).replies[0].text for message in asked]


def searched(**changes: Any) -> Result:
    return optimize(
        start=START,
        target=Says(),
        metric=Told(),
        data=toy_data(train=80, dev=0, test=80),
        budget={"calls": CALLS},
        reply_cache=False,
        run=None,
        **changes,
    )


@pytest.mark.parametrize("search", SEARCHES)
def test_what_is_kept_back_pays_for_the_verdict_and_is_not_much_more(search: str) -> None:
    result = searched(**SEARCHES[search])
    assert result.stop_reason == "budget: calls"
    assert result.verdict is not None, result.notes
    assert (0.75 if search == "ratings by a judge" else 0.8) * CALLS < result.costs.calls <= CALLS


@pytest.mark.parametrize("search", ["ratings", "racing", "duels by ratings", "duels by a judge"])
def test_what_is_kept_back_pays_for_every_transfer(search: str) -> None:
    result = searched(**SEARCHES[search], transfer={name: Says() for name in ("one", "two", "three")})
    assert result.verdict is not None
    assert set(result.transfers) == {"one", "two", "three"}, result.notes
    assert result.costs.calls <= CALLS
