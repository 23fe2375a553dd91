"""CLIP similarity of pictures with texts and pictures, by the embedded model and a tiny one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("open_clip")

import torch
import torch.nn.functional as F
from picture_parts import UNUSABLE, encoded, example, image, picture

from promptopt.core import Example, Mark, Picture
from promptopt.errors import UserError
from promptopt.metrics.pictures.clip import ClipSimilarity
from promptopt.recipe.build import build
from promptopt.scorers import marks
from promptopt.scorers.marking import Marking
from promptopt.targets.clip.models import load
from promptopt.testing.contracts import MetricContract

TEXT = "a red circle"


class TestClipSimilarity(MetricContract):
    unreadable = tuple(UNUSABLE.values())

    def make(self) -> ClipSimilarity:
        return ClipSimilarity(cache=None)

    def marked(self) -> list[tuple[Any, Example]]:
        labels = [TEXT, picture(3), [TEXT, "a blue square"], [picture(4), picture(5)]]
        return [(picture(i), example(label, i)) for i, label in enumerate(labels)]


def by_hand(shown: Any, *, text: str) -> float:
    """The definition, with open_clip's own functions."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    loaded = load("embedded", None)
    assert loaded
    prepare = image_transform_v2(PreprocessCfg(**loaded.model.visual.preprocess_cfg), is_train=False)
    with torch.inference_mode():
        one = F.normalize(loaded.model.encode_image(prepare(shown)[None]), dim=-1)
        other = F.normalize(loaded.model.encode_text(loaded.tokenizer([text])), dim=-1)
    return float((one @ other.T).item())


@pytest.fixture(scope="module")
def metric() -> ClipSimilarity:
    return ClipSimilarity(cache=None)


def test_it_is_the_cosine_of_open_clip(metric: ClipSimilarity) -> None:
    found = metric([picture(0), image(1), np.asarray(image(2))], [example(TEXT)] * 3)
    assert found == pytest.approx([by_hand(image(i), text=TEXT) for i in range(3)], abs=1e-5)


def test_a_picture_is_as_near_as_can_be_to_itself(metric: ClipSimilarity, tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    path.write_bytes(picture(0).data)
    labels = [picture(0), path, str(path), [path, picture(0)]]
    assert metric([picture(0)] * 4, [example(label) for label in labels]) == pytest.approx([1.0] * 4, abs=1e-5)
    assert metric([path], [example(picture(0))]) == pytest.approx([1.0], abs=1e-5)


def test_several_references_count_by_their_mean_or_the_closest(metric: ClipSimilarity) -> None:
    several = [TEXT, picture(1), picture(2)]
    each = [metric([picture(0)], [example(one)])[0] for one in several]
    assert metric([picture(0)], [example(several)]) == pytest.approx([np.mean(each)])
    assert ClipSimilarity(of="closest", cache=None)([picture(0)], [example(several)]) == pytest.approx([max(each)])


def test_the_option_comes_before_the_label(metric: ClipSimilarity) -> None:
    own = ClipSimilarity(reference=[TEXT, "a blue square"], cache=None)
    expected = metric([picture(0)], [example([TEXT, "a blue square"])])
    assert own([picture(0)], [example(None)]) == pytest.approx(expected, abs=1e-6)
    recipe = build("metrics", {"name": "clip-similarity", "reference": TEXT, "cache": False}, where="metric")
    assert recipe([picture(0)], [example(None)]) == pytest.approx(metric([picture(0)], [example(TEXT)]), abs=1e-6)


@pytest.mark.parametrize("reason", UNUSABLE)
def test_what_cannot_be_used_has_failed_in_one_sentence(reason: str, metric: ClipSimilarity) -> None:
    outputs = [picture(0), UNUSABLE[reason], picture(1)]
    good, mark, other = metric(outputs, [example(TEXT)] * 3)
    assert isinstance(mark, Mark)
    assert mark.failed
    assert mark.feedback.startswith(reason)
    assert "\n" not in mark.feedback
    assert isinstance(good, float)
    assert isinstance(other, float)
    marking = Marking.of(metric, outputs, [example(TEXT)] * 3, failed="worst")
    assert marking.values[1] == -1
    assert marking.coverage.reasons == {reason.partition(":")[0]: 1}


def test_a_picture_is_what_its_bytes_say(metric: ClipSimilarity) -> None:
    wrongly_called = Picture(encoded(image(0), "PNG").data, "image/jpeg")
    assert metric([wrongly_called], [example(TEXT)]) == metric([picture(0)], [example(TEXT)])


def test_what_is_transparent_is_white(metric: ClipSimilarity) -> None:
    from PIL import Image

    clear, white = Image.new("RGBA", (20, 20), (255, 0, 0, 0)), Image.new("RGB", (20, 20), "white")
    assert metric([encoded(clear)], [example(TEXT)]) == metric([encoded(white)], [example(TEXT)])


def test_a_broken_reference_leaves_its_example_unscored(metric: ClipSimilarity) -> None:
    mark, other = metric([picture(0)] * 2, [example(UNUSABLE["broken picture: "]), example(picture(1))])
    assert isinstance(mark, Mark)
    assert (mark.value, mark.failed) == (None, False)
    assert mark.feedback.startswith("broken files: broken picture: ")
    assert isinstance(other, float)


def test_a_text_that_does_not_fit_is_told_before_anything_is_spent(metric: ClipSimilarity) -> None:
    long = "a red circle beside a blue square " * 5
    with pytest.raises(UserError, match=r"text too long: \d+ tokens.*embedded takes 24.*Shorten it"):
        ClipSimilarity(examples=[example(long)], cache=None)
    with pytest.raises(UserError, match="text too long"):
        ClipSimilarity(reference=long, cache=None)
    [mark] = metric([picture(0)], [example(long)])
    assert isinstance(mark, Mark)
    assert (mark.value, mark.failed) == (None, False)
    assert mark.feedback.startswith("text too long: ")


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (None, "has the label None"),
        (3, "has the label 3"),
        ([], r"has the label \[\]"),
        ("gone.png", "there is no file 'gone.png'"),
        (Path("gone"), "there is no file 'gone'"),
    ],
)
def test_a_label_that_is_no_reference_is_told_before_anything_is_spent(label: Any, said: str) -> None:
    with pytest.raises(UserError, match=f"example 'wish/0'.*{said}"):
        ClipSimilarity(examples=[example(label)], cache=None)


def test_features_are_kept_on_disk_and_pictures_are_not_kept_in_memory(tmp_path: Path) -> None:
    first = ClipSimilarity(cache=tmp_path)([picture(0)], [example(picture(1))])
    other = ClipSimilarity(cache=tmp_path)

    def encode(*_: Any) -> Any:
        raise AssertionError("encoded again")

    other._encoder._images._preprocess = encode
    assert other([picture(0)], [example(picture(1))]) == first
    assert not other._encoder._images._content


def test_a_reference_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ClipSimilarity(cache=None)
    own([picture(0)], [example([TEXT, picture(7)])])
    monkeypatch.setattr(own._encoder._texts, "encode", None)
    assert own([picture(0), picture(1)], [example([TEXT, picture(7)])] * 2)
    seen = own._encoder._rows
    assert set(seen) == {TEXT, picture(7)}


def test_nothing_to_compare_encodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ClipSimilarity(cache=None)
    monkeypatch.setattr(own._encoder, "_texts", None)
    monkeypatch.setattr(own._encoder, "_images", None)
    assert own([None, None], [example(TEXT)] * 2) == [None, None]


def test_a_slow_machine_fails_no_picture(metric: ClipSimilarity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "TIME_LIMIT", 1e-4)
    monkeypatch.setattr(marks, "EACH", 0.0)
    marking = Marking.of(metric, [picture(70), picture(71)], [example(TEXT)] * 2, failed="worst")
    assert not marking.failed
