"""A white box without a model: words are tokens, and every word is worth something to every example.

The loss of an example falls by the worth of each word of the prompt, so gradients are exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from promptopt.core import Example, Prompt

WORDS = "a b c d e f g h i j k l m n o p q r s t u v w x y z".split()
VOCABULARY = ["", ".", ",", " 7", " #", *(f" {word}{word}" for word in WORDS)]
EXAMPLES = tuple(Example(f"x{i}", f"question {i}", "yes") for i in range(8))


class Seen:
    """One position, as the model sees it."""

    def __init__(self, worth: Any, liking: Any, missing: Sequence[int]) -> None:
        self.loss = np.ones(len(worth))
        self.loss[list(missing)] = np.nan
        self._slopes = np.where(np.isnan(self.loss)[:, None], np.nan, -worth)
        self._order = np.where(np.isnan(self.loss)[:, None], -1, np.argsort(-liking, axis=1, kind="stable"))

    def top(self, k: int) -> Any:
        return self._order[:, :k]

    def gradient(self, tokens: Sequence[int]) -> Any:
        return self._slopes[:, list(tokens)]


class WordModel:
    """The target.

    Args:
        worth: by word, for all examples alike; else ``(n_examples, n_vocabulary)`` drawn from ``seed``.
        liking: by word, how likely the model is to say it; drawn likewise.
        missing: examples that have no such position.
        gone: words that do not survive.
    """

    metric = "match"

    def __init__(
        self,
        *,
        worth: Mapping[str, float] | Any = None,
        liking: Mapping[str, float] | None = None,
        missing: Sequence[int] = (),
        gone: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        shape = (len(EXAMPLES), len(VOCABULARY))
        self.worth = self._table(worth, rng.normal(size=shape) + rng.normal(size=shape[1]))
        self.liking = self._table(liking, rng.normal(size=shape) + rng.normal(size=shape[1]))
        self.missing = missing
        self.gone = {VOCABULARY.index(f" {word}") for word in gone}
        self.asked: list[dict[str, Any]] = []
        self.tried: list[tuple[int, list[int]]] = []  # how many prompts, on which examples

    @staticmethod
    def _table(given: Any, drawn: Any) -> Any:
        if not isinstance(given, Mapping):
            return drawn if given is None else given
        row = [float(given.get(said.strip(), 0)) for said in VOCABULARY]
        return np.tile(row, (len(EXAMPLES), 1))

    @property
    def vocabulary(self) -> Sequence[str]:
        return VOCABULARY

    def tokens(self, text: str) -> list[int]:
        pieces = re.findall(r"[.,]|[\w#]+", text)
        return [VOCABULARY.index(piece if piece in ".," else f" {piece}") for piece in pieces]

    def replaced(self, text: str, position: int, tokens: Sequence[int]) -> list[str | None]:
        old = self.tokens(text)
        assert 0 <= position <= len(old)
        return [self._said([*old[:position], token, *old[position + 1 :]], token) for token in tokens]

    def _said(self, tokens: Sequence[int], new: int) -> str | None:
        return None if new in self.gone or new == 0 else "".join(VOCABULARY[t] for t in tokens).strip()

    def step(
        self,
        text: str,
        position: int,
        examples: Sequence[Example],
        *,
        with_reasoning: bool,
        perplexity_weight: float,
        answer_temperature: float,
        with_gradient: bool = True,
    ) -> Seen:
        assert position < len(self.tokens(text))
        rows = [EXAMPLES.index(example) for example in examples]
        self.asked.append(
            {
                "text": text,
                "position": position,
                "rows": rows,
                "with_reasoning": with_reasoning,
                "perplexity_weight": perplexity_weight,
                "answer_temperature": answer_temperature,
            }
        )
        missing = [i for i, row in enumerate(rows) if row in self.missing]
        worth = self.worth[rows] if with_gradient else np.full_like(self.worth[rows], np.nan)
        return Seen(worth, np.roll(self.liking[rows], 5 * position, axis=1), missing)

    def losses(self, texts: Sequence[str], examples: Sequence[Example]) -> Any:
        rows = [EXAMPLES.index(example) for example in examples]
        self.tried.append((len(texts), rows))
        return np.array([[-self.worth[row, sorted(set(self.tokens(text)))].sum() for row in rows] for text in texts])

    def quality(self, text: str) -> float:
        """Minus the mean loss, rounded so that equal sums are equal."""
        return round(float(self.worth[:, sorted(set(self.tokens(text)))].sum(axis=1).mean()), 9)

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None if prompt.text.strip() else "the prompt is empty"

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        return ["yes" if self.quality(prompt.text) > 0 else "no" for _ in examples]
