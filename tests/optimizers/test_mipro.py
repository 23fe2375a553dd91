"""The joint search: what it finds, what it chooses among, and that the estimator does better than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from promptopt import Rating, UserError, optimize
from promptopt.core import Case, Message
from promptopt.demonstrations import of_prompt
from promptopt.optimizers import Mipro
from promptopt.optimizers.mipro import Pairs
from promptopt.optimizers.pools import ListPool
from promptopt.parts import parts_of, text_of
from promptopt.testing import FakeSetup

from .like_examples import DATA, LISTED, START, TRAIN, Likes, ids

POOL = ["Say how.", "Look at demonstrations.", "Guess."]


class Looks(Likes):
    """Looks at demonstrations if the instruction says so, and only then."""

    def reply(self, messages: Sequence[Message]) -> str:
        return super().reply(messages) if "Look" in messages[-1].text else "?"


def searched(start: Any = START, **options: Any) -> Any:
    optimizer = {"name": "mipro", "pool": {"name": "list", "prompts": POOL}, "bootstrap": False, **options}
    target = {"name": "chat", "model": Looks()}
    given: dict[str, Any] = {"metric": "exact-match", "data": DATA, "run": None, "budget": 200, "watch": False}
    return optimize(start=start, target=target, optimizer=optimizer, **given)


@pytest.mark.parametrize("minibatch", [8, 35])
def test_it_finds_the_instruction_and_the_demonstrations_that_only_work_together(minibatch: int) -> None:
    result = searched(minibatch=minibatch, trials=30)
    assert result.parts["instruction"] == "Look at demonstrations."
    assert len(ids(result.best)) == 4
    assert result.verdict.start == 0.0
    assert result.verdict.best >= 0.5
    assert not result.warnings


def test_what_it_chooses_among() -> None:
    search = Mipro(
        pool=ListPool(prompts=[*POOL, START["instruction"]]), examples=TRAIN, instructions=3, sets=5, trials=99
    )
    setup = FakeSetup(start=[LISTED, text_of({**START, "demonstrations": "train/bird3"})])
    search.begin(setup)
    asked = search.ask()
    assert all(question.cases for question in asked)
    said = tuple(Case(e.id, f"so {e.label}", 1.0) for e in TRAIN)
    search.tell([(question, Rating(i, cases=said)) for i, question in enumerate(asked)])
    while batch := search.ask():
        asked += batch
        search.tell([(question, Rating(0.0)) for question in batch])
    parts = [parts_of(question.prompt.text) for question in asked]
    assert len({one["instruction"] for one in parts}) == 3
    sets = [of_prompt(one) for one in {question.prompt.text for question in asked}]
    distinct = {one for one in sets if len(one) == 4}
    assert {one.output is None for shown in distinct for one in shown} == {True, False}
    assert len({shown for shown in distinct if shown[0].output is None}) == 1
    assert 3 <= len(distinct) <= 4


def test_the_pair_of_the_highest_mean_is_rated_on_all_examples() -> None:
    search = Mipro(pool=ListPool(prompts=POOL), examples=TRAIN, bootstrap=False, minibatch=5, full=2, trials=12)
    search.begin(FakeSetup(start=[LISTED]))
    rng, means, whole = np.random.default_rng(0), {}, []
    while batch := search.ask():
        [question] = batch
        value = float(rng.random())
        if question.on:
            assert len(question.on) == len(set(question.on)) == 5
            means.setdefault(question.prompt, []).append(value)
        else:
            whole.append(question.prompt)
            left = {p: np.mean(v) for p, v in means.items() if p not in whole[:-1]}
            assert not left or question.prompt == max(left, key=left.__getitem__)
        search.tell([(question, Rating(value))])
    assert len(whole) == len(set(whole)) == 7
    assert search.best() in whole


def test_the_estimator_asks_more_often_for_what_is_good() -> None:
    pairs = Pairs({"a": list("0123456789"), "b": list("0123456789")}, seed=0)
    asked = []
    for _ in range(60):
        pair = pairs.ask()
        asked.append(pair)
        pairs.tell(float((pair["a"] == 3) + (pair["b"] == 7)))
    good = [(one["a"] == 3) + (one["b"] == 7) for one in asked]
    assert sum(good[20:]) >= 2 * 0.2 * len(good[20:])  # twice as often as by chance
    assert pairs.texts(next(pairs.ranked())) == {"a": "3", "b": "7"}


def test_what_could_not_be_rated_is_no_reason_to_stop() -> None:
    pairs = Pairs({"a": ["x", "y"]}, seed=0)
    for _ in range(3):
        pairs.ask()
        pairs.tell(float("nan"))
    pairs.add({"a": 1}, float("nan"))
    assert not list(pairs.ranked())


def test_optuna_is_quiet_and_left_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    searched(trials=3)
    assert optuna.logging.get_verbosity() == before
    assert "rial" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("start", "options", "said"),
    [
        ({"instruction": "Go."}, {}, "changes the part demonstrations, which the start has not"),
        ({"system": "Go.", "demonstrations": ""}, {}, "changes the part instruction, which the start has not"),
        (START, {"trials": 0}, "trials is 0"),
        (START, {"k": 20}, "k is 20, but there are 20 training examples"),
    ],
)
def test_mistakes(start: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        searched(start, **options)
