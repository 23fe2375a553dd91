"""Ratings from a target, a metric and examples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from run_parts import Right, ToyTarget, toy_data

from promptopt.core import Coverage, Example, Mark, Prompt, Rate
from promptopt.errors import UserError
from promptopt.scorers import MetricScorer
from promptopt.testing import FakeSetup

EXAMPLES = tuple(Example(f"e{i}", i, i % 2) for i in range(4))


class Echo:
    """Outputs the examples' inputs, and notes what it was run on."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, tuple[str, ...]]] = []

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        self.runs.append((prompt.text, tuple(e.id for e in examples)))
        return [(prompt.text, e.input) for e in examples]


class Batches(Echo):
    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[list[Any]]:
        self.runs.append((" ".join(p.text for p in prompts), tuple(e.id for e in examples)))
        return (super(Batches, self).run(p, examples) for p in prompts)


def lengths(outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float]:
    return [float(len(text) + number) for text, number in outputs]


def rate(*texts: str, on: tuple[str, ...] = ()) -> list[Rate]:
    return [Rate(Prompt(text), on) for text in texts]


def test_a_rating_is_the_mean_over_the_examples() -> None:
    [rating] = MetricScorer(target=Echo(), metric=lengths, examples=EXAMPLES).answer(rate("ab"))
    assert rating.value == 3.5
    assert rating.tiebreak == 0.0
    np.testing.assert_array_equal(rating.per_example, [2.0, 3.0, 4.0, 5.0])


def test_the_tiebreak_is_the_mean_of_another_metric_on_the_same_outputs() -> None:
    target = Echo()
    scorer = MetricScorer(target=target, metric=lengths, examples=EXAMPLES, tiebreak=lambda o, e: [0.5, None, 1, 3])
    [rating] = scorer.answer(rate("ab"))
    assert rating.tiebreak == 1.5
    assert len(target.runs) == 1


def test_what_could_not_be_scored_is_left_out_never_zero() -> None:
    marks = [1.0, None, Mark(None, "no number"), Mark(0.5, "half")]
    [rating] = MetricScorer(target=Echo(), metric=lambda o, e: marks, examples=EXAMPLES).answer(rate("p"))
    assert rating.value == 0.75
    np.testing.assert_array_equal(rating.per_example, [1.0, math.nan, math.nan, 0.5])
    assert rating.feedback == "no number\nhalf"


def test_nothing_scored_is_nan() -> None:
    [rating] = MetricScorer(target=Echo(), metric=lambda o, e: [None] * 4, examples=EXAMPLES).answer(rate("p"))
    assert math.isnan(rating.value)


def test_some_examples_in_the_order_asked() -> None:
    target = Echo()
    [rating] = MetricScorer(target=target, metric=lengths, examples=EXAMPLES).answer(rate("p", on=("e3", "e0")))
    np.testing.assert_array_equal(rating.per_example, [4.0, 1.0])
    assert target.runs == [("p", ("e3", "e0"))]


def test_an_unknown_example_is_named() -> None:
    with pytest.raises(UserError, match="no example 'e9' among the 4"):
        list(MetricScorer(target=Echo(), metric=lengths, examples=EXAMPLES).answer(rate("p", on=("e1", "e9"))))


def test_one_by_one_from_an_ordinary_target() -> None:
    target = Echo()
    answers = iter(MetricScorer(target=target, metric=lengths, examples=EXAMPLES).answer(rate("a", "b")))
    assert target.runs == []
    next(answers)
    assert [text for text, _ in target.runs] == ["a"]


def test_together_from_a_target_that_runs_batches() -> None:
    questions = rate("a", "bb") + rate("c", on=("e1",)) + rate("dd", "e")
    batches, echo = Batches(), Echo()
    together, single = (
        list(MetricScorer(target=t, metric=lengths, examples=EXAMPLES).answer(questions)) for t in (batches, echo)
    )
    assert together == single
    calls = [text for text, _ in batches.runs if " " in text or text == "c"]
    assert calls[0] == "a bb"
    assert "dd e" in calls


@pytest.mark.parametrize(
    ("examples", "message"),
    [((), "no examples; give one or more"), (EXAMPLES + EXAMPLES[:1], "two examples have the same id")],
)
def test_examples_that_cannot_work(examples: tuple[Example, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MetricScorer(target=Echo(), metric=lengths, examples=examples)


def test_the_setup_reaches_the_target() -> None:
    class Begun(Echo):
        def begin(self, setup: Any, /) -> None:
            self.setup = setup

    target, setup = Begun(), FakeSetup()
    MetricScorer(target=target, metric=lengths, examples=EXAMPLES).begin(setup)
    assert target.setup is setup
    MetricScorer(target=Echo(), metric=lengths, examples=EXAMPLES).begin(setup)


def test_the_toy_of_the_other_tests_can_tell_prompts_apart() -> None:
    scorer = MetricScorer(target=ToyTarget(), metric=Right(), examples=toy_data().train)
    values = [rating.value for rating in scorer.answer(rate("answer {}", "clear {}", "clear calm vivid exact {}"))]
    assert len(set(values)) > 1


class Shifted(Echo):
    """Knows copies of an example: the number is added to its input."""

    def view(self, example: Example, number: int, /) -> Example:
        return replace(example, input=example.input + 10 * number)


def test_an_example_is_rated_in_several_views() -> None:
    target = Shifted()
    scorer = MetricScorer(target=target, metric=lengths, examples=EXAMPLES, tiebreak=lengths, views=3)
    [whole, part] = scorer.answer([*rate("ab"), *rate("ab", on=("e3", "e0"))])
    np.testing.assert_allclose(whole.per_example, [12.0, 13.0, 14.0, 15.0])  # 2 + input + the mean of 0, 10 and 20
    assert whole.value == whole.tiebreak == 13.5
    np.testing.assert_allclose(part.per_example, [15.0, 12.0])
    assert target.runs[0] == ("ab", tuple(f"e{i}" for i in range(4) for _ in range(3)))


def test_a_case_tells_of_the_example_itself_with_the_mean_over_its_views() -> None:
    scorer = MetricScorer(target=Shifted(), metric=lengths, examples=EXAMPLES[:1], views=2)
    [rating] = scorer.answer([Rate(Prompt("ab"), cases=True)])
    [case] = rating.cases
    assert (case.example, case.output, case.value) == ("e0", '["ab", 0]', 7.0)


def test_coverage_counts_examples_and_not_views() -> None:
    def metric(outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        values = {0: 1.0, 10: Mark(None, "odd", failed=True), 1: None, 11: None, 2: 0.5}
        return [values.get(number, 1.0) for _, number in outputs]

    scorer = MetricScorer(target=Shifted(), metric=metric, examples=EXAMPLES, views=2)
    [rating] = scorer.answer(rate("ab"))
    np.testing.assert_array_equal(rating.per_example, [0.5, math.nan, 0.75, 1.0])
    assert rating.value == 0.75
    assert rating.coverage == Coverage(4, 3, 1, {"odd": 1, "no value": 1})


@pytest.mark.parametrize(("target", "views"), [(Echo(), 2), (Shifted(), 0)])
def test_views_need_a_target_that_knows_them(target: Echo, views: int) -> None:
    with pytest.raises(UserError, match=f"views is {views}; give 1"):
        MetricScorer(target=target, metric=lengths, examples=EXAMPLES, views=views)


class InWords(int):
    """An output that says what it is."""

    @property
    def in_words(self) -> str:
        return f"the number {int(self)}"


def test_an_output_that_says_what_it_is_stands_so_in_the_cases() -> None:
    class Target(Echo):
        def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
            return [InWords(one.input) for one in examples]

    def even(outputs: Sequence[Any], examples: Sequence[Example]) -> list[float]:
        return [float(one % 2 == 0) for one in outputs]

    [rating] = MetricScorer(target=Target(), metric=even, examples=EXAMPLES[:2]).answer([Rate(Prompt("a"), cases=True)])
    assert [case.output for case in rating.cases] == ["the number 0", "the number 1"]


def test_a_metric_that_wants_the_setup_is_given_it() -> None:
    class Metric:
        setup: Any = None

        def begin(self, setup: Any, /) -> None:
            self.setup = setup

        def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float]:
            return [1.0 for _ in outputs]

    setup, metric = FakeSetup(), Metric()
    MetricScorer(target=Echo(), metric=metric, examples=EXAMPLES).begin(setup)
    assert metric.setup is setup
