"""Rows of tokens with their keys and values.

The cache holds keys and values ``(n_rows, heads, n_slots, width)`` per layer, one slot a token. Tokens that are fed are
padded on the right; before the next tokens come, those that are kept move to the right end (``KVCache._settle``). For
one row that holds "a b c" and is fed "x y z", and one that holds "d" and is fed "w" (``.`` for padding)::

    before       fed          padding moved to the left
    a b c        a b c x y z  a b c x y z
    . . d        . . d w . .  . . . . d w

So a row's tokens always lie side by side, and the distance between two slots is the distance between their tokens, as
sliding windows need it. Positions count tokens, not slots, and are given explicitly: d is at 0 and w at 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from .backbone import Backbone

__all__ = ["KVCache", "common", "padded"]

Indices: TypeAlias = NDArray[np.int64]


class KVCache:
    """Rows of tokens that a model has read, with their keys and values.

    Attributes:
        lengths: ``(n_rows,)`` tokens in each row.
    """

    def __init__(self, backbone: Backbone, cache: DynamicCache, first: Indices, lengths: Indices) -> None:
        self._backbone = backbone
        self._cache = cache
        self._first = first  # (n_rows,) the slot where each row begins
        self.lengths = lengths

    @classmethod
    def empty(cls, backbone: Backbone, n: int) -> KVCache:
        """``n`` rows without tokens."""
        nothing = np.zeros(n, dtype=np.int64)
        return cls(backbone, DynamicCache(), nothing, nothing)

    @property
    def bytes(self) -> int:
        """How much memory the keys and values take."""
        return sum(one.numel() * one.element_size() for pair in self._pairs for one in pair)

    @property
    def _width(self) -> int:
        return int(self._cache.get_seq_length())

    def feed(self, ids: Sequence[Sequence[int]], *, embeds: Tensor | None = None) -> Tensor:
        """Append tokens to each row, and return their hidden states ``(n_rows, n_longest, width)``.

        Rows that are fed fewer tokens than the longest are padded on the right; what is returned for padding means
        nothing.

        Args:
            ids: the tokens for each row; a row may get none.
            embeds: ``(n_rows, n_longest, width)``, the vectors that the model reads in place of the tokens' embeddings.
        """
        self._settle()
        counts = np.array([len(row) for row in ids], dtype=np.int64)
        longest = int(counts.max())
        if embeds is None:
            embeds = self._backbone.embed(padded(ids))
        new = np.arange(longest)
        # (n_rows, n_slots + n_longest): nothing attends to padding, on the left of what is cached or the right of what
        # is new
        slots = np.arange(self._width) >= self._first[:, None]
        mask = np.concatenate([slots, new < counts[:, None]], axis=1)
        # (n_rows, n_longest): padding repeats the last position; finished rows are fed on with their batch, and could
        # grow beyond the context
        positions = self.lengths[:, None] + np.minimum(new, np.maximum(counts, 1)[:, None] - 1)
        positions = np.minimum(positions, self._backbone.context - 1)
        states = self._backbone.hidden(
            embeds=embeds,
            mask=torch.from_numpy(mask.astype(np.int64)).to(embeds.device),
            positions=torch.from_numpy(positions).to(embeds.device),
            cache=self._cache,
        )
        self.lengths = self.lengths + counts
        return states

    def truncate(self, lengths: Sequence[int] | Indices) -> None:
        """Keep the first ``lengths[i]`` tokens of row i and forget those behind them; shorter rows stay as they are."""
        self.lengths = np.minimum(self.lengths, np.asarray(lengths, dtype=np.int64))

    def select(self, rows: Sequence[int] | Indices) -> KVCache:
        """Some of the rows, in a new order; a row may come several times."""
        wanted = np.asarray(rows, dtype=np.int64)
        index = torch.from_numpy(wanted)
        pairs = [(k.index_select(0, index.to(k.device)), v.index_select(0, index.to(v.device))) for k, v in self._pairs]
        return KVCache(self._backbone, _cache(pairs), self._first[wanted], self.lengths[wanted])

    @staticmethod
    def together(parts: Sequence[KVCache]) -> KVCache:
        """The rows of all the parts, one after another."""
        if len(parts) == 1:
            return parts[0]
        for part in parts:
            part._settle()
        width = max(part._width for part in parts)
        padded_pairs = [
            [(F.pad(k, (0, 0, width - k.shape[2], 0)), F.pad(v, (0, 0, width - v.shape[2], 0))) for k, v in part._pairs]
            for part in parts
            if part._width
        ]
        if len(padded_pairs) < len(parts):
            raise ValueError("rows without any tokens cannot be put together with others")
        pairs = [
            (torch.cat([k for k, _ in layer]), torch.cat([v for _, v in layer]))
            for layer in zip(*padded_pairs, strict=True)
        ]
        first = np.concatenate([part._first + width - part._width for part in parts])
        return KVCache(parts[0]._backbone, _cache(pairs), first, np.concatenate([part.lengths for part in parts]))

    @property
    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        return [(layer.keys, layer.values) for layer in self._cache.layers]

    def _settle(self) -> None:
        """Move each row's tokens to the right end, over slots of forgotten tokens and of padding; see the module."""
        behind = self._width - self._first - self.lengths  # (n_rows,) slots to the right of a row's tokens
        if not behind.any():
            return
        width = int(self.lengths.max())
        if not width:
            self._cache, self._first = DynamicCache(), np.zeros_like(self._first)
            return
        # New slot s of row i is filled from old slot first[i] + lengths[i] - width + s; below 0 there is only padding.
        slots = np.maximum(self._first[:, None] + self.lengths[:, None] - width + np.arange(width), 0)
        index = torch.from_numpy(slots)[:, None, :, None]
        self._cache = _cache([(_gather(k, index), _gather(v, index)) for k, v in self._pairs])
        self._first = width - self.lengths


def _gather(states: Tensor, index: Tensor) -> Tensor:
    """Keys or values ``(n_rows, heads, n_new, width)`` from the slots ``index`` ``(n_rows, 1, n_new, 1)`` of others."""
    return states.gather(2, index.to(states.device).expand(-1, states.shape[1], -1, states.shape[3]))


def _cache(pairs: Sequence[tuple[Tensor, Tensor]]) -> DynamicCache:
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(pairs):
        cache.update(keys, values, layer)
    return cache


def padded(ids: Sequence[Sequence[int]]) -> Tensor:
    """Tokens ``(n_rows, n_longest)``, padded on the right with a token that nothing attends to."""
    longest = max(map(len, ids))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids], dtype=torch.long)


def common(rows: Sequence[tuple[int, ...]]) -> int:
    """The length of the longest common prefix of rows of tokens."""
    low, high = min(rows), max(rows)  # in lexicographic order; all other rows lie between them, and share what they do
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
