"""GSM8K, from tiny files in its format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptopt.data.gsm8k import gsm8k
from promptopt.errors import UserError


def write(path: Path, answers: list[str]) -> Path:
    rows = [{"question": f"{path.stem} {i}?", "answer": answer} for i, answer in enumerate(answers)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_split_of_the_paper(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [f"<<1+{i}>>\n#### {i}" for i in range(210)])
    test = write(tmp_path / "test.jsonl", [f"#### {i}" for i in range(30)])
    data = gsm8k(path=train, test_path=test)
    assert (data.name, len(data.train), len(data.dev), len(data.test)) == ("gsm8k", 100, 100, 30)
    assert not {e.input for e in data.train} & {e.input for e in data.dev}
    for example in (*data.train, *data.dev):
        number = example.id.removeprefix("gsm8k/train/")
        assert (example.input, example.label) == (f"train {number}?", number)
    assert [example.id for example in data.test][:2] == ["gsm8k/test/0", "gsm8k/test/1"]


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("a\n#### 18", "18"),
        ("#### 65,960", "65960"),
        ("####  -3", "-3"),
        ("#### 1,234.50\n", "1234.50"),
        ("#### .5", ".5"),
    ],
)
def test_the_label_is_the_number(tmp_path: Path, answer: str, label: str) -> None:
    train = write(tmp_path / "train.jsonl", [answer])
    assert (
        gsm8k(path=train, test_path=write(tmp_path / "test.jsonl", ["#### 1"]), train=1, dev=0).train[0].label == label
    )


@pytest.mark.parametrize("answer", ["18", "#### eighteen", "#### 18 apples"])
def test_an_answer_without_its_number(tmp_path: Path, answer: str) -> None:
    train = write(tmp_path / "train.jsonl", ["#### 1", answer])
    with pytest.raises(UserError, match=r"train\.jsonl, line 2: the answer ends in .*, but must end in '#### N'"):
        gsm8k(path=train, test_path=train)


def test_missing_files_and_too_few(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", ["#### 1"] * 150)
    with pytest.raises(UserError, match=r"there is no file .*Give the public files train\.jsonl and test\.jsonl"):
        gsm8k(path=train, test_path=tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="train=100, dev=100: there are 150"):
        gsm8k(path=train, test_path=write(tmp_path / "test.jsonl", ["#### 1"]))
