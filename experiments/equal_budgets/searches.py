"""The searches: those of promptopt, each with numbers that suit a budget of a few hundred calls, and the originals."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from problems import Answers, Prompted, Task
from writers import Writer

from promptopt.api import execute
from promptopt.core import Dataset, Prompt


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        prefix: what stands before an input: the prompt, with its demonstrations written out.
        target, proposer: calls.
        ended: why.
    """

    prefix: str
    target: int
    proposer: int
    ended: str


@dataclass(frozen=True)
class Cell:
    """One draw of one task, with one proposer and one budget."""

    task: Task
    data: Dataset
    answers: Answers
    writer: Writer
    seed: int
    calls: int


# ── Ours ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Options = Callable[[Any, str], Mapping[str, Any]]  # of the proposer and what the prompts are for


def written(writer: Any, about: str) -> dict[str, Any]:
    return {"name": "written", "model": writer, "task": about}


def random_search(writer: Any, about: str) -> dict[str, Any]:
    return {"name": "random-search", "pool": written(writer, about), "batch": 4}


OURS: Mapping[str, Options] = {
    "random-search": random_search,
    "racing": lambda writer, about: {"name": "racing", "optimizer": random_search(writer, about), "minibatch": 6},
    "hill-climb": lambda writer, about: {
        "name": "hill-climb",
        "proposer": {"name": "chat", "model": writer, "task": about},
        "restarts": 1,
        "resets": 8,
        "iterations": 5,
        "sample": 1,
        "k": 3,
        "per_call": 3,
    },
    "ape": lambda writer, about: {
        "name": "ape", "model": writer, "task": about, "candidates": 8, "per_call": 4, "subset": 8, "rounds": 2
    },
    "opro": lambda writer, about: {"name": "opro", "model": writer, "task": about, "per_step": 4},
    "evoprompt": lambda writer, about: {
        "name": "evoprompt", "model": writer, "task": about, "population": 4, "generations": 100
    },
    "protegi": lambda writer, about: {
        "name": "protegi", "model": writer, "task": about, "beam": 2, "minibatch": 24, "gradients": 2, "errors": 3,
        "paraphrases": 1, "successors": 4, "evaluations": 60, "sample": 4, "arms": 4,
    },
    "gepa": lambda writer, about: {"name": "gepa", "model": writer, "task": about},
    "reflect": lambda writer, about: {
        "name": "reflect:Reflect", "model": writer, "task": about, "proposals": 2, "wrong": 3, "right": 2
    },
    "behaviour": lambda writer, about: {
        "name": "behaviour", "model": writer, "task": about, "corrections": 2, "rounds": 100
    },
    "demonstrations": lambda writer, about: {"name": "demonstrations", "search": "exchange", "sets": 8, "minibatch": 6},
}  # fmt: skip


def ours(name: str, cell: Cell) -> Found:
    """A run of promptopt, whose budget counts target and proposer together."""
    target = Prompted(cell.answers, cell.data)
    start: Any = cell.task.start
    if name == "demonstrations":
        start = {"system": cell.task.start, "demonstrations": ""}
    before = cell.writer.calls
    found = execute(
        {
            "start": start,
            "data": cell.data,
            "target": target,
            "metric": "exact-match",
            "optimizer": OURS[name](cell.writer, cell.task.about),
            "budget": {"calls": cell.calls},
            "seed": cell.seed,
            "verdict": False,
            "shorten": 0,
            "run": None,
        }
    )
    proposed = cell.writer.calls - before
    prefix = target.prefix(Prompt(found.best))
    return Found(prefix, found.costs.calls - proposed, proposed, found.stop_reason)


# ── All ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def outcome(cell: Cell, name: str, originals: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the results: a search, and what its prompt does on held-out examples, which cost it nothing."""
    began = time.process_time()
    found = originals[name](cell) if name in originals else ours(name, cell)
    lm = cell.answers.lm
    return {
        "task": cell.task.name,
        "proposer": cell.writer.name,
        "search": name,
        "seed": cell.seed,
        "calls": cell.calls,
        "start": cell.answers.right(cell.task.start, cell.data.test),
        "test": cell.answers.right(found.prefix, cell.data.test),
        "train": cell.answers.right(found.prefix, cell.data.train),
        "tokens": lm.length(found.prefix),
        "target_calls": found.target,
        "proposer_calls": found.proposer,
        "ended": found.ended,
        "seconds": round(time.process_time() - began, 1),
        "prefix": found.prefix,
    }
