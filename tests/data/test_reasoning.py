"""The reasoning tasks: right answers, reproducible questions, splits that share nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from promptopt.core import Dataset
from promptopt.data.reasoning import KINDS, SIZES, TASKS, puzzles, reasoning, split_of
from promptopt.errors import UnknownName, UserError


def texts(data: Dataset) -> list[tuple[str, str]]:
    return [(example.input, example.label) for example in (*data.train, *data.dev, *data.test)]


# ── Solved a second time, from the text alone ─────────────────────────────────────────────────────────────────────


def arithmetic(text: str) -> str:
    body = text.removeprefix("Compute ").split(".")[0]
    return str(eval(re.sub(r"#\d", "", body)))  # digits, plus and minus


def navigation(text: str) -> str:
    here = int(re.findall(r"Start at (\d+)", text)[0])
    return str(
        here + sum(int(n) * (1 if way == "forward" else -1) for way, n in re.findall(r"(forward|back) (\d+)", text))
    )


def boolean(text: str) -> str:
    first, *moves = re.split(r"#\d", text.removeprefix("Evaluate ").split(".")[0])
    value = first.strip() == "true"
    for move in moves:
        operator, operand = move.split()
        value = bool(eval(f"{value} {operator.replace('xor', '!=')} {operand.title()}"))
    return str(value).lower()


def counting(text: str) -> str:
    asked = re.findall(r"Count each (\w+)", text)[0]
    return str(sum(item in KINDS[asked] for item in re.findall(r"#\d (\w+)", text)))


def swapping(text: str) -> str:
    here = re.findall(r"under (\w+)", text)[0]
    for a, b in re.findall(r"swap (\w+) (\w+)", text):
        here = {a: b, b: a}.get(here, here)
    return str(here)


def comparing(text: str) -> str:
    return str(max(int(n) for n in re.findall(r"(?<!#)\b(\d+)", text)))


SOLVERS: dict[str, Callable[[str], str]] = {
    "arithmetic": arithmetic, "navigation": navigation, "boolean": boolean, "counting": counting,
    "swapping": swapping, "comparing": comparing,
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_right(task: str) -> None:
    assert all(SOLVERS[task](text) == answer for text, answer in texts(reasoning(task=task, seed=3)))


@pytest.mark.parametrize("task", TASKS)
def test_a_puzzle_explains_itself(task: str) -> None:
    source = puzzles(task, "train", np.random.default_rng(0))
    drawn = [next(source) for _ in range(100)]
    assert {len(puzzle.moves) for puzzle in drawn} == set(SIZES)
    assert all(len(puzzle.states) == len(puzzle.moves) + 1 for puzzle in drawn)
    assert all(set(puzzle.states[1:]) <= set(puzzle.answers) for puzzle in drawn)


# ── Splits ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", TASKS)
def test_sizes_ids_and_no_question_twice(task: str) -> None:
    data = reasoning(task=task, train=60, dev=70, test=80)
    assert (len(data.train), len(data.dev), len(data.test)) == (60, 70, 80)
    assert len({text for text, _ in texts(data)}) == 210
    assert len({example.id for example in (*data.train, *data.dev, *data.test)}) == 210


def test_a_question_keeps_its_split_whatever_the_seed() -> None:
    for seed in range(3):
        data = reasoning(task="boolean", seed=seed)
        for split in ("train", "dev", "test"):
            assert {split_of(example.input) for example in getattr(data, split)} == {split}


def test_most_questions_are_left_to_the_corpus() -> None:
    source = np.random.default_rng(0)
    drawn = [TASKS["navigation"](source, 6).text for _ in range(400)]
    assert 0.6 < np.mean([split_of(text) == "corpus" for text in drawn]) < 0.9


def test_same_seed_same_questions_other_seed_others() -> None:
    first, again, other = (texts(reasoning(task="swapping", seed=seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_larger_sizes_keep_the_earlier_questions() -> None:
    few, many = (reasoning(task="counting", train=train, dev=0, test=5) for train in (10, 40))
    assert few.train == many.train[:10]
    assert few.test == many.test


ELSEWHERE = """
import sys
from promptopt.data.reasoning import reasoning
data = reasoning(task="swapping", train=5, dev=0, test=0)
assert "torch" not in sys.modules
print([(example.input, example.label) for example in data.train])
"""


def test_same_questions_in_another_process_without_torch() -> None:
    env = {"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == str(texts(reasoning(task="swapping", train=5, dev=0, test=0)))


# ── Mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_unknown_task_says_what_was_given_what_exists_and_what_is_close() -> None:
    with pytest.raises(UnknownName, match=r"'bolean'.*'boolean'.*counting"):
        reasoning(task="bolean")


@pytest.mark.parametrize("wrong", [{"train": 0}, {"dev": -1}, {"test": -1}, {"seed": -1}])
def test_impossible_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"^reasoning: {next(iter(wrong))} is {next(iter(wrong.values()))};"):
        reasoning(task="boolean", **wrong)


def test_more_questions_than_exist_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptopt.data.reasoning.SIZES", (3,))
    monkeypatch.setattr("promptopt.data.reasoning._PATIENCE", 2_000)
    with pytest.raises(UserError, match="train=100, but boolean has no more than about"):
        reasoning(task="boolean", train=100, dev=0, test=0)
