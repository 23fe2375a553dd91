"""JSON lines and CSV with named fields."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from promptopt.data.tables import table
from promptopt.errors import UnknownName, UserError
from promptopt.recipe.build import build

ROWS = [{"input": f"question {i}", "label": f"answer {i}", "key": f"k{i}", "hint": f"h{i}"} for i in range(10)]


def lines(path: Path, rows: list[Any] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        table(**{"path": path, "test": 0, **options})
    return str(caught.value)


def test_json_lines(tmp_path: Path) -> None:
    data = table(path=lines(tmp_path / "mine.jsonl"), train=4, dev=2)
    assert (data.name, len(data.train), len(data.dev), len(data.test)) == ("mine", 4, 2, 4)
    by_id = {example.id: example for example in (*data.train, *data.dev, *data.test)}
    assert (by_id["mine/3"].input, by_id["mine/3"].label) == ("question 3", "answer 3")


@pytest.mark.parametrize("name", ["rows.json", "rows.json.gz"])
def test_an_array_of_objects(tmp_path: Path, name: str) -> None:
    text = "\ufeff\n" + json.dumps(ROWS, indent=2)
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert table(path=tmp_path / name, train=4) == table(path=lines(tmp_path / "rows.jsonl"), train=4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"input": 1},\n{"input"}]', "rows.json, line 2: not JSON"),
        ('[{"input": "a", "label": "b"}, 3]', "rows.json, item 2: 3 is no JSON object"),
        ("[]", "rows.json holds no records"),
        ('[{"input": "a", "lable": "b"}]', "rows.json, item 1: unknown field 'label'. Did you mean 'lable'?"),
    ],
)
def test_a_broken_array(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    assert said in refused(tmp_path / "rows.json")


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.csv.gz", "d.CSV"])
def test_tables_of_every_kind(tmp_path: Path, name: str) -> None:
    comma = "\t" if ".tsv" in name else ","
    text = "﻿" + "".join(comma.join(row) + "\r\n" for row in [["input", "label"], ["é", "1"], ['"a\nb"', "2"]])
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    data = table(path=tmp_path / name, test=0)
    assert {(example.input, example.label) for example in data.train} == {("é", "1"), ("a\nb", "2")}


def test_the_same_rows_as_json_lines_and_as_csv_give_the_same_splits(tmp_path: Path) -> None:
    one = table(path=lines(tmp_path / "d.jsonl"), train=4, seed=7)
    (tmp_path / "d.csv").write_text("input,label\n" + "".join(f"{row['input']},{row['label']}\n" for row in ROWS))
    assert table(path=tmp_path / "d.csv", train=4, seed=7) == one


def test_named_fields_and_several_inputs(tmp_path: Path) -> None:
    path = lines(tmp_path / "d.jsonl")
    data = table(path=path, input=["input", "hint"], label="key", id="key", train=10)
    assert {example.id for example in data.train} == {f"k{i}" for i in range(10)}
    assert next(e.input for e in data.train if e.id == "k4") == {"input": "question 4", "hint": "h4"}


def test_labels_may_be_any_json_value(tmp_path: Path) -> None:
    rows = [{"input": "a", "label": ["x", "y"]}, {"input": "b", "label": 0}, {"input": "c", "label": False}]
    assert {str(e.label) for e in table(path=lines(tmp_path / "d.jsonl", rows), test=0).train} == {
        "['x', 'y']",
        "0",
        "False",
    }


def test_files_of_their_own_may_have_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    test_path = lines(tmp_path / "test" / "d.jsonl", ROWS[:3])
    data = table(path=lines(tmp_path / "d.jsonl"), test_path=test_path)
    assert [example.id for example in data.test] == ["d/test/0", "d/test/1", "d/test/2"]
    assert len(data.train) == 7  # three of the ten are tested on


def test_from_a_recipe(tmp_path: Path) -> None:
    spec = {"name": "promptopt.data.tables:table", "path": str(lines(tmp_path / "d.jsonl")), "input": ["input"]}
    assert build("datasets", {**spec, "train": 3}, where="data").train[0].input.keys() == {"input"}
    with pytest.raises(UserError, match=r"data\.train is '3'"):
        build("datasets", {**spec, "train": "3"}, where="data")


def test_an_unknown_field_names_file_line_and_the_closest(tmp_path: Path) -> None:
    path = lines(tmp_path / "d.jsonl", [*ROWS, {"input": "q", "lable": "a"}])
    with pytest.raises(UnknownName, match=r"d\.jsonl, line 11: unknown field 'label'\. Did you mean 'lable'\?"):
        table(path=path, test=0)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("d.jsonl", '{"input": "a", "label": "b"}\n\n{"input": \n', "d.jsonl, line 3: not JSON"),
        ("d.jsonl", '["a", "b"]\n', "d.jsonl, line 1: ['a', 'b'] is no JSON object"),
        ("d.jsonl", "", "holds no records"),
        ("d.jsonl", '{"input": "a", "label": null}\n', "line 1: the field 'label' is null"),
        ("d.csv", "input,label\na,\n", "d.csv, line 2: the field 'label' is empty"),
        ("d.csv", "input,label\na,b\nc\n", "d.csv, line 3: another number of cells than the 2 columns"),
        ("d.csv", "input,label\na,b,c\n", "d.csv, line 2: another number of cells"),
        ("d.csv", "input,label,input\na,b,c\n", "a column name stands twice"),
        ("d.csv", 'input,label\n"a"x,b\n', "d.csv, line 2: not a table"),
        ("d.txt", "a", "cannot tell the format. Allowed are .jsonl, .json, .csv, .tsv"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert said in refused(tmp_path / name)


def test_unreadable_files(tmp_path: Path) -> None:
    assert "there is no file" in refused(tmp_path / "none.jsonl")
    (tmp_path / "d.jsonl").write_bytes(b'{"input": "\xff"}')
    assert "is not UTF-8 (byte 11)" in refused(tmp_path / "d.jsonl")
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(b"input,label\n" * 99)[:-12])
    assert "cannot read" in refused(tmp_path / "d.csv.gz")
    (tmp_path / "folder.csv").mkdir()
    assert "cannot read" in refused(tmp_path / "folder.csv")


def test_ids_that_stand_twice_and_no_input(tmp_path: Path) -> None:
    path = lines(tmp_path / "d.jsonl", [*ROWS, ROWS[0]])
    assert "the id 'k0' stands twice" in refused(path, id="key")
    assert "input is []; allowed is the name of a field" in refused(path, input=[])
