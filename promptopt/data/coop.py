"""The eleven data sets of [Liu2024] in the splits of CoOp (Zhou et al., IJCV 2022), from a data root that the user has.

Expected below the root, as CoOp's installation notes lay it out: for nine data sets the folder, the images and the
split file of :data:`FACTS`; for FGVCAircraft its own lists ``images_variant_{train,val,test}.txt`` and
``variants.txt``; for ImageNet ``classnames.txt`` and ``images/{train,val}/`` with one folder per class.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from ..core import Dataset
from ..errors import UnknownName, UserError
from .folder import as_dataset, images_in
from .splits import few_shot

Name: TypeAlias = Literal[
    "Caltech101",
    "OxfordPets",
    "StanfordCars",
    "Flowers102",
    "Food101",
    "FGVCAircraft",
    "SUN397",
    "DTD",
    "EuroSAT",
    "UCF101",
    "ImageNet",
]
ByClass: TypeAlias = dict[str, list[str]]  # class name -> image files below the image folder


class Facts(NamedTuple):
    """Where a data set lies below the root; ``images`` and ``split`` are below ``folder``."""

    folder: str
    images: str
    split: str


FACTS: dict[str, Facts] = {
    "Caltech101": Facts("caltech-101", "101_ObjectCategories", "split_zhou_Caltech101.json"),
    "OxfordPets": Facts("oxford_pets", "images", "split_zhou_OxfordPets.json"),
    "StanfordCars": Facts("stanford_cars", ".", "split_zhou_StanfordCars.json"),
    "Flowers102": Facts("oxford_flowers", "jpg", "split_zhou_OxfordFlowers.json"),
    "Food101": Facts("food-101", "images", "split_zhou_Food101.json"),
    "FGVCAircraft": Facts("fgvc_aircraft", "images", "variants.txt"),
    "SUN397": Facts("sun397", "SUN397", "split_zhou_SUN397.json"),
    "DTD": Facts("dtd", "images", "split_zhou_DescribableTextures.json"),
    "EuroSAT": Facts("eurosat", "2750", "split_zhou_EuroSAT.json"),
    "UCF101": Facts("ucf101", "UCF-101-midframes", "split_zhou_UCF101.json"),
    "ImageNet": Facts("imagenet", "images", "classnames.txt"),
}


def coop(
    *,
    dataset: Name,
    root: str | Path,
    shots: int = 16,
    seed: int = 0,
    dev: int = 0,
    test: int | None = None,
) -> Dataset:
    """One of the eleven data sets: shots from CoOp's train split, dev from its val split, all of its test split.

    We differ from CoOp and [Liu2024] in three things. The shots are our own seeded draws, not those of CoOp's
    ``split_fewshot/*.pkl``: pickles are never loaded, even where they lie beside the split file. ImageNet's validation
    images are the test split alone, so its dev images are held out from the training images. Two ImageNet classes with
    the same name are one class here, since a classifier that only reads names cannot tell them apart.

    Args:
        dataset: which one.
        root: the data root that holds the data sets' folders.
        shots: training images per class; the paper uses 1 to 16.
        seed: of the draw.
        dev: dev images per class.
        test: at most so many test images per class; None means the whole split, as in the paper.

    Raises:
        UserError: a folder, split file or image is missing or broken, or a class has too few images.
        UnknownName: there is no such data set.
    """
    if dataset not in FACTS:
        raise UnknownName("dataset", dataset, FACTS)
    facts = FACTS[dataset]
    home = Path(root).expanduser() / facts.folder
    for needed in (home.parent, home, home / facts.images, home / facts.split):
        if not needed.exists():
            raise UserError(
                f"{dataset}: there is no {str(needed)!r}. The root {str(home.parent)!r} should hold "
                f"{facts.folder}/ with the images in {facts.images}/ and {facts.split}, as in CoOp's DATASETS.md."
            )
    pool, dev_pool, test_pool = READERS.get(dataset, _split_file)(home, facts)
    splits = few_shot(
        pool, shots=shots, seed=seed, dev=dev, test=test, dev_pool=dev_pool, test_pool=test_pool, where=dataset
    )
    return as_dataset(dataset, splits, root=home / facts.images, classes=tuple(pool))


def _split_file(home: Path, facts: Facts) -> tuple[ByClass, ByClass, ByClass]:
    """``{"train": [[file, label, class name], ...], "val": ..., "test": ...}``; classes in the order of the labels."""
    path = home / facts.split
    try:
        split = json.loads(path.read_text(encoding="utf-8"))
        train, val, test = ([_row(row) for row in split[part]] for part in ("train", "val", "test"))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a CoOp split file ({type(error).__name__}: {error}). It should hold train, val and test, "
            "each a list of [image file, label, class name]."
        ) from error
    classes = [name for _, name in sorted({(label, name) for _, label, name in train})]

    def group(rows: list[tuple[str, int, str]]) -> ByClass:
        return _group(((file, name) for file, _, name in rows), classes, path)

    return group(train), group(val), group(test)


def _row(row: Any) -> tuple[str, int, str]:
    file, label, name = row
    return str(file).lstrip("/"), int(label), _readable(str(name))


def _variant_lists(home: Path, facts: Facts) -> tuple[ByClass, ByClass, ByClass]:
    """FGVCAircraft: a line is an image's number and its variant's name."""
    classes = [_readable(line) for line in _lines(home / facts.split)]

    def group(part: str) -> ByClass:
        path = home / f"images_variant_{part}.txt"
        rows = (line.partition(" ") for line in _lines(path))
        return _group(((f"{number}.jpg", _readable(name)) for number, _, name in rows), classes, path)

    return group("train"), group("val"), group("test")


def _class_folders(home: Path, facts: Facts) -> tuple[ByClass, None, ByClass]:
    """ImageNet: a line of ``classnames.txt`` is a folder's name and its class name; val/ is the test split."""
    path = home / facts.split
    names = {folder: _readable(name) for folder, _, name in (line.partition(" ") for line in _lines(path))}

    def group(part: str, like: Iterable[str] = ()) -> ByClass:
        found = images_in(home / facts.images, part)
        if unknown := sorted(set(found) - set(names)):
            raise UserError(f"{home / facts.images / part}: the folder {unknown[0]!r} is not in {path}.")
        rows = ((file, names[folder]) for folder, files in found.items() for file in files)
        return _group(rows, like or [names[folder] for folder in found], path)

    train = group("train")
    return train, None, group("val", train)


READERS: dict[str, Callable[[Path, Facts], tuple[ByClass, ByClass | None, ByClass]]] = {
    "FGVCAircraft": _variant_lists,
    "ImageNet": _class_folders,
}


def _group(rows: Iterable[tuple[str, str]], classes: Iterable[str], path: Path) -> ByClass:
    grouped: ByClass = {name: [] for name in classes}
    for file, name in rows:
        if name not in grouped:
            raise UserError(f"{path}: the class {name!r} of {file} is not one of the training classes.")
        grouped[name].append(file)
    return grouped


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise UserError(f"there is no {str(path)!r}. Put the data set's own list there.") from None


def _readable(name: str) -> str:
    return name.replace("_", " ").strip()
