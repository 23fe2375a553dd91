"""What every scorer must hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core import Begins, Duel, Preference, Prompt, Rate, Rating, Scorer
from ...record.codec import Question
from ..setup import FakeSetup

__all__ = ["ScorerContract"]


class ScorerContract:
    """What a run relies on in a scorer.

    Attributes:
        prompts: at least two texts that the scorer can answer for.
    """

    prompts: Sequence[str] = ("a photo of a {}", "a drawing of a {}", "{}")

    def make(self) -> Scorer[Any, Any]:
        """A new scorer, with whatever models it needs scripted."""
        raise AssertionError("say how to make the scorer: override make()")

    def test_says_which_question_it_answers(self) -> None:
        assert self.make().question in (Rate, Duel)

    def test_answers_every_question_in_kind(self) -> None:
        questions = self._questions()
        answers = self._answer(questions)
        assert len(answers) == len(questions)
        kind = Rating if isinstance(questions[0], Rate) else Preference
        assert all(isinstance(answer, kind) for answer in answers)

    def test_answers_nothing_with_nothing(self) -> None:
        assert self._answer([]) == []

    def test_a_batch_equals_one_by_one(self) -> None:
        questions = self._questions()
        scorer = self._begun()
        single = [answer for question in questions for answer in scorer.answer([question])]
        _assert_same(self._answer(questions), single)

    def test_the_order_of_a_batch_does_not_matter(self) -> None:
        questions = self._questions()
        _assert_same(self._answer(questions[::-1])[::-1], self._answer(questions))

    def test_a_new_scorer_gives_the_same_answers(self) -> None:
        questions = self._questions()
        _assert_same(self._answer(questions), self._answer(questions))

    def test_values_are_finite_or_unscored(self) -> None:
        for answer in self._answer(self._questions()):
            if isinstance(answer, Rating):
                assert math.isfinite(answer.value) or math.isnan(answer.value)
                assert math.isfinite(answer.tiebreak)

    def _begun(self) -> Scorer[Any, Any]:
        scorer = self.make()
        if isinstance(scorer, Begins):
            scorer.begin(FakeSetup(start=self.prompts))
        return scorer

    def _answer(self, questions: Sequence[Question]) -> list[Any]:
        return list(self._begun().answer(questions))

    def _questions(self) -> list[Question]:
        prompts = [Prompt(text) for text in self.prompts]
        if self.make().question is Rate:
            return [Rate(prompt, number=n) for n, prompt in enumerate(prompts)]
        pairs = [(a, b) for a in prompts for b in prompts if a != b]
        return [Duel(a, b, number=n) for n, (a, b) in enumerate(pairs)]


def _assert_same(one: Sequence[Any], other: Sequence[Any]) -> None:
    for a, b in zip(one, other, strict=True):
        if isinstance(a, Rating):
            np.testing.assert_allclose([a.value, a.tiebreak], [b.value, b.tiebreak], rtol=1e-4, atol=1e-5)
            if a.per_example is not None:
                np.testing.assert_allclose(a.per_example, b.per_example, rtol=1e-4, atol=1e-5)
        else:
            assert a == b
