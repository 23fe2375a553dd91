"""FOLIO (Han et al., 2022): does a conclusion follow from premises, in plain English?

JSON lines with ``premises`` (a list of sentences or one text), ``conclusion`` and ``label``. The public files are
``folio-train.jsonl`` and ``folio-validation.jsonl``; the test split of its authors is not public.
"""

from __future__ import annotations

from pathlib import Path

from ..core import Dataset, Example
from ..errors import UserError
from .records import Record, read_records
from .text_splits import split

EXPECTED = (
    "Give the public files folio-train.jsonl and folio-validation.jsonl: "
    '{"premises": [...], "conclusion": ..., "label": ...} a line.'
)
CLASSES = ("True", "False", "Uncertain")


def folio(
    *,
    path: str | Path,
    test_path: str | Path,
    train: int = 50,
    dev: int = 100,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Training and dev examples from the train file, all of the validation file for testing.

    The input shows the premises, the conclusion and the three answers as options. The files call the third answer
    ``Unknown`` or ``Uncertain``; here it is always ``Uncertain``.

    Args:
        path: the train file.
        test_path: the validation file.
        train: training examples; 50 as for the other reasoning tasks of [Das2025].
        dev: dev examples.
        test: test examples; None means the whole file (204 in version 0.0).
        seed: of the draw.

    Raises:
        UserError: a file is missing or broken, a label is none of the three, or the sizes exceed the data.
    """
    pool, tests = (
        [_example(row, f"folio/{part}/{n}") for n, row in enumerate(read_records(file, expected=EXPECTED))]
        for part, file in (("train", path), ("test", test_path))
    )
    return split("folio", pool, train=train, dev=dev, test=test, seed=seed, test_pool=tests, classes=CLASSES)


def _example(row: Record, id: str) -> Example:
    given = row.get("premises")
    premises = given.splitlines() if isinstance(given, str) else given
    if not isinstance(premises, list) or not premises or not all(isinstance(one, str) for one in premises):
        raise UserError(f"{row.where}: premises must be a list of sentences, or one text.")
    label = "Uncertain" if row.get("label") == "Unknown" else row.get("label")
    if label not in CLASSES:
        raise UserError(f"{row.where}: the label is {label!r}; allowed are True, False, Uncertain and Unknown.")
    lines = ["Premises:", *(one.strip() for one in premises), "Conclusion:", row.text("conclusion").strip()]
    return Example(id, "\n".join([*lines, "Options:", *(f"- {name}" for name in CLASSES)]), label)
