"""Charts: well-formed, named, and with every point where it belongs."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from promptopt.report.figures import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Chart, bars, forest


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def test_a_chart_is_an_image_with_a_name_and_its_texts_are_escaped() -> None:
    svg = Chart('a "title" <script>', Axis("x <b>"), Axis("y & z")).svg()
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'a "title" <script>'
    assert "<script" not in svg
    assert {"x <b>", "y & z"} <= {*texts(svg)}


def test_points_lie_where_they_belong_and_what_is_not_finite_is_left_out() -> None:
    chart = Chart("t", Axis("x", 0, 10), Axis("y", 0, 1))
    svg = chart.points([(0, 0), (10, 1), (5, math.nan)], "rated").svg()
    at = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in ElementTree.fromstring(svg).iter("circle")]
    assert at == [(LEFT, HEIGHT - 52), (WIDTH - RIGHT, TOP)]


def test_steps_hold_until_the_next() -> None:
    svg = Chart("t", Axis("x", 0, 10), Axis("y", 0, 1)).line([(0, 0), (10, 1)], "best", steps=True).svg()
    [path] = ElementTree.fromstring(svg).iter("path")
    points = [tuple(map(float, one.split(","))) for one in path.get("d", "")[1:].split("L")]
    assert points[1] == (points[2][0], points[0][1])


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.003, 0.0021), (0.445, 0.895), (0, 12345), (99.5, 100.5)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = Axis("x", low, high).ticks()
    values = [value for value, _ in ticks]
    assert 2 <= len(values) <= 8
    assert low - 1e-9 <= min(values) < max(values) <= high + 1e-9
    assert len({text for _, text in ticks}) == len(ticks)
    assert all(math.isclose(float(text.replace(",", "")), value, abs_tol=1e-12) for value, text in ticks)


def test_ticks_of_a_logarithmic_axis() -> None:
    axis = Axis.over("x", [0.001, 1], log=True)
    assert {"0.001", "1"} <= {text for _, text in axis.ticks(20)}
    assert axis.share(axis.low) == 0
    assert axis.share(axis.high) == pytest.approx(1)


@pytest.mark.parametrize("values", [[], [0.5], [0.0, 0.0], [math.nan]])
def test_an_axis_over_little(values: list[float]) -> None:
    axis = Axis.over("x", values)
    assert axis.low < axis.high
    assert Chart("t", axis, axis).svg()


@pytest.mark.parametrize("values", [[0.02, 0.98], [0.0, 1.0], [1.0], [0.4, 0.5]])
def test_an_axis_of_shares_ends_at_0_and_1(values: list[float]) -> None:
    axis = Axis.over("x", values)
    assert 0 <= axis.low < axis.high <= 1
    assert Axis.over("x", [-0.1, *values]).low < -0.1


def test_a_band_is_cut_at_the_axis() -> None:
    svg = Chart("t", Axis("x", 0, 1), Axis("y", 0, 1)).band([(0, -9), (1, 0.5)], [(0, 9), (1, 0.9)], "best").svg()
    [path] = ElementTree.fromstring(svg).iter("path")
    heights = [float(one.split(",")[1]) for one in path.get("d", "")[1:-1].split("L")]
    assert (min(heights), max(heights)) == (TOP, HEIGHT - 52)


def test_a_difference_of_nothing_stands_in_the_middle() -> None:
    root = ElementTree.fromstring(forest("t", "d", [("tie", 0.0, 0.0, 0.0)]))
    [dot] = root.iter("circle")
    assert float(dot.get("cx", "")) == pytest.approx((190 + WIDTH - RIGHT) / 2, abs=0.1)


def test_a_forest_says_which_differences_are_sure() -> None:
    rows = [("up", 0.2, 0.1, 0.3), ("down", -0.2, -0.3, -0.1), ("open", 0.1, -0.1, 0.3), ("bare", 0.1, None, None)]
    root = ElementTree.fromstring(forest("t", "d", [*rows, ("unknown", math.nan, None, None)]))
    kinds = [group.get("class") for group in root.iter("g")]
    assert kinds == ["gain", "loss", "unsure", "unsure"]
    assert sum("whisker" in (line.get("class") or "") for line in root.iter("line")) == 3


def test_bars_begin_at_zero() -> None:
    root = ElementTree.fromstring(bars("t", "d", [("a", 1.0), ("b", 0.5), ("c", 0.0)]))
    widths = [float(bar.get("width", "")) for bar in root.iter("rect")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2)
    assert widths[2] == 0
