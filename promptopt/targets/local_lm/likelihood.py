"""How likely a model finds each of some texts behind documents: one forward pass, and nothing is written.

A document is read in two pieces. Its *beginning* is what it shares with others: the prompt, where the input follows it,
and else what stands before the prompt, the input among it. Beginnings are read once, and what those of one batch have
in common is too; those with the input are kept, so that the next prompt costs its own tokens alone. Behind the document
the options are read, each row of them that is no other's beginning; logits are computed only for the positions that an
option's token follows::

    beginning (shared)                 rest           options
    Classify the sentiment. Review:    Good soup! It's| positive       two of one token: nothing is fed
                                                      | very good      "very" is fed once for both
                                                      | very bad
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...models.local.choices import read_by
from .backbone import Backbone
from .documents import Ids
from .kv_cache import common
from .rows import Rows, empty
from .speedups import Speedups

__all__ = ["Beginnings", "Document", "Likelihoods"]

KEPT = 1 << 30
"""Bytes of keys and values of beginnings that are kept."""


@dataclass(frozen=True)
class Document:
    """What options stand behind. ``ids[:shared]`` is its beginning; at least one token is left behind it."""

    ids: Ids
    shared: int

    @property
    def beginning(self) -> Ids:
        return self.ids[: self.shared]


class Beginnings:
    """What a model has read of beginnings, in blocks of rows that were read together.

    Args:
        backbone: the model.
        size: bytes that are kept. The blocks that were not used for longest go first, but never one that the call in
            progress uses, so that a set larger than this is kept in part and not read anew each time as a whole.
    """

    def __init__(self, backbone: Backbone, *, size: int = KEPT) -> None:
        self._backbone, self._size = backbone, size
        self._blocks: OrderedDict[int, tuple[Rows, list[Ids]]] = OrderedDict()
        self._place: dict[Ids, tuple[int, int]] = {}  # block, row
        self._in_use: set[int] = set()
        self._number = 0

    def opened(self) -> None:
        """A call begins: blocks that are not used in it may go."""
        self._in_use.clear()

    def rows(self, wanted: Sequence[Ids]) -> Rows:
        """A row for each beginning, in order; those that are not kept are read, each once."""
        missing = [one for one in dict.fromkeys(wanted) if one not in self._place]
        parts: list[tuple[Rows, list[Ids]]] = []
        for number in dict.fromkeys(self._place[one][0] for one in wanted if one in self._place):
            parts.append(self._blocks[number])
            self._blocks.move_to_end(number)
            self._in_use.add(number)
        if missing:
            rows = self._read(missing)
            parts.append((rows, missing))
            self._keep(rows, missing)
        used = set(wanted)
        chosen = [(rows, [i for i, one in enumerate(ids) if one in used]) for rows, ids in parts]
        order = [ids[i] for (_, ids), (_, places) in zip(parts, chosen, strict=True) for i in places]
        at = {one: i for i, one in enumerate(order)}
        picked = [rows.select(places) for rows, places in chosen]
        together: Rows = picked[0].together(picked)
        return together.select([at[one] for one in wanted])

    def _read(self, missing: Sequence[Ids]) -> Rows:
        """A row for each of these; what all begin with, such as a system message, is read once."""
        shared = min(common(missing), min(map(len, missing)) - 1)
        if not shared or len(missing) == 1:
            rows = empty(self._backbone, len(missing))
        else:
            one = empty(self._backbone, 1)
            one.feed([missing[0][:shared]])
            rows = one.select([0] * len(missing))
        rows.feed([ids[int(rows.lengths[0]) :] for ids in missing])
        return rows

    def _keep(self, rows: Rows, ids: list[Ids]) -> None:
        more = rows.bytes
        spare = [number for number in self._blocks if number not in self._in_use]
        while spare and self.bytes + more > self._size:
            _, gone = self._blocks.pop(spare.pop(0))
            for one in gone:
                del self._place[one]
        if self.bytes + more <= self._size:
            self._number += 1
            self._blocks[self._number] = rows, ids
            self._in_use.add(self._number)
            self._place |= {one: (self._number, i) for i, one in enumerate(ids)}

    @property
    def bytes(self) -> int:
        """How much memory is taken."""
        return sum(rows.bytes for rows, _ in self._blocks.values())


class Likelihoods:
    """How likely options are behind documents. For one thread at a time.

    Args:
        backbone: the model.
        options: the tokens of each option, at least one each.
        batch_size: rows of options that are read at a time.
    """

    def __init__(self, backbone: Backbone, options: Sequence[Ids], *, speedups: Speedups, batch_size: int) -> None:
        self._backbone, self._options, self._batch_size = backbone, options, batch_size
        self._fed = [row for row in read_by(options) if row]
        self._reuse = speedups.reuse_prefix
        self.beginnings = Beginnings(backbone)

    @torch.no_grad()
    def read(self, documents: Sequence[Document]) -> NDArray[np.float64]:
        """``(n_documents, n_options)`` the log-probability of each option behind each document, nats."""
        rows, last = self._documents(documents)
        found: dict[Ids, dict[int, NDArray[np.float64]]] = {(): self._predicted(last, ())}
        found |= self._behind(rows, len(documents))
        columns = [
            sum((found[option[:j]][token] for j, token in enumerate(option)), np.zeros(len(documents)))
            for option in self._options
        ]
        return np.stack(columns, axis=1)

    def _documents(self, documents: Sequence[Document]) -> tuple[Rows, Tensor]:
        """The rows, and the hidden state of each document's last token ``(n, width)``."""
        shared = self._reuse and all(one.shared for one in documents)
        rows = self.beginnings.rows([one.beginning for one in documents]) if shared else None
        rows = empty(self._backbone, len(documents)) if rows is None else rows
        rest = [one.ids[one.shared if shared else 0 :] for one in documents]
        states = rows.feed(rest)
        places = torch.tensor([len(ids) - 1 for ids in rest], device=states.device)
        return rows, states[torch.arange(len(rest), device=states.device), places]

    def _behind(self, rows: Rows, n: int) -> dict[Ids, dict[int, NDArray[np.float64]]]:
        """What follows each text that options begin with: by that text and the next token, ``(n,)``."""
        if not self._fed:
            return {}
        pairs = [(i, k) for i in range(n) for k in range(len(self._fed))]
        begun = {option[:j] for option in self._options for j in range(1, len(option))}
        row = {one: next(k for k, fed in enumerate(self._fed) if fed[: len(one)] == one) for one in begun}
        states: dict[Ids, list[Tensor]] = {one: [] for one in begun}
        for start in range(0, len(pairs), self._batch_size):
            part = pairs[start : start + self._batch_size]
            read = rows.select([i for i, _ in part]).feed([self._fed[k] for _, k in part])
            for one in begun:
                places = [place for place, (_, k) in enumerate(part) if k == row[one]]
                states[one].append(read[places, len(one) - 1])
        return {one: self._predicted(torch.cat(parts), one) for one, parts in states.items()}

    def _predicted(self, hidden: Tensor, begun: Ids) -> dict[int, NDArray[np.float64]]:
        """How likely each token is with which an option goes on behind this beginning of it, ``(n,)`` each."""
        n = len(begun)
        tokens = sorted({option[n] for option in self._options if len(option) > n and option[:n] == begun})
        columns = self._backbone.log_probabilities(hidden, tokens).double().cpu().numpy()
        return dict(zip(tokens, columns.T, strict=True))
