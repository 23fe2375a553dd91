"""How likely given texts are as the beginning of a local model's reply."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .batches import BatchWriter, Requested
from .weights import sampling

__all__ = ["ChoiceReader", "RequestedChoice", "read_by"]


@dataclass(eq=False)
class RequestedChoice(Requested[float]):
    """What somebody wants to know of one conversation; what comes of it is each option's log-probability, nats.

    Attributes:
        options: tokens of each option, at least one each.
    """

    options: Sequence[tuple[int, ...]]

    @property
    def kind(self) -> Hashable:
        """Conversations without pictures go together, whatever their options."""
        return self.text_alone or id(self)


def read_by(options: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The tokens to feed behind a conversation, row by row, so that every token of every option is predicted.

    The last token of an option is predicted, not fed; and what one row begins with needs no row of its own. Options of
    one token need a single, empty row together.
    """
    fed = sorted({option[:-1] for option in options}, key=len, reverse=True)
    rows: list[tuple[int, ...]] = []
    for one in fed:
        if not any(row[: len(one)] == one for row in rows):
            rows.append(one)
    return rows


class ChoiceReader:
    """Reads how likely options are behind conversations, from one forward pass for a batch.

    Rows are padded on the right, behind all that counts: what a causal model predicts does not depend on it. What all
    begin with, such as the prompt that several inputs follow, is read once.

    Args:
        writer: of the same model; it knows whether beginnings can be shared.
    """

    def __init__(self, model: Any, writer: BatchWriter) -> None:
        self._model, self._writer = model, writer
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters

    def write(self, batch: Sequence[RequestedChoice]) -> list[list[float]]:
        """The log-probability of each option of each conversation; more than one of these have no pictures."""
        if not batch[0].text_alone:
            (alone,) = batch
            with sampling(self._model).turn, torch.inference_mode():
                return [self._with_pictures(alone.inputs, alone.options)]
        begun = [one.inputs["input_ids"][0].tolist() for one in batch]
        fed = [(i, row) for i, one in enumerate(batch) for row in read_by(one.options)]
        shared = self._shared(begun, [[*begun[i], *row] for i, row in fed])
        with sampling(self._model).turn, torch.inference_mode():
            logs = self._texts(begun, fed, shared)
        return [
            [_of(option, [(row, logs[n]) for n, (j, row) in enumerate(fed) if j == i]) for option in one.options]
            for i, one in enumerate(batch)
        ]

    def _texts(
        self, begun: Sequence[Sequence[int]], fed: Sequence[tuple[int, tuple[int, ...]]], shared: int
    ) -> list[Tensor]:
        """For each row that is fed ``(1 + n_tokens, n_vocabulary)``: what follows the conversation and each token.

        Args:
            begun: tokens of each conversation.
            fed: which conversation, and the tokens behind it.
            shared: so many tokens are read once.
        """
        rows = [[*begun[i], *row] for i, row in fed]
        ids, mask = self._padded([row[shared:] for row in rows]), self._padded([[1] * len(row) for row in rows])
        beginning = self._writer.read_once(torch.tensor([begun[0]] * len(rows), device=ids.device), shared)
        places = [[len(begun[i]) - 1 - shared + j for j in range(len(row) + 1)] for i, row in fed]
        wanted = sorted({place for row in places for place in row})
        keep = {"logits_to_keep": torch.tensor(wanted, device=ids.device)} if self._keeps else {}
        given = {"use_cache": bool(shared), **beginning, **keep}
        logits = self._model(input_ids=ids, attention_mask=mask, **given).logits
        at = {place: column if self._keeps else place for column, place in enumerate(wanted)}
        return [F.log_softmax(logits[n, [at[p] for p in row]].float(), dim=-1) for n, row in enumerate(places)]

    def _shared(self, begun: Sequence[Sequence[int]], rows: Sequence[list[int]]) -> int:
        """How many tokens are read once; the last one of a conversation, which predicts its options, is never."""
        return min(self._writer.shared(rows), min(map(len, begun)) - 1)

    def _padded(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """``(n_rows, longest)``, zeros on the right."""
        longest = max(map(len, rows))
        return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=self._model.device)

    def _with_pictures(self, inputs: Mapping[str, Tensor], options: Sequence[tuple[int, ...]]) -> list[float]:
        rows = read_by(options)
        longest, length = max(map(len, rows)), inputs["input_ids"].shape[1]
        batch = {name: _rows(tensor, name, rows, longest, length) for name, tensor in inputs.items()}
        moved = {name: t.to(self._model.device, _kind(t, self._model)) for name, t in batch.items()}
        keep = {"logits_to_keep": longest + 1} if self._keeps else {}
        logits = self._model(**moved, use_cache=False, **keep).logits
        logs = F.log_softmax(logits[:, -(longest + 1) :].float(), dim=-1)
        return [_of(option, list(zip(rows, logs, strict=True))) for option in options]


def _of(option: tuple[int, ...], rows: Sequence[tuple[tuple[int, ...], Tensor]]) -> float:
    """An option's log-probability, from the first row that it is read in: ``(1 + n_tokens fed, n_vocabulary)``."""
    logs = next(found for row, found in rows if row[: len(option) - 1] == option[:-1])
    return float(logs[range(len(option)), option].double().sum())


def _rows(tensor: Tensor, name: str, rows: Sequence[tuple[int, ...]], longest: int, length: int) -> Tensor:
    """A tensor of the conversation for every row, the row's own tokens behind it."""
    if tensor.shape != (1, length):
        return torch.cat([tensor] * len(rows))
    filled = tensor.new_zeros((len(rows), length + longest))
    filled[:, :length] = tensor
    for i, row in enumerate(rows):
        filled[i, length : length + len(row)] = torch.tensor(row) if name == "input_ids" else name == "attention_mask"
    return filled


def _kind(tensor: Tensor, model: Any) -> torch.dtype:
    kind: torch.dtype = model.dtype if tensor.is_floating_point() else tensor.dtype
    return kind
