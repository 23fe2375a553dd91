"""Small parts that the tests of the run are made of. Recipes name them as ``run_parts:...``.

Everything paid for is written into a side file, one line each, so that a test can count it from outside.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from promptopt.core import (
    ChatModel,
    Completion,
    Dataset,
    Example,
    Message,
    Prompt,
    Rate,
    Rating,
    Reply,
    Request,
    Setup,
    Usage,
)
from promptopt.run.loop import Run
from promptopt.testing import ScriptedModel

WORDS = "clear short polite formal exact calm plain brief careful honest vivid dry".split()
START = "answer {}"
DELAY = 0.0  # seconds that an answer or a reply takes; no part of a recipe


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on the arguments alone."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest()) / 2**32


def write(path: str | None, line: str) -> None:
    """Append a line in one system call."""
    if path:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, (line.replace("\n", " / ") + "\n").encode())
        os.close(file)


def rewrite(ledger: Path, events: Iterable[Mapping[str, Any]]) -> None:
    """Make a ledger of these events, without checksums, as in ledgers from before there were any."""
    ledger.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")


def lines(path: str | Path) -> list[str]:
    """What was paid for."""
    return Path(path).read_text().splitlines() if Path(path).exists() else []


# ── A target with data ────────────────────────────────────────────────────────────────────────────────────────────


class ToyTarget:
    """Answers an example rightly if the prompt has a word that helps with it."""

    metric = "run_parts:Right"

    def __init__(self, *, log: str | None = None, delay: float = 0.0) -> None:
        self.log = log
        self.delay = delay

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None if all("{}" in line for line in prompt.text.split("\n")) else "it needs one {}"

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        time.sleep(self.delay or DELAY)
        write(self.log, f"{examples[0].id.partition('-')[0]}\t{prompt.text}")
        words = prompt.text.split()
        return [e.label if any(chance(w, e.id) < 0.15 for w in words) else None for e in examples]


class Right:
    """1 for the right output, 0 for another, None where there is none of an odd example."""

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | None]:
        return [float(o == e.label) for o, e in zip(outputs, examples, strict=True)]


def toy_data(*, train: int = 12, dev: int = 12, test: int = 40) -> Dataset:
    """Examples ``train-0``, ``train-1`` and so on."""

    def split(name: str, size: int) -> tuple[Example, ...]:
        return tuple(Example(f"{name}-{i}", i, f"label {i}") for i in range(size))

    return Dataset("toy", split("train", train), split("dev", dev), split("test", test))


# ── Scorers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def quality(text: str) -> float:
    """A smooth made-up score: helpful words, and a little that depends on the whole text."""
    words = set(text.split())
    return sum(chance("worth", w) for w in words.intersection(WORDS)) + chance("text", text) / 10


class Words:
    """Rates by :func:`quality`, one by one."""

    question = Rate

    def __init__(self, *, log: str | None = None, delay: float = 0.0) -> None:
        self.log = log
        self.delay = delay

    def answer(self, questions: Sequence[Rate], /) -> Iterator[Rating]:
        for question in questions:
            time.sleep(self.delay or DELAY)
            write(self.log, question.prompt.text)
            yield Rating(quality(question.prompt.text))


class Judge:
    """Asks a chat model for every rating, from several threads, and hands the answers on in order."""

    question = Rate

    def __init__(self, *, model: ChatModel, threads: int = 4) -> None:
        self.model = model
        self.threads = threads

    def begin(self, setup: Setup, /) -> None:
        self._setup = setup
        self._billed = setup.model(self.model, role="judge")

    def answer(self, questions: Sequence[Rate], /) -> Iterable[Rating]:
        if self.threads == 1:
            return map(self._one, questions)
        return self._together(questions)

    def _together(self, questions: Sequence[Rate]) -> Iterator[Rating]:
        with ThreadPoolExecutor(self.threads) as pool:
            yield from pool.map(self._one, questions)

    def _one(self, question: Rate) -> Rating:
        completion = self._billed.complete(Request([Message("user", question.prompt.text)], seed=question.number))
        self._setup.count("judgements")
        return Rating(float(completion.replies[0].text))


def judge_model(*, log: str | None = None, dollars: float = 0.01, delay: float = 0.0) -> ChatModel:
    """Says how good the prompt in the last message is."""

    def reply(messages: Sequence[Message]) -> str:
        time.sleep(delay or DELAY)
        write(log, messages[-1].text)
        return f"{quality(messages[-1].text):.6f}"

    return ScriptedModel(reply, name="judge", max_tokens=16, dollars=dollars)


# ── A chat model that proposes ────────────────────────────────────────────────────────────────────────────────────


class Writer:
    """A chat model whose replies depend on what it is asked and on nothing else."""

    name = "writer"

    def __init__(self, *, log: str | None = None, delay: float = 0.0, dollars: float = 0.01) -> None:
        self.log = log
        self.delay = delay
        self.dollars = dollars

    def complete(self, request: Request, /) -> Completion:
        time.sleep(self.delay or DELAY)
        asked = [message.text for message in request.messages]
        write(self.log, f"{chance(asked)} {request.seed}")
        texts = [" ".join(w for w in WORDS if chance(asked, request.seed, i, w) < 0.3) for i in range(4)]
        return Completion((Reply("\n".join(f"- {text} {{}}" for text in texts)),), Usage(1, 50, 20, self.dollars))

    def at_most(self, request: Request, /) -> Usage:
        return Usage(1, 50, 30, self.dollars)


# ── Optimizers ────────────────────────────────────────────────────────────────────────────────────────────────────

CLIMB: dict[str, Any] = {
    "name": "hill-climb",
    "proposer": {"name": "lexical", "phrases": WORDS},
    "restarts": 2,
    "resets": 2,
    "iterations": 6,
    "k": 4,
    "per_call": 5,
}


class Counting:
    """Asks for prompt 0, 1, 2 and so on, ``batch`` at a time: the smallest optimizer there is."""

    question = Rate

    def __init__(self, *, batch: int = 10, limit: int | None = None, text: Callable[[int], str] = "prompt {}".format):
        self.batch = batch
        self.limit = limit
        self.text = text

    def begin(self, setup: Setup, /) -> None:
        self._asked = 0
        self.told: list[tuple[Rate, Rating]] = []
        self._best = setup.start[0]
        self._rank = (float("-inf"), float("-inf"))

    def ask(self) -> list[Rate]:
        last = self._asked + self.batch if self.limit is None else min(self._asked + self.batch, self.limit)
        batch = [Rate(Prompt(self.text(i))) for i in range(self._asked, last)]
        self._asked = last
        return batch

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        self.told += answered
        for question, rating in answered:
            if rating.rank > self._rank:
                self._best, self._rank = question.prompt, rating.rank

    def best(self) -> Prompt:
        return self._best


def run(scorer: Any, *, optimizer: Any = None, start: str = "start", **options: Any) -> Run:
    """A run that has not searched yet."""
    return Run(optimizer or Counting(), scorer, start=[Prompt(start)], **options)
