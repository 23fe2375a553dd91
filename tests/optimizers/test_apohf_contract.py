"""The four dueling bandits hold what a run relies on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from promptopt.optimizers.apohf import Apohf
from promptopt.optimizers.double_ts import DoubleTS
from promptopt.optimizers.linear_duel import LinearDuel
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.proposers.lexical import LexicalProposer
from promptopt.optimizers.random_duel import RandomDuels
from promptopt.testing.contracts import OptimizerContract

WORDS = "small large blurry clean drawing painting toy plastic".split()
POOL = [f"a {word} {{}}" for word in WORDS] + [f"{word} photo of a {{}}" for word in WORDS] + ["no hole"]


class Letters:
    """Embeds a text by how often it has each letter."""

    name = "letters"

    def embed(self, texts: Sequence[str], /) -> Any:
        counts = np.array([[text.count(letter) for letter in "abcdefghijklmnop{"] for text in texts], dtype=float)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


class Suite(OptimizerContract):
    __test__ = False
    questions = 16
    factory: Any
    options: ClassVar[Any] = {}

    def make(self) -> Any:
        return self.factory(pool=ListPool(prompts=POOL), embedder=Letters(), **self.options)

    def problem_with(self, text: str) -> str | None:
        return None if text.count("{}") == 1 else "it needs one {}"


class TestApohf(Suite):
    __test__ = True
    factory = Apohf


@pytest.mark.study
class TestReleasedDiagonal(Suite):
    __test__ = True
    questions = 10
    factory = Apohf
    options: ClassVar[Any] = {"fit": "released", "n_init": 3}


@pytest.mark.study
class TestReleasedFull(Suite):
    __test__ = True
    questions = 10
    factory = Apohf
    options: ClassVar[Any] = {"fit": "released", "norm": "full", "n_init": 3}


class TestApohfInBatches(Suite):
    __test__ = True
    factory = Apohf
    options: ClassVar[Any] = {"batch": 4}


class TestApohfWithMutation(Suite):
    __test__ = True

    def make(self) -> Any:
        proposer = LexicalProposer(phrases={"adjectives": WORDS})
        return Apohf(pool=ListPool(prompts=POOL), embedder=Letters(), proposer=proposer, mutate_every=5)


class Exchanges(ListPool):
    """Five replies to each of three queries, in one text each."""

    queries = ("Who", "Why", "When")

    def __init__(self) -> None:
        super().__init__(prompts=[f"{query}\n\n{{}} {i}" for query in self.queries for i in range(5)])

    def query_of(self, text: str, /) -> str:
        return text.partition("\n\n")[0]


class TestApohfOverQueries(Suite):
    __test__ = True

    def make(self) -> Any:
        return Apohf(pool=Exchanges(), batch=2)


class TestLinearDuel(Suite):
    __test__ = True
    factory = LinearDuel


@pytest.mark.study
class TestLinearReleased(Suite):
    __test__ = True
    questions = 10
    factory = LinearDuel
    options: ClassVar[Any] = {"fit": "released", "n_init": 3}


class TestDoubleTS(Suite):
    __test__ = True
    factory = DoubleTS


@pytest.mark.study
class TestDoubleTSReleased(Suite):
    __test__ = True
    questions = 10
    factory = DoubleTS
    options: ClassVar[Any] = {"fit": "released", "n_init": 3}


class TestRandomReleased(Suite):
    __test__ = True
    factory = RandomDuels
    options: ClassVar[Any] = {"fit": "released"}


class TestRandomDuels(Suite):
    __test__ = True
    factory = RandomDuels
    options: ClassVar[Any] = {"batch": 3}
