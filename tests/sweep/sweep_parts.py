"""Parts that cost nothing, for sweeps in tests: recipes name them as ``sweep_parts:...``"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from promptopt.core import Completion, Dataset, Example, Prompt, Reply, Request, Usage
from promptopt.errors import ModelError


def words(*, seed: int = 0, dev: int = 4, test: int = 12, hard: float = 0.5) -> Dataset:
    """Examples that a prompt is right on where it is long enough; how long depends on the seed."""

    def split(name: str, n: int) -> tuple[Example, ...]:
        return tuple(Example(f"{name}{i}", int(hard * 10) + (i * 7 + seed) % 10, "") for i in range(n))

    return Dataset("words", split("train", 6), split("dev", dev), split("test", test))


class Longer:
    """Right where the prompt has at least as many letters as the example asks for. Says in a file what it was asked.

    Fails at long prompts for as long as there is a file ``fails``.
    """

    def __init__(self, *, log: str = "", seconds: float = 0.0, fails: str = "") -> None:
        self.log = log
        self.seconds = seconds
        self.fails = fails

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[float]:
        time.sleep(self.seconds)
        if self.fails and Path(self.fails).exists() and len(prompt.text) > 10:
            raise ValueError(f"cannot run {prompt.text!r}")
        if self.log:
            splits = sorted({example.id.rstrip("0123456789") for example in examples})
            with Path(self.log).open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {','.join(splits)} {prompt.text}\n")
        return [float(len(prompt.text) >= example.input) for example in examples]


class Letters:
    """Prompts of one to ``most`` letters; it counts as an optimizer's own parameter."""

    def __init__(self, *, most: int) -> None:
        self.most = most

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        return ("x" * (i + 1) for i in rng.permutation(self.most))


class Value:
    """The output is the score."""

    def __call__(self, outputs: Sequence[float], examples: Sequence[Example], /) -> list[float]:
        return list(outputs)


def recipe(log: Path | str = "", *, most: Sequence[int] = (3, 8, 14), seeds: int = 2, **target: Any) -> dict[str, Any]:
    """A sweep of six settings over two tasks: two optimizers that draw from pools of different sizes."""
    pool = {"name": "sweep_parts:Letters", "most": list(most)}
    return {
        "start": "go",
        "metric": "sweep_parts:Value",
        "target": {"name": "sweep_parts:Longer", "log": str(log), **target},
        "budget": 30,
        "sweep": {
            "seeds": seeds,
            "tasks": {
                "easy": {"data": {"name": "sweep_parts:words", "hard": 0.1}},
                "hard": {"data": {"name": "sweep_parts:words", "hard": 0.6}},
            },
            "optimizers": {
                "small": {"optimizer.name": "random-search", "optimizer.batch": 1, "optimizer.pool": pool},
                "large": {"optimizer.name": "random-search", "optimizer.batch": 4, "optimizer.pool": pool},
            },
        },
    }


def asked(log: Path | str) -> list[tuple[str, str]]:
    """What the target was asked: the split and the prompt, in order."""
    lines = Path(log).read_text(encoding="utf-8").splitlines() if Path(log).exists() else []
    return [(line.split()[1], line.split()[2]) for line in lines]


class Frail(Longer):
    """As Longer, but the process dies at a long prompt for as long as there is a file ``fails``, which it removes."""

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[float]:
        if self.fails and len(prompt.text) > 10 and Path(self.fails).exists():
            Path(self.fails).unlink()
            os._exit(1)
        return [float(os.getpid()) if self.log == "who" else float(len(prompt.text) + e.input) for e in examples]


class Echo:
    """A chat model that says what it was told, and which process it is in. ``no`` is refused."""

    name = "echo"

    def complete(self, request: Request, /) -> Completion:
        if request.messages[-1].text == "no":
            raise ModelError("refused")
        return Completion((Reply(f"{os.getpid()} {request.messages[-1].text} {request.n}"),), Usage(1, 2, 3))

    def at_most(self, request: Request, /) -> Usage:
        return Usage(request.n, 9, 9)


class Meeting(Echo):
    """A chat model that answers no call before so many are under way, in whatever process, and gives up in the end."""

    def __init__(self, *, folder: str, people: int) -> None:
        self.folder = Path(folder)
        self.people = people

    def complete(self, request: Request, /) -> Completion:
        said = request.messages[-1].text
        (self.folder / said).touch()
        end = time.monotonic() + 60
        while len(list(self.folder.iterdir())) < self.people:
            if time.monotonic() > end:
                raise ModelError("nobody else came")
            time.sleep(0.05)
        return Completion((Reply(said),))
