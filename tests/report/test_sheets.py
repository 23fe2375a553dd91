"""CSV that a spreadsheet opens as what it is."""

from __future__ import annotations

import csv
import io

import pytest

from promptopt.report.sheets import as_text, to_csv


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1-2", "-cmd|x", "@SUM(A1)", "\t=1", "\r=1", "=HYPERLINK('x')", "- a list", " =1", "\n=1", "\uff1d1+1"],
)
def test_what_would_be_a_formula_is_marked_as_text(text: str) -> None:
    assert as_text(text) == "'" + text


@pytest.mark.parametrize("value", [-0.5, 3, 1e-9, True, None, "", "-0.5", "+3", "-1e-9", "a = b", "1-2", "'=1"])
def test_numbers_and_other_texts_stay_as_they_are(value: object) -> None:
    assert as_text(value) == value


def test_headings_and_cells() -> None:
    rows = list(csv.reader(io.StringIO(to_csv([{"=a": "@b", "c": -1.5}, {"c": "x,y"}], ["=a", "c"]))))
    assert rows == [["'=a", "c"], ["'@b", "-1.5"], ["", "x,y"]]
