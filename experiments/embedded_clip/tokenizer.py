"""A small vocabulary for open_clip's own tokenizer class.

CLIP's byte-pair merges stand in order of frequency. Kept are the first ones, so that any text can be written, and those
that the given words need, so that each of them becomes the tokens that the full vocabulary gives. The order is kept,
hence words are split as the full tokenizer splits them.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer

CONTEXT_LENGTH = 24
GENERAL_MERGES = 2000

Merge = tuple[str, str]


def words_of(texts: Iterable[str]) -> set[str]:
    """The words, digits and signs in texts, as the tokenizer's pattern would cut them."""
    return {word for text in texts for word in re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text)}


def build(path: Path, words: Iterable[str]) -> SimpleTokenizer:
    """Write the merges to ``path`` and return the tokenizer that reads them."""
    full = SimpleTokenizer()
    needed = {merge for word in words for merge in _merges_for(word, full.bpe_ranks)}
    kept = [merge for rank, merge in enumerate(full.bpe_ranks) if rank < GENERAL_MERGES or merge in needed]
    lines = ["#version: small", *(" ".join(merge) for merge in kept)]
    # No trailing newline: the reader would take it for an empty merge. No time stamp: equal content, equal file.
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return SimpleTokenizer(bpe_path=str(path), context_length=CONTEXT_LENGTH)


def _merges_for(word: str, ranks: dict[Merge, int]) -> Iterator[Merge]:
    """The merges that turn a word's letters into its tokens."""
    parts = [*word[:-1], word[-1] + "</w>"]
    while len(parts) > 1:
        best = min(pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            return
        yield best
        parts = _merged(parts, best)


def _merged(parts: list[str], pair: Merge) -> list[str]:
    result: list[str] = []
    for part in parts:
        if result and (result[-1], part) == pair:
            result[-1] += part
        else:
            result.append(part)
    return result


class WordCache:
    """Tokenizes captions word by word, each word once."""

    def __init__(self, tokenizer: SimpleTokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """Start, tokens, end: at most CONTEXT_LENGTH ids."""
        ids = [self._tokenizer.sot_token_id]
        for word in text.split():
            if word not in self._known:
                self._known[word] = self._tokenizer.encode(word)
            ids += self._known[word]
        return [*ids[: CONTEXT_LENGTH - 1], self._tokenizer.eot_token_id]
