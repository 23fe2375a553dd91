"""Value against cost: the prompts that no other one beats in both, and the cheapest that is not clearly worse.

A prompt is *dominated* by one that is rated at least as high and costs no more by any objective, and is better in one
of these. Of the others, the front, each is compared with the best prompt example by example. All of it is reckoned from
ratings that are there, so it costs nothing; and it is reckoned on the examples that the prompts were chosen by, so a
small difference there is no promise.

What may stand in for the best prompt has to be shown to be nearly as good: that no difference is seen is not enough,
since with few examples none ever is. This is a test of non-inferiority: the whole 95% interval of the difference lies
above minus a margin. Without a margin of the user's it is half of what the best prompt gained over the start, so that
half of the gain at least is kept, and the difference must not be significant either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from ..core import Rating
from ..stats import FEWEST, mean, t_interval

Split: TypeAlias = Literal["train", "dev"]
UNITS = {  # of one and of several
    "prompt-tokens": ("prompt token", "prompt tokens"),
    "dollars": ("dollar an example", "dollars an example"),
    "seconds": ("second an example", "seconds an example"),
}
ROUNDING = 1e-12
DOTS = 400  # so many of the dominated prompts are kept for a picture


@dataclass(frozen=True)
class Point:
    """A prompt, what it is worth and what it costs.

    Attributes:
        prompt: its text.
        value: its rating.
        objectives: its costs by name; lower is better.
        difference: its value minus the best prompt's, over the examples that both were scored on.
        low, high: the 95% interval of that, paired (Student's t); None for fewer than ten examples.
        examples: how many were compared; 1 where ratings have no values per example.
    """

    prompt: str
    value: float
    objectives: Mapping[str, float]
    difference: float
    low: float | None
    high: float | None
    examples: int

    def passes(self, margin: float, *, given: bool) -> bool:
        """Whether the prompt may stand in for the best one, as the module's text says.

        Without an interval it may if its value is no lower.

        Args:
            margin: by how much it may be worse.
            given: whether that is the user's.
        """
        if self.low is None or self.high is None:
            return self.difference >= -ROUNDING
        return self.low >= -margin - ROUNDING and (given or self.high >= -ROUNDING)


@dataclass(frozen=True)
class Front:
    """The prompts that no other one dominates.

    Attributes:
        objectives: what prompts cost, by name, in the order of the recipe.
        split: where the ratings were made: ``dev`` where the best prompt was chosen there, else ``train``.
        margin: by how much the cheapest may be worse.
        margin_given: whether that is the user's; else it is half of what the best prompt gained over the start.
        best: the best prompt. It may be dominated: by one that is rated as high and is cheaper.
        points: the front, the highest value first.
        cheapest: of these and the best, the prompt that costs least by the first objective and may stand in for the
            best, see :meth:`Point.passes`; it may be the best itself.
        candidates: how many prompts were looked at.
        unknown: how many more have a rating, but not every objective.
        tokens: how prompt tokens were counted; empty where they are no objective.
        dominated: value and costs of other candidates, for a picture.
    """

    objectives: tuple[str, ...]
    split: Split
    margin: float
    margin_given: bool
    best: Point
    points: tuple[Point, ...]
    cheapest: Point
    candidates: int
    unknown: int = 0
    tokens: str = ""
    dominated: tuple[tuple[float, ...], ...] = ()

    @property
    def saves(self) -> bool:
        """Whether the cheapest is another prompt than the best."""
        return self.cheapest.prompt != self.best.prompt

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "cheapest": self.cheapest.prompt}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Front:
        """What :meth:`to_json` gave."""
        best, points = Point(**fields["best"]), tuple(Point(**point) for point in fields["points"])
        cheapest = next((one for one in points if one.prompt == fields["cheapest"]), best)
        dominated = tuple(tuple(row) for row in fields["dominated"])
        given = {"objectives": tuple(fields["objectives"]), "best": best, "points": points, "cheapest": cheapest}
        return cls(**{**fields, **given, "dominated": dominated})

    def sentences(self) -> Iterator[str]:
        """What is said of the cheapest, sentence by sentence: what it saves, what is sure, and how it was picked."""
        least, first = self.cheapest, self.objectives[0]
        looked = f"{self.candidates:,} prompts were looked at, {len(self.points):,} of them are on the front"
        if not self.saves:
            yield f"No prompt with fewer {unit(first)} is shown to be good enough ({self.wanted}); {looked}."
            return
        costs = told(least.objectives[first], first)
        if first in self.best.objectives:
            costs += f" instead of {amount(self.best.objectives[first])}"
        scores = f"{least.value:.3f} instead of {self.best.value:.3f}"
        if least.low is None or least.high is None:
            yield f"{costs}, {scores}: no lower, and without an interval."
        else:
            interval = f"difference {least.difference:+.3f}, 95% interval {least.low:+.3f} to {least.high:+.3f}"
            examples = f"{least.examples:,} {'dev' if self.split == 'dev' else 'training'} examples"
            yield f"{costs}, {scores}: {self.wanted} ({interval} on {examples})."
        yield f"{looked}, so the choice flatters it." if self.candidates > 1 else f"{looked}."

    @property
    def wanted(self) -> str:
        """What a prompt must be to stand in for the best one, in words."""
        if self.margin_given:
            return f"worse by less than {self.margin:g}"
        return "not significantly worse, at least half of the gain kept"


def front_of(
    rated: Mapping[str, Rating],
    costs: Mapping[str, Mapping[str, float]],
    *,
    objectives: Sequence[str],
    best: str,
    split: Split = "train",
    margin: float | None = None,
    gain: float = 0.0,
    tokens: str = "",
) -> Front | None:
    """The front of rated prompts.

    Args:
        rated: ratings on one split, by prompt, in the order they were made; those without a value are passed over.
        costs: of these prompts, by objective. A prompt that lacks one of the objectives is not compared.
        objectives: the names; at least one.
        best: the best prompt; None is returned where it has no rating.
        split, tokens: as of :class:`Front`.
        margin: the user's, if there is one.
        gain: by how much the best prompt is rated higher than the start.
    """
    rated = {prompt: rating for prompt, rating in rated.items() if rating.value == rating.value}
    if best not in rated:
        return None
    known = [prompt for prompt in rated if all(name in costs.get(prompt, ()) for name in objectives)]
    rows = np.array([[costs[prompt][name] for name in objectives] for prompt in known])
    rows = rows.reshape(len(known), len(objectives))
    kept = undominated(np.array([rated[prompt].rank for prompt in known]).reshape(-1, 2), rows)

    def point(prompt: str) -> Point:
        mine = {name: costs[prompt][name] for name in objectives if name in costs.get(prompt, ())}
        return Point(prompt, rated[prompt].value, mine, *_difference(rated[best], rated[prompt]))

    points, own = tuple(point(known[i]) for i in kept), point(best)
    given, margin = margin is not None, max(0.0, gain / 2) if margin is None else margin
    passing = [one for one in (own, *points) if objectives[0] in one.objectives and one.passes(margin, given=given)]
    cheapest = min(passing, key=lambda one: (one.objectives[objectives[0]], one is not own, -one.value), default=own)
    rest = [i for i in range(len(known)) if i not in {*kept}]
    return Front(
        objectives=tuple(objectives),
        split=split,
        margin=margin,
        margin_given=given,
        best=own,
        points=points,
        cheapest=cheapest,
        candidates=len(known),
        unknown=len(rated) - len(known),
        tokens=tokens,
        dominated=_dots([(rated[known[i]].value, *rows[i].tolist()) for i in rest]),
    )


def undominated(ranks: np.ndarray[Any, Any], costs: np.ndarray[Any, Any]) -> list[int]:
    """Which rows no other one dominates, the highest rank first. Of rows that are equal in all, the first is kept.

    Args:
        ranks: ``(n, 2)``: value, and what decides between equal ones; higher is better.
        costs: ``(n, n_objectives)``; lower is better.
    """
    order = np.lexsort((np.arange(len(ranks)), *costs.T[::-1], -ranks[:, 1], -ranks[:, 0]))  # so nobody is beaten later
    kept: list[int] = []
    bounds = np.empty((0, costs.shape[1]))
    for i in order.tolist():
        if not (bounds <= costs[i]).all(axis=1).any():
            kept.append(i)
            bounds = np.vstack([bounds, costs[i]])
    return kept


def unit(objective: str) -> str:
    """What an objective is called in a sentence."""
    return UNITS.get(objective, (objective, objective))[1]


def amount(cost: float) -> str:
    """A cost as a reader wants to see it."""
    return f"{cost:,.0f}" if float(cost).is_integer() else f"{cost:.3g}"


def told(cost: float, objective: str) -> str:
    """A cost and what it is of: ``1 prompt token``, ``0.00012 dollars an example``."""
    one, many = UNITS.get(objective, (objective, objective))
    return f"{amount(cost)} {one if cost == 1 else many}"


def _difference(best: Rating, other: Rating) -> tuple[float, float | None, float | None, int]:
    """Mean difference, its interval and the number of examples, as of :class:`Point`."""
    one, two = best.per_example, other.per_example
    if one is None or two is None or len(one) != len(two):
        return other.value - best.value, None, None, 1
    differences = two - one
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return other.value - best.value, None, None, 1
    low, high = t_interval(differences) if len(differences) >= FEWEST else (None, None)
    return mean(differences), low, high, len(differences)


def _dots(rows: Sequence[tuple[float, ...]]) -> tuple[tuple[float, ...], ...]:
    """Different ones of these, short numbers, as many as a picture holds, evenly over all."""
    found = [*dict.fromkeys(tuple(float(f"{number:.5g}") for number in row) for row in rows)]
    count = min(DOTS, len(found))
    return tuple(found[i * len(found) // count] for i in range(count))
