"""Folders of class folders."""

from __future__ import annotations

import pytest

from promptopt.data.folder import folder
from promptopt.errors import UserError

Image = pytest.importorskip("PIL.Image")


def fill(root, classes, count=5):
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(root / name / f"{number}.png")


def ids(examples):
    return {e.id for e in examples}


def test_class_folders(tmp_path):
    fill(tmp_path / "zoo", ["polar_bear", "cat"])
    (tmp_path / "zoo" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "zoo" / ".cache").mkdir()
    data = folder(path=tmp_path / "zoo", shots=2, dev=1)
    assert data.name == "zoo"
    assert data.classes == ("cat", "polar bear")
    assert (len(data.train), len(data.dev), len(data.test)) == (4, 2, 4)
    assert ids(data.train + data.dev + data.test) == {f"{c}/{n}.png" for c in ("cat", "polar_bear") for n in range(5)}
    for example in data.train:
        assert example.label == example.id.split("/")[0].replace("_", " ")
        assert Image.open(example.input).size == (4, 4)


def test_the_seed_decides_wherever_the_folder_lies(tmp_path):
    for place in ("a", "b"):
        fill(tmp_path / place, ["cat", "dog"], 9)
    draws = [ids(folder(path=str(tmp_path / place), shots=3, seed=s).train) for place in "ab" for s in (0, 1)]
    assert draws[:2] == draws[2:]
    assert draws[0] != draws[1]


def test_splits_of_their_own(tmp_path):
    for part in ("train", "val", "test"):
        fill(tmp_path / part, ["cat", "dog"])
    data = folder(path=tmp_path, shots=5, dev=2, test=3)
    assert {i.split("/")[0] for i in ids(data.train)} == {"train"}
    assert {i.split("/")[0] for i in ids(data.dev)} == {"val"}
    assert {i.split("/")[0] for i in ids(data.test)} == {"test"}
    assert (len(data.train), len(data.dev), len(data.test)) == (10, 4, 6)


def test_what_has_no_split_is_held_out_from_train(tmp_path):
    fill(tmp_path / "train", ["cat", "dog"])
    data = folder(path=tmp_path, shots=2, dev=1)
    assert (len(data.train), len(data.dev), len(data.test)) == (4, 2, 4)


def test_train_may_be_the_name_of_a_class(tmp_path):
    fill(tmp_path, ["train", "test", "car"])
    assert folder(path=tmp_path, shots=1).classes == ("car", "test", "train")


def test_a_broken_image_is_named(tmp_path):
    fill(tmp_path, ["cat", "dog"])
    whole = (tmp_path / "cat" / "3.png").read_bytes()
    (tmp_path / "cat" / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cat.3\.png"):
        folder(path=tmp_path, shots=1)
    (tmp_path / "cat" / "3.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"cat.3\.png \(UnidentifiedImageError\)"):
        folder(path=tmp_path, shots=1)


def test_many_broken_images_are_counted(tmp_path):
    fill(tmp_path, ["cat", "dog"])
    for file in (tmp_path / "cat").iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match="and 2 more"):
        folder(path=tmp_path, shots=1)


def test_only_images_that_are_drawn_are_opened(tmp_path):
    fill(tmp_path / "train", ["cat", "dog"])
    fill(tmp_path / "test", ["cat", "dog"])
    left = {f"train/cat/{n}.png" for n in range(5)} - ids(folder(path=tmp_path, shots=4).train)
    (tmp_path / left.pop()).write_bytes(b"broken")
    assert len(folder(path=tmp_path, shots=4).train) == 8
    with pytest.raises(UserError, match="cannot read"):
        folder(path=tmp_path, shots=5)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        folder(path=tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds 0 class folders"):
        folder(path=tmp_path)
    fill(tmp_path, ["cat", "dog"])
    with pytest.raises(UserError, match=r"class 'cat' has 5 images, but needs 17 \(shots=16, one to test on\)"):
        folder(path=tmp_path)
    (tmp_path / "emu").mkdir()
    with pytest.raises(UserError, match="no images in the class folder 'emu'"):
        folder(path=tmp_path, shots=1)


def test_classes_must_agree_between_splits(tmp_path):
    fill(tmp_path / "train", ["cat", "dog"])
    fill(tmp_path / "test", ["cat", "emu"])
    with pytest.raises(UserError, match="'dog' is in only one of train/ and test/"):
        folder(path=tmp_path, shots=1)


def test_names_that_differ_only_in_underscores(tmp_path):
    fill(tmp_path, ["polar bear", "polar_bear"])
    with pytest.raises(UserError, match="underscores"):
        folder(path=tmp_path, shots=1)
