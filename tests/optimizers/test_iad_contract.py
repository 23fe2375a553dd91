"""iad and best-of-n hold what a run relies on."""

from __future__ import annotations

from promptopt.core import Completion, Reply, Request, Usage
from promptopt.optimizers import BestOfN, Iad
from promptopt.testing import ScriptedModel
from promptopt.testing.contracts import OptimizerContract


class Varied(ScriptedModel):
    """Replies that depend on the message and on their place among the n of a call."""

    def __init__(self) -> None:
        super().__init__([])

    def complete(self, request: Request, /) -> Completion:
        seed = sum(map(ord, request.messages[-1].text)) % 89
        return Completion(tuple(Reply(f"Because of {seed + i}.") for i in range(request.n)), Usage(1, 9, 9))


class TestIad(OptimizerContract):
    start = ("I do not know.",)

    def make(self) -> Iad:
        return Iad(model=Varied(), query="Why is the sky blue?", rounds=5)


class TestBestOfN(OptimizerContract):
    start = ("I do not know.",)

    def make(self) -> BestOfN:
        return BestOfN(model=Varied(), query="Why is the sky blue?", n=20)
