"""A plain function as a scorer."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from promptopt.core import Prompt, Rate, Rating
from promptopt.errors import PromptoptError
from promptopt.scorers import FunctionScorer


def rate(*texts: str) -> list[Rate]:
    return [Rate(Prompt(text)) for text in texts]


def test_numbers_become_ratings_in_order() -> None:
    assert list(FunctionScorer(len).answer(rate("aaa", "", "a"))) == [Rating(3.0), Rating(0.0), Rating(1.0)]


@pytest.mark.parametrize("score", [1, True, 1.0])
def test_any_number_will_do(score: float) -> None:
    [rating] = FunctionScorer(lambda text: score).answer(rate("a"))
    assert type(rating.value) is float
    assert rating.value == 1.0


def test_a_rating_passes_as_it_is() -> None:
    given = Rating(0.5, 0.25, feedback="so so")
    [rating] = FunctionScorer(lambda text: given).answer(rate("a"))
    assert rating is given


def test_nan_is_not_scored() -> None:
    [rating] = FunctionScorer(lambda text: math.nan).answer(rate("a"))
    assert math.isnan(rating.value)


def test_none_is_a_mistake_that_is_named() -> None:
    with pytest.raises(PromptoptError, match="returned None; return a number"):
        list(FunctionScorer(lambda text: None).answer(rate("a")))  # type: ignore[arg-type, return-value]


def test_answers_come_one_by_one() -> None:
    """So that each is in the ledger before the next is paid for."""
    asked: list[str] = []
    answers = FunctionScorer(lambda text: asked.append(text) or 0.0).answer(rate("a", "b", "c"))
    assert isinstance(answers, Iterator)
    assert asked == []
    next(answers)
    assert asked == ["a"]


def test_its_exceptions_are_its_own() -> None:
    with pytest.raises(ZeroDivisionError):
        list(FunctionScorer(lambda text: 1 / 0).answer(rate("a")))
