"""Metrics of pictures that need no model."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from picture_parts import UNUSABLE, encoded, example, image, picture
from PIL import Image

from promptopt.core import Example
from promptopt.errors import UserError
from promptopt.metrics.pictures.plain import CompressedSize, Palette
from promptopt.recipe.build import build
from promptopt.testing.contracts import MetricContract


def noise(seed: int = 0, side: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def fields(*colours: str) -> Image.Image:
    """Fields of one size beside each other."""
    whole = Image.new("RGB", (10 * len(colours), 10))
    for i, colour in enumerate(colours):
        whole.paste(colour, (10 * i, 0, 10 * i + 10, 10))
    return whole


class TestCompressedSize(MetricContract):
    unreadable = tuple(UNUSABLE.values())

    def make(self) -> CompressedSize:
        return CompressedSize()

    def marked(self) -> list[tuple[Any, Example]]:
        return [(one, example(None)) for one in (picture(0), noise(), fields("red"))]


class TestSmall(TestCompressedSize):
    def make(self) -> CompressedSize:
        return CompressedSize(prefer="small")


class TestPalette(MetricContract):
    unreadable = tuple(UNUSABLE.values())

    def make(self) -> Palette:
        return Palette()

    def marked(self) -> list[tuple[Any, Example]]:
        return [(encoded(fields("red", "blue")), example(label)) for label in ("red", "green", ["red", "#0000ff"])]


def test_size_is_what_deflate_leaves_of_the_pixels() -> None:
    pixels = np.asarray(image(0))
    share = len(zlib.compress(pixels.tobytes(), 9)) / pixels.size
    assert CompressedSize()([image(0), picture(0)], [example(None)] * 2) == [share, share]
    assert CompressedSize(prefer="small")([picture(0)], [example(None)]) == [1 - share]


def test_noise_is_large_and_plain_is_small() -> None:
    large, small = CompressedSize()([noise(), fields("red")], [example(None)] * 2)
    assert isinstance(large, float)
    assert isinstance(small, float)
    assert large > 0.95
    assert small < 0.1
    assert CompressedSize()([noise(side=600)], [example(None)])[0] > 0.5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("drawn", "wanted", "value"),
    [
        (("red",), ["red"], 1.0),
        (("red",), ["red", "blue"], 0.5),
        (("red", "blue"), ["red", "blue"], 1.0),
        (("red", "red", "red", "blue"), ["red", "blue"], 0.75),
        (("red", "green"), ["blue"], 0.0),
        (("#f01010",), ["red"], 1.0),
        (("#a00000",), ["red"], 0.0),
    ],
)
def test_palette_is_the_intersection_with_equal_shares(drawn: tuple[str, ...], wanted: list[str], value: float) -> None:
    metric = build("metrics", {"name": "palette", "colours": wanted}, where="metric")
    assert metric([fields(*drawn)], [example(None)]) == [pytest.approx(value)]
    assert Palette()([fields(*drawn)], [example(wanted)]) == [pytest.approx(value)]


@pytest.mark.parametrize(("colours", "said"), [(["reed"], "reed"), ([], "no colours"), ("#12", "#12")])
def test_a_colour_that_is_none(colours: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Palette(colours=colours)
    with pytest.raises(UserError, match=said):
        Palette()([picture(0)], [example(colours)])
    with pytest.raises(UserError, match="example 'wish/0': 3 is no colour"):
        Palette()([picture(0)], [example(3)])
