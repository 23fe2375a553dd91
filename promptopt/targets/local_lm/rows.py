"""Rows of tokens that a model has read: with a cache of keys and values, or without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .backbone import Backbone
from .kv_cache import Indices, KVCache, padded

__all__ = ["Rereading", "Rows", "empty"]


class Rows(Protocol):
    """What is asked of rows; :class:`~promptopt.targets.local_lm.kv_cache.KVCache` says of each method what it does."""

    @property
    def lengths(self) -> Indices: ...
    @property
    def bytes(self) -> int: ...
    def feed(self, ids: Sequence[Sequence[int]], *, embeds: Tensor | None = None) -> Tensor: ...
    def truncate(self, lengths: Sequence[int] | Indices) -> None: ...
    def select(self, rows: Sequence[int] | Indices) -> Rows: ...
    @staticmethod
    def together(parts: Sequence[Any]) -> Any: ...


def empty(backbone: Backbone, n: int) -> Rows:
    """``n`` rows without tokens, of the kind that is exact for the model."""
    return Rereading(backbone, [()] * n) if backbone.rereads else KVCache.empty(backbone, n)


class Rereading:
    """Rows that are read again as a whole whenever tokens are added: exact for every causal model, and slow.

    It is for models that remember by a state (Mamba, RWKV and their hybrids): a state cannot be cut at a token.

    Args:
        rows: the tokens of each row.
    """

    def __init__(self, backbone: Backbone, rows: Sequence[Sequence[int]]) -> None:
        self._backbone = backbone
        self._rows = [tuple(row) for row in rows]

    @property
    def lengths(self) -> Indices:
        """``(n_rows,)`` tokens in each row."""
        return np.array([len(row) for row in self._rows], dtype=np.int64)

    @property
    def bytes(self) -> int:
        """None but for the tokens."""
        return 0

    def feed(self, ids: Sequence[Sequence[int]], *, embeds: Tensor | None = None) -> Tensor:
        """As :meth:`KVCache.feed`; gradients flow to ``embeds``, and not to what stands before."""
        starts = self.lengths
        self._rows = [(*row, *new) for row, new in zip(self._rows, ids, strict=True)]
        # finished rows are fed on with their batch, and could grow beyond the context
        whole = self._backbone.embed(padded([row[: self._backbone.context] for row in self._rows]))
        if embeds is not None:
            places = [(i, start + k, k) for i, start in enumerate(starts.tolist()) for k in range(len(ids[i]))]
            row, column, new = torch.tensor(places, device=whole.device).unbind(dim=1)
            whole = whole.index_put((row, column), embeds[row, new])
        states = self._backbone.read(whole)
        # (n_rows, n_longest): where each new token stands; padding repeats the last place
        columns = np.minimum(starts[:, None] + np.arange(max(map(len, ids))), whole.shape[1] - 1)
        return states.take_along_dim(torch.from_numpy(columns).to(states.device)[:, :, None], dim=1)

    def truncate(self, lengths: Sequence[int] | Indices) -> None:
        """As :meth:`KVCache.truncate`."""
        self._rows = [row[: int(n)] for row, n in zip(self._rows, lengths, strict=True)]

    def select(self, rows: Sequence[int] | Indices) -> Rereading:
        """As :meth:`KVCache.select`."""
        return Rereading(self._backbone, [self._rows[int(i)] for i in rows])

    @staticmethod
    def together(parts: Sequence[Rereading]) -> Rereading:
        """As :meth:`KVCache.together`."""
        return Rereading(parts[0]._backbone, [row for part in parts for row in part._rows])
