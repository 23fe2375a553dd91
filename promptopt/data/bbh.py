"""BIG-Bench Hard (Suzgun et al., 2022): 27 tasks, a JSON file each, in the splits of [Das2025].

A file holds ``{"canary": ..., "examples": [{"input": ..., "target": ...}, ...]}``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core import Dataset, Example
from ..errors import UnknownName, UserError
from .records import read_json
from .text_splits import split

EXPECTED = 'The root should hold a file TASK.json for each task: {"examples": [{"input": ..., "target": ...}, ...]}.'


def bbh(
    *, task: str, root: str | Path, train: int = 50, dev: int = 100, test: int | None = 100, seed: int = 0
) -> Dataset:
    """A task, split into 50 training, 100 dev and 100 test examples as in [Das2025]; the draw is our own.

    Three tasks are smaller than that: causal_judgement (187), penguins_in_a_table (146) and snarks (178) need smaller
    sizes. An input that stands twice (in causal_judgement and sports_understanding) stays within one split.

    Args:
        task: the name of a file, for example ``navigate``.
        root: the folder of the files.
        train: training examples.
        dev: dev examples.
        test: test examples; None means all that are left.
        seed: of the draw.

    Raises:
        UserError: the folder or the file is missing or broken, or the sizes exceed the task.
        UnknownName: there is no such task.
    """
    path = task_file(root, task, expected=EXPECTED)
    content = read_json(path, expected=EXPECTED)
    cases = content.get("examples") if isinstance(content, dict) else None
    if not isinstance(cases, list) or not cases:
        raise UserError(f"{path} holds no list of examples. {EXPECTED}")
    pool = [_example(f"bbh/{task}/{n}", case, f"{path}, example {n}") for n, case in enumerate(cases)]
    return split(f"bbh/{task}", pool, train=train, dev=dev, test=test, seed=seed)


def task_file(root: str | Path, task: str, *, expected: str) -> Path:
    """The file of a task.

    Raises:
        UserError: there is no such folder, or it holds no tasks.
        UnknownName: there is no such task.
    """
    root = Path(root).expanduser()
    files = {path.stem: path for path in root.glob("*.json")}
    if not files:
        raise UserError(f"{str(root)!r} is no folder of task files. {expected}")
    if task not in files:
        raise UnknownName("task", task, files, where=str(root))
    return files[task]


def _example(id: str, case: Any, where: str) -> Example:
    if not isinstance(case, dict) or not all(isinstance(case.get(key), str) for key in ("input", "target")):
        raise UserError(f"{where}: input and target must be texts. {EXPECTED}")
    return Example(id, case["input"], case["target"])
