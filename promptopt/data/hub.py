"""Data sets of the Hugging Face hub, by name and revision, and their files in a local folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..checks import check_argument
from ..core import Dataset, Example
from ..errors import UnknownName, UserError, require
from ..loading import rehearsed, say
from .text_splits import split

FILES = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json"}


def hub(
    *,
    path: str | Path,
    revision: str | None = None,
    config: str | None = None,
    input: str | Sequence[str] = "input",
    label: str = "label",
    id: str | None = None,
    train_split: str = "train",
    dev_split: str | None = None,
    test_split: str | None = None,
    train: int | None = None,
    dev: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Rows of a data set of the Hugging Face hub, or of a folder or file on the disk (parquet, arrow, CSV, JSON).

    Dev and test examples are drawn from ``train_split`` where they have no split of their own. Rows with equal inputs
    go into the same split, and rows whose input stands in the test split are left out of the others. Columns of images
    are inputs as they are; labels that are numbers of named classes become the names, and the task's classes.

    Args:
        path: ``owner/name`` on the hub; a folder, as ``save_to_disk`` wrote it or with data files; or a data file.
        revision: a commit, tag or branch of the hub. It must be given there, since a run could not be repeated
            otherwise; only a commit never changes.
        config: which of the data set's configurations, where it has several.
        input: the column with the input, or several columns; then an example's input is a dict of them.
        label: the column with the answer.
        id: the column with a unique name of the row; without it, ids are made of the split's name and the row's place.
        train_split: where training examples come from.
        dev_split: where dev examples come from.
        test_split: where test examples come from.
        train: training examples; None means what the other splits leave.
        dev: dev examples; None means all of ``dev_split``, or none.
        test: test examples; None means all of ``test_split``, or what the other splits leave.
        seed: of the draw.

    Raises:
        MissingExtra: the package ``datasets`` is not installed.
        UserError: there is no such data set, it cannot be reached or read, or a row has no input or label.
        UnknownName: it has no such split or column.
    """
    check_argument("input", input, allowed="the name of a column, or a list of them", holds=bool(input))
    splits = _splits(path, revision, config)

    def examples(part: str | None) -> list[Example] | None:
        if part is None:
            return None
        if part not in splits:
            raise UnknownName("split", part, splits, where=str(path))
        return _examples(splits[part], f"{path}, {part}", part, input, label, id)

    return split(
        str(path),
        examples(train_split) or [],
        train=train,
        dev=dev,
        test=test,
        seed=seed,
        dev_pool=examples(dev_split),
        test_pool=examples(test_split),
        classes=_classes(splits[train_split], label),
    )


def _splits(given: str | Path, revision: str | None, config: str | None) -> Mapping[str, Any]:
    """The splits by name, each a ``datasets.Dataset``."""
    datasets = require("datasets", extra="hub")
    path = Path(given).expanduser()
    if not path.exists() and revision is None:
        raise UserError(
            f"there is no file or folder {str(given)!r}, and one of the hub needs a revision: its commit, or a tag."
        )
    say(f"loading {given}")
    try:
        with _quietly(datasets):
            if (path / "dataset_dict.json").exists() or (path / "dataset_info.json").exists():
                found = datasets.load_from_disk(str(path))
            elif path.is_file():
                kind = FILES.get(path.suffix)
                allowed = f"a file that ends in {', '.join(FILES)}"
                check_argument("path", str(given), allowed=allowed, holds=kind is not None)
                found = datasets.load_dataset(kind, data_files=str(path))
            else:
                found = datasets.load_dataset(str(path if path.exists() else given), config, revision=revision)
    except UserError:
        raise
    except Exception as error:  # the package raises nearly anything on damaged files and bad answers
        remedy = (
            "--check downloads nothing; run it, or check the name." if rehearsed() else "Check the name and access."
        )
        raise UserError(f"cannot load the data set {str(given)!r}: {error}. {remedy}") from None
    return found if isinstance(found, Mapping) else {"train": found}


@contextmanager
def _quietly(datasets: Any) -> Iterator[None]:
    """Without bars, and in a rehearsal without the network."""
    constants: Any = require("huggingface_hub.constants", extra="hub")
    shown, before = datasets.is_progress_bar_enabled(), (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)
    datasets.disable_progress_bars()
    if rehearsed():
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
        if shown:
            datasets.enable_progress_bars()


def _examples(
    rows: Any, where: str, part: str, input: str | Sequence[str], label: str, id: str | None
) -> list[Example]:
    for column in [*([input] if isinstance(input, str) else input), label, *([id] if id else [])]:
        if column not in rows.column_names:
            raise UnknownName("column", column, rows.column_names, where=where)
    classes = _classes(rows, label)
    found = []
    for n, row in enumerate(rows):
        given = row[input] if isinstance(input, str) else {column: row[column] for column in input}
        answer = classes[row[label]] if classes and row[label] is not None and row[label] >= 0 else row[label]
        if given is None or answer is None or answer == "" or (answer == -1 and classes):
            raise UserError(
                f"{where}, row {n}: the input or the label is missing. Remove such rows, or name other columns."
            )
        found.append(Example(f"{part}/{n}" if id is None else str(row[id]), given, answer))
    return found


def _classes(rows: Any, label: str) -> tuple[str, ...]:
    """The names of the classes, where the labels are numbers of them."""
    return tuple(getattr(rows.features.get(label), "names", None) or ())
