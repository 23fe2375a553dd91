"""BIG-Bench Hard, from tiny files in its format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promptopt.data.bbh import bbh
from promptopt.errors import UnknownName, UserError


def write(root: Path, task: str, cases: Any) -> Path:
    root.mkdir(exist_ok=True)
    (root / f"{task}.json").write_text(json.dumps({"canary": "do not train on this", "examples": cases}))
    return root


def cases(n: int) -> list[dict[str, str]]:
    return [{"input": f"Is {i} even?\nOptions:\n- Yes\n- No", "target": "No" if i % 2 else "Yes"} for i in range(n)]


def test_the_split_of_the_paper(tmp_path: Path) -> None:
    data = bbh(task="navigate", root=write(tmp_path / "bbh", "navigate", cases(250)))
    assert (data.name, len(data.train), len(data.dev), len(data.test)) == ("bbh/navigate", 50, 100, 100)


def test_ids_do_not_depend_on_the_seed(tmp_path: Path) -> None:
    root = write(tmp_path / "bbh", "navigate", cases(250))
    for seed in (0, 1):
        data = bbh(task="navigate", root=root, seed=seed)
        for example in (*data.train, *data.dev, *data.test):
            number = int(example.id.removeprefix("bbh/navigate/"))
            assert example.input.startswith(f"Is {number} even?")
            assert example.label == ("No" if number % 2 else "Yes")
    assert bbh(task="navigate", root=root).train != data.train


def test_a_task_that_is_too_small_says_so(tmp_path: Path) -> None:
    root = write(tmp_path / "bbh", "snarks", cases(178))
    with pytest.raises(UserError, match=r"bbh/snarks: too few .* train=50, dev=100, test=100: there are 178"):
        bbh(task="snarks", root=root)
    assert len(bbh(task="snarks", root=root, test=None).test) == 28


def test_a_misspelt_task(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'navigate'"):
        bbh(task="navigat", root=write(tmp_path / "bbh", "navigate", cases(3)))
    with pytest.raises(UnknownName):
        bbh(task="../bbh/navigate", root=tmp_path / "bbh")


def test_a_root_without_tasks_names_the_layout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder of task files\. The root should hold a file TASK\.json"):
        bbh(task="navigate", root=tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "navigate.json, line 1: not JSON"),
        ("[]", "holds no list of examples"),
        ('{"examples": []}', "holds no list of examples"),
        ('{"examples": [{"input": "a", "target": "b"}, {"input": "a"}]}', "example 1: input and target must be texts"),
    ],
)
def test_broken_files(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "navigate.json").write_text(content)
    with pytest.raises(UserError, match=said):
        bbh(task="navigate", root=tmp_path)
