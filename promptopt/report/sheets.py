"""CSV as spreadsheets open it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # what a spreadsheet takes a cell for a formula by, behind spaces too

BREAKS = ("\t", "\r", "\n")  # at whose beginning some split a cell


def to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A line of headings and one per row; empty where there is nothing.

    Prompts and replies are strangers' texts: one that a spreadsheet would run as a formula gets an apostrophe before
    it, which spreadsheets take for "this is text". Numbers stay numbers, negative ones too.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writerow({column: as_text(column) for column in columns})
    writer.writerows({column: as_text(row.get(column)) for column in columns} for row in rows)
    return file.getvalue()


def as_text(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, str) and (value[:1] in BREAKS or value.lstrip().startswith(FORMULA)) and not _number(value):
        return f"'{value}"
    return value


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text
