"""GSM8K (Cobbe et al., 2021): grade school mathematics, in the splits of [Das2025].

JSON lines with ``question`` and ``answer``; an answer is a solution that ends in ``#### N``.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..core import Dataset, Example
from ..errors import UserError
from .records import Record, read_records
from .text_splits import split

EXPECTED = 'Give the public files train.jsonl and test.jsonl: {"question": ..., "answer": "... #### N"} a line.'


def gsm8k(
    *,
    path: str | Path,
    test_path: str | Path,
    train: int = 100,
    dev: int = 100,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """100 training and 100 dev examples of the train file and all of the test file, as in [Das2025]; our own draw.

    The label is the number behind ``####`` as text, without thousands separators: ``"1,200"`` is ``"1200"``. The
    solution before it is not kept.

    Args:
        path: the train file.
        test_path: the test file.
        train: training examples.
        dev: dev examples.
        test: test examples; None means the whole file (1,319 in the public one).
        seed: of the draw.

    Raises:
        UserError: a file is missing or broken, an answer has no ``#### N``, or the sizes exceed the data.
    """
    pool, tests = (
        [_example(row, f"gsm8k/{part}/{n}") for n, row in enumerate(read_records(file, expected=EXPECTED))]
        for part, file in (("train", path), ("test", test_path))
    )
    return split("gsm8k", pool, train=train, dev=dev, test=test, seed=seed, test_pool=tests)


def _example(row: Record, id: str) -> Example:
    answer = row.text("answer")
    found = re.search(r"####\s*(-?[\d,]*\.?\d+)\s*$", answer)
    if not found:
        raise UserError(f"{row.where}: the answer ends in {answer[-40:]!r}, but must end in '#### N', N a number.")
    return Example(id, row.text("question"), found[1].replace(",", ""))
