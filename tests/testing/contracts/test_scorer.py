"""The contract suite of scorers holds for ours; a part that breaks it fails in the test meant for it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from promptopt.core import Duel, Example, Preference, Prompt, Rate, Rating
from promptopt.scorers import BradleyTerry, FunctionScorer, MetricScorer, WinRate
from promptopt.testing.contracts import ScorerContract

# ── Our scorers ───────────────────────────────────────────────────────────────────────────────────────────────────


def score(text: str) -> float:
    return float("nan") if "drawing" in text else len(text) / 20


class TestFunctionScorer(ScorerContract):
    def make(self) -> FunctionScorer:
        return FunctionScorer(score)


class Upper:
    """Outputs the prompt, filled in and in capitals."""

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        return [prompt.text.replace("{}", str(e.input)).upper() for e in examples]


class BatchUpper(Upper):
    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[list[str]]:
        return (self.run(prompt, examples) for prompt in prompts)


EXAMPLES = [Example(f"e{i}", f"cat {i}", i) for i in range(5)]


def length(outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | None]:
    return [None if "3" in output else float(len(output)) for output in outputs]


class TestMetricScorer(ScorerContract):
    def make(self) -> MetricScorer:
        return MetricScorer(target=Upper(), metric=length, examples=EXAMPLES)


class TestMetricScorerInBatches(ScorerContract):
    def make(self) -> MetricScorer:
        return MetricScorer(target=BatchUpper(), metric=length, examples=EXAMPLES, tiebreak=length)


class TestBradleyTerry(ScorerContract):
    def make(self) -> BradleyTerry:
        return BradleyTerry(scorer=FunctionScorer(score))


class TestWinRate(ScorerContract):
    def make(self) -> WinRate:
        return WinRate(scorer=BradleyTerry(scorer=FunctionScorer(score)), repeats=3)


# ── Broken scorers ────────────────────────────────────────────────────────────────────────────────────────────────


class SoundScorer:
    question: Any = Rate

    def answer(self, questions: Sequence[Any], /) -> list[Any]:
        return [self.one(question) for question in questions]

    def one(self, question: Any) -> Any:
        return Rating(float(len(question.prompt.text)), per_example=np.array([1.0, 2.0]))


class Mute(SoundScorer):
    question = str


class Short(SoundScorer):
    def answer(self, questions: Sequence[Any], /) -> list[Any]:
        return super().answer(questions[1:])


class Numbers(SoundScorer):
    def one(self, question: Any) -> Any:
        return 0.5


class NeedsAQuestion(SoundScorer):
    def answer(self, questions: Sequence[Any], /) -> list[Any]:
        questions[0]
        return super().answer(questions)


class RanksWithinTheBatch(SoundScorer):
    def answer(self, questions: Sequence[Any], /) -> list[Any]:
        order = sorted(len(q.prompt.text) for q in questions)
        return [Rating(order.index(len(q.prompt.text)) / len(questions)) for q in questions]


class DrawsInOrder(SoundScorer):
    def begin(self, setup: Any, /) -> None:
        self.rng = setup.rng()

    def one(self, question: Any) -> Any:
        return Rating(float(self.rng.random()))


class OtherValuesEachTime(SoundScorer):
    def one(self, question: Any) -> Any:
        return Rating(random.random())


class OtherExamplesEachTime(SoundScorer):
    def one(self, question: Any) -> Any:
        return Rating(0.5, per_example=np.array([random.random()]))


class Infinite(SoundScorer):
    def one(self, question: Any) -> Any:
        return Rating(float("inf"))


class NoTiebreak(SoundScorer):
    def one(self, question: Any) -> Any:
        return Rating(0.5, tiebreak=float("nan"))


def _rate(test: str, part: Any) -> Any:
    return pytest.param(test, part, id=f"{test.removeprefix('test_')}-{part.__name__}")


BROKEN_SCORERS = [
    _rate("test_says_which_question_it_answers", Mute),
    _rate("test_answers_every_question_in_kind", Short),
    _rate("test_answers_every_question_in_kind", Numbers),
    _rate("test_answers_nothing_with_nothing", NeedsAQuestion),
    _rate("test_a_batch_equals_one_by_one", RanksWithinTheBatch),
    _rate("test_the_order_of_a_batch_does_not_matter", DrawsInOrder),
    _rate("test_a_new_scorer_gives_the_same_answers", OtherValuesEachTime),
    _rate("test_a_new_scorer_gives_the_same_answers", OtherExamplesEachTime),
    _rate("test_values_are_finite_or_unscored", Infinite),
    _rate("test_values_are_finite_or_unscored", NoTiebreak),
]


@pytest.mark.parametrize(("test", "part"), BROKEN_SCORERS)
def test_a_broken_scorer_fails_the_test_meant_for_it(test: str, part: Any) -> None:
    suite = ScorerContract()
    suite.make = SoundScorer  # type: ignore[method-assign]
    getattr(suite, test)()
    suite.make = part
    with pytest.raises((AssertionError, IndexError)):
        getattr(suite, test)()


def test_every_scorer_test_has_a_part_that_fails_it() -> None:
    tests = {name for name in dir(ScorerContract) if name.startswith("test_")}
    assert tests == {param.values[0] for param in BROKEN_SCORERS}


def test_preferences_are_compared_too() -> None:
    class Fickle:
        question = Duel
        winners: Iterator[Any] = iter(["a"] * 6 + ["b"] * 6)

        def answer(self, questions: Sequence[Duel], /) -> list[Preference]:
            return [Preference(next(self.winners)) for _ in questions]

    suite = ScorerContract()
    suite.make = Fickle  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        suite.test_a_new_scorer_gives_the_same_answers()
