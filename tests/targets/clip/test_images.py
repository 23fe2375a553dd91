"""Image features: exact, computed once, and safe on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("open_clip")

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from promptopt.core import Example
from promptopt.errors import UserError
from promptopt.targets.clip import images as clip_images
from promptopt.targets.clip.images import ImageFeatures
from promptopt.targets.images import image_bytes, open_image
from promptopt.targets.views import View

from ..conftest import shaken

N = 7


@pytest.fixture(scope="module")
def model(config: dict[str, Any]) -> Any:
    built = shaken(open_clip.CLIP(**config))
    built.visual.preprocess_cfg = {"size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    return built


def pixels(i: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(i).integers(0, 256, (20, 18, 3), dtype=np.uint8)


def examples(n: int = N) -> list[Example]:
    return [Example(str(i), pixels(i), "a") for i in range(n)]


class Counted:
    """A model that counts the images it encodes."""

    def __init__(self, model: Any) -> None:
        self.seen = 0
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        features: torch.Tensor = self._model.encode_image(images)
        return features


Maker = Callable[..., tuple[ImageFeatures, Counted]]


@pytest.fixture
def make(model: Any, config: dict[str, Any]) -> Maker:
    def build(cache: Path | None = None, of: Any = None, **options: Any) -> tuple[ImageFeatures, Counted]:
        counted = Counted(of or model)
        settings = {"config": config, "batch_size": 3, "cache": cache, **options}
        return ImageFeatures(counted, **settings), counted

    return build


def expected(model: Any, images: list[Image.Image]) -> torch.Tensor:
    preprocess = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    with torch.inference_mode():
        return F.normalize(model.encode_image(torch.stack([preprocess(image) for image in images])), dim=-1)


def test_features_of_arrays_images_and_files_are_the_models(make: Maker, model: Any, tmp_path: Path) -> None:
    image = Image.fromarray(pixels(0))
    image.save(tmp_path / "0.png")
    grey = pixels(1)[:, :, 0]
    inputs = [pixels(0), image, tmp_path / "0.png", str(tmp_path / "0.png"), grey, Image.fromarray(grey)]
    features, counted = make()
    found = features.of([Example(str(i), one, "a") for i, one in enumerate(inputs)])
    reference = expected(model, [image] * 4 + [Image.fromarray(grey).convert("RGB")] * 2)
    torch.testing.assert_close(found, reference, rtol=1e-5, atol=1e-6)
    assert counted.seen == 3  # pixels once, the file once, the grey pixels once


def test_in_memory_an_image_is_encoded_once(make: Maker) -> None:
    features, counted = make()
    some = examples()
    first = features.of(some)
    assert counted.seen == N
    assert torch.equal(features.of(some[2:5]), first[2:5])
    assert torch.equal(features.of(some[::-1]), first.flip(0))
    assert torch.equal(features.of(tuple(some)), first)
    assert torch.equal(features.of(examples()), first)  # other objects, the same pixels
    assert counted.seen == N


def test_a_file_is_read_once_for_all_its_views(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(pixels(0)).save(tmp_path / "0.png")
    read: list[str] = []

    def counting(example: Example) -> bytes:
        read.append(example.id)
        return image_bytes(example)

    monkeypatch.setattr(clip_images, "image_bytes", counting)
    features, _ = make()
    file = Example("0", tmp_path / "0.png", "a")
    views = [replace(file, input=View(file.input, number)) for number in (1, 2, 3)]
    found = features.of([file, *views]).numpy()
    assert read == ["0"]
    alone = make()[0].of([replace(one) for one in views]).numpy()
    np.testing.assert_allclose(found[1:], alone, rtol=1e-4, atol=1e-6)
    assert len(np.unique(found, axis=0)) == 4
    Image.fromarray(pixels(1)).save(tmp_path / "0.png")  # another example looks at the file afresh
    assert not np.allclose(features.of([replace(file)]).numpy(), found[0])


def test_a_list_that_changes_is_noticed(make: Maker) -> None:
    features, _ = make()
    some = examples()
    first = features.of(some)
    some[0], some[1] = some[1], some[0]
    assert torch.equal(features.of(some), first[[1, 0, *range(2, N)]])


def test_equal_ids_are_not_taken_for_equal_images(make: Maker) -> None:
    features, _ = make()
    assert not torch.allclose(features.of([Example("x", pixels(0), "a")]), features.of([Example("x", pixels(1), "a")]))


def test_on_disk_features_outlive_the_process(make: Maker, tmp_path: Path) -> None:
    first = make(tmp_path)[0].of(examples())
    features, counted = make(tmp_path)
    assert torch.equal(features.of(examples(N + 1))[:N], first)
    assert counted.seen == 1


def test_a_renamed_file_is_known_and_a_changed_one_is_not(make: Maker, tmp_path: Path) -> None:
    for name, i in [("a", 0), ("b", 0), ("c", 1)]:
        Image.fromarray(pixels(i)).save(tmp_path / f"{name}.png")
    make(tmp_path)[0].of([Example("1", tmp_path / "a.png", "a")])
    features, counted = make(tmp_path)
    features.of([Example("1", tmp_path / "b.png", "a")])
    assert counted.seen == 0
    (tmp_path / "c.png").rename(tmp_path / "a.png")
    features.of([Example("1", tmp_path / "a.png", "a")])
    assert counted.seen == 1


@pytest.mark.parametrize("what", ["weights", "preprocessing", "configuration"])
def test_another_model_does_not_read_these_features(
    what: str, make: Maker, config: dict[str, Any], model: Any, tmp_path: Path
) -> None:
    make(tmp_path)[0].of(examples())
    other = shaken(open_clip.CLIP(**config), seed=1) if what == "weights" else model
    preprocess = dict(model.visual.preprocess_cfg)
    try:
        other.visual.preprocess_cfg = {**preprocess, "mean": (0.4,) * 3} if what == "preprocessing" else preprocess
        settings = {"config": {**config, "quick_gelu": True}} if what == "configuration" else {}
        features, counted = make(tmp_path, of=other, **settings)
    finally:
        model.visual.preprocess_cfg = preprocess
    features.of(examples())
    assert counted.seen == N


def test_batches_before_an_interruption_are_kept(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, counted = make(tmp_path)
    with pytest.raises(UserError):
        features.of([*examples(6), Example("missing", np.zeros((4, 4, 3)), "a")])
    assert counted.seen == 0  # contents are read first

    def interrupted(example: Example) -> Any:
        if example.id == "last":
            raise KeyboardInterrupt
        return open_image(example)

    monkeypatch.setattr(clip_images, "open_image", interrupted)
    (tmp_path / "last.png").write_bytes(b"never read")
    with pytest.raises(KeyboardInterrupt):
        features.of([*examples(6), Example("last", tmp_path / "last.png", "a")])
    assert counted.seen == 6
    features, counted = make(tmp_path)
    features.of(examples(6))
    assert counted.seen == 0


def test_a_broken_file_has_no_features_and_harms_no_other(make: Maker, tmp_path: Path) -> None:
    whole, _ = make(None)
    expected = whole.of(examples(6)).numpy()
    broken = Example("broken", tmp_path / "broken.png", "a")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    for _ in range(2):  # it is not remembered on disk, so that it can be mended
        features, _ = make(tmp_path)
        asked = [broken, *examples(6)]
        rows = features.of(asked).numpy()
        assert np.isnan(rows[0]).all()
        np.testing.assert_allclose(rows[1:], expected, rtol=1e-5, atol=1e-6)
        assert list(features.broken(asked)) == [0]
        assert "it is no image that Pillow knows" in features.broken([broken])[0]


def scribble(path: Path) -> None:
    path.write_bytes(b"this is no database " * 100)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite_the_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = np.random.default_rng(0).bytes(len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [scribble, tear, overwrite_the_middle])
def test_a_damaged_file_is_made_anew(damage: Callable[[Path], None], make: Maker, tmp_path: Path) -> None:
    first = make(tmp_path)[0].of(examples(40))
    damage(tmp_path / "clip-features.sqlite")
    features, counted = make(tmp_path)
    assert torch.equal(features.of(examples(40)), first)
    assert counted.seen == 40
    features, counted = make(tmp_path)
    assert torch.equal(features.of(examples(40)), first)
    assert counted.seen == 0


def test_a_flipped_bit_in_a_feature_is_noticed(make: Maker, tmp_path: Path) -> None:
    first = make(tmp_path)[0].of(examples())
    path = tmp_path / "clip-features.sqlite"
    data = bytearray(path.read_bytes())
    data[data.find(first[3].numpy().tobytes()) + 9] ^= 16
    path.write_bytes(data)
    features, counted = make(tmp_path)
    torch.testing.assert_close(features.of(examples()), first, rtol=1e-5, atol=1e-6)
    assert counted.seen == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere/cat.png", "nowhere/cat.png"),
        (Path(__file__).parent, "cannot read"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((4, 4)), "float64"),
        (17, "int is no image"),
    ],
)
def test_what_is_no_image_is_named(given: Any, said: str, make: Maker) -> None:
    with pytest.raises(UserError, match=said) as caught:
        make()[0].of([*examples(2), Example("my-example", given, "a")])
    assert "'my-example'" in str(caught.value)


def test_a_torn_image_is_named(make: Maker, tmp_path: Path) -> None:
    features, _ = make()
    Image.fromarray(pixels(0)).save(tmp_path / "torn.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "torn.png").read_bytes()[:300])
    torn = Example("1", tmp_path / "torn.png", "a")
    assert np.isnan(features.of([torn]).numpy()).all()
    assert "torn.png" in features.broken([torn])[0]
