"""The tables of a report: one form for the page and for CSV, JSON and Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..errors import UserError
from ..record.codec import null_for_nan
from .sheets import to_csv

Kind: TypeAlias = Literal["text", "prompt", "long", "score", "change", "count", "number", "dollars"]
Cell: TypeAlias = str | float | int | bool | None
FORMATS: Mapping[str, str] = {
    "score": "z.3f",
    "change": "+z.3f",
    "count": ",.0f",
    "number": ".4g",
    "dollars": ",.4f",
}


@dataclass(frozen=True)
class Column:
    """A column: the key of its cells, its heading and what stands in it."""

    key: str
    title: str
    kind: Kind = "text"

    @property
    def numeric(self) -> bool:
        return self.kind in FORMATS

    def show(self, value: Cell) -> str:
        """A cell as a reader wants to see it; a dash where there is nothing."""
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return "–"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return format(value, FORMATS[self.kind]) if self.numeric else str(value)


@dataclass(frozen=True)
class Table:
    """Rows of JSON values.

    Attributes:
        name: of its files, for example ``prompts``.
        title: its caption.
        columns: those that are shown, in order. Files hold them too, and no others.
        rows: one mapping per row, by column key.
        note: what a reader should know.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]
    note: str = field(default="")

    def records(self) -> list[dict[str, Cell]]:
        """The rows with the keys of the columns alone; NaN becomes None."""
        return [{column.key: null_for_nan(row.get(column.key)) for column in self.columns} for row in self.rows]

    def to_csv(self) -> str:
        """One line of headings (the keys) and one per row, as :func:`promptopt.report.sheets.to_csv` writes them."""
        return to_csv(self.records(), [column.key for column in self.columns])

    def to_json(self) -> str:
        """A list of objects; null where there is no number."""
        return json.dumps(self.records(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    def to_markdown(self) -> str:
        """A heading, the table as it is shown, and the note."""
        rule = [("--:" if column.numeric else "---") for column in self.columns]
        cells = [[_line(column.show(row.get(column.key))) for column in self.columns] for row in self.rows]
        rows = [[_line(column.title) for column in self.columns], rule, *cells]
        text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        return f"## {self.title}\n\n{text}\n" + (f"\n{self.note}\n" if self.note else "")

    def to(self, form: str) -> str:
        """As ``csv``, ``json`` or ``md``."""
        return {"csv": self.to_csv, "json": self.to_json, "md": self.to_markdown}[form]()


def export(tables: Iterable[Table], folder: Path) -> list[Path]:
    """Write every table as CSV, JSON and Markdown into a folder, made where it is missing.

    Raises:
        UserError: it cannot be written to.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for table in tables:
            for form in ("csv", "json", "md"):
                file = folder / f"{table.name}.{form}"
                file.write_text(table.to(form), encoding="utf-8", errors="backslashreplace", newline="\n")
                written.append(file)
    except OSError as error:
        raise UserError(f"cannot write tables into {folder}: {error.strerror}. Give another folder.") from None
    return written


def _line(text: str) -> str:
    """A text as it stands in a Markdown cell, literally."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, "\\" + mark)
    return "<br>".join(text.splitlines()) or " "
