"""Duels from ratings and ratings from duels, so that every optimizer meets every scorer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from ..core import Begins, Coverage, Duel, Preference, Prompt, Rate, Rating, Scorer, Setup
from ..errors import UserError

POINTS = {"a": 1.0, "b": 0.0, "tie": 0.5, "unknown": math.nan}


class BradleyTerry:
    """Answers duels from ratings, as a noisy annotator would [Lin2024].

    ``P(a beats b) = sigmoid(scale * (rating(a) - rating(b)))``. A duel with a prompt that could not be rated is
    answered ``unknown``.

    Args:
        scorer: gives the ratings.
        scale: how sharply ratings decide, in 1/units of the rating; ``inf`` always prefers the higher one and answers
            ``tie`` when they are equal.
    """

    question = Duel

    def __init__(self, *, scorer: Scorer[Rate, Rating], scale: float = 10.0) -> None:
        if not scale > 0:
            raise UserError(f"scale is {scale!r}; give a positive number.")
        if scorer.question is not Rate:
            raise UserError(f"{type(scorer).__name__} gives no ratings; give a scorer that does.")
        self.scorer = scorer
        self.scale = scale

    def begin(self, setup: Setup, /) -> None:
        """Take the run's random streams."""
        self._setup = setup
        if isinstance(self.scorer, Begins):
            self.scorer.begin(setup)

    def answer(self, questions: Sequence[Duel], /) -> list[Preference]:
        """Preferences; the draw of a duel depends on its number alone."""
        prompts = list(dict.fromkeys(prompt for duel in questions for prompt in (duel.a, duel.b)))
        ratings = dict(zip(prompts, self.scorer.answer([Rate(p) for p in prompts]), strict=True))
        return [self._prefer(duel, ratings[duel.a], ratings[duel.b]) for duel in questions]

    def _prefer(self, duel: Duel, one: Rating, other: Rating) -> Preference:
        a, b = one.value, other.value
        if math.isnan(a) or math.isnan(b):
            reasons = sum((Counter(r.coverage.reasons) for r in (one, other) if r.coverage), Counter[str]())
            return Preference("unknown", {"reasons": dict(reasons)} if reasons else {})
        if math.isinf(self.scale):
            return Preference("tie" if a == b else "a" if a > b else "b")
        probability = 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, self.scale * (a - b)))))
        return Preference("a" if self._setup.rng(duel.number).random() < probability else "b")


class WinRate:
    """Answers ratings from duels against one reference prompt: wins plus half the ties, over the duels decided.

    Args:
        scorer: decides the duels.
        reference: the prompt to beat; without it, the first prompt that the run starts from.
        repeats: duels per rating; the sides are swapped every other time.
    """

    question = Rate

    def __init__(self, *, scorer: Scorer[Duel, Preference], reference: str | None = None, repeats: int = 2) -> None:
        if repeats < 1:
            raise UserError(f"repeats is {repeats}; give at least 1.")
        if scorer.question is not Duel:
            raise UserError(f"{type(scorer).__name__} decides no duels; give a scorer that does, or bradley-terry.")
        self.scorer = scorer
        self.reference = reference
        self.repeats = repeats

    def begin(self, setup: Setup, /) -> None:
        """Take the reference from the run where none was given."""
        self._reference = Prompt(self.reference) if self.reference is not None else setup.start[0]
        if isinstance(self.scorer, Begins):
            self.scorer.begin(setup)

    def answer(self, questions: Sequence[Rate], /) -> Iterator[Rating]:
        """Win rates in [0, 1], one by one; ``per_example`` holds the duels, NaN where the answer was unknown."""
        import numpy as np

        for question in questions:
            answers = self._duels(question)
            results = np.array([POINTS[answer.winner] for answer in answers], dtype=np.float64)
            results[1::2] = 1 - results[1::2]
            decided = results[~np.isnan(results)]
            yield Rating(
                float(decided.mean()) if len(decided) else math.nan,
                per_example=results,
                coverage=Coverage(len(results), len(decided), 0, _reasons(answers)),
            )

    def _duels(self, question: Rate) -> list[Preference]:
        """The answers, the sides swapped in every other one."""
        first = question.number * self.repeats
        sides = (question.prompt, self._reference)
        duels = [Duel(*(sides if i % 2 == 0 else sides[::-1]), number=first + i) for i in range(self.repeats)]
        return list(self.scorer.answer(duels))


def _reasons(answers: Sequence[Preference]) -> dict[str, int]:
    """Why duels were not decided, each by the commonest reason of its own."""
    unknown = [answer.details.get("reasons") for answer in answers if answer.winner == "unknown"]
    return dict(Counter(max(why, key=why.get) if why else "not decided" for why in unknown))
