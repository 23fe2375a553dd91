"""What is searched for: tasks, the models that answer, and a store of their answers, so that none is computed twice.

A prompt reaches a model as the text before the input (*prefix*): the instruction and, where there are any, the
demonstrations. So a search of promptopt, a DSPy program and an HTTP request that mean the same get the same answer.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from promptopt.core import Completion, Dataset, Example, Message, Prompt, Reply, Request, Usage
from promptopt.data.reasoning import reasoning
from promptopt.targets import ChatTarget
from promptopt.targets.local_lm import LocalLM

HERE = Path(__file__).resolve().parent
TRAIN, EXAMPLES = 20, 80  # at most: to search on, and in all; the others are held out
BLOCK = 40  # examples in a line of the matrix
LONGEST = 1_500  # characters of a prefix that a model is given


def smollm2_tasks() -> Mapping[str, Any]:
    """The tasks of words of the study on SmolLM2."""
    name = "smollm2_tasks"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE.parent / "smollm2" / "tasks.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    found: Mapping[str, Any] = sys.modules[name].TASKS
    return found


# ── Tasks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Task:
    """What prompts are for.

    Attributes:
        target: whose prompts they are, for the tables.
        start: what somebody would write first.
        about: what the prompts are for, as the LLM that proposes is told.
        template: of what follows the prefix, with ``{input}``.
        examples: in a fixed order, any first part as balanced as it can be.
        bases: whole instructions, for the scripted proposer.
        rules: by label, what it knows to help there: other instructions, or sentences that follow one. Those of ``""``
            help with every label.
        others: sentences of which it does not know whether they help.
        most: of such sentences in one of its prompts; 0 where it writes whole instructions alone.
        lm: loads the model.
        known: answers that need not be computed, by prefix and example.
    """

    name: str
    target: str
    start: str
    about: str
    template: str
    examples: Sequence[Example]
    bases: Sequence[str]
    rules: Mapping[str, Sequence[str]]
    others: Sequence[str]
    lm: Callable[[], Any] = field(compare=False)
    most: int = 0
    known: Mapping[tuple[str, str], str] = field(default_factory=dict, compare=False)

    def data(self, seed: int) -> Dataset:
        """A draw: up to 20 training examples, as many of each label as can be, and the others, which are held out."""
        rng = np.random.default_rng(seed)
        labels = list(dict.fromkeys(str(one.label) for one in self.examples)) if self.balanced else [""]
        train: list[Example] = []
        for label in labels:
            own = [one for one in self.examples if not label or one.label == label]
            train += [own[i] for i in rng.permutation(len(own))[: TRAIN // len(labels)]]
        shuffled = [train[i] for i in rng.permutation(len(train))]
        chosen = {one.id for one in train}
        test = tuple(one for one in self.examples if one.id not in chosen)
        return Dataset(self.name, tuple(shuffled), (), test)

    @property
    def balanced(self) -> bool:
        """Whether there are as many examples of each label."""
        counts = [sum(one.label == label for one in self.examples) for label in {one.label for one in self.examples}]
        return len(set(counts)) == 1 and len(counts) < TRAIN

    def asked(self, example: Example) -> str:
        """What stands behind the prefix."""
        return self.template.replace("{input}", str(example.input))


HELPFUL = (  # sentences with the words that the embedded LM learnt to heed, see experiments/embedded_lm/lexicon.py
    "Reason step by step.", "Work carefully.", "Explain each step.", "Verify the result slowly.",
    "Be methodically patient.", "Show the intermediate result.", "Give a detailed derivation.", "Be rigorous.",
    "Think thoroughly.",
)  # fmt: skip
PLAIN = (
    "Be honest.", "Answer politely.", "Give a clear statement.", "Be quick.", "Skip what is long.", "Keep it short.",
    "Use simple language.", "Say it clearly.", "Guess the total.", "You are a smart assistant.", "Be brief.",
)  # fmt: skip


def words(name: str) -> Task:
    """A task of the study on SmolLM2, which names the label by likelihood."""
    own = smollm2_tasks()[name]
    *firsts, last = own.classes
    labels = f"{', '.join(firsts)} or {last}"
    how: dict[str, Any] = {"answers": "likelihood", "labels": own.classes, "template": own.template}
    examples = own.examples(EXAMPLES)
    known = in_the_matrix(own, examples)
    bases = [one for one in own.pool if one[-1] in ".?" and len(one.split()) > 2]
    return Task(
        name,
        target="SmolLM2",
        start=own.written[0],
        about=f"Instructions for a small language model that is given a {own.thing} and names its {own.aspect}: "
        f"{labels}.",
        template=f"{own.thing.capitalize()}: {{input}}\nAnswer:",
        examples=examples,
        bases=bases,
        rules={label: helping(label, bases, examples, known) for label in own.classes},
        others=(),
        lm=lambda: Likely(LocalLM(model="smollm2", chat_template=False, **how)),
        known=known,
    )


def in_the_matrix(own: Any, examples: Sequence[Example]) -> dict[tuple[str, str], str]:
    """What SmolLM2 answers to the prompts of its study: see experiments/smollm2/matrix.py."""
    known: dict[tuple[str, str], str] = {}
    with gzip.open(HERE.parent / "smollm2" / "matrix.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in map(json.loads, file):
            if line["task"] == own.name and line["block"] >= 0:
                rows = np.array(line["rows"]).reshape(-1, len(own.classes))
                block = examples[line["block"] * BLOCK : (line["block"] + 1) * BLOCK]
                said = [own.classes[i] for i in rows.argmax(axis=1)]
                known |= {(line["prompt"], one.id): answer for one, answer in zip(block, said, strict=False)}
    return known


def helping(
    label: str, bases: Sequence[str], examples: Sequence[Example], known: Mapping[tuple[str, str], str]
) -> list[str]:
    """The quarter of the instructions that do best on a label and on all: the sum of both accuracies."""
    own = [one for one in examples if one.label == label]

    def right(base: str) -> float:
        return sum(float(np.mean([known[base, one.id] == one.label for one in some])) for some in (own, examples))

    return sorted(bases, key=lambda base: -right(base))[: len(bases) // 4]


def reasoned(name: str, does: str) -> Task:
    """A task of the embedded LM, which reasons and writes its answer."""
    return Task(
        name,
        target="embedded LM",
        start="Please answer the question.",
        about=f"Instructions for a very small language model that {does}.",
        template="{input}",
        examples=reasoning(task=name, train=EXAMPLES, dev=0, test=0).train,  # type: ignore[arg-type]
        bases=["Please answer the question.", "Solve the question.", "Find the answer.", "Work on the question.",
               "Give the right result.", "Please write the solution."],
        rules={"": HELPFUL},
        others=PLAIN,
        lm=lambda: Likely(LocalLM(model="embedded", max_tokens=80)),
        most=3,
    )  # fmt: skip


TASKS: Mapping[str, Callable[[], Task]] = {
    "category": lambda: words("category"),
    "language": lambda: words("language"),
    "continent": lambda: words("continent"),
    "arithmetic": lambda: reasoned("arithmetic", "works out a sum in several moves"),
    "navigation": lambda: reasoned("navigation", "says where somebody stands after several moves"),
}


# ── Models and what they answered ─────────────────────────────────────────────────────────────────────────────────


class Likely:
    """A local LM behind a prefix."""

    def __init__(self, lm: LocalLM) -> None:
        self.lm = lm

    def problem_with(self, prefix: str) -> str | None:
        """Why it cannot be run."""
        return self.lm.problem_with(Prompt(prefix))

    def answers(self, prefix: str, examples: Sequence[Example]) -> list[str]:
        """In order."""
        return [str(output) for output in self.lm.run(Prompt(prefix), examples)]

    def length(self, text: str) -> int:
        """In tokens."""
        return self.lm.count_tokens(text) if text else 0


class Answers:
    """A chat model that answers from a store, and asks the model only for what is not there yet.

    Args:
        task: its examples are all that can be asked about.
        folder: of the store, a file a task; None for none that lasts.
        ahead: computes so many examples at once where one is missing, as the examples stand in the task's order.
    """

    def __init__(self, task: Task, folder: Path | None = None, *, ahead: int = 1) -> None:
        self.task, self.ahead = task, ahead
        self.name = task.target
        self.file = folder / f"{task.name}.jsonl" if folder else None
        self.by_input = {task.asked(one): one for one in task.examples}
        self.known: dict[tuple[str, str], str] = dict(task.known)
        self.fine = {prefix for prefix, _ in self.known}  # prefixes that the model could be given before
        self.computed = 0
        self._lm: Any = None
        for line in self.file.read_text(encoding="utf-8").splitlines() if self.file and self.file.exists() else []:
            prefix, found = json.loads(line)
            self.known |= {(prefix, key): answer for key, answer in found.items()}

    @property
    def lm(self) -> Any:
        """Loaded when it is first needed."""
        self._lm = self._lm or self.task.lm()
        return self._lm

    def problem_with(self, prefix: str) -> str | None:
        """Why a prefix cannot be run, or None."""
        if not prefix.strip():
            return "the prompt is empty; write an instruction."
        if len(prefix) > LONGEST:
            return f"the prompt has {len(prefix):,} characters; the model is given {LONGEST:,} at the most."
        if prefix in self.fine:
            return None
        found: str | None = self.lm.problem_with(prefix)
        return found

    def prepare(self, prefix: str, examples: Sequence[Example]) -> None:
        """Compute what is missing, in one go, and write it down."""
        missing = [one for one in dict.fromkeys(examples) if (prefix, one.id) not in self.known]
        if not missing:
            return
        found = dict(zip((one.id for one in missing), self.lm.answers(prefix, missing), strict=True))
        self.computed += len(found)
        self.known |= {(prefix, key): answer for key, answer in found.items()}
        if self.file:
            with self.file.open("a", encoding="utf-8") as kept:
                kept.write(json.dumps([prefix, found], ensure_ascii=False) + "\n")

    def answer(self, prefix: str, example: Example) -> str:
        """What the model says."""
        if (prefix, example.id) not in self.known:
            place = self.task.examples.index(example)
            self.prepare(prefix, self.task.examples[place : place + self.ahead])
        return self.known[prefix, example.id]

    def right(self, prefix: str, examples: Sequence[Example]) -> float:
        """The share of right answers."""
        self.prepare(prefix, examples)
        return float(np.mean([self.known[prefix, one.id] == str(one.label) for one in examples]))

    # ── As a chat model ───────────────────────────────────────────────────────────────────────────────────────────

    def complete(self, request: Request, /) -> Completion:
        """The answer to the input that a conversation ends with."""
        prefix, example = self.read(request.messages)
        return Completion((Reply(self.answer(prefix, example)),), self.at_most(request))

    def at_most(self, request: Request, /) -> Usage:
        """A call."""
        return Usage(1)

    def read(self, messages: Sequence[Message]) -> tuple[str, Example]:
        """The prefix, and the example whose input stands behind it.

        Raises:
            KeyError: there is no such example.
        """
        text = rendered(messages)
        asked = next((asked for asked in self.by_input if text.endswith(asked)), None)
        if asked is None:
            raise KeyError(text[-80:])
        return text[: -len(asked)].strip(), self.by_input[asked]


def rendered(messages: Sequence[Message]) -> str:
    """A conversation as one text: answers behind what they answer, everything else on lines of its own."""
    text = ""
    for message in messages:
        text += (" " if message.role == "assistant" else "\n") + message.text.strip()
    return text.strip()


class Prompted(ChatTarget):
    """The target of searches here: each example is a call, but those of a prompt are computed together."""

    def __init__(self, answers: Answers, data: Dataset) -> None:
        super().__init__(model=answers, template=answers.task.template, examples=data.train, workers=1)
        self.answers = answers

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """As of any chat target, and what the model cannot be given."""
        return super().problem_with(prompt) or self.answers.problem_with(self.prefix(prompt))

    def prefix(self, prompt: Prompt) -> str:
        """What stands before an input that is no training example."""
        return rendered(self.messages(prompt, Example("", "", None))[:-1])

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[Any]:
        """In order; of several prompts, the first is computed and read first."""
        for prompt in prompts:
            by: dict[str, list[Example]] = {}
            for example in examples:
                by.setdefault(self.answers.read(self.messages(prompt, example))[0], []).append(example)
            for prefix, asked in by.items():
                self.answers.prepare(prefix, asked)
            yield from super().run_batch([prompt], examples)
