"""Data sets of the hub: from files as its package writes them, and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptopt.api import prepare
from promptopt.data.hub import hub
from promptopt.errors import MissingExtra, UserError
from promptopt.loading import without_downloads

datasets = pytest.importorskip("datasets", reason="datasets is not installed")
TEXTS = [f"text {n}" for n in range(12)]


def rows(**columns: Any) -> Any:
    given = {"text": TEXTS, "kind": [n % 2 for n in range(12)], "answer": [f"a{n}" for n in range(12)], **columns}
    features = {"text": datasets.Value("string"), "kind": datasets.ClassLabel(names=["good", "bad"])}
    return datasets.Dataset.from_dict(given).cast(
        datasets.Features({**datasets.Dataset.from_dict(given).features, **features})
    )


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def parquet(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    rows().to_parquet(folder / "train.parquet")
    rows(text=[f"other {n}" for n in range(12)]).to_parquet(folder / "test.parquet")
    return folder


def disk(folder: Path) -> Path:
    datasets.DatasetDict(train=rows(), test=rows(text=[f"other {n}" for n in range(12)])).save_to_disk(folder)
    return folder


@pytest.mark.parametrize("write", [parquet, disk])
def test_splits_of_a_folder(tmp_path: Path, write: Any) -> None:
    data = hub(path=write(tmp_path / "data"), input="text", label="kind", test_split="test", dev=3)
    assert [len(part) for part in (data.train, data.dev, data.test)] == [9, 3, 12]
    assert data.classes == ("good", "bad")
    by_id = {one.id: one for one in (*data.train, *data.dev)}
    assert (by_id["train/3"].input, by_id["train/3"].label) == ("text 3", "bad")
    assert (data.test[0].input, data.test[0].label) == ("other 0", "good")


@pytest.mark.parametrize("name", ["train.parquet", "data-00000-of-00001.arrow"])
def test_a_file_is_one_split(tmp_path: Path, name: str) -> None:
    folder = parquet(tmp_path / "data") if name.endswith("parquet") else disk(tmp_path / "data") / "train"
    data = hub(path=folder / name, input=["text", "answer"], label="answer", id="text", train=5)
    assert (len(data.train), len(data.test), data.classes) == (5, 7, ())
    one = next(one for one in (*data.train, *data.test) if one.id == "text 7")
    assert (one.input, one.label) == ({"text": "text 7", "answer": "a7"}, "a7")


def test_images_are_inputs_for_clip(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    pictures = [{"path": None, "bytes": _png(n)} for n in range(12)]
    features = datasets.Features({"image": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    made = datasets.Dataset.from_dict({"image": pictures, "kind": [n % 2 for n in range(12)]}, features=features)
    made.save_to_disk(tmp_path / "pictures")
    data = {"name": "hub", "path": str(tmp_path / "pictures"), "input": "image", "label": "kind", "train": 4}
    plan = prepare({"start": "a photo of a {}", "target": "clip", "data": data, "budget": 10, "optimizer": "bayes"})
    assert (len(plan.data.train), plan.data.classes) == (4, ("cat", "dog"))


def _png(n: int) -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), n, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"label": "kin"}, "unknown column 'kin'. Did you mean 'kind'"),
        ({"train_split": "training"}, "unknown split 'training'"),
        ({"input": ""}, "input"),
    ],
)
def test_names_that_are_not_there(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        hub(path=parquet(tmp_path / "data"), **{"input": "text", "label": "kind", "train": 3, **options})


@pytest.mark.parametrize("missing", [{"answer": [None, *"bcdefghijkl"]}, {"text": [None, *TEXTS[1:]]}])
def test_a_row_without_input_or_label(tmp_path: Path, missing: dict[str, Any]) -> None:
    rows(**missing).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UserError, match="row 0: the input or the label is missing"):
        hub(path=tmp_path / "train.parquet", input="text", label="answer", train=3)


def test_files_that_are_damaged_or_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"nothing of the kind")
    (tmp_path / "x.txt").write_text("text", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot load the data set .*x\.parquet"):
        hub(path=tmp_path / "x.parquet", train=3)
    with pytest.raises(UserError, match=r"a file that ends in \.parquet"):
        hub(path=tmp_path / "x.txt", train=3)


def test_the_hub_needs_a_revision_and_a_rehearsal_asks_it_nothing() -> None:
    with pytest.raises(UserError, match="needs a revision"):
        hub(path="owner/nothing", train=3)
    with without_downloads(), pytest.raises(UserError, match="--check downloads nothing"):
        hub(path="owner/nothing", revision="0" * 40, train=3)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"promptopt-toolkit\[hub\]"):
        hub(path=tmp_path, train=3)
