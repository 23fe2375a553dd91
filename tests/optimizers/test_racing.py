"""Racing saves examples, keeps the best, and tells the inner optimizer nothing that is not so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from promptopt.core import Case, Duel, Example, Prompt, Rate, Rating, Setup
from promptopt.errors import UserError
from promptopt.optimizers import HillClimb, LexicalProposer
from promptopt.optimizers.racing import IDLE_BATCHES, Racing, clearly_worse
from promptopt.record.codec import Answer, Question
from promptopt.run.loop import Run
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import OptimizerContract

if TYPE_CHECKING:
    from promptopt.core import Array

N = 80
EXAMPLES = [Example(f"e{i}", i, i) for i in range(N)]
PLACE = {example.id: i for i, example in enumerate(EXAMPLES)}
Values = dict[str, "Array"]


class Batches:
    """Asks for given batches of texts, and remembers what it is told."""

    question: Any = Rate

    def __init__(self, *batches: Sequence[str], on: tuple[str, ...] = ()) -> None:
        self.batches = batches
        self.on = on

    def begin(self, setup: Setup, /) -> None:
        self.left = list(self.batches)
        self.told: list[tuple[Rate, Rating]] = []
        self._best, self._rank = setup.start[0], (-math.inf, -math.inf)

    def ask(self) -> list[Rate]:
        return [Rate(Prompt(text), self.on) for text in self.left.pop(0)] if self.left else []

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        self.told += answered
        for question, rating in answered:
            if rating.rank > self._rank:
                self._best, self._rank = question.prompt, rating.rank

    def best(self) -> Prompt:
        return self._best

    @property
    def ratings(self) -> dict[str, Rating]:
        return {question.prompt.text: rating for question, rating in self.told}


def rate(question: Rate, values: Values, *, per_example: bool = True) -> Rating:
    """What a scorer would say of a prompt with these values."""
    all_of_it = values[question.prompt.text]
    asked = all_of_it[[PLACE[one] for one in question.on]] if question.on else all_of_it
    scored = asked[~np.isnan(asked)]
    mean = float(scored.mean()) if len(scored) else math.nan
    return Rating(mean, 0.25, asked if per_example else None, f"of {question.prompt.text}")


def race(
    inner: Any, values: Values, *, seed: int = 0, answer: Callable[[Rate], Rating] | None = None, **options: Any
) -> tuple[Racing, list[list[Rate]], FakeSetup]:
    racing = Racing(optimizer=inner, examples=EXAMPLES, **{"minibatch": 10, **options})
    setup = FakeSetup(start=["start"], seed=seed)
    racing.begin(setup)
    asked = []
    while batch := racing.ask():
        asked.append(list(batch))
        racing.tell([(q, answer(q) if answer else rate(q, values)) for q in batch])
    return racing, asked, setup


def ones(share: float, *, seed: int = 0) -> Array:
    """So many 1 among 0, in random places."""
    values = np.zeros(N)
    values[: round(share * N)] = 1.0
    return np.random.default_rng(seed).permutation(values)


GOOD_AND_BAD = {"good": ones(0.9, seed=1), "bad": ones(0.1, seed=2), "close": ones(0.85, seed=3)}


# ── The contract ──────────────────────────────────────────────────────────────────────────────────────────────────


class TestContractWithoutValues(OptimizerContract):
    """The contract's answers have no values per example."""

    def make(self) -> Racing:
        proposer = LexicalProposer(phrases=["small", "large", "blurry", "clean"], conversation="continued")
        inner = HillClimb(proposer=proposer, k=3, per_call=3, iterations=3)
        return Racing(optimizer=inner, examples=EXAMPLES, minibatch=20)


class TestContractWithValues(TestContractWithoutValues):
    """Here prompts are dropped."""

    def _answer(self, question: Question) -> Answer:
        assert isinstance(question, Rate)
        quality = self.quality(question.prompt)
        n = len(question.on) or N
        return Rating(quality, per_example=np.full(n, quality))


# ── What is asked ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_clearly_worse_prompt_is_dropped_and_the_saving_counted() -> None:
    _, asked, setup = race(Batches(["good", "bad", "close"]), GOOD_AND_BAD)
    texts = [[question.prompt.text for question in batch] for batch in asked]
    assert texts[0] == ["good", "bad", "close"]
    assert texts[-1] == ["good", "close"]
    rated = sum(len(question.on) for batch in asked for question in batch if question.prompt.text == "bad")
    assert rated in (10, 20)
    assert setup.counts == {"prompts dropped: race lost": 1, "examples not rated: race lost": N - rated}


def test_minibatches_double_and_cover_every_example_once() -> None:
    _, asked, _ = race(Batches(["good", "close"]), GOOD_AND_BAD)
    parts = [batch[0].on for batch in asked]
    assert [len(part) for part in parts] == [10, 10, 20, 40]
    assert sorted(one for part in parts for one in part) == sorted(PLACE)
    assert all(question.on == part for batch, part in zip(asked, parts, strict=True) for question in batch)


def test_the_order_is_drawn_anew_for_each_batch_and_by_the_seed() -> None:
    def firsts(seed: int) -> list[tuple[str, ...]]:
        _, asked, _ = race(Batches(["good", "bad"], ["close"]), GOOD_AND_BAD, seed=seed)
        return [next(batch[0].on for batch in asked if batch[0].prompt.text == text) for text in ("good", "close")]

    assert firsts(0) == firsts(0) != firsts(1)
    assert len(set(firsts(0))) == 2


def test_a_prompt_alone_is_rated_at_once() -> None:
    _, asked, _ = race(Batches(["good"]), GOOD_AND_BAD)
    assert asked == [[Rate(Prompt("good"))]]


def test_few_examples_are_one_minibatch() -> None:
    _, asked, _ = race(Batches(["good", "bad"]), GOOD_AND_BAD, minibatch=N)
    assert asked == [[Rate(Prompt("good")), Rate(Prompt("bad"))]]


def test_the_incumbent_of_earlier_batches_is_in_the_race() -> None:
    _, asked, setup = race(Batches(["good"], ["bad"]), GOOD_AND_BAD)
    assert sum(len(question.on) for batch in asked[1:] for question in batch) < N
    assert setup.counts["prompts dropped: race lost"] == 1


def test_known_prompts_are_told_again_and_not_asked() -> None:
    inner = Batches(["good", "good", "bad"], ["bad", "good"], ["close", "bad"])
    _, asked, _ = race(inner, GOOD_AND_BAD)
    first = [question.prompt.text for batch in asked for question in batch if len(question.on) == 10]
    assert first.count("bad") <= 2
    assert {q.prompt.text for q in asked[-1]} == {"close"}
    assert [question.prompt.text for question, _ in inner.told] == [
        *("good", "good", "bad"),
        *("bad", "good"),
        *("close", "bad"),
    ]


def test_an_optimizer_that_only_repeats_itself_has_converged() -> None:
    class Stuck(Batches):
        asked = 0

        def ask(self) -> list[Rate]:
            self.asked += 1
            return [Rate(Prompt("good"))]

    inner = Stuck()
    _, asked, _ = race(inner, GOOD_AND_BAD)
    assert len(asked) == 1
    assert inner.asked == 1 + IDLE_BATCHES


def test_questions_on_examples_of_the_optimizers_choice_are_passed_on() -> None:
    inner = Batches(["good", "bad"], on=("e1", "e2"))
    _, asked, _ = race(inner, GOOD_AND_BAD)
    assert asked == [[Rate(Prompt("good"), ("e1", "e2")), Rate(Prompt("bad"), ("e1", "e2"))]]
    assert len(inner.told) == 2


# ── What is told ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_finished_is_rated_as_without_racing() -> None:
    values = {**GOOD_AND_BAD, "good": np.where(np.arange(N) % 9 == 0, math.nan, np.linspace(0.9, 1.0, N))}
    inner = Batches(["good", "bad", "close"])
    racing, _, _ = race(inner, values)
    whole = rate(Rate(Prompt("good")), values)
    told = inner.ratings["good"]
    assert (told.value, told.tiebreak, told.feedback) == (whole.value, 0.25, "of good")
    np.testing.assert_array_equal(told.per_example, values["good"])
    assert set(racing.ratings()) == {Prompt("good"), Prompt("close")}
    assert racing.ratings()[Prompt("good")] is told


def test_who_was_dropped_is_estimated_below_the_leader() -> None:
    inner = Batches(["good", "bad"])
    race(inner, GOOD_AND_BAD)
    good, bad = inner.ratings["good"], inner.ratings["bad"]
    seen = ~np.isnan(bad.per_example)
    expected = good.value + (bad.per_example[seen] - good.per_example[seen]).mean()
    assert bad.value == pytest.approx(max(expected, 0.0))
    assert bad.value < good.value
    np.testing.assert_array_equal(bad.per_example[seen], GOOD_AND_BAD["bad"][seen])


def test_a_lucky_start_does_not_lift_the_dropped_above_the_leader() -> None:
    """Whatever stands first is easy: the mean over it is above the leader's rating on everything."""
    dropped = 0
    for seed in range(20):
        order = FakeSetup(start=["start"], seed=seed).rng(int.from_bytes(b"race"), 0).permutation(N)
        easy, hard = np.zeros(N), np.zeros(N)
        easy[order[:20]], hard[order[:20]] = 1.0, 0.6
        inner = Batches(["easy", "hard"])
        racing, _, _ = race(inner, {"easy": easy, "hard": hard}, seed=seed)
        partial = np.nanmean(inner.ratings["hard"].per_example)
        assert partial > inner.ratings["easy"].value > inner.ratings["hard"].value
        assert racing.best() == Prompt("easy")
        dropped += Prompt("hard") not in racing.ratings()
    assert dropped == 20


def test_estimates_are_chained_through_leaders_that_were_dropped_later() -> None:
    order = FakeSetup(start=["start"]).rng(int.from_bytes(b"race"), 0).permutation(N)
    best, middle, worst = np.full(N, 0.8), np.full(N, 0.2), np.full(N, 0.1)
    best[order[:10]], middle[order[:10]], worst[order[:10]] = [1.0, 0.7] * 5, 0.9, 0.3
    inner = Batches(["middle", "worst", "best"])
    racing, _, _ = race(inner, {"best": best, "middle": middle, "worst": worst})
    assert set(racing.ratings()) == {Prompt("best")}
    told = {text: rating.value for text, rating in inner.ratings.items()}
    assert told["worst"] < told["middle"] < told["best"]
    assert int((~np.isnan(inner.ratings["worst"].per_example)).sum()) == 10


def test_without_values_per_example_nothing_is_dropped_and_that_is_said() -> None:
    inner = Batches(["good", "bad"])
    _, _, setup = race(inner, {}, answer=lambda q: rate(q, GOOD_AND_BAD, per_example=False))
    assert inner.ratings["bad"].value == pytest.approx(GOOD_AND_BAD["bad"].mean())
    assert inner.ratings["bad"].per_example is None
    assert not setup.counts
    assert any("values per example" in note for note in setup.notes)


def test_a_prompt_that_cannot_be_scored_ends_unscored() -> None:
    inner = Batches(["good", "mute"])
    race(inner, {**GOOD_AND_BAD, "mute": np.full(N, math.nan)})
    assert math.isnan(inner.ratings["mute"].value)


def test_what_the_budget_leaves_unanswered_is_not_told() -> None:
    inner = Batches(["good", "bad", "close"])
    racing = Racing(optimizer=inner, examples=EXAMPLES, minibatch=40)
    racing.begin(FakeSetup(start=["start"]))
    racing.tell([(q, rate(q, GOOD_AND_BAD)) for q in racing.ask()])
    assert not inner.told, "the race is not over"
    racing.tell([(q, rate(q, GOOD_AND_BAD)) for q in racing.ask() if q.prompt.text == "good"])
    assert set(inner.ratings) == {"good", "bad"}
    assert racing.best() == Prompt("good")


def test_a_dropped_prompt_whose_leader_stayed_unrated_is_not_told() -> None:
    inner = Batches(["good", "bad"])
    racing = Racing(optimizer=inner, examples=EXAMPLES, minibatch=40)
    racing.begin(FakeSetup(start=["start"]))
    racing.tell([(q, rate(q, GOOD_AND_BAD)) for q in racing.ask()])
    assert [q.prompt.text for q in racing.ask()] == ["good"]
    racing.tell([])
    assert not inner.told
    assert racing.best() == Prompt("start")


# ── The test of significance ──────────────────────────────────────────────────────────────────────────────────────


def test_the_sign_test_is_exact() -> None:
    lost = np.array([-1.0] * 6 + [0.0] * 9 + [math.nan])
    assert clearly_worse(lost, level=1 / 64)
    assert not clearly_worse(lost, level=1 / 65)
    torn = np.array([-1.0] * 7 + [1.0])
    assert clearly_worse(torn, level=9 / 256)
    assert not clearly_worse(torn, level=8.99 / 256)


def test_wilcoxons_test_weighs_sizes() -> None:
    small_wins = np.array([-0.9, -0.8, -0.7, -0.65, -0.6, -0.5, -0.4, 0.01, 0.02])
    assert clearly_worse(small_wins, level=0.02)
    assert not clearly_worse(-small_wins[::-1], level=0.5)
    assert not clearly_worse(np.full(3, math.nan), level=0.5)
    assert not clearly_worse(np.zeros(30), level=0.5)


@pytest.mark.parametrize(("rivals", "error", "rated"), [(1, 0.125, 5), (1, 0.124, 10), (2, 0.25, 5), (2, 0.249, 10)])
def test_the_level_is_shared_among_looks_and_rivals(rivals: int, error: float, rated: int) -> None:
    """Five examples lost out of five have p = 1/32; there are four looks."""
    values = {"best": np.ones(N), **{f"bad {i}": np.zeros(N) for i in range(rivals)}}
    inner = Batches([*values])
    race(inner, values, minibatch=5, error=error)
    assert int((~np.isnan(inner.ratings["bad 0"].per_example)).sum()) == rated


def test_the_best_is_seldom_dropped() -> None:
    """Many rivals that differ by chance alone; 0.05 allows 3 of 60, and more than 8 has p < 0.01."""
    dropped = saved = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        values = {str(i): (rng.random(N) < 0.5).astype(float) for i in range(8)}
        racing, _, setup = race(Batches([*values]), values, seed=seed, error=0.05)
        best = max(array.mean() for array in values.values())
        dropped += racing.ratings()[racing.best()].value < best
        saved += setup.counts["examples not rated: race lost"]
    assert dropped <= 8
    assert saved < 0.05 * 60 * 8 * N


def test_much_is_saved_where_prompts_differ() -> None:
    values = {f"prompt {i}": ones(i / 10, seed=i) for i in range(1, 10)}
    racing, asked, _ = race(Batches([*values]), values)
    assert racing.best() == Prompt("prompt 9")
    assert sum(len(question.on) for batch in asked for question in batch) < 0.7 * len(values) * N


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_works_in_a_run() -> None:
    class Scorer:
        question = Rate

        def answer(self, questions: Sequence[Rate], /) -> list[Rating]:
            return [rate(question, GOOD_AND_BAD) for question in questions]

    racing = Racing(optimizer=Batches(["good", "bad", "close"]), examples=EXAMPLES)
    run = Run(racing, Scorer(), start=[Prompt("start")])
    assert run.search() == "converged"
    assert racing.best() == Prompt("good")
    assert run.counts["examples not rated: race lost"] > 0


def test_a_scorer_that_rates_on_other_examples_is_refused() -> None:
    with pytest.raises(UserError, match="asked for a rating on 10 examples and got 3 values"):
        race(Batches(["good", "bad"]), {}, answer=lambda q: Rating(0.5, per_example=np.ones(3)))


class AsksDuels(Batches):
    question = Duel


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"minibatch": 0}, "minibatch is 0"),
        ({"error": 1.0}, "error is 1.0"),
        ({"examples": []}, "needs training examples"),
        ({"examples": [EXAMPLES[0], EXAMPLES[0]]}, "an id of its own"),
        ({"optimizer": AsksDuels()}, "asks duels"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Racing(**{"optimizer": Batches(), "examples": EXAMPLES, **options})


def test_who_asks_what_happened_hears_it_of_all_minibatches() -> None:
    class Asks(Batches):
        def ask(self) -> list[Rate]:
            return [replace(question, cases=True) for question in super().ask()]

    def answer(question: Rate) -> Rating:
        assert question.cases
        on = question.on or tuple(PLACE)
        return replace(rate(question, GOOD_AND_BAD), cases=tuple(Case(one, one.upper(), 1.0) for one in on))

    inner = Asks(["good", "close"])
    race(inner, GOOD_AND_BAD, answer=answer)
    assert [case.output for case in inner.ratings["good"].cases] == [one.upper() for one in PLACE]
