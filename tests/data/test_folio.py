"""FOLIO, from tiny files in its format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promptopt.data.folio import folio
from promptopt.errors import UserError

CASE = {
    "premises": ["All squares have four sides.", "All four-sided things are shapes. "],
    "premises-FOL": ["..."],
    "conclusion": "All squares are shapes.",
    "label": "True",
}


def write(path: Path, *cases: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(case) + "\n" for case in cases), encoding="utf-8")
    return path


def story(i: int, label: str) -> dict[str, Any]:
    return {"premises": [f"{i} is a number."], "conclusion": f"{i} is even.", "label": label, "story_id": i}


def test_the_input_shows_premises_conclusion_and_options(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.jsonl", CASE), write(tmp_path / "validation.jsonl", story(0, "False"))
    data = folio(path=train, test_path=test, train=1, dev=0)
    assert data.train[0].input.splitlines() == [
        "Premises:",
        "All squares have four sides.",
        "All four-sided things are shapes.",
        "Conclusion:",
        "All squares are shapes.",
        "Options:",
        "- True",
        "- False",
        "- Uncertain",
    ]
    assert (data.train[0].label, data.test[0].id) == ("True", "folio/test/0")
    assert data.classes == ("True", "False", "Uncertain")


def test_premises_as_one_text_are_the_same_example(tmp_path: Path) -> None:
    other = {**CASE, "premises": "\n".join(CASE["premises"])}
    test = write(tmp_path / "validation.jsonl", story(0, "True"))
    one, two = (
        folio(path=write(tmp_path / "train.jsonl", case), test_path=test, train=1, dev=0) for case in (CASE, other)
    )
    assert one == two


def test_both_names_of_the_third_label_are_one(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", *(story(i, "Unknown") for i in range(160)))
    test = write(tmp_path / "validation.jsonl", *(story(i, "Uncertain") for i in range(500, 520)))
    data = folio(path=train, test_path=test)
    assert (len(data.train), len(data.dev), len(data.test)) == (50, 100, 20)
    assert {example.label for example in (*data.train, *data.test)} == {"Uncertain"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": "Maybe"}, "line 1: the label is 'Maybe'; allowed are True, False, Uncertain and Unknown"),
        ({"premises": []}, "premises must be a list of sentences"),
        ({"premises": [1]}, "premises must be a list of sentences"),
        ({"conclusion": ""}, "the field 'conclusion' is ''"),
    ],
)
def test_broken_cases(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    train = write(tmp_path / "train.jsonl", {**CASE, **change})
    with pytest.raises(UserError, match=said):
        folio(path=train, test_path=train)


def test_a_missing_file_names_the_public_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folio-train\.jsonl and folio-validation\.jsonl"):
        folio(path=tmp_path / "none.jsonl", test_path=tmp_path / "none.jsonl")
