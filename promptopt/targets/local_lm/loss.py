"""What a model thinks of tokens that it has read: hidden states by place, mean losses, and drafts checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .backbone import Backbone
from .documents import Ids

__all__ = ["Read", "agreeing", "means"]


class Read:
    """Hidden states of documents, found by row and position.

    Args:
        states: ``(n_rows, n, width)``; ``states[i, k]`` is the hidden state at position ``firsts[i] + k`` of row i.
        firsts: ``(n_rows,)``: where what is in ``states`` begins.
        before: ``(n_groups, n, width)``, the hidden states of the beginnings that rows of a group share;
            ``before[g, t]`` is the one at position t. None where rows share nothing.
        group: ``(n_rows,)``, the group of each row.
    """

    def __init__(
        self, states: Tensor, firsts: Sequence[int], before: Tensor | None = None, group: Sequence[int] = ()
    ) -> None:
        self._states, self._firsts, self._before, self._group = states, firsts, before, group

    def at(self, places: Sequence[tuple[int, int]]) -> Tensor:
        """``(n_places, width)``: the hidden states at places, each given as (row, position in the row's document)."""
        late = [(k, i, t - self._firsts[i]) for k, (i, t) in enumerate(places) if t >= self._firsts[i]]
        early = [(k, self._group[i], t) for k, (i, t) in enumerate(places) if t < self._firsts[i]]
        found = _pick(self._states, late)
        if not early:
            return found
        assert self._before is not None
        order = np.argsort([k for k, _, _ in [*late, *early]])
        return torch.cat([found, _pick(self._before, early)])[torch.from_numpy(order).to(found.device)]


def _pick(states: Tensor, places: Sequence[tuple[int, int, int]]) -> Tensor:
    """``(n_places, width)``: the states at places given as (anything, row, column)."""
    rows, columns = ([place[k] for place in places] for k in (1, 2))
    index = torch.tensor([rows, columns], dtype=torch.long, device=states.device)
    return states[index[0], index[1]]


def agreeing(
    backbone: Backbone, read: Read, starts: Sequence[int], drafts: Sequence[Ids], *, rows: Sequence[int] | None = None
) -> list[int]:
    """How many tokens of each draft, from its first on, are the ones that the model would have written itself.

    Args:
        read: the hidden states of rows that the drafts stand in, from position ``starts[k]`` on.
        rows: the row that each draft stands in; draft k in row k by default.
    """
    numbers = range(len(drafts)) if rows is None else rows
    places = [
        (i, start + t - 1) for i, start, draft in zip(numbers, starts, drafts, strict=True) for t in range(len(draft))
    ]
    chosen = iter(backbone.likeliest(read.at(places)) if places else [])
    accepted = []
    for draft in drafts:
        agrees = [next(chosen) == token for token in draft]
        accepted.append(agrees.index(False) if False in agrees else len(draft))
    return accepted


def means(
    backbone: Backbone, read: Read, places: Sequence[tuple[int, int]], targets: Sequence[int], sizes: Sequence[int]
) -> tuple[list[float], list[bool]]:
    """Per row, the mean loss of its targets (0 without any), and whether all of them are the likeliest tokens.

    Args:
        places: (row, position) of the hidden state that predicts each target, row by row.
        targets: the token at the position behind each of these.
        sizes: ``(n_rows,)``: how many of the places belong to each row.
    """
    if not places:
        return [0.0] * len(sizes), [True] * len(sizes)
    found = backbone.scored(read.at(places), targets)
    losses, right = (np.split(one.cpu().numpy(), np.cumsum(sizes)[:-1]) for one in found)
    mean = [float(part.mean(dtype=np.float64)) if len(part) else 0.0 for part in losses]
    return mean, [bool(part.all()) for part in right]
