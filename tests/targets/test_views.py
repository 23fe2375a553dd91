"""Views of images: the same every time, of the same picture, and told apart in the store of features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("open_clip")

from PIL import Image
from run_parts import rewrite

from promptopt.api import optimize, prepare, resume
from promptopt.core import Example, Prompt
from promptopt.errors import UserError
from promptopt.record.ledger import read
from promptopt.scorers import MetricScorer
from promptopt.targets.clip import Clip
from promptopt.targets.views import LEAST, View, changed

RED = (200, 30, 30)


def picture(width: int = 60, height: int = 40) -> Image.Image:
    """A white block in the middle of a red ground."""
    image = Image.new("RGB", (width, height), RED)
    image.paste((255, 255, 255), (width // 3, height // 3, 2 * width // 3, 2 * height // 3))
    return image


def test_a_view_shows_the_same_a_little_changed() -> None:
    image = picture()
    views = [changed(image, number) for number in range(1, 16)]
    assert {view.size for view in views} == {image.size}
    assert len({view.tobytes() for view in [image, *views]}) == 16
    for view in views:
        pixels = np.asarray(view)
        np.testing.assert_allclose(pixels[[0, 0, -1, -1], [0, -1, 0, -1]], [RED] * 4, atol=2)  # no black corners
        assert pixels[20, 30].min() > 240  # the middle is still inside the block
        share = (pixels.min(axis=2) > 200).mean()
        assert share == pytest.approx(1 / 9, rel=0.35)


def test_equal_numbers_give_equal_views() -> None:
    assert changed(picture(), 3).tobytes() == changed(picture(), 3).tobytes()


def test_a_tiny_image_is_enlarged_first() -> None:
    assert changed(picture(8, 8), 1).size == (LEAST, LEAST)
    assert changed(picture(8, 16), 1).size == (LEAST, 2 * LEAST)


def test_a_target_encodes_views_of_arrays_images_and_files(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    clip = Clip(classes=["zero", "one"], cache=tmp_path)
    prompt, inputs = Prompt("a {}"), [np.asarray(picture()), picture(), tmp_path / "a.png"]
    plain, *others = [
        clip.run(prompt, [clip.view(Example("a", given, "one"), number) for number in (1, 2)]) for given in inputs
    ]
    for other in others:
        np.testing.assert_allclose(plain, other, rtol=1e-5)
    rows = clip.run(prompt, [Example("a", inputs[0], "one"), Example("b", changed(picture(), 1), "one")])
    np.testing.assert_allclose(rows[1], plain[0], rtol=1e-5)
    assert not np.allclose(rows[0], plain[0])
    assert not np.allclose(plain[0], plain[1])
    again = Clip(classes=["zero", "one"], cache=tmp_path).run(prompt, [Example("a", View(inputs[2], 2), "one")])
    np.testing.assert_allclose(again[0], plain[1], rtol=1e-5)  # from the disk


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────

RECIPE = {"start": "a photo of a {}", "target": "clip", "seed": 5}


def one_shot(shots: int = 1) -> dict[str, object]:
    return {"name": "rendered", "task": "printed", "shots": shots, "test": 20}


@pytest.mark.parametrize(("shots", "given", "views"), [(1, None, 16), (2, None, 1), (1, 1, 1), (8, 3, 3)])
def test_training_images_have_views_where_there_are_few(shots: int, given: int | None, views: int) -> None:
    plan = prepare({**RECIPE, "data": one_shot(shots), "views": given})
    assert isinstance(plan.scorer, MetricScorer)
    assert isinstance(plan.test, MetricScorer)
    assert (plan.views, plan.scorer.views, plan.test.views) == (views, views, 1)


def test_another_target_without_views_rates_the_test_split_all_the_same() -> None:
    other = {"name": "function", "function": lambda prompt, example: example.label}
    plan = prepare({**RECIPE, "data": one_shot(), "views": 3, "transfer": {"other": other}})
    assert isinstance(plan.transfer["other"], MetricScorer)
    assert plan.transfer["other"].views == 1


def test_views_that_nobody_has_are_refused() -> None:
    with pytest.raises(UserError, match="views is 4; give 1, or more than that for a target with views"):
        prepare({"start": "a", "score": len, "views": 4})


def test_who_runs_the_target_itself_uses_no_views() -> None:
    """People see each example as it is, and so the record says."""
    asked = {**RECIPE, "data": one_shot(), "optimizer": {"name": "apohf", "pool": "grammar"}, "scorer": "human"}
    assert prepare(asked).views == 1
    with pytest.raises(UserError, match=r"views is 4; give 1, or more .* views .* by a metric"):
        prepare({**asked, "views": 4})


def values(folder: Path) -> list[list[float]]:
    return [event["per_example"] for event in read(folder / "ledger.jsonl") if event["event"] == "answer"]


def test_a_run_that_was_begun_before_there_were_views_goes_on_without(tmp_path: Path) -> None:
    search = {"name": "random-search", "pool": "grammar"}
    recipe = {**RECIPE, "data": one_shot(), "optimizer": search, "run": tmp_path, "verdict": False}
    optimize(**recipe, budget=3, views=1)  # type: ignore[arg-type]
    ledger = tmp_path / "ledger.jsonl"
    events = read(ledger)
    del events[0]["views"], events[0]["recipe"]["views"]
    rewrite(ledger, events)
    resume(tmp_path, ["budget=6"])
    assert len(values(tmp_path)) == 6
    assert all(value in (0, 1) for row in values(tmp_path) for value in row)


def test_a_run_with_views_is_recorded_and_resumed_with_them(tmp_path: Path) -> None:
    search = {"name": "random-search", "pool": "grammar"}
    recipe = {**RECIPE, "data": one_shot(), "optimizer": search, "verdict": False}
    whole = optimize(**recipe, budget=6, run=tmp_path / "whole")  # type: ignore[arg-type]
    optimize(**recipe, budget=3, run=tmp_path / "cut")  # type: ignore[arg-type]
    assert resume(tmp_path / "cut", ["budget=6"]).best == whole.best
    assert values(tmp_path / "cut") == values(tmp_path / "whole")
    assert read(tmp_path / "cut" / "ledger.jsonl")[0]["views"] == 16
    assert any(value not in (0, 1) for row in values(tmp_path / "cut") for value in row)
