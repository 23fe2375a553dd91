"""The contract of the searches for demonstrations; without relative imports, since it is run in a fresh process too."""

from __future__ import annotations

from typing import Any

from promptopt.core import Case, Example, Rating
from promptopt.optimizers import Demonstrations
from promptopt.parts import text_of
from promptopt.testing.contracts import OptimizerContract

EXAMPLES = [Example(f"e {i}", f"input {i}", f"label {i % 3}") for i in range(12)]
START = text_of({"instruction": "Go.", "demonstrations": ""})


class TestRandom(OptimizerContract):
    start = (START,)

    def make(self) -> Demonstrations:
        return Demonstrations(examples=EXAMPLES, k=3, sets=20)


class TestExchange(TestRandom):
    def make(self) -> Demonstrations:
        return Demonstrations(examples=EXAMPLES, k=3, sets=4, search="exchange", batch=4)


class TestBootstrap(TestRandom):
    def make(self) -> Any:
        return Demonstrations(examples=EXAMPLES, k=3, sets=4, search="exchange", bootstrap=True, minibatch=100)

    def _answer(self, question: Any) -> Rating:
        cases = [Case(e.id, f"so {e.label}", float(i % 2)) for i, e in enumerate(EXAMPLES)] if question.cases else []
        return Rating(self.quality(question.prompt), cases=tuple(cases))
