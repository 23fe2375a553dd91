"""Duels from ratings, ratings from duels."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import promptopt
from promptopt import optimize
from promptopt.api import prepare
from promptopt.core import Duel, Preference, Prompt, Rate, Rating, Winner
from promptopt.errors import UserError
from promptopt.optimizers.apohf import Apohf
from promptopt.optimizers.pools.listed import ListPool
from promptopt.scorers import BradleyTerry, FunctionScorer, WinRate
from promptopt.scorers.adapters import STANDARD, meet
from promptopt.testing import FakeSetup

A, B, C = Prompt("a"), Prompt("bb"), Prompt("ccc")
VALUES = {"a": 0.1, "bb": 0.3, "ccc": math.nan}


def bradley_terry(scale: float = 10.0, *, seed: int = 0) -> BradleyTerry:
    scorer = BradleyTerry(scorer=FunctionScorer(VALUES.__getitem__), scale=scale)
    scorer.begin(FakeSetup(seed=seed))
    return scorer


def winners(scorer: BradleyTerry, duels: Sequence[Duel]) -> list[Winner]:
    return [answer.winner for answer in scorer.answer(duels)]


# ── BradleyTerry ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_wins_are_as_likely_as_the_model_says(scale: float) -> None:
    n = 2_000
    wins = winners(bradley_terry(scale), [Duel(B, A, number=i) for i in range(n)]).count("a")
    probability = 1 / (1 + math.exp(-scale * 0.2))
    assert stats.binomtest(wins, n, probability).pvalue > 0.001


def test_a_draw_depends_on_the_duels_number_alone() -> None:
    duels = [Duel(A, B, number=i) for i in range(50)]
    scorer = bradley_terry()
    together = winners(scorer, duels)
    assert winners(scorer, duels[::-1])[::-1] == together
    assert [winners(scorer, [duel])[0] for duel in duels] == together
    assert winners(bradley_terry(seed=1), duels) != together
    assert {"a", "b"} == set(together)


def test_without_noise_the_higher_one_wins_and_equals_tie() -> None:
    duels = [Duel(A, B), Duel(B, A), Duel(A, A)]
    assert winners(bradley_terry(math.inf), duels) == ["b", "a", "tie"]


def test_what_could_not_be_rated_cannot_be_preferred() -> None:
    for scale in (10.0, math.inf):
        assert winners(bradley_terry(scale), [Duel(A, C), Duel(C, A), Duel(C, C)]) == ["unknown"] * 3


def test_extreme_differences_do_not_overflow() -> None:
    scorer = BradleyTerry(scorer=FunctionScorer({"a": -1e300, "bb": 1e300}.__getitem__), scale=1e300)
    scorer.begin(FakeSetup())
    assert winners(scorer, [Duel(A, B, number=0), Duel(B, A, number=1)]) == ["b", "a"]


def test_each_prompt_of_a_batch_is_rated_once() -> None:
    asked: list[str] = []
    scorer = BradleyTerry(scorer=FunctionScorer(lambda text: asked.append(text) or 0.0))
    scorer.begin(FakeSetup())
    scorer.answer([Duel(A, B, number=0), Duel(B, A, number=1), Duel(A, C, number=2)])
    assert asked == ["a", "bb", "ccc"]


def test_standardised_ratings_are_in_standard_deviations() -> None:
    """P(a beats b) as the paper's simulated annotator has it, from fifty prompts drawn with replacement."""
    values = dict(zip("abcdefgh", np.random.default_rng(0).uniform(0.4, 0.5, 8), strict=True))
    scorer = BradleyTerry(scorer=FunctionScorer(values.__getitem__), scale=2.0, standardise=50)
    setup = FakeSetup()
    scorer.begin(setup)
    prompts = [Prompt(text) for text in values]
    questions = scorer.calibration(prompts)
    assert len(set(questions)) == len(questions) <= 8
    scorer.calibrate(list(zip(questions, scorer.scorer.answer(questions), strict=True)))
    drawn = setup.rng(STANDARD).choice(8, 50)
    ratings = np.array(list(values.values()))
    standardised = (ratings - ratings[drawn].mean()) / ratings[drawn].std()
    best, worst = int(np.argmax(ratings)), int(np.argsort(ratings)[-3])
    probability = 1 / (1 + math.exp(-2.0 * (standardised[best] - standardised[worst])))
    assert 0.6 < probability < 0.98
    wins = winners(scorer, [Duel(prompts[best], prompts[worst], number=i) for i in range(2_000)]).count("a")
    assert stats.binomtest(wins, 2_000, probability).pvalue > 0.001


def test_prompts_that_are_all_alike_are_not_divided_by_nothing() -> None:
    scorer, setup = BradleyTerry(scorer=FunctionScorer(lambda text: 0.5), standardise=5), FakeSetup()
    scorer.begin(setup)
    questions = scorer.calibration([A, B, C])
    scorer.calibrate([(question, Rating(math.nan if question.prompt == C else 0.5)) for question in questions])
    assert any("same rating" in note for note in setup.notes)
    assert winners(scorer, [Duel(A, B, number=i) for i in range(20)]).count("a") in range(3, 18)


def standardised_run(folder: Path, rated: list[str], *, budget: int) -> Any:
    def score(text: str) -> float:
        rated.append(text)
        return len(text) / 7

    optimizer = Apohf(pool=ListPool(prompts=["a" * n for n in range(2, 12)]))
    scorer = BradleyTerry(scorer=FunctionScorer(score), standardise=50)
    result = promptopt.optimize(start="a", optimizer=optimizer, scorer=scorer, budget=budget, run=folder)
    return optimizer, result


def test_standardising_is_recorded_apart_and_no_question_and_not_done_again(tmp_path: Path) -> None:
    rated: list[str] = []
    optimizer, result = standardised_run(tmp_path / "run", rated, budget=3)
    stages = [step.stage for step in result.steps]
    before = stages.count("calibration")
    assert before == len(set(rated[:before])) > 5
    assert stages.count("search") == result.costs.questions == 3
    assert optimizer._record.asked == optimizer._record.answered == 3
    assert not result.candidates  # what the search was told are duels
    events = list(map(json.loads, (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()))
    assert sum(event.get("stage") == "calibration" for event in events) == before
    rated.clear()
    _, longer = standardised_run(tmp_path / "run", rated, budget=8)
    assert rated == []  # standardising has rated them all
    assert longer.costs.questions == 8
    whole = standardised_run(tmp_path / "whole", [], budget=8)[1]
    assert longer.history() == whole.history()


def test_standardising_needs_an_optimizer_that_knows_its_prompts() -> None:
    class Pairs:
        question = Duel

        def begin(self, setup: Any, /) -> None: ...

        def ask(self) -> list[Duel]:
            return [Duel(A, B)]

        def best(self) -> Prompt:
            return A

    scorer = BradleyTerry(scorer=FunctionScorer(len), standardise=10)
    with pytest.raises(UserError, match="apohf"):
        promptopt.optimize(start="a", optimizer=Pairs(), scorer=scorer, run=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [-1, 1, math.nan])
def test_what_is_standardised_on_is_two_prompts_or_more(number: float) -> None:
    with pytest.raises(UserError, match="2 prompts or more"):
        BradleyTerry(scorer=FunctionScorer(len), standardise=number)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0, -1, math.nan])
def test_a_scale_is_positive(scale: float) -> None:
    with pytest.raises(UserError, match=r"scale is .*; allowed is a number above 0"):
        bradley_terry(scale)


# ── WinRate ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Says:
    """Answers duels as told, and notes them."""

    question = Duel

    def __init__(self, *answers: Winner) -> None:
        self.answers = iter(answers)
        self.asked: list[Duel] = []

    def answer(self, questions: Sequence[Duel], /) -> list[Preference]:
        self.asked += questions
        return [Preference(next(self.answers)) for _ in questions]


def win_rate(*answers: Winner, **options: Any) -> tuple[WinRate, Says]:
    says = Says(*answers)
    scorer = WinRate(scorer=says, **options)
    scorer.begin(FakeSetup(start=["start"]))
    return scorer, says


@pytest.mark.parametrize(
    ("answers", "value", "points"),
    [
        (["a", "b"], 1.0, [1, 1]),
        (["b", "a"], 0.0, [0, 0]),
        (["a", "a"], 0.5, [1, 0]),
        (["tie", "b"], 0.75, [0.5, 1]),
        (["unknown", "b"], 1.0, [math.nan, 1]),
        (["unknown", "unknown"], math.nan, [math.nan, math.nan]),
        (["a", "b", "b", "tie"], 0.625, [1, 1, 0, 0.5]),
    ],
)
def test_a_rating_is_wins_and_half_the_ties_over_the_duels_decided(
    answers: list[Winner], value: float, points: list[float]
) -> None:
    scorer, says = win_rate(*answers, repeats=len(answers))
    [rating] = scorer.answer([Rate(A, number=3)])
    np.testing.assert_equal(rating.value, value)
    np.testing.assert_array_equal(rating.per_example, points)
    assert [duel.a == A for duel in says.asked] == [i % 2 == 0 for i in range(len(answers))]


def test_no_two_duels_of_a_run_have_the_same_number() -> None:
    scorer, says = win_rate(*["a"] * 9, repeats=3)
    list(scorer.answer([Rate(A, number=i) for i in range(3)]))
    assert [duel.number for duel in says.asked] == list(range(9))


def test_the_reference_is_given_or_the_start() -> None:
    for options, text in (({}, "start"), ({"reference": "other"}, "other"), ({"reference": ""}, "")):
        scorer, says = win_rate("a", "a", **options)
        list(scorer.answer([Rate(A, number=0)]))
        assert says.asked[0].b == Prompt(text)


def test_ratings_come_one_by_one() -> None:
    scorer, says = win_rate(*["a"] * 4)
    answers = scorer.answer([Rate(A, number=0), Rate(B, number=1)])
    next(answers)
    assert len(says.asked) == 2


def test_repeats_are_at_least_one() -> None:
    with pytest.raises(UserError, match="repeats is 0; allowed is 1 or more"):
        win_rate(repeats=0)


# ── Together ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_and_back_keeps_the_order() -> None:
    scores = {"bad": 0.0, "fair": 0.5, "good": 1.0}
    scorer = WinRate(scorer=BradleyTerry(scorer=FunctionScorer(scores.__getitem__), scale=math.inf), reference="fair")
    scorer.begin(FakeSetup())
    ratings = scorer.answer([Rate(Prompt(text), number=i) for i, text in enumerate(scores)])
    assert [rating.value for rating in ratings] == [0.0, 0.5, 1.0]


def test_a_scorer_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(UserError, match="FunctionScorer decides no duels"):
        WinRate(scorer=FunctionScorer(len))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="BradleyTerry gives no ratings"):
        BradleyTerry(scorer=bradley_terry())  # type: ignore[arg-type]


def test_rating_is_comparable_to_itself() -> None:
    assert Rating(0.5) == Rating(0.5, per_example=np.zeros(2))


# ── Optimizers and scorers that ask and answer otherwise ──────────────────────────────────────────────────────────


def test_every_scorer_meets_every_question() -> None:
    ratings, duels = FunctionScorer(len), bradley_terry()
    assert meet(Rate, ratings) is ratings
    assert meet(Duel, duels) is duels
    found = meet(Duel, ratings)
    assert isinstance(found, BradleyTerry)
    assert math.isinf(found.scale)
    assert isinstance(meet(Rate, duels), WinRate)


def test_adapters_say_what_they_do() -> None:
    setup = FakeSetup(start=["a"])
    for scorer in (meet(Duel, FunctionScorer(len)), BradleyTerry(scorer=FunctionScorer(len)), meet(Rate, Decides())):
        scorer.begin(setup)  # type: ignore[attr-defined]
    assert setup.notes == [
        "Duels are decided by the ratings of FunctionScorer: the higher one wins.",
        "Duels are decided by the ratings of FunctionScorer: P(a wins) = sigmoid(10 x difference).",
        "Ratings are win rates over the starting prompt, from 2 duels each.",
    ]


class Decides:
    """The longer prompt wins."""

    question = Duel

    def answer(self, questions: Sequence[Duel], /) -> list[Preference]:
        return [Preference("a" if len(q.a.text) > len(q.b.text) else "b") for q in questions]


WORDS = ["one", "two", "three", "four", "five"]


@pytest.mark.parametrize(
    ("optimizer", "given", "note"),
    [
        (
            {"name": "random-duel", "pool": {"name": "list", "prompts": WORDS}},
            {"score": len},
            "Duels are decided by the ratings of FunctionScorer: the higher one wins.",
        ),
        (
            {"name": "random-search", "pool": {"name": "list", "prompts": WORDS}},
            {"scorer": Decides()},
            "Ratings are win rates over the starting prompt, from 2 duels each.",
        ),
    ],
)
def test_a_run_wraps_its_scorer_by_itself(optimizer: dict[str, Any], given: dict[str, Any], note: str) -> None:
    result = optimize(start="start", optimizer=optimizer, **given, budget=30, run=None)
    assert note in result.notes
    assert len(result.best) >= 4
    assert result.steps


def test_win_rates_need_something_to_win_against() -> None:
    with pytest.raises(UserError, match="no prompt to start from"):
        WinRate(scorer=Decides()).begin(FakeSetup(start=[]))
    WinRate(scorer=Decides(), reference="me").begin(FakeSetup(start=[]))


# ── How often prompts are rated ───────────────────────────────────────────────────────────────────────────────────

TEN = [f"prompt {'x' * i}" for i in range(10)]


class Notes:
    """Rates by length and by the number of the question, which it notes."""

    question = Rate

    def __init__(self) -> None:
        self.asked: list[Rate] = []

    def answer(self, questions: Sequence[Rate], /) -> list[Rating]:
        self.asked += questions
        return [Rating(len(q.prompt.text) + 3 * FakeSetup().rng(q.number).random()) for q in questions]


def sixty_duels(scorer: Notes, run: Path | None = None, *, budget: int = 60, **changes: Any) -> Any:
    return optimize(
        start=TEN[0],
        optimizer={"name": "random-duel", "pool": {"name": "list", "prompts": TEN[1:]}},
        scorer=BradleyTerry(scorer=scorer, scale=1.0, **changes),
        budget=budget,
        run=run,
    )


def test_a_prompt_is_rated_once_however_many_duels_it_plays() -> None:
    notes = Notes()
    result = sixty_duels(notes)
    assert result.costs.questions == 60
    assert len(notes.asked) == len({q.prompt for q in notes.asked}) == len(TEN)
    assert len({q.number for q in notes.asked}) == len(TEN)
    assert all(q.number // 2 < 60 for q in notes.asked)
    news = [step.answer.details["new"] for step in result.steps]
    assert sum(news) == len(TEN)


def test_without_that_every_duel_has_both_its_prompts_rated() -> None:
    notes = Notes()
    sixty_duels(notes, rate_once=False)
    assert [q.number for q in notes.asked] == list(range(120))


def test_the_runs_cache_decides_unless_the_recipe_does() -> None:
    duels = {"name": "random-duel", "pool": {"name": "list", "prompts": TEN}}
    for cache, own, once in [(True, {}, True), (False, {}, False), (False, {"rate_once": True}, True)]:
        named = {"name": "bradley-terry", "scorer": {"name": "run_parts:Words"}, **own}
        for scorer in (named, {"name": "run_parts:Words"}) if not own else (named,):
            plan = prepare({"start": "a", "optimizer": duels, "scorer": scorer, "cache": cache})
            assert plan.scorer.rate_once is once  # type: ignore[attr-defined]


def test_a_resumed_run_rates_nothing_again_and_goes_on_alike(tmp_path: Path) -> None:
    sixty_duels(Notes(), tmp_path, budget=25)
    again = Notes()
    resumed = sixty_duels(again, tmp_path, budget=60)
    whole = sixty_duels(Notes())
    assert resumed.history() == whole.history()
    assert len(again.asked) == len(TEN) - len({p for s in whole.steps[:25] for p in (s.question.a, s.question.b)})


def test_ledgers_from_before_ratings_were_kept_go_on() -> None:
    scorer = BradleyTerry(scorer=Notes())
    scorer.begin(FakeSetup())
    scorer.remember(Duel(A, B, number=0), Preference("a"))
    scorer.remember(Duel(A, C, number=1), Preference("unknown", {"reasons": {"no output": 2}}))
    assert scorer.weight(Duel(A, B), Preference("a")) == 2
    [answer] = scorer.answer([Duel(A, B, number=2)])
    assert answer.details["new"] == 2
    [answer] = scorer.answer([Duel(A, B, number=3)])
    assert answer.details["new"] == 0


def test_a_prompt_without_a_rating_is_tried_again() -> None:
    scorer = bradley_terry()
    for number in range(2):
        [answer] = scorer.answer([Duel(A, C, number=number)])
        assert answer.winner == "unknown"
        assert answer.details["new"] == (2, 1)[number]


def test_the_rating_beside_a_missing_one_is_kept_over_a_resumption() -> None:
    live = bradley_terry()
    [answer] = live.answer([Duel(A, C, number=0)])
    assert answer.details["ratings"][1] is None
    resumed = bradley_terry()
    resumed.remember(Duel(A, C, number=0), Preference(answer.winner, json.loads(json.dumps(answer.details))))
    for number, duel in enumerate((Duel(A, C), Duel(A, B)), start=1):
        [one], [other] = (scorer.answer([Duel(duel.a, duel.b, number=number)]) for scorer in (live, resumed))
        assert (one, one.details) == (other, other.details)


def test_the_number_of_a_rating_does_not_depend_on_what_is_known() -> None:
    for known in ((), (A,)):
        notes = Notes()
        scorer = BradleyTerry(scorer=notes)
        scorer.begin(FakeSetup())
        for prompt in known:
            scorer.answer([Duel(prompt, prompt, number=0)])
        scorer.answer([Duel(A, B, number=4)])
        assert [rate.number for rate in notes.asked if rate.prompt == B] == [9]
