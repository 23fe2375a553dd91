"""A task whose rules stand only in what the metric says of wrong outputs, and an LLM that reads what it is shown.

A prompt follows a rule if it names it. Which rules an example needs stands neither in its input nor in its label.
Recipes name the parts as ``reflective_parts:...``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from promptopt.core import Dataset, Example, Mark, Message, Prompt, Rate, Rating
from promptopt.scorers import MetricScorer
from promptopt.testing import ScriptedModel

RULES = ("brackets", "capitals", "stars")
START = "Repeat the word."
WORDS = "apple bread cheese dates eggs figs grapes honey ice jam kale lemon".split()
POLITE = "kindly carefully quickly calmly gladly briefly plainly".split()


def needs(example: Example) -> tuple[str, ...]:
    """The rules that an output for an example has to follow: one or two."""
    place = WORDS.index(example.input)
    return tuple(dict.fromkeys([RULES[place % 3], RULES[place % 2]]))


def task(*, train: int = 12, test: int = 0) -> Dataset:
    """Words to be repeated. Those of the test split stand in the training split under other names."""
    examples = [Example(f"w{i}", word, word) for i, word in enumerate(WORDS)]
    held_out = tuple(Example(f"t{i}", word, f"{word} ") for i, word in enumerate(WORDS[:test]))
    return Dataset("words", tuple(examples[:train]), (), held_out)


class Repeats:
    """Repeats the input, with the rules that the prompt names; remembers how often."""

    def __init__(self) -> None:
        self.calls = 0

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None if prompt.text.strip() else "it is empty"

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        self.calls += len(examples)
        followed = " ".join(rule for rule in RULES if rule in prompt.text)
        return [f"{example.input}: {followed}" for example in examples]


class Follows:
    """The share of the needed rules that an output follows; says which one it lacks."""

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Mark | None]:
        return [None if o is None else self._mark(str(o), e) for o, e in zip(outputs, examples, strict=True)]

    def _mark(self, output: str, example: Example) -> Mark:
        lacking = [rule for rule in needs(example) if rule not in output]
        value = 1 - len(lacking) / len(needs(example))
        return Mark(value, f"wanted: {lacking[0]}" if lacking else "")


def scorer(data: Dataset) -> MetricScorer:
    return MetricScorer(target=Repeats(), metric=Follows(), examples=data.train)


def rated(question: Rate, data: Dataset) -> Rating:
    """What that scorer answers."""
    (rating,) = scorer(data).answer([question])
    return rating


def written(messages: Sequence[Message]) -> str:
    """What the LLM replies: it names a rule where it is shown that one is wanted, and else becomes more polite."""
    text = messages[-1].text
    wanted = re.findall(r"wanted: (\w+)", text)
    if wanted and "reason" in text.rpartition("Answer only")[2]:
        return f"- It lacks a rule, which is wanted: {wanted[0]}"
    prompt = prompt_in(text)
    if wanted:
        named = f"{prompt} Mind the {wanted[-1]}."
        return f"```\n{named}\n```" if "```" in text else f"- {named}"
    words = (POLITE * 2)[_number(text) :][:3]
    return "\n".join(f"- {prompt} {word.capitalize()}." for word in words)


def prompt_in(text: str) -> str:
    """The first prompt that a message shows: in a fence, between marks, or as a bullet."""
    found = re.search(r"```\n(.+?)\n```|\[begin \w+\]\n(.+?)\n\[end|^- (.+?)$", text, re.DOTALL | re.MULTILINE)
    assert found, text
    return next(filter(None, found.groups()))


def _number(text: str) -> int:
    return hashlib.blake2b(text.encode(), digest_size=1).digest()[0] % len(POLITE)


def writer(*, dollars: float = 0.0) -> ScriptedModel:
    return ScriptedModel(written, dollars=dollars)
