"""The weights' side of a local model: replies written in batches that many callers share."""

from __future__ import annotations

import functools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, LogitsProcessorList, TopKLogitsWarper, TopPLogitsWarper

from ...errors import ModelError
from .weights import sampling

__all__ = ["BatchWriter", "Batches", "Requested", "RequestedReply", "stream"]

GATHER = 0.004
"""Seconds to wait for the callers of the last batch, where it had several, so that they come into the next together."""

EXACT, ROUNDED = 0.01, 0.25
"""What may come of padding, in fp32 and in half precision, as a share of what comes of another conversation."""


WORTHWHILE = 8
"""So many tokens at least must conversations begin with alike for these to be read once."""


def stream(seed: int | None, index: int) -> int:
    """The seed of one reply's random stream; without a seed for all, another one each time."""
    state = np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1, np.uint64)
    return int(state[0]) >> 1


Written = TypeVar("Written")


@dataclass(eq=False)
class Requested(ABC, Generic[Written]):
    """What one caller asks for, and what has come of it.

    Attributes:
        inputs: the conversation; ``input_ids`` and what has an entry a token are ``(1, length)``.
        written: the answer, number by number.
        error: what went wrong instead.
    """

    inputs: Mapping[str, Tensor]
    written: list[Written] | None = field(default=None, kw_only=True)
    error: BaseException | None = field(default=None, kw_only=True)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.written is not None or self.error is not None

    @property
    @abstractmethod
    def kind(self) -> Hashable:
        """Rows of one kind fit into one batch."""

    @property
    def text_alone(self) -> bool:
        """Whether the conversation is its tokens and nothing besides."""
        return set(self.inputs) == {"input_ids", "attention_mask"}


@dataclass(eq=False)
class RequestedReply(Requested[int]):
    """One reply that is asked for; what comes of it are its ids, up to the one that ends it.

    Attributes:
        temperature: of the draw.
        seed: of its random stream; None takes the likeliest token.
        max_tokens: the most that are written.
        stop: texts at which it ends.
    """

    temperature: float
    seed: int | None
    max_tokens: int
    stop: tuple[str, ...] = ()

    def has_entry_a_token(self, tensor: Tensor) -> bool:
        """Whether a tensor is padded when rows are put together."""
        return tensor.shape == self.inputs["input_ids"].shape

    @property
    def kind(self) -> Hashable:
        """Rows of one kind agree in the shapes of their pictures and in where they end."""
        pictures = ((name, t.shape[1:]) for name, t in self.inputs.items() if not self.has_entry_a_token(t))
        return frozenset(pictures), self.max_tokens, self.stop


class Writer(Protocol[Written]):
    """What answers a batch."""

    def write(self, batch: Sequence[Any], /) -> list[list[Written]]:
        """An answer for each, in order."""


class Batches(Generic[Written]):
    """Puts the rows of concurrent callers together: whoever comes while a batch is written is in the next one.

    Args:
        writer: writes a batch.
        size: rows a batch at most; halved when the memory of a GPU does not suffice.
        equal_lengths: whether only conversations of one length may be in a batch.
    """

    def __init__(self, writer: Writer[Written], *, size: int, equal_lengths: bool = False) -> None:
        self.writer = writer
        self.size = size
        self._equal_lengths = equal_lengths
        self._changed = threading.Condition()
        self._waiting: list[Requested[Written]] = []
        self._writing = False  # by one of the callers
        self._last = 1  # rows in the last batch

    def write(self, rows: Sequence[Requested[Written]]) -> list[list[Written]]:
        """What the writer makes of each row, for example a reply's ids.

        Raises:
            ModelError: not even one reply fits into memory.
        """
        with self._changed:
            self._waiting += rows
        while self._wait_for_turn(rows):
            self._write_next()
        for row in rows:
            if row.error is not None:
                raise row.error
        return [row.written or [] for row in rows]

    def _wait_for_turn(self, rows: Sequence[Requested[Written]]) -> bool:
        """Wait until the caller is to write a batch (True) or its rows are done (False)."""
        with self._changed:
            self._changed.wait_for(lambda: not self._writing or all(row.done for row in rows))
            if all(row.done for row in rows):
                return False
            self._writing = True
            return True

    def _write_next(self) -> None:
        batch: list[Requested[Written]] = []
        try:
            batch = self._take()
            for row, ids in zip(batch, self.writer.write(batch), strict=True):
                row.written = ids
        except torch.OutOfMemoryError as error:
            self._shrink(batch, error)
        except BaseException as error:  # the callers of all these rows are to hear of it
            if not batch:
                raise
            for row in batch:
                row.error = error
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()

    def _take(self) -> list[Requested[Written]]:
        """The row that has waited longest, and others of its kind."""
        if len(self._waiting) < self._last:
            time.sleep(GATHER)
        with self._changed:
            batch = [row for row in self._waiting if self._kind(row) == self._kind(self._waiting[0])][: self.size]
            self._waiting = [row for row in self._waiting if row not in batch]
        self._last = len(batch)
        return batch

    def _kind(self, row: Requested[Written]) -> Hashable:
        return row.kind, row.inputs["input_ids"].shape[1] if self._equal_lengths else None

    def _shrink(self, batch: list[Requested[Written]], error: Exception) -> None:
        if len(batch) == 1:
            batch[0].error = ModelError(f"not even one reply fits into memory: {error}")
            return
        self.size = len(batch) // 2
        with self._changed:
            self._waiting[:0] = batch


class BatchWriter:
    """Writes batches. For one thread at a time; several writers may share a model.

    Args:
        model: a model of transformers that generates.
        tokenizer: the model's; finds the texts at which replies stop.
        pad: the id that fills up on the left, and on the right behind such a text.
    """

    def __init__(self, model: Any, *, tokenizer: Any, pad: int) -> None:
        self._model, self._tokenizer, self._pad = model, tokenizer, pad
        self._sampling = sampling(model)
        settings = self._sampling.settings
        end = settings.eos_token_id
        self._ends = frozenset([end] if isinstance(end, int) else end or ())
        self._cuts: list[Any] = [TopKLogitsWarper(settings.top_k)] if settings.top_k else []
        self._cuts += [TopPLogitsWarper(settings.top_p)] if (settings.top_p or 1.0) < 1.0 else []

    def reads_padding(self) -> bool:
        """Whether what the model says depends on padding before the conversation, masked though it is.

        Tried out, since models that remember by a state may overlook the mask: RWKV does, and RecurrentGemma. True
        where it cannot be tried out.
        """
        size = self._model.get_input_embeddings().weight.shape[0]
        short, other = ([size // n, size // 2] for n in (3, 5))
        allowed = EXACT if self._model.dtype in (torch.float32, torch.float64) else ROUNDED
        try:
            with self._sampling.turn, torch.inference_mode():
                alone, padded, apart = (self._logits(*given) for given in ((short, 0), (short, 5), (other, 0)))
        except Exception:  # whatever a model raises that takes no text alone
            return True
        return not bool((padded - alone).norm() <= allowed * (apart - alone).norm())

    def _logits(self, ids: Sequence[int], padding: int) -> Tensor:
        """The logits of the first token behind a conversation, ``(n_vocabulary,)``, fp32."""
        given = torch.tensor([[self._pad] * padding + list(ids)], device=self._model.device)
        mask = torch.tensor([[0] * padding + [1] * len(ids)], device=self._model.device)
        settings = {"max_new_tokens": 1, "do_sample": False, "num_beams": 1, "pad_token_id": self._pad}
        out = self._model.generate(
            input_ids=given, attention_mask=mask, **settings, output_logits=True, return_dict_in_generate=True
        )
        logits: Tensor = out.logits[0][0].float()
        return logits

    def ended(self, ids: Sequence[int]) -> bool:
        """Whether the model ended a reply by itself."""
        return bool(ids) and ids[-1] in self._ends

    def write(self, batch: Sequence[RequestedReply]) -> list[list[int]]:
        """The ids of each reply, up to the one that ends it. The batch is of one kind."""
        rows = [row.inputs["input_ids"][0].tolist() for row in batch]
        shared = self.shared(rows) if batch[0].text_alone else 0
        together = _together(batch, pad=self._pad, shared=shared)
        inputs = {name: self._moved(tensor) for name, tensor in together.items()}
        stop = {"stop_strings": list(batch[0].stop), "tokenizer": self._tokenizer} if batch[0].stop else {}
        with self._sampling.turn, torch.inference_mode():
            ids = self._model.generate(
                **inputs,
                **self.read_once(inputs["input_ids"], shared),
                max_new_tokens=batch[0].max_tokens,
                **stop,
                do_sample=False,
                num_beams=1,
                pad_token_id=self._pad,
                logits_processor=LogitsProcessorList([_Draws(batch, self._cuts)]),
            )
        return [self._up_to_end(row, stopped=bool(stop)) for row in ids[:, inputs["input_ids"].shape[1] :].tolist()]

    # ── What conversations begin with alike ───────────────────────────────────────────────────────────────────────

    def shared(self, rows: Sequence[list[int]]) -> int:
        """How many tokens all rows begin with that are worth reading once; each keeps one of its own."""
        if len(rows) < 2:
            return 0
        low, high = min(rows), max(rows)  # in lexicographic order; the others lie between, and share what these do
        alike = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
        shared = min(alike, min(map(len, rows)) - 1)
        return shared if shared >= WORTHWHILE and self._shares else 0

    @functools.cached_property
    def _shares(self) -> bool:
        """Whether what the model says is the same where a beginning was read once and padding stands behind it.

        Tried out as :meth:`reads_padding`; states cannot be copied like keys and values, and windows count places.
        """
        size = self._model.get_input_embeddings().weight.shape[0]
        rows = [[size // n, size // 2, *tail] for n in (3, 5) for tail in ([size // 4], [*range(1, 7)])]
        allowed = EXACT if self._model.dtype in (torch.float32, torch.float64) else ROUNDED
        try:
            with self._sampling.turn, torch.inference_mode():
                alone, apart, other = (self._logits(rows[i], 0) for i in (0, 1, 2))
                short, long = self._logits_of([rows[0], rows[1]], shared=2)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # whatever a model raises that has no such cache
            return False
        wrong = torch.stack([(short - alone).norm(), (long - apart).norm()]).max()
        return bool(wrong <= allowed * (other - alone).norm())

    def _logits_of(self, rows: Sequence[Sequence[int]], *, shared: int) -> Tensor:
        """The logits of the first token behind each conversation, ``(n_rows, n_vocabulary)``, fp32."""
        tensors = [torch.tensor([row]) for row in rows]
        batch = [RequestedReply({"input_ids": t, "attention_mask": torch.ones_like(t)}, 0.0, None, 1) for t in tensors]
        inputs = {name: self._moved(t) for name, t in _together(batch, pad=self._pad, shared=shared).items()}
        settings = {"max_new_tokens": 1, "do_sample": False, "num_beams": 1, "pad_token_id": self._pad}
        out = self._model.generate(
            **inputs,
            **self.read_once(inputs["input_ids"], shared),
            **settings,
            output_logits=True,
            return_dict_in_generate=True,
        )
        logits: Tensor = out.logits[0].float()
        return logits

    def read_once(self, ids: Tensor, shared: int) -> dict[str, Any]:
        """The shared beginning's keys and values, read once and laid down for every row."""
        if not shared:
            return {}
        cache = DynamicCache()
        self._model.base_model(input_ids=ids[:1, :shared], past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(ids))
        return {"past_key_values": cache}

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._model.device, self._model.dtype if tensor.is_floating_point() else tensor.dtype)

    def _up_to_end(self, ids: list[int], *, stopped: bool) -> list[int]:
        """The ids up to the first that ends a reply; where a text may have ended it, without the padding behind."""
        last = next((place for place, one in enumerate(ids) if one in self._ends), len(ids))
        while stopped and ids and last == len(ids) and ids[-1] == self._pad:
            ids, last = ids[:-1], last - 1
        return ids[: last + 1]


def _together(batch: Sequence[RequestedReply], *, pad: int, shared: int = 0) -> dict[str, Tensor]:
    """The rows' tensors as one batch: what has an entry a token is padded on the left, the rest is put end to end.

    Args:
        shared: how many tokens the rows begin with alike; padding stands behind these.
    """
    longest = max(row.inputs["input_ids"].shape[1] for row in batch)

    def one(row: RequestedReply, name: str) -> Tensor:
        tensor = row.inputs[name]
        if not row.has_entry_a_token(tensor):
            return tensor
        first, rest = tensor[:, :shared], tensor[:, shared:]
        filled = F.pad(rest, (longest - tensor.shape[1], 0), value=pad if name == "input_ids" else 0)
        return torch.cat([first, filled], dim=1)

    return {name: torch.cat([one(row, name) for row in batch]) for name in batch[0].inputs}


class _Draws:
    """Makes a row's likeliest token a random one: the maximum of logits with Gumbel noise is a draw from them.

    So every row has a stream of its own, whoever is in the batch, and the global random generator is left alone.
    """

    def __init__(self, batch: Sequence[RequestedReply], cuts: Sequence[Any]) -> None:
        drawn = [(i, row.temperature, row.seed) for i, row in enumerate(batch) if row.seed is not None]
        self._rows = [(i, temperature, torch.Generator().manual_seed(seed)) for i, temperature, seed in drawn]
        self._cuts = cuts

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores ``(n_rows, n_tokens)``, fp32, with noise in the rows that are drawn."""
        for i, temperature, generator in self._rows:
            row = scores[i : i + 1] / temperature
            for cut in self._cuts:
                row = cut(input_ids[i : i + 1], row)
            scores[i] = row[0] - torch.empty(row.shape[1]).exponential_(generator=generator).log().to(row.device)
        return scores
