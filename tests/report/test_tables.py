"""Tables: the same numbers as CSV, JSON and Markdown, whatever texts they hold."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest

from promptopt.errors import UserError
from promptopt.report.tables import Column, Table, export

COLUMNS = (Column("name", "name", "prompt"), Column("score", "score", "score"), Column("n", "how many", "count"))
ROWS = [
    {"name": 'a, "quoted"\nprompt | with `marks` <b>', "score": 0.123456789, "n": 1200, "other": "not a column"},
    {"name": "=1+1", "score": math.nan, "n": None},
]
TABLE = Table("things", "Things", COLUMNS, ROWS, note="A note.")


def test_csv_reads_back_with_full_numbers() -> None:
    rows = list(csv.DictReader(io.StringIO(TABLE.to_csv())))
    assert rows[0] == {"name": ROWS[0]["name"], "score": "0.123456789", "n": "1200"}
    assert rows[1]["score"] == rows[1]["n"] == ""
    assert rows[1]["name"] == "'=1+1"  # a spreadsheet would work it out


def test_json_reads_back_and_nan_is_null() -> None:
    assert json.loads(TABLE.to_json()) == [
        {"name": ROWS[0]["name"], "score": 0.123456789, "n": 1200},
        {"name": "=1+1", "score": None, "n": None},
    ]


def test_markdown_keeps_a_row_on_a_line_and_its_marks_literal() -> None:
    lines = TABLE.to_markdown().splitlines()
    assert lines[0] == "## Things"
    assert lines[2] == "| name | score | how many |"
    assert lines[3] == "| --- | --: | --: |"
    assert lines[4] == '| a, "quoted"<br>prompt \\| with \\`marks\\` \\<b\\> | 0.123 | 1,200 |'
    assert lines[5] == "| =1+1 | – | – |"
    assert lines[-1] == "A note."


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [("score", -0.0001, "0.000"), ("change", 0.5, "+0.500"), ("dollars", 1234.5, "1,234.5000"), ("text", True, "yes")],
)
def test_cells(kind: str, value: float, shown: str) -> None:
    assert Column("x", "x", kind).show(value) == shown  # type: ignore[arg-type]


def test_export_writes_three_files_a_table(tmp_path: Path) -> None:
    written = export([TABLE], tmp_path / "new" / "folder")
    assert [file.name for file in written] == ["things.csv", "things.json", "things.md"]
    assert written[1].read_text(encoding="utf-8") == TABLE.to_json()


def test_export_into_a_file_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="cannot write tables into"):
        export([TABLE], tmp_path / "taken")
