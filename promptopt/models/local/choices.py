"""How likely given texts are as the beginning of a local model's reply."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .weights import sampling

__all__ = ["likelihoods", "read_by"]


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


def likelihoods(model: Any, inputs: Mapping[str, Tensor], options: Sequence[tuple[int, ...]]) -> list[float]:
    """The log-probability of each option behind a conversation, nats, from one forward pass.

    Rows are padded on the right, behind all that counts: what a causal model predicts does not depend on it.

    Args:
        model: a model of transformers in eval mode.
        inputs: the conversation; ``input_ids`` and what has an entry a token are ``(1, length)``.
        options: tokens of each option, at least one each.
    """
    rows = read_by(options)
    longest, length = max(map(len, rows)), inputs["input_ids"].shape[1]
    batch = {name: _rows(tensor, name, rows, longest, length) for name, tensor in inputs.items()}
    keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
    with sampling(model).turn, torch.inference_mode():
        moved = {name: tensor.to(model.device, _kind(tensor, model)) for name, tensor in batch.items()}
        logits = model(**moved, use_cache=False, **({"logits_to_keep": longest + 1} if keeps else {})).logits
        logs = F.log_softmax(logits[:, -(longest + 1) :].float(), dim=-1).double().cpu()
    return [float(sum(logs[_row(rows, option), j, token] for j, token in enumerate(option))) for option in options]


def _rows(tensor: Tensor, name: str, rows: Sequence[tuple[int, ...]], longest: int, length: int) -> Tensor:
    """A tensor of the conversation for every row, the row's own tokens behind it."""
    if tensor.shape != (1, length):
        return torch.cat([tensor] * len(rows))
    filled = tensor.new_zeros((len(rows), length + longest))
    filled[:, :length] = tensor
    for i, row in enumerate(rows):
        filled[i, length : length + len(row)] = torch.tensor(row) if name == "input_ids" else name == "attention_mask"
    return filled


def _row(rows: Sequence[tuple[int, ...]], option: tuple[int, ...]) -> int:
    return next(i for i, row in enumerate(rows) if row[: len(option) - 1] == option[:-1])


def _kind(tensor: Tensor, model: Any) -> torch.dtype:
    kind: torch.dtype = model.dtype if tensor.is_floating_point() else tensor.dtype
    return kind
