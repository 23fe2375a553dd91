"""Every search whose prompts an LLM writes, as runs that stand still at a place, so that their process is killed there.

``python -m killed_parts FOLDER '{"opro": 20, ...}'`` begins these runs, each in a thread, and names each in a line
once it stands still, having bought as much as that.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from run_parts import WORDS, chance, lines, write

from promptopt import Dataset, Example, Prompt, Result, optimize
from promptopt.core import Completion, Reply, Request, Usage
from promptopt.testing import ScriptedModel

TRAIN, TEST = (
    tuple(Example(f"{split}{i}", f"{split} question {i}", f"{split} answer {i}") for i in range(12))
    for split in ("train", "test")
)
OPTIONS: dict[str, dict[str, Any]] = {
    "ape": {"candidates": 8, "per_call": 2, "subset": 6},
    "behaviour": {"corrections": 2},
    "evoprompt": {"population": 5},
    "gepa": {},
    "iad": {"query": "What is it about?", "n": 3, "rounds": 12},
    "map-elites": {"measures": ["words", "politeness"]},
    "opro": {"per_step": 3},
    "protegi": {"beam": 2, "gradients": 2, "successors": 4, "sample": 3, "evaluations": 60},
}


class Till:
    """Writes down what a run buys, and stands still before it buys more than ``most``."""

    def __init__(self, folder: Path, name: str, *, most: int | None) -> None:
        self.log, self.name, self.left = str(folder / f"{name}.bought"), name, most

    def buy(self, what: str) -> None:
        if self.left == 0:
            say(self.name)
            threading.Event().wait()
        self.left = None if self.left is None else self.left - 1
        write(self.log, what)


class Llm(ScriptedModel):
    """Writes lists of one prompt, by what it is shown, the call's seed and the reply's place."""

    def __init__(self, till: Till) -> None:
        super().__init__([])
        self._till = till

    def complete(self, request: Request, /) -> Completion:
        said = [message.text for message in request.messages]
        self._till.buy(f"{request.n} replies, call {chance(said, request.seed)}")
        words = [
            [WORDS[int(chance(said, request.seed, n, i) * len(WORDS))] for i in range(3)] for n in range(request.n)
        ]
        return Completion(tuple(Reply(f"- {' '.join(three)}") for three in words), Usage(1, 9, 9))


class Words:
    """A target that answers an example rightly if the prompt has a word that helps with it."""

    def __init__(self, till: Till) -> None:
        self._till = till

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        self._till.buy(f"{prompt.text} on {' '.join(example.id for example in examples)}")
        words = {*prompt.text.split()} & {*WORDS}
        return [e.label if any(chance(word, e.id) < 0.1 for word in words) else "?" for e in examples]


def searched(name: str, folder: Path, *, most: int | None = None) -> Result:
    """A run in ``folder / name``, which goes on where there is one."""
    till = Till(folder, name, most=most)
    return optimize(
        start="go",
        target=Words(till),
        metric="exact-match",
        data=Dataset("words", TRAIN, (), TEST),
        optimizer={"name": name, "model": Llm(till), **OPTIONS[name]},
        budget=40,
        run=folder / name,
        watch=False,
    )


def say(line: str) -> None:
    """Print a line at once; several threads do."""
    os.write(1, f"{line}\n".encode())


def bought(folder: Path, name: str) -> list[str]:
    """What its runs there bought, one after the other."""
    return lines(folder / f"{name}.bought")


def _begin(name: str, folder: Path, most: int) -> None:
    try:
        searched(name, folder, most=most)
        say(f"{name} did not stand still")
    except BaseException as error:
        say(f"{name}: {error!r}")


if __name__ == "__main__":
    for search, most in json.loads(sys.argv[2]).items():
        threading.Thread(target=_begin, args=(search, Path(sys.argv[1]), most), daemon=True).start()
    threading.Event().wait()
