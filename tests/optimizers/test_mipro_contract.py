"""The contract of the joint search; without relative imports, since it is run in a fresh process too."""

from __future__ import annotations

from typing import Any

from promptopt.core import Case, Example, Rating
from promptopt.optimizers import Mipro
from promptopt.optimizers.pools import ListPool
from promptopt.parts import text_of
from promptopt.testing.contracts import OptimizerContract

EXAMPLES = [Example(f"e {i}", f"input {i}", f"label {i % 3}") for i in range(12)]
START = text_of({"instruction": "Go.", "demonstrations": ""})


class TestOnMinibatches(OptimizerContract):
    start = (START,)

    def make(self) -> Any:
        pool = ListPool(prompts=["Say.", "Think.", "Tell."])
        return Mipro(pool=pool, examples=EXAMPLES, k=2, sets=4, trials=14, minibatch=5, full=1)

    def _answer(self, question: Any) -> Rating:
        cases = [Case(e.id, f"so {e.label}", float(i % 2)) for i, e in enumerate(EXAMPLES)] if question.cases else []
        return Rating(self.quality(question.prompt), cases=tuple(cases))


class TestOnAllExamples(TestOnMinibatches):
    def make(self) -> Any:
        pool = ListPool(prompts=["Say.", "Think.", "Tell."])
        return Mipro(pool=pool, examples=EXAMPLES, k=2, sets=4, trials=12, bootstrap=False)
