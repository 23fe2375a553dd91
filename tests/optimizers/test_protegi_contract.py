"""ProTeGi holds what a run relies on, however its beam is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from promptopt.core import Case, Example, Message, Rate, Rating
from promptopt.optimizers.protegi import ProTeGi
from promptopt.record.codec import Answer, Question
from promptopt.testing import ScriptedModel
from promptopt.testing.contracts import OptimizerContract

EXAMPLES = [Example(f"e{i}", f"input {i}", "label") for i in range(12)]
SMALL: dict[str, Any] = {"rounds": 2, "beam": 2, "gradients": 2, "successors": 4, "sample": 3, "evaluations": 60}


def varied(messages: Sequence[Message]) -> str:
    """A few prompts that depend on what is shown."""
    return "\n".join(f"- {sum(map(ord, messages[-1].text)) % 89 + i} {{}}" for i in range(3))


class TestOnAllExamples(OptimizerContract):
    """The contract's answers have no cases, so there are paraphrases alone; three examples are rated at once."""

    def make(self) -> ProTeGi:
        return ProTeGi(model=ScriptedModel(varied), examples=EXAMPLES[:3], **SMALL)


class TestUcb(OptimizerContract):
    """A few examples at a time, with cases."""

    selection: Any = "ucb"
    questions = 400  # it ends before

    def make(self) -> ProTeGi:
        return ProTeGi(model=ScriptedModel(varied), examples=EXAMPLES, selection=self.selection, **SMALL)

    def _answer(self, question: Question) -> Answer:
        assert isinstance(question, Rate)
        quality, on = self.quality(question.prompt), question.on or tuple(e.id for e in EXAMPLES)
        return Rating(quality, per_example=np.full(len(on), quality), cases=tuple(Case(i, "x", quality) for i in on))


class TestSuccessiveRejects(TestUcb):
    selection: Any = "successive-rejects"


class TestRacing(TestUcb):
    selection: Any = "racing"


class TestAll(TestUcb):
    selection: Any = "all"
