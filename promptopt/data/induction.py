"""Instruction induction (Honovich et al., 2022): small tasks that an instruction explains, as in [Lin2024].

A task is a file in ``induce/``, for the search, and one of the same name in ``execute/``, for testing:
``{"metadata": ..., "examples": {"1": {"input": ..., "output": ...}, ...}}``. Where several answers count, the label is
a tuple of them, the file's own answer first.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from ..core import Dataset, Example
from ..errors import UserError
from .bbh import task_file
from .records import Record, read_json
from .text_splits import split

EXPECTED = (
    "The root should hold the folders induce/ and execute/ with a file TASK.json for each task: "
    '{"examples": {"1": {"input": ..., "output": ...}, ...}}.'
)
MORE_ANSWERS = ("possible_translations", "other_rhymes", "possible_outputs")
TRAIN = 20


def induction(
    *, task: str, root: str | Path, train: int | None = None, dev: int = 0, test: int | None = None, seed: int = 0
) -> Dataset:
    """A task: training and dev examples from its ``induce`` file, test examples from its ``execute`` file.

    A task without an ``execute`` file (cs_algorithms) is tested on what is left of the other. Two tasks have fields of
    their own: in cause_and_effect the input is both sentences in a drawn order and the label is the cause; in
    common_concept the input is the list of items and every phrasing of the concept counts.

    We differ from the released loaders in three things: common_concept shows all items and not all but the last, a word
    does not count as its own rhyme, and what stands in the test file is left out of the search.

    Args:
        task: the name of a file, for example ``antonyms``.
        root: the folder that holds ``induce`` and ``execute``.
        train: training examples; None means 20, or all where there are fewer.
        dev: dev examples.
        test: test examples; None means all of the ``execute`` file.
        seed: of the draw.

    Raises:
        UserError: a folder or file is missing or broken, or the sizes exceed the task.
        UnknownName: there is no such task.
    """
    root = Path(root).expanduser()
    pool = _examples(task_file(root / "induce", task, expected=EXPECTED), task, "induce")
    path = root / "execute" / f"{task}.json"
    tests = _examples(path, task, "execute") if path.exists() else None
    if train is None:
        train = max(1, min(TRAIN, _different(pool, tests) - dev))
    return split(f"induction/{task}", pool, train=train, dev=dev, test=test, seed=seed, test_pool=tests)


def _different(pool: list[Example], tests: list[Example] | None) -> int:
    """Inputs of a pool that do not stand in the test file."""
    return len({example.input for example in pool} - {example.input for example in tests or ()})


def _examples(path: Path, task: str, part: str) -> list[Example]:
    content = read_json(path, expected=EXPECTED)
    cases = content.get("examples") if isinstance(content, dict) else None
    if not isinstance(cases, dict) or not cases:
        raise UserError(f"{path} holds no examples. {EXPECTED}")
    return [_example(f"induction/{task}/{part}/{key}", case, f"{path}, example {key!r}") for key, case in cases.items()]


def _example(id: str, case: Any, where: str) -> Example:
    if not isinstance(case, dict):
        raise UserError(f"{where} is no JSON object. {EXPECTED}")
    record = Record(where, case)
    if "cause" in case and "effect" in case:
        return Example(id, _two_sentences(record), record.text("cause"))
    if "concept" in case and "items" in case:
        return Example(id, ", ".join(_texts(record, "items")), _label(record, "concept", "all_common_concepts"))
    more = next((name for name in MORE_ANSWERS if name in case), None)
    return Example(id, record.text("input").strip(), _label(record, "output", more))


def _two_sentences(record: Record) -> str:
    """Cause and effect in an order drawn by their hash, so that a case is the same with every seed."""
    pair = [record.text("cause"), record.text("effect")]
    first, second = pair[::-1] if zlib.crc32(" ".join(pair).encode()) % 2 else pair
    return f"Sentence 1: {first} Sentence 2: {second}"


def _label(record: Record, name: str, more: str | None) -> str | tuple[str, ...]:
    """The answer, or all answers that count."""
    answer = record.text(name)
    own = record.fields.get("input") if more == "other_rhymes" else None
    others = _texts(record, more) if more and more in record.fields else []
    answers = tuple(dict.fromkeys([answer, *(other for other in others if other != own)]))
    return answers if len(answers) > 1 else answer


def _texts(record: Record, name: str) -> list[str]:
    values = record.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{record.where}: the field {name!r} must be a list of texts.")
    return values
