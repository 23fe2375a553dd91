"""The contract suite of embedders holds for ours; a part that breaks it fails in the test meant for it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from promptopt.core import Embedder, Example, Prompt
from promptopt.embedders import FunctionEmbedder, Ngrams, Outputs
from promptopt.testing.contracts import EmbedderContract

# ── Our embedders ─────────────────────────────────────────────────────────────────────────────────────────────────


class TestNgrams(EmbedderContract):
    texts = (*EmbedderContract.texts, "", "Ü\x00")

    def make(self) -> Embedder:
        return Ngrams(dimensions=64)


class TestFunction(EmbedderContract):
    def make(self) -> Embedder:
        return FunctionEmbedder(function=letters)


def letters(texts: Sequence[str]) -> Any:
    return np.array([[text.count(letter) + 1 for letter in "aeiou"] for text in texts])


class TestOutputs(EmbedderContract):
    def make(self) -> Embedder:
        return Outputs(target=Upper(), examples=[Example(word, word, None) for word in "red green blue".split()])


class Upper:
    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        return [f"{prompt.text} {example.input}".upper() for example in examples]


# ── Broken embedders ──────────────────────────────────────────────────────────────────────────────────────────────


class Sound:
    """Counts letters."""

    name = "letters"

    def embed(self, texts: Sequence[str], /) -> Any:
        rows = self.rows(texts).reshape(len(texts), 5)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def rows(self, texts: Sequence[str]) -> Any:
        return np.array([[text.count(letter) + 1.0 for letter in "aeiou"] for text in texts])


class SoundContract(EmbedderContract):
    part: Any = Sound

    def make(self) -> Any:
        return self.part()


class Numbered(Sound):
    numbers = itertools.count()

    def __init__(self) -> None:
        self.name = f"letters {next(self.numbers)}"


class Nameless(Sound):
    name = ""


class Turned(Sound):
    def embed(self, texts: Sequence[str], /) -> Any:
        return super().embed(texts).T


class Single(Sound):
    def embed(self, texts: Sequence[str], /) -> Any:
        return super().embed(texts).astype(np.float32)


class NeedsAText(Sound):
    def embed(self, texts: Sequence[str], /) -> Any:
        return np.stack([super(NeedsAText, self).embed([text])[0] for text in texts])


class Long(Sound):
    def embed(self, texts: Sequence[str], /) -> Any:
        return self.rows(texts).reshape(len(texts), 5)


class Centred(Sound):
    """Takes the mean of a batch off."""

    def rows(self, texts: Sequence[str]) -> Any:
        return super().rows(texts) - super().rows(texts).mean(axis=0) / 2


class AlmostAlone(Sound):
    """Batches differ in the last digits."""

    def embed(self, texts: Sequence[str], /) -> Any:
        return super().embed(texts) * (1 + 1e-12 * len(texts))


class Noisy(Sound):
    def rows(self, texts: Sequence[str]) -> Any:
        return super().rows(texts) + np.random.rand(len(texts), 5)


class Hashes(Sound):
    """Knows a text by its hash, which changes from process to process."""

    def rows(self, texts: Sequence[str]) -> Any:
        return np.array([[1.0 + (hash(text) >> 5 * i) % 32 for i in range(5)] for text in texts])


class HashesContract(SoundContract):
    """By its own name, so that a fresh process finds it."""

    part = Hashes


BROKEN = [
    ("test_its_name_stays", Numbered),
    ("test_its_name_stays", Nameless),
    ("test_one_row_of_float64_per_text", Turned),
    ("test_one_row_of_float64_per_text", Single),
    ("test_one_row_of_float64_per_text", NeedsAText),
    ("test_rows_have_length_1", Long),
    ("test_a_row_does_not_depend_on_the_others", Centred),
    ("test_a_row_does_not_depend_on_the_others", AlmostAlone),
    ("test_the_same_text_has_the_same_row", Noisy),
    ("test_same_rows_in_a_fresh_process_with_another_hash_seed", Hashes),
]


@pytest.mark.parametrize(("test", "part"), BROKEN)
def test_a_broken_embedder_fails_the_test_meant_for_it(test: str, part: Any) -> None:
    getattr(SoundContract(), test)()
    suite = HashesContract() if part is Hashes else SoundContract()
    suite.part = part
    with pytest.raises((AssertionError, ValueError)):
        getattr(suite, test)()


def test_every_embedder_test_has_a_part_that_fails_it() -> None:
    assert {name for name in dir(EmbedderContract) if name.startswith("test_")} == {test for test, _ in BROKEN}
