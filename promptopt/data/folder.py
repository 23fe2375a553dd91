"""Any folder of class folders as a few-shot task."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..core import Dataset, Example
from ..errors import UserError, require
from .splits import Splits, few_shot

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def folder(*, path: str | Path, shots: int = 16, seed: int = 0, dev: int = 0, test: int | None = None) -> Dataset:
    """A folder that holds one folder of images per class.

    A class is called like its folder, with underscores as spaces. If there is a ``train/`` folder that holds class
    folders, the training images come from it, the test images from ``test/`` and the dev images from ``dev/`` or
    ``val/``. Where one of these is missing, its images are held out from the training images. Inputs are file
    paths; every image that is drawn is opened once, to see that it can be.

    Args:
        path: the folder.
        shots: training images per class.
        seed: of the draw.
        dev: dev images per class.
        test: at most so many test images per class; None means all that are left.

    Raises:
        UserError: the folder is missing, a class is empty or has too few images, or an image cannot be read.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"there is no folder {str(root)!r}. Give a folder that holds one folder of images per class.")
    train, dev_part, test_part = _layout(root)
    pool = _classes(root, train)
    splits = few_shot(
        pool,
        shots=shots,
        seed=seed,
        dev=dev,
        test=test,
        dev_pool=_classes(root, dev_part, like=list(pool)) if dev and dev_part else None,
        test_pool=_classes(root, test_part, like=list(pool)) if test_part else None,
        where=str(root),
    )
    return as_dataset(root.resolve().name, splits, root=root, classes=tuple(pool))


def as_dataset(name: str, splits: Splits[str], *, root: Path, classes: tuple[str, ...]) -> Dataset:
    """A data set of image files; an example's id is its path below ``root``.

    Raises:
        UserError: an image is missing or broken.
    """
    check_images(root / file for part in (splits.train, splits.dev, splits.test) for _, file in part)

    def examples(drawn: list[tuple[str, str]]) -> tuple[Example, ...]:
        return tuple(Example(file, str(root / file), label) for label, file in drawn)

    return Dataset(name, examples(splits.train), examples(splits.dev), examples(splits.test), classes)


def images_in(root: Path, part: str = "") -> dict[str, list[str]]:
    """Folder name -> image files below ``root``, both sorted, for the class folders of ``root / part``.

    Raises:
        UserError: there are fewer than two class folders, or one is empty.
    """
    base = root / part
    try:
        names = sorted(entry.name for entry in os.scandir(base) if entry.is_dir() and not entry.name.startswith("."))
    except FileNotFoundError:
        raise UserError(f"there is no folder {str(base)!r}. It should hold one folder of images per class.") from None
    if len(names) < 2:
        raise UserError(f"{base} holds {len(names)} class folders, but needs at least two, one per class.")
    prefix = f"{part}/" if part else ""
    found = {name: [f"{prefix}{name}/{file}" for file in sorted(_images(base / name))] for name in names}
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise UserError(f"{base}: no images in the class folder {empty[0]!r}. Images end in {', '.join(SUFFIXES)}.")
    return found


def check_images(files: Iterable[Path]) -> None:
    """Open every image far enough to see that it is one; pixels are not decoded.

    Raises:
        UserError: some are missing or broken; the first three are named.
    """
    image = require("PIL.Image", extra="clip")
    bad: list[str] = []
    for file in files:
        try:
            with image.open(file) as opened:
                opened.verify()
        except FileNotFoundError:
            bad.append(f"{file} (missing)")
        except Exception as error:  # Pillow raises many kinds for broken files
            bad.append(f"{file} ({type(error).__name__})")
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise UserError(f"cannot read the image {', '.join(bad[:3])}{more}. Restore or remove it.")


def _images(folder: Path) -> list[str]:
    names = (entry.name for entry in os.scandir(folder))
    return [name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]


def _layout(root: Path) -> tuple[str, str, str]:
    """The subfolders for train, dev and test; an empty name where there is none."""
    train = root / "train"
    if not (train.is_dir() and any(entry.is_dir() for entry in os.scandir(train))):
        return "", "", ""
    dev = next((name for name in ("dev", "val") if (root / name).is_dir()), "")
    return "train", dev, "test" if (root / "test").is_dir() else ""


def _classes(root: Path, part: str, *, like: Sequence[str] = ()) -> dict[str, list[str]]:
    """Class name -> image files, checked to be the classes of ``like`` if that is given."""
    found = images_in(root, part)
    named = {name.replace("_", " "): files for name, files in found.items()}
    if len(named) < len(found):
        raise UserError(f"{root / part}: two class folders differ only in underscores and spaces. Rename one.")
    if like and (odd := set(named) ^ set(like)):
        raise UserError(f"{root}: the class {min(odd)!r} is in only one of train/ and {part}/. Both need every class.")
    return named
