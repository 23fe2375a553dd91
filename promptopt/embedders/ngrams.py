"""Hashed n-grams of words and characters: the default embedder, without a download."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..checks import at_least

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["Ngrams"]

WORDS = (1, 2)
CHARACTERS = (3, 4, 5)
TOKEN = re.compile(r"\w+|[^\w\s]")


class Ngrams:
    """Texts that share words, word pairs or pieces of words lie close; meaning is not known.

    A text is compatibility-normalised and lower-cased. Its n-grams are words and pairs of words, and 3 to 5 characters
    within a word, the word's ends included. An n-gram that occurs c times weighs ``1 + log c``; words and characters
    are each scaled to length 1, so that they count alike. The vector is ``Rᵀw / ‖Rᵀw‖`` with weights ``w`` and a random
    projection ``R`` of signs, whose row for an n-gram is read off the n-gram's SHAKE-128 hash. So the projection is the
    same in every process and needs no vocabulary. Cosines are those of the n-gram weights, give or take
    ``1 / sqrt(dimensions)``.

    Args:
        dimensions: length d of a vector.

    Raises:
        UserError: ``dimensions`` is smaller than 8.
    """

    def __init__(self, *, dimensions: int = 384) -> None:
        at_least(8, dimensions=dimensions)
        self.dimensions = dimensions

    @property
    def name(self) -> str:
        """Says the dimensions too."""
        return f"ngrams:{self.dimensions}"

    def embed(self, texts: Sequence[str], /) -> Array:
        """``(n_texts, dimensions)`` float64, each row of length 1; exactly what each text gives alone."""
        return np.stack([self._row(text) for text in texts]) if texts else np.empty((0, self.dimensions))

    def _row(self, text: str) -> Array:
        grams, weights = _weighted(text)
        size = -(-self.dimensions // 8)
        hashes = b"".join(hashlib.shake_128(gram).digest(size) for gram in grams)
        bits = np.unpackbits(np.frombuffer(hashes, np.uint8).reshape(len(grams), size), axis=1)[:, : self.dimensions]
        row = 2 * (weights @ bits) - weights.sum()  # bits 0 and 1 as signs
        unit: Array = row / np.linalg.norm(row)
        return unit


def _weighted(text: str) -> tuple[list[bytes], Array]:
    """A text's n-grams, with their weights ``(n_grams,)``. An empty text has one of its own."""
    words = TOKEN.findall(unicodedata.normalize("NFKC", text).lower()) or [""]
    grams: list[bytes] = []
    weights: list[Array] = []
    for kind, found in (("word", _word_grams(words)), ("characters", _character_grams(words))):
        counts = Counter(found)
        grams += [f"{kind}\0{gram}".encode("utf-8", "surrogatepass") for gram in counts]
        weight = 1 + np.log(np.array(list(counts.values()), dtype=np.float64))
        weights.append(weight / np.linalg.norm(weight))
    return grams, np.concatenate(weights)


def _word_grams(words: Sequence[str]) -> Iterator[str]:
    for n in WORDS:
        yield from (" ".join(words[i : i + n]) for i in range(len(words) - n + 1))


def _character_grams(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        framed = f"^{word}$"
        for n in CHARACTERS:
            yield from (framed[i : i + n] for i in range(max(1, len(framed) - n + 1)))
