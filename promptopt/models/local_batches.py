"""The weights' side of a local model: replies written in batches that many callers share."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LogitsProcessorList, TopKLogitsWarper, TopPLogitsWarper

from ..errors import ModelError

__all__ = ["Batches", "Row", "Writer", "stream"]


def stream(seed: int | None, index: int) -> torch.Generator:
    """The random stream of one reply; without a seed another one each time."""
    state = np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


@dataclass(eq=False)
class Row:
    """One reply that is asked for, and what has come of it.

    Attributes:
        inputs: the conversation; ``input_ids`` and what has an entry a token are ``(1, length)``.
        temperature: of the draw.
        draws: its random stream; None takes the likeliest token.
        written: the reply's ids, up to the one that ends it.
        error: what went wrong instead.
    """

    inputs: Mapping[str, Tensor]
    temperature: float
    draws: torch.Generator | None
    written: list[int] | None = None
    error: BaseException | None = None

    def has_entry_a_token(self, tensor: Tensor) -> bool:
        """Whether a tensor is padded when rows are put together."""
        return tensor.shape == self.inputs["input_ids"].shape

    @property
    def kind(self) -> frozenset[tuple[str, torch.Size]]:
        """Rows of one kind fit into one batch: they agree in the shapes of their pictures."""
        return frozenset((name, t.shape[1:]) for name, t in self.inputs.items() if not self.has_entry_a_token(t))


class Batches:
    """Puts the rows of concurrent callers together: whoever comes while a batch is written is in the next one.

    Args:
        writer: writes a batch.
        size: rows a batch at most; halved when the memory of a GPU does not suffice.
    """

    def __init__(self, writer: Writer, *, size: int) -> None:
        self.writer = writer
        self.size = size
        self._turn = threading.Lock()  # held while a batch is written
        self._gate = threading.Lock()
        self._waiting: list[Row] = []

    def write(self, rows: Sequence[Row]) -> list[list[int]]:
        """The ids of each row's reply, the one that ends it included.

        Raises:
            ModelError: not even one reply fits into memory.
        """
        with self._gate:
            self._waiting += rows
        with self._turn:
            while any(row.written is None and row.error is None for row in rows):
                self._write_next()
        for row in rows:
            if row.error is not None:
                raise row.error
        return [row.written or [] for row in rows]

    def _write_next(self) -> None:
        batch = self._take()
        try:
            for row, ids in zip(batch, self.writer.write(batch), strict=True):
                row.written = ids
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                batch[0].error = ModelError(f"not even one reply fits into memory: {error}")
                return
            self.size = len(batch) // 2
            with self._gate:
                self._waiting[:0] = batch
        except BaseException as error:  # their callers wait for each of these rows
            for row in batch:
                row.error = error

    def _take(self) -> list[Row]:
        """The row that has waited longest, and others of its kind."""
        with self._gate:
            batch = [row for row in self._waiting if row.kind == self._waiting[0].kind][: self.size]
            taken = {id(row) for row in batch}
            self._waiting = [row for row in self._waiting if id(row) not in taken]
        return batch


class Writer:
    """Writes batches. For one thread at a time.

    Args:
        model: a model of transformers that generates.
        pad: the id that fills up on the left.
        max_tokens: the longest reply.
    """

    def __init__(self, model: Any, *, pad: int, max_tokens: int) -> None:
        self._model, self._pad, self._max_tokens = model, pad, max_tokens
        settings = model.generation_config
        end = settings.eos_token_id
        self._ends = frozenset([end] if isinstance(end, int) else end or ())
        self._cuts: list[Any] = [TopKLogitsWarper(settings.top_k)] if settings.top_k else []
        self._cuts += [TopPLogitsWarper(settings.top_p)] if (settings.top_p or 1.0) < 1.0 else []
        for name in ("temperature", "top_k", "top_p", "max_length"):  # ours, and not for greedy search
            setattr(settings, name, None)

    def ended(self, ids: Sequence[int]) -> bool:
        """Whether the model ended a reply by itself."""
        return bool(ids) and ids[-1] in self._ends

    def write(self, batch: Sequence[Row]) -> list[list[int]]:
        """The ids of each reply, up to the one that ends it."""
        inputs = {name: self._moved(tensor) for name, tensor in _together(batch, pad=self._pad).items()}
        with torch.inference_mode():
            ids = self._model.generate(
                **inputs,
                max_new_tokens=self._max_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=self._pad,
                logits_processor=LogitsProcessorList([_Draws(batch, self._cuts)]),
            )
        return [self._up_to_end(row) for row in ids[:, inputs["input_ids"].shape[1] :].tolist()]

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._model.device, self._model.dtype if tensor.is_floating_point() else tensor.dtype)

    def _up_to_end(self, ids: list[int]) -> list[int]:
        last = next((place for place, one in enumerate(ids) if one in self._ends), len(ids))
        return ids[: last + 1]


def _together(batch: Sequence[Row], *, pad: int) -> dict[str, Tensor]:
    """The rows' tensors as one batch: what has an entry a token is padded on the left, the rest is put end to end."""
    longest = max(row.inputs["input_ids"].shape[1] for row in batch)

    def one(row: Row, name: str) -> Tensor:
        tensor = row.inputs[name]
        if not row.has_entry_a_token(tensor):
            return tensor
        return F.pad(tensor, (longest - tensor.shape[1], 0), value=pad if name == "input_ids" else 0)

    return {name: torch.cat([one(row, name) for row in batch]) for name in batch[0].inputs}


class _Draws:
    """Makes a row's likeliest token a random one: the maximum of logits with Gumbel noise is a draw from them.

    So every row has a stream of its own, whoever is in the batch, and the global random generator is left alone.
    """

    def __init__(self, batch: Sequence[Row], cuts: Sequence[Any]) -> None:
        self._rows = [(i, row.temperature, row.draws) for i, row in enumerate(batch) if row.draws is not None]
        self._cuts = cuts

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores ``(n_rows, n_tokens)``, fp32, with noise in the rows that are drawn."""
        for i, temperature, draws in self._rows:
            row = scores[i : i + 1] / temperature
            for cut in self._cuts:
                row = cut(input_ids[i : i + 1], row)
            scores[i] = row[0] - torch.empty(row.shape[1]).exponential_(generator=draws).log().to(row.device)
        return scores
