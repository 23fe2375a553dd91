"""Reflect holds what a run relies on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from promptopt.core import Case, Example, Message, Rate, Rating
from promptopt.optimizers.reflect import Reflect
from promptopt.record.codec import Answer, Question
from promptopt.testing import ScriptedModel
from promptopt.testing.contracts import OptimizerContract

EXAMPLES = [Example(f"e{i}", f"input {i}", "label") for i in range(12)]


def varied(messages: Sequence[Message]) -> str:
    """One of a hundred prompts; which one depends on what is shown."""
    return f"<prompt>{sum(map(ord, messages[-1].text)) % 97} {{}}</prompt>"


class TestOnAllExamples(OptimizerContract):
    """The contract's answers have no cases and no values per example; three examples are rated at once."""

    def make(self) -> Reflect:
        return Reflect(model=ScriptedModel(varied), examples=EXAMPLES[:3], rounds=8)


class TestMinibatches(OptimizerContract):
    """A few examples at a time, with values and cases; each prompt is better than others on examples of its own."""

    questions = 400  # it ends before

    def make(self) -> Reflect:
        return Reflect(model=ScriptedModel(varied), examples=EXAMPLES, rounds=8, wrong=2, right=1, sample=3)

    def _answer(self, question: Question) -> Answer:
        assert isinstance(question, Rate)
        quality, on = self.quality(question.prompt), question.on or tuple(e.id for e in EXAMPLES)
        values = np.array([quality - (int(one[1:]) + len(question.prompt.text)) % 2 / 200 for one in on])
        return Rating(float(values.mean()), per_example=values, cases=tuple(map(Case, on, "x" * len(on), values)))
