"""The embedded painter: one picture per example, equal seeds for all prompts, every word to be seen."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from promptopt.core import Example, Prompt
from promptopt.drawing.facts import KINDS, VALUES
from promptopt.report.show import told
from promptopt.targets.painter import Painter, paint
from promptopt.targets.pictures import seed_of
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import TargetContract

EXAMPLES = [Example(f"drawing/{i}", None, None) for i in range(4)]


def pixels(text: str, seed: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(paint(text, seed).data)), dtype=float)


class TestPainter(TargetContract):
    prompts = ("three red stars", "a handwritten five in chalk, upside down", "nonsense")

    def make(self) -> Painter:
        return Painter()

    def examples(self) -> Sequence[Example]:
        return EXAMPLES


def test_pictures_are_pngs_and_differ_by_example() -> None:
    pictures = Painter().run(Prompt("a star"), EXAMPLES)
    assert {picture.type for picture in pictures} == {"image/png"}
    assert len({picture.data for picture in pictures}) == len(EXAMPLES)
    assert {Image.open(io.BytesIO(picture.data)).size for picture in pictures} == {(96, 96)}
    assert pictures[0] == paint("a star", seed_of(EXAMPLES[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_its_number(kind: str) -> None:
    one, two = (pixels(f"{KINDS[kind][1].format(number)} white on black", 0) for number in ("one", "eight"))
    assert np.abs(one - two).mean() > 4


@pytest.mark.parametrize("style", VALUES["style"])
def test_every_style_is_to_be_seen(style: str) -> None:
    plain, styled = (pixels(f"a printed four, white on black{more}", 0) for more in ("", f", {style}"))
    assert (np.abs(plain - styled).mean() > 1) == (style not in ("sharp", "on paper"))


@pytest.mark.parametrize("turn", ["upside down", "mirrored", "sideways"])
def test_signs_are_turned(turn: str) -> None:
    assert (
        np.abs(pixels("printed four, white on black", 0) - pixels(f"{turn} printed four, white on black", 0)).mean() > 9
    )


@pytest.mark.parametrize("place", VALUES["place"])
def test_places_are_where_they_are_called(place: str) -> None:
    ink = pixels(f"a small white printed eight on a black background, at the {place}", 0).mean(axis=2)
    down, across = np.average(np.mgrid[-1:1:96j, -1:1:96j], weights=np.where(ink > 128, ink, 0), axis=(1, 2))
    assert (across < -0.2, across > 0.2) == ("left" in place, "right" in place)
    assert (down < -0.2, down > 0.2) == ("top" in place, "bottom" in place)


def test_colours_are_those_that_are_named() -> None:
    picture = pixels("large printed eight, red on a blue background", 3)
    corner, brightest = picture[:8, :8].mean(axis=(0, 1)), picture[picture[:, :, 0].argmax() // 96]
    assert np.abs(corner - (40, 70, 210)).max() < 25
    assert brightest[:, 0].max() > 180


def test_it_says_what_it_is() -> None:
    setup = FakeSetup(start=["a"])
    Painter().begin(setup)
    assert any("by rules" in note for note in setup.notes)
    assert "by rules" in told(dict(Painter.record))
