"""CoOp's three layouts, with tiny roots that are made here."""

from __future__ import annotations

import json
import pickle
from typing import get_args

import pytest

from promptopt.data.coop import FACTS, Name, coop
from promptopt.errors import UnknownName, UserError

Image = pytest.importorskip("PIL.Image")

CLASSES = ["great_pyrenees", "abyssinian"]  # in the order of the labels, which is not that of the alphabet
SPLIT_FILES = sorted(set(FACTS) - {"FGVCAircraft", "ImageNet"})


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


def split_root(root, dataset):
    facts = FACTS[dataset]
    split = {
        part: [[f"{name}/{part}_{n}.jpg", label, name] for label, name in enumerate(CLASSES) for n in range(count)]
        for part, count in (("train", 6), ("val", 3), ("test", 4))
    }
    for rows in split.values():
        for file, _, _ in rows:
            write(root / facts.folder / facts.images / file)
    (root / facts.folder / facts.split).write_text(json.dumps(split))
    return split


def aircraft_root(root):
    home = root / "fgvc_aircraft"
    variants = ["Boeing 707-320", "F-16A/B"]
    for number, part in enumerate(("train", "val", "test")):
        rows = [(f"{number}{kind}{n}", name) for kind, name in enumerate(variants) for n in range(4)]
        for image, _ in rows:
            write(home / "images" / f"{image}.jpg")
        (home / f"images_variant_{part}.txt").write_text("".join(f"{image} {name}\n" for image, name in rows))
    (home / "variants.txt").write_text("\n".join(variants) + "\n")


def imagenet_root(root, names):
    home = root / "imagenet"
    for folder in names:
        for n in range(5):
            write(home / "images" / "train" / folder / f"{folder}_{n}.JPEG")
        for n in range(2):
            write(home / "images" / "val" / folder / f"val_{folder}_{n}.JPEG")
    (home / "classnames.txt").write_text("".join(f"{folder} {name}\n" for folder, name in names.items()))


def parts(examples):
    return {e.id.split("/")[-1].split("_")[0] for e in examples}


def test_the_table_holds_the_eleven():
    assert tuple(FACTS) == get_args(Name)
    assert len(FACTS) == 11


@pytest.mark.parametrize("dataset", SPLIT_FILES)
def test_split_files(tmp_path, dataset):
    split = split_root(tmp_path, dataset)
    data = coop(dataset=dataset, root=tmp_path, shots=2, dev=1)
    assert data.name == dataset
    assert data.classes == ("great pyrenees", "abyssinian")
    assert (len(data.train), len(data.dev), len(data.test)) == (4, 2, 8)
    assert (parts(data.train), parts(data.dev), parts(data.test)) == ({"train"}, {"val"}, {"test"})
    assert {e.id for e in data.test} == {file for file, _, _ in split["test"]}
    assert all(e.label == e.id.split("/")[0].replace("_", " ") for e in data.train)
    assert Image.open(data.train[0].input).size == (4, 4)


def test_fewshot_pickles_are_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    split_root(tmp_path, "DTD")
    before = coop(dataset="DTD", root=tmp_path, shots=1, seed=1)
    (tmp_path / "dtd" / "split_fewshot").mkdir()
    (tmp_path / "dtd" / "split_fewshot" / "shot_1-seed_1.pkl").write_bytes(pickle.dumps(Bomb()))
    assert coop(dataset="DTD", root=tmp_path, shots=1, seed=1) == before


def test_aircraft_lists(tmp_path):
    aircraft_root(tmp_path)
    data = coop(dataset="FGVCAircraft", root=tmp_path, shots=4, dev=3, test=2)
    assert data.classes == ("Boeing 707-320", "F-16A/B")
    assert [{e.id[0] for e in split} for split in (data.train, data.dev, data.test)] == [{"0"}, {"1"}, {"2"}]
    assert (len(data.train), len(data.dev), len(data.test)) == (8, 6, 4)
    assert all(data.classes[int(e.id[1])] == e.label for e in data.train + data.dev + data.test)


def test_imagenet_folders(tmp_path):
    imagenet_root(tmp_path, {"n02": "great white shark", "n01": "tench"})
    data = coop(dataset="ImageNet", root=tmp_path, shots=3, dev=2)
    assert data.classes == ("tench", "great white shark")  # in the order of the folders
    assert (len(data.train), len(data.dev), len(data.test)) == (6, 4, 4)
    assert parts(data.test) == {"val"}
    assert not {e.id for e in data.train} & {e.id for e in data.dev}
    assert {e.id.split("/")[0] for e in data.train + data.dev} == {"train"}


def test_imagenet_classes_of_one_name_are_one(tmp_path):
    imagenet_root(tmp_path, {"n01": "crane", "n02": "tench", "n03": "crane"})
    data = coop(dataset="ImageNet", root=tmp_path, shots=5)
    assert data.classes == ("crane", "tench")
    assert [e.label for e in data.train] == ["crane"] * 5 + ["tench"] * 5
    assert [e.label for e in data.test] == ["crane"] * 4 + ["tench"] * 2


def test_an_unknown_data_set(tmp_path):
    with pytest.raises(UnknownName, match="Did you mean 'OxfordPets'"):
        coop(dataset="OxfordPet", root=tmp_path)  # type: ignore[arg-type]


def test_missing_things_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no .*nowhere"):
        coop(dataset="EuroSAT", root=tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no .*eurosat.*should hold eurosat/ with the images in 2750/ and split_zhou"):
        coop(dataset="EuroSAT", root=tmp_path)
    split_root(tmp_path, "EuroSAT")
    (tmp_path / "eurosat" / "2750" / "abyssinian" / "test_0.jpg").unlink()
    with pytest.raises(UserError, match=r"test_0\.jpg \(missing\)"):
        coop(dataset="EuroSAT", root=tmp_path, shots=1)
    (tmp_path / "eurosat" / "split_zhou_EuroSAT.json").unlink()
    with pytest.raises(UserError, match=r"no .*split_zhou_EuroSAT"):
        coop(dataset="EuroSAT", root=tmp_path, shots=1)


def test_missing_lists_are_named(tmp_path):
    aircraft_root(tmp_path)
    (tmp_path / "fgvc_aircraft" / "images_variant_val.txt").unlink()
    with pytest.raises(UserError, match="images_variant_val"):
        coop(dataset="FGVCAircraft", root=tmp_path, shots=1)


def test_too_few_shots(tmp_path):
    split_root(tmp_path, "DTD")
    with pytest.raises(UserError, match=r"DTD: class 'great pyrenees' has 6 images, but needs 7 \(shots=7\)"):
        coop(dataset="DTD", root=tmp_path, shots=7)


@pytest.mark.parametrize("text", ["{", "[]", '{"train": []}', '{"train": [["a"]], "val": [], "test": []}'])
def test_a_file_that_is_no_split_file(tmp_path, text):
    split_root(tmp_path, "DTD")
    (tmp_path / "dtd" / FACTS["DTD"].split).write_text(text)
    with pytest.raises(UserError, match="is not a CoOp split file"):
        coop(dataset="DTD", root=tmp_path)


def test_a_class_that_train_lacks(tmp_path):
    split = split_root(tmp_path, "DTD")
    split["test"].append(["x.jpg", 2, "dotted"])
    (tmp_path / "dtd" / FACTS["DTD"].split).write_text(json.dumps(split))
    with pytest.raises(UserError, match=r"'dotted' of x\.jpg is not one of the training classes"):
        coop(dataset="DTD", root=tmp_path, shots=1)


def test_an_imagenet_folder_without_a_name(tmp_path):
    imagenet_root(tmp_path, {"n01": "tench", "n02": "shark"})
    (tmp_path / "imagenet" / "classnames.txt").write_text("n01 tench\n")
    with pytest.raises(UserError, match="'n02' is not in"):
        coop(dataset="ImageNet", root=tmp_path, shots=1)


def test_a_flat_imagenet_val_folder(tmp_path):
    imagenet_root(tmp_path, {"n01": "tench", "n02": "shark"})
    for folder in ("n01", "n02"):
        (tmp_path / "imagenet" / "images" / "val" / folder).rename(tmp_path / folder)
    with pytest.raises(UserError, match="val holds 0 class folders"):
        coop(dataset="ImageNet", root=tmp_path, shots=1)
