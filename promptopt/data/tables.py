"""Any labelled data in JSON lines or CSV, with named fields."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..checks import check_argument
from ..core import Dataset, Example
from ..errors import UserError
from .records import Record, read_records
from .text_splits import split


def table(
    *,
    path: str | Path,
    test_path: str | Path | None = None,
    dev_path: str | Path | None = None,
    input: str | Sequence[str] = "input",
    label: str = "label",
    id: str | None = None,
    train: int | None = None,
    dev: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Rows of a file: JSON lines, a JSON array of objects, ``.csv`` or ``.tsv`` with a header; each also ``.gz``.

    Dev and test examples are drawn from ``path`` where they have no file of their own. Rows with equal inputs go into
    the same split, and rows whose input stands in the test file are left out of the other splits.

    Args:
        path: the file with the training examples.
        test_path: the file with the test examples.
        dev_path: the file with the dev examples.
        input: the field with the input, or several fields; then an example's input is a dict of them.
        label: the field with the answer.
        id: the field with a unique name of the row; without it, ids are made of the file's name and the row's place.
        train: training examples; None means what the other splits leave.
        dev: dev examples; None means all of ``dev_path``, or none.
        test: test examples; None means all of ``test_path``, or what the other splits leave.
        seed: of the draw.

    Raises:
        UserError: a file is missing or broken, a row has no label, or the sizes exceed the data.
        UnknownName: a row has no such field.
    """
    check_argument("input", input, allowed="the name of a field, or a list of them", holds=bool(input))
    name = Path(path).name.removesuffix(".gz").rpartition(".")[0]

    def rows(path: str | Path | None, prefix: str) -> list[Example] | None:
        if path is None:
            return None
        return [_example(row, f"{prefix}/{n}", input, label, id) for n, row in enumerate(read_records(path))]

    return split(
        name,
        rows(path, name) or [],
        train=train,
        dev=dev,
        test=test,
        seed=seed,
        dev_pool=rows(dev_path, f"{name}/dev"),
        test_pool=rows(test_path, f"{name}/test"),
    )


def _example(row: Record, default_id: str, input: str | Sequence[str], label: str, id: str | None) -> Example:
    given = row.get(input) if isinstance(input, str) else {name: row.get(name) for name in input}
    answer = row.get(label)
    if answer == "":
        raise UserError(f"{row.where}: the field {label!r} is empty. Give it a value, or remove the record.")
    return Example(default_id if id is None else str(row.get(id)), given, answer)
