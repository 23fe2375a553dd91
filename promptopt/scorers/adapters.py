"""Duels from ratings and ratings from duels, so that every optimizer meets every scorer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from statistics import pstdev
from typing import Any

from ..checks import at_least, check_argument
from ..core import (
    Begins,
    Closes,
    Coverage,
    Duel,
    HasPresentation,
    Preference,
    Prompt,
    Rate,
    Rating,
    Scorer,
    Setup,
    Weighs,
)
from ..errors import UserError

POINTS = {"a": 1.0, "b": 0.0, "tie": 0.5, "unknown": math.nan}
STANDARD = int.from_bytes(b"standard")  # key of the random stream


def meet(question: type, scorer: Scorer[Any, Any], *, rate_once: bool = True) -> Scorer[Any, Any]:
    """A scorer that answers what an optimizer asks: the one given, or an adapter around it.

    Duels are won by the higher rating, without noise; ratings are win rates against the first starting prompt. The
    run's notes say so. Other adapters are to be had by name.
    """
    if question is Duel and scorer.question is Rate:
        return BradleyTerry(scorer=scorer, scale=math.inf, rate_once=rate_once)
    if question is Rate and scorer.question is Duel:
        return WinRate(scorer=scorer)
    return scorer


class BradleyTerry:
    """Answers duels from ratings, as a noisy annotator would [Lin2024].

    ``P(a beats b) = sigmoid(scale * (rating(a) - rating(b)))``. A duel with a prompt that could not be rated is
    answered ``unknown``. Each prompt is rated once; an answer's details hold the ``ratings`` that decided it, and how
    many of them were ``new``.

    Args:
        scorer: gives the ratings.
        scale: how sharply ratings decide, in 1/units of the rating; ``inf`` always prefers the higher one and answers
            ``tie`` when they are equal.
        standardise: divide ratings by their standard deviation over so many prompts, drawn with replacement from those
            that the optimizer knows, as released (50, with the scale 10): ``scale`` is then in 1/standard deviations.
            These ratings are made before the search, recorded apart and no questions of the budget. 0 leaves ratings
            as they are. (The released code subtracts the mean too, which is gone in the difference.)
        rate_once: keep ratings; without it, every duel has both its prompts rated. As the run's ``cache`` says.
    """

    question = Duel

    def __init__(
        self, *, scorer: Scorer[Rate, Rating], scale: float = 10.0, standardise: int = 0, rate_once: bool = True
    ) -> None:
        check_argument("scale", scale, allowed="a number above 0, infinity included", holds=scale > 0)
        allowed = "2 prompts or more, or 0 to leave ratings as they are"
        check_argument("standardise", standardise, allowed=allowed, holds=standardise == 0 or standardise >= 2)
        if scorer.question is not Rate:
            raise UserError(f"{type(scorer).__name__} gives no ratings; give a scorer that does.")
        self.scorer = scorer
        self.scale = scale
        self.standardise = standardise
        self.rate_once = rate_once

    def begin(self, setup: Setup, /) -> None:
        """Take the run's random streams, and say how duels are decided."""
        self._setup = setup
        unit = " / standard deviation" if self.standardise else ""
        odds = f"P(a wins) = sigmoid({self.scale:g} x difference{unit})"
        odds = "the higher one wins" if math.isinf(self.scale) else odds
        setup.note(f"Duels are decided by the ratings of {type(self.scorer).__name__}: {odds}.")
        self._unit = 1.0  # until it is calibrated
        self._known: dict[Prompt, Rating] = {}
        if isinstance(self.scorer, Begins):
            self.scorer.begin(setup)

    def close(self) -> None:
        """Close the scorer inside, if it can be closed."""
        if isinstance(self.scorer, Closes):
            self.scorer.close()

    def calibration(self, prompts: Sequence[Prompt], /) -> Sequence[Rate]:
        """The prompts to standardise on, each once.

        Raises:
            UserError: the optimizer knows no prompts.
        """
        if not self.standardise:
            return []
        if not prompts:
            raise UserError(
                "standardise needs an optimizer that knows its prompts from the start, such as apohf; leave it out."
            )
        drawn = self._setup.rng(STANDARD).choice(len(prompts), self.standardise)
        self._drawn = [prompts[i] for i in drawn]
        return [Rate(prompt) for prompt in dict.fromkeys(self._drawn)]

    def calibrate(self, rated: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take their standard deviation as the unit of ratings; those that could not be rated are left out."""
        if not self.standardise:
            return
        self._keep({question.prompt: rating for question, rating in rated})
        values = {question.prompt: rating.value for question, rating in rated}
        known = [value for prompt in self._drawn if not math.isnan(value := values.get(prompt, math.nan))]
        self._unit = pstdev(known) if known else 0.0
        if not self._unit > 0:
            self._setup.note("All prompts of the standardisation have the same rating; ratings stay as they are.")
            self._unit = 1.0

    @property
    def presentation(self) -> Collection[str]:
        """Options that only say how people are asked."""
        return self.scorer.presentation if isinstance(self.scorer, HasPresentation) else ()

    def answer(self, questions: Sequence[Duel], /) -> list[Preference]:
        """Preferences; the draw of a duel depends on its number alone, and so do the numbers of its ratings."""
        asked = self._missing(questions)
        every = [rate for rates in asked for rate in rates]
        given = iter([*zip(every, self.scorer.answer(every), strict=True)])
        rated, preferences = dict(self._known), []
        for duel, rates in zip(questions, asked, strict=True):
            rated |= {rate.prompt: rating for rate, rating in islice(given, len(rates))}
            preferences.append(self._prefer(duel, rated[duel.a], rated[duel.b], new=len(rates)))
        self._keep(rated)
        return preferences

    def _missing(self, questions: Sequence[Duel]) -> list[list[Rate]]:
        """The ratings that each duel needs, besides those that are known or that a duel before it needs."""
        known, missing = set(self._known), []
        for duel in questions:
            numbers = (-1, -1) if duel.number < 0 else (2 * duel.number, 2 * duel.number + 1)
            both = dict(zip((duel.b, duel.a), numbers[::-1], strict=True))  # one prompt twice has the first number
            rates = [Rate(prompt, number=both[prompt]) for prompt in dict.fromkeys((duel.a, duel.b))]
            missing.append([rate for rate in rates if rate.prompt not in known])
            known |= {duel.a, duel.b} if self.rate_once else set()
        return missing

    def remember(self, question: Duel, answer: Preference, /) -> None:
        """Take the ratings that decided a duel of this run from before it was resumed."""
        pairs = zip((question.a, question.b), answer.details.get("ratings", ()), strict=False)
        self._keep({prompt: Rating(value) for prompt, value in pairs if value is not None})

    def weight(self, question: Duel, answer: Preference, /) -> float:
        """How many ratings are in an answer, see :class:`promptopt.core.Weighs`."""
        new: int = answer.details.get("new", 2)
        return new

    def _keep(self, rated: Mapping[Prompt, Rating]) -> None:
        """Remember the ratings that have a value; one without may come out better another time."""
        if self.rate_once:
            self._known |= {prompt: rating for prompt, rating in rated.items() if math.isfinite(rating.value)}

    def _prefer(self, duel: Duel, one: Rating, other: Rating, *, new: int) -> Preference:
        a, b = one.value, other.value
        kept = [value if math.isfinite(value) else None for value in (a, b)]
        details: dict[str, Any] = {"new": new} | ({"ratings": kept} if kept != [None, None] else {})
        if math.isnan(a) or math.isnan(b):
            reasons = sum((Counter(r.coverage.reasons) for r in (one, other) if r.coverage), Counter[str]())
            return Preference("unknown", details | ({"reasons": dict(reasons)} if reasons else {}))
        if math.isinf(self.scale):
            return Preference("tie" if a == b else "a" if a > b else "b", details)
        probability = 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, self.scale * (a - b) / self._unit))))
        return Preference("a" if self._setup.rng(duel.number).random() < probability else "b", details)


class WinRate:
    """Answers ratings from duels against one reference prompt: wins plus half the ties, over the duels decided.

    Args:
        scorer: decides the duels.
        reference: the prompt to beat; without it, the first prompt that the run starts from.
        repeats: duels per rating; the sides are swapped every other time.
    """

    question = Rate

    def __init__(self, *, scorer: Scorer[Duel, Preference], reference: str | None = None, repeats: int = 2) -> None:
        at_least(1, repeats=repeats)
        if scorer.question is not Duel:
            raise UserError(f"{type(scorer).__name__} decides no duels; give a scorer that does, or bradley-terry.")
        self.scorer = scorer
        self.reference = reference
        self.repeats = repeats

    def begin(self, setup: Setup, /) -> None:
        """Take the reference from the run where none was given, and say what ratings are.

        Raises:
            UserError: the run has none either.
        """
        if self.reference is None and not setup.start:
            raise UserError("there is no prompt to start from, and so none to beat. Give reference.")
        self._reference = Prompt(self.reference) if self.reference is not None else setup.start[0]
        against = "the starting prompt" if self.reference is None else "the reference"
        setup.note(f"Ratings are win rates over {against}, from {self.repeats} duels each.")
        if isinstance(self.scorer, Begins):
            self.scorer.begin(setup)

    def close(self) -> None:
        """Close the scorer inside, if it can be closed: a page that people answer on."""
        if isinstance(self.scorer, Closes):
            self.scorer.close()

    @property
    def presentation(self) -> Collection[str]:
        """Options that only say how people are asked."""
        return self.scorer.presentation if isinstance(self.scorer, HasPresentation) else ()

    def answer(self, questions: Sequence[Rate], /) -> Iterator[Rating]:
        """Win rates in [0, 1], one by one; ``per_example`` holds the duels, NaN where the answer was unknown.

        The reference itself has 0.5, without a duel.
        """
        import numpy as np

        for question in questions:
            if question.prompt == self._reference:
                yield Rating(0.5)  # nobody is asked whether a prompt is better than itself
                continue
            answers = self._duels(question)
            results = np.array([POINTS[answer.winner] for answer in answers], dtype=np.float64)
            results[1::2] = 1 - results[1::2]
            decided = results[~np.isnan(results)]
            yield Rating(
                float(decided.mean()) if len(decided) else math.nan,
                per_example=results,
                coverage=Coverage(len(results), len(decided), 0, _reasons(answers)),
            )

    def weight(self, question: Rate, answer: Rating, /) -> float:
        """How much of the target's work is in an answer, see :class:`promptopt.core.Weighs`."""
        if question.prompt == self._reference:
            return 0.0
        duel, unknown = Duel(question.prompt, self._reference), Preference("unknown")
        return self.repeats * (self.scorer.weight(duel, unknown) if isinstance(self.scorer, Weighs) else 2.0)

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
