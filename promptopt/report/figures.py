"""Charts as SVG: their colours are in the page's style sheet, light and dark, and their text is text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.etree import ElementTree as Xml

WIDTH, HEIGHT, ROW = 680.0, 290.0, 30.0
TOP, RIGHT, BOTTOM, LEFT = 14.0, 18.0, 52.0, 64.0
NAMES = 190.0  # left margin of a chart with names on the left
SERIES = 8  # as many colours are there
LONGEST = 26

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """An axis from ``low`` to ``high``, or with ``names`` at 0, 1 and so on. ``log`` for positive numbers only."""

    label: str
    low: float = 0.0
    high: float = 1.0
    names: tuple[str, ...] = ()
    log: bool = False

    @classmethod
    def over(cls, label: str, values: Sequence[float], *, log: bool = False) -> Axis:
        """An axis on which all values have room; a little more than they need, but not beyond 0 and 1 for shares."""
        finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        if log and low > 0:
            return cls(label, low / 1.2, high * 1.2, log=True)
        room = (high - low) * 0.06 or abs(high) * 0.1 or 0.5
        if low >= 0 and high <= 1:
            return cls(label, max(0.0, low - room), min(1.0, high + room))
        return cls(label, low - room, high + room)

    @classmethod
    def of(cls, label: str, names: Sequence[str]) -> Axis:
        """An axis of names."""
        return cls(label, -0.6, len(names) - 0.4, tuple(names))

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the low end and 1 at the high end."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Round numbers in between, or the names."""
        if self.names:
            return [(float(i), name) for i, name in enumerate(self.names)]
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [m * 10.0**p for p in powers for m in (1, 2, 5) if self.low <= m * 10.0**p <= self.high]
            every = -(-len(found) // most) or 1
            return [(v, f"{v:g}") for v in found[::every]]
        rough = (self.high - self.low) / most
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(m * size for m in (1, 2, 5, 10) if m * size >= rough)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(i * step, f"{i * step:,.{digits}f}") for i in range(first, last + 1)]


class Chart:
    """A chart that is drawn layer by layer.

    Args:
        title: its text alternative: what it shows, in a sentence.
        x, y: the axes. With names on ``y`` rows go downwards.
    """

    def __init__(self, title: str, x: Axis, y: Axis) -> None:
        self.x, self.y = x, y
        self.left = NAMES if y.names else LEFT
        self.height = TOP + BOTTOM + ROW * len(y.names) if y.names else HEIGHT
        box = f"0 0 {WIDTH:g} {self.height:g}"
        self._svg = Xml.Element("svg", {"viewBox": box, "role": "img", "class": "chart", "aria-label": title})
        self._grid()

    def points(self, points: Sequence[Point], kind: str, *, radius: float = 3.0) -> Chart:
        """Dots."""
        group = self._add("g", {"class": kind})
        for x, y in _finite(points):
            Xml.SubElement(group, "circle", {"cx": self._x(x), "cy": self._y(y), "r": f"{radius:g}"})
        return self

    def line(self, points: Sequence[Point], kind: str, *, steps: bool = False) -> Chart:
        """A line through points; with ``steps`` each value holds until the next."""
        self._add("path", {"class": f"line {kind}", "d": self._path(_stairs(points) if steps else _finite(points))})
        return self

    def band(self, lows: Sequence[Point], highs: Sequence[Point], kind: str, *, steps: bool = False) -> Chart:
        """The area between two lines, as far as the axis goes."""
        inside = ([(x, min(max(y, self.y.low), self.y.high)) for x, y in one] for one in (lows, highs))
        low, high = (_stairs(one) if steps else _finite(one) for one in inside)
        if low and high:
            self._add("path", {"class": f"band {kind}", "d": self._path([*low, *reversed(high)]) + "Z"})
        return self

    def whisker(self, row: float, low: float, high: float, kind: str) -> Chart:
        """An interval along x."""
        y = self._y(row)
        self._add("line", {"class": f"whisker {kind}", "x1": self._x(low), "x2": self._x(high), "y1": y, "y2": y})
        return self

    def spread(self, x: float, low: float, high: float, kind: str) -> Chart:
        """An interval along y, as far as the axis goes."""
        ends = (self._y(min(max(end, self.y.low), self.y.high)) for end in (low, high))
        at = dict(zip(("y1", "y2"), ends, strict=True))
        self._add("line", {"class": f"whisker {kind}", "x1": self._x(x), "x2": self._x(x), **at})
        return self

    def bar(self, row: float, value: float, kind: str) -> Chart:
        """A bar along x, from 0."""
        left, right = sorted((float(self._x(0)), float(self._x(value))))
        at = {"x": f"{left:.1f}", "y": f"{float(self._y(row)) - 9:.1f}", "width": f"{right - left:.1f}", "height": "18"}
        self._add("rect", {"class": kind, **at, "rx": "2"})
        return self

    def mark(self, x: float) -> Chart:
        """A vertical line, at 0 for example."""
        self._add("line", {"class": "mark", "x1": self._x(x), "x2": self._x(x), **self._ends()})
        return self

    def svg(self) -> str:
        """The chart as markup; every text in it is escaped."""
        return Xml.tostring(self._svg, encoding="unicode")

    # ── Geometry ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _x(self, value: float) -> str:
        return f"{self.left + self.x.share(value) * (WIDTH - self.left - RIGHT):.1f}"

    def _y(self, value: float) -> str:
        share = self.y.share(value) if self.y.names else 1 - self.y.share(value)
        return f"{TOP + share * (self.height - TOP - BOTTOM):.1f}"

    def _path(self, points: Sequence[Point]) -> str:
        return "M" + "L".join(f"{self._x(x)},{self._y(y)}" for x, y in points) if points else "M0,0"

    def _ends(self) -> dict[str, str]:
        return {"y1": f"{TOP:g}", "y2": f"{self.height - BOTTOM:g}"}

    def _add(self, tag: str, attributes: dict[str, str], text: str = "") -> Xml.Element:
        element = Xml.SubElement(self._svg, tag, attributes)
        element.text = text or None
        return element

    def _grid(self) -> None:
        bottom, right = self.height - BOTTOM, WIDTH - RIGHT
        for value, text in self.y.ticks():
            y = self._y(value)
            self._add("line", {"class": "grid", "x1": f"{self.left:g}", "x2": f"{right:g}", "y1": y, "y2": y})
            self._label(f"{self.left - 8:g}", f"{float(y) + 4:.1f}", text, anchor="end")
        for value, text in self.x.ticks():
            x = self._x(value)
            self._add("line", {"class": "grid", "x1": x, "x2": x, **self._ends()})
            self._label(x, f"{bottom + 18:g}", text, anchor="middle")
        middle = f"{(self.left + right) / 2:g}"
        self._add(
            "text", {"class": "axis", "x": middle, "y": f"{bottom + 40:g}", "text-anchor": "middle"}, self.x.label
        )
        turned = {"class": "axis", "transform": f"translate(14 {(TOP + bottom) / 2:g}) rotate(-90)"}
        self._add("text", {**turned, "text-anchor": "middle"}, self.y.label)

    def _label(self, x: str, y: str, text: str, *, anchor: str) -> None:
        short = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
        self._add("text", {"x": x, "y": y, "text-anchor": anchor}, short)


def forest(title: str, label: str, rows: Sequence[tuple[str, float, float | None, float | None]]) -> str:
    """Values with their intervals below each other, and a line at 0.

    Args:
        rows: name, value, low and high.
    """
    rows = [row for row in rows if math.isfinite(row[1])]
    ends = [end for _, value, low, high in rows for end in (value, low, high) if end is not None]
    x = Axis.over(label, [0.0, *ends]) if any(ends) else Axis(label, -0.5, 0.5)
    chart = Chart(title, x, Axis.of("", [row[0] for row in rows]))
    chart.mark(0.0)
    for i, (_, value, low, high) in enumerate(rows):
        sure = low is not None and high is not None and not low <= 0 <= high
        kind = ("gain" if value > 0 else "loss") if sure else "unsure"
        if low is not None and high is not None:
            chart.whisker(i, low, high, kind)
        chart.points([(value, float(i))], kind, radius=5)
    return chart.svg()


def bars(title: str, label: str, rows: Sequence[tuple[str, float]]) -> str:
    """Bars below each other."""
    chart = Chart(
        title, Axis.over(label, [0.0, *(value for _, value in rows)]), Axis.of("", [name for name, _ in rows])
    )
    for i, (_, value) in enumerate(rows):
        chart.bar(i, value, "bar")
    return chart.svg()


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _stairs(points: Sequence[Point]) -> list[Point]:
    """The same with a corner before every step."""
    found: list[Point] = []
    for x, y in _finite(points):
        if found:
            found.append((x, found[-1][1]))
        found.append((x, y))
    return found
