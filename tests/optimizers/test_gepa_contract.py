"""The package gepa, asked through ask and tell, holds what a run relies on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gepa")

from promptopt.core import Case, Example, Message, Rate, Rating
from promptopt.optimizers.gepa import Gepa
from promptopt.record.codec import Answer, Question
from promptopt.testing import ScriptedModel
from promptopt.testing.contracts import OptimizerContract

EXAMPLES = [Example(f"e{i}", f"input {i}", "label") for i in range(12)]


def varied(messages: Sequence[Message]) -> str:
    """One of a hundred prompts; which one depends on what is shown."""
    return f"```\n{sum(map(ord, messages[-1].text)) % 97} {{}}\n```"


class TestOnAllExamples(OptimizerContract):
    """The contract's answers have no cases and no values per example; three examples are rated at once."""

    proposals = 1

    def make(self) -> Gepa:
        return Gepa(model=ScriptedModel(varied), examples=EXAMPLES[:3], proposals=self.proposals)


class TestSeveralProposals(TestOnAllExamples):
    proposals = 3


class TestMinibatches(OptimizerContract):
    """Three examples at a time, with values and cases."""

    questions = 60

    def make(self) -> Gepa:
        return Gepa(model=ScriptedModel(varied), examples=EXAMPLES)

    def _answer(self, question: Question) -> Answer:
        assert isinstance(question, Rate)
        quality, on = self.quality(question.prompt), question.on or tuple(e.id for e in EXAMPLES)
        return Rating(quality, per_example=np.full(len(on), quality), cases=tuple(Case(i, "x", quality) for i in on))

    def test_takes_answers_in_any_order(self) -> None:
        """The answer is the best that was rated on all examples; others had no time to be."""
        optimizer = self._begun()
        asked: list[Any] = self._search(optimizer, answer=lambda batch: self._answers(batch)[::-1])
        whole = max(self.quality(question.prompt) for question in asked if not question.on)
        assert self.quality(optimizer.best()) == whole
