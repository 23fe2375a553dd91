"""The curve of a search: worked out once; drawn as marks on a terminal, as a picture and on the report's page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import require
from ..record.answers import Contest, Lead, Rated, counted
from .duels import changes_of_hands
from .figures import Axis, Chart, Point
from .ratings import Improvement, improvements

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INTERVAL = "its 95% interval"


@dataclass(frozen=True)
class SearchCurve:
    """What a search came to, question by question.

    Attributes:
        x, y: what the axes are called.
        dots: question and value of everything that is shown as a dot.
        steps: question and value of what was the best; each value holds until the next.
        last: the last question; the last step holds until then.
        dot, step: what a dot and a step are, for a legend.
        duels: whether it is of duels: its axis of values begins at 0, and its dots, which are few, stand out.
        improvements: the prompts behind the steps, where prompts are rated.
    """

    x: str
    y: str
    dots: Sequence[Point]
    steps: Sequence[Point]
    last: float
    dot: str
    step: str
    duels: bool = False
    improvements: Sequence[Improvement] = field(default=(), repr=False)

    @classmethod
    def of_ratings(cls, ratings: Sequence[Rated]) -> SearchCurve:
        """Every rating that can be compared with others, and the best so far."""
        scored = [one for one in counted(ratings) if math.isfinite(one.rating.value)]
        better = improvements(ratings)
        dots, steps = (
            [(float(one.n), one.rating.value) for one in found] for found in (scored, (b.rated for b in better))
        )
        last = float(max((one.n for one in ratings), default=0))
        return cls(
            "question", "training score", dots, steps, last, "a rated prompt", "best so far", improvements=better
        )

    @classmethod
    def of_duels(cls, duels: Sequence[Contest], leads: Sequence[Lead]) -> SearchCurve:
        """How many duels the leader had won net of those lost, with a dot where another prompt took the lead."""
        dots, steps = ([(float(one.n), float(one.net)) for one in found] for found in (changes_of_hands(leads), leads))
        last = float(duels[-1].n) if duels else 0.0
        return cls(
            "duel", "net wins of the leader", dots, steps, last, "another takes the lead", "who leads", duels=True
        )

    @property
    def line(self) -> list[Point]:
        """The steps, and the last one's value at the last question."""
        return [*self.steps, (self.last, self.steps[-1][1])] if self.steps else []

    @cached_property
    def band(self) -> list[tuple[float, float, float]]:
        """Question, low and high end of the best prompt's 95% interval, where it is known, up to the last question."""
        found = [(float(one.rated.n), *one.interval) for one in self.improvements]
        known = [(n, low, high) for n, low, high in found if low is not None and high is not None]
        return [*known, (self.last, *known[-1][1:])] if known else []

    def at(self, question: float) -> float:
        """The best value after a question; NaN before there was one."""
        return next((value for n, value in reversed(self.steps) if n <= question), math.nan)


def as_marks(curve: SearchCurve, marks: str, *, width: int = 60) -> str:
    """The steps as ``width`` marks in a row, from the first step to the last question.

    Args:
        marks: from that of the lowest value to that of the highest.
    """
    first, values = curve.steps[0][0], [value for _, value in curve.steps]
    low, span = min(values), (max(values) - min(values)) or 1.0
    shown = [curve.at(first + i * (curve.last - first) / (width - 1)) for i in range(width)]
    return "".join(marks[round((value - low) / span * (len(marks) - 1))] for value in shown)


def as_picture(curve: SearchCurve, title: str, *, beside: Callable[[Axes], None] | None = None) -> Figure:
    """The curve as a figure of matplotlib's.

    Args:
        beside: draws a second picture beside it.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    require("matplotlib", extra="plot")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12 if beside else 7, 4), layout="constrained")
    axes, *second = figure.subplots(1, 2 if beside else 1, squeeze=False)[0]
    style, alpha = ("C1o", 1.0) if curve.duels else ("C0.", 0.35)
    axes.plot([n for n, _ in curve.dots], [value for _, value in curve.dots], style, alpha=alpha, label=curve.dot)
    axes.step([n for n, _ in curve.line], [value for _, value in curve.line], "C1", where="post", label=curve.step)
    if curve.band:
        n, low, high = zip(*curve.band, strict=True)
        axes.fill_between(n, low, high, step="post", color="C1", alpha=0.2, label=INTERVAL)
    if curve.duels:
        axes.set_ylim(bottom=0)
    axes.set(xlabel=curve.x, ylabel=curve.y)
    axes.set_title(title, parse_math=False, wrap=True)
    axes.legend()
    if beside:
        beside(second[0])
    return figure


def as_svg(curve: SearchCurve, caption: str) -> str:
    """The curve for a page: its style sheet knows light and dark, where matplotlib would write colours into the SVG."""
    lows, highs = ([(n, ends[side]) for n, *ends in curve.band] for side in (0, 1))
    values = [value for _, value in [*curve.dots, *curve.steps, *lows, *highs]]
    y = Axis.over(curve.y, [0.0, *values] if curve.duels else values)
    chart = Chart(caption, Axis(curve.x, -0.5, curve.last + 0.5), y)
    kind, radius = ("best", 4.0) if curve.duels else ("rated", 2.5)
    chart.band(lows, highs, "best", steps=True).points(curve.dots, kind, radius=radius)
    chart.line(curve.line, "best", steps=True)
    return chart.svg()


def legend(curve: SearchCurve) -> list[tuple[str, str]]:
    """The layers of :func:`as_svg` and what they are; none for duels, whose caption says it."""
    if curve.duels:
        return []
    return [("rated", curve.dot), ("best", curve.step), *([("band", INTERVAL)] if curve.band else [])]
