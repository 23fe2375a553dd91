"""Whether a causal LM can be read by way of its embeddings, piece by piece: tried out when it is loaded.

No list of architectures could say it: some ignore the cache that they are given, and with it all that was read before
(Mamba, RWKV); the layers of some take token ids beside embeddings (Gemma 3n). So two short documents are read here in
the way in which all documents will be: in two pieces, in rows of unequal length, one of them cut in between. The logits
are compared with those that the model gives by itself for the token ids of each document in one piece.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from .backbone import Backbone
from .rows import empty

__all__ = ["fitted"]

PIECES = (9, 7), (5, 4)
"""Of each document: how many tokens are read first, and how many of these are kept."""
LENGTHS = 12, 9
EXACT, ROUNDED = 0.01, 0.25
"""The error that counts as rounding, in fp32 and in half precision, as a share of what another beginning changes."""


def fitted(model: Any) -> Backbone:
    """A model taken apart, in the first way that gives its own logits: with a cache, else read again as a whole.

    Args:
        model: a causal LM in eval mode.

    Raises:
        UserError: no way does.
    """
    try:
        backbone = Backbone(model)
        documents = _documents(backbone.size)
        with torch.no_grad():
            own = [_own(backbone, ids) for ids in documents]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model that is built otherwise raises
        raise _refused(model, f"it raises {type(error).__name__} on a text of {LENGTHS[0]} tokens") from error
    allowed = (EXACT if model.dtype in (torch.float32, torch.float64) else ROUNDED) * _apart(own[0][-1], own[1][-1])
    if not allowed > 0:
        raise _refused(model, "it gives the same logits whatever it has read")
    factors = {1.0, float(getattr(model.config.get_text_config(), "embedding_multiplier", None) or 1.0)}
    for backbone.rereads, backbone.factor in itertools.product((False, True), sorted(factors)):
        if _error(backbone, documents, own) <= allowed:
            backbone.work.clear()
            return backbone
    raise _refused(model, "fed with the embeddings of a text it gives other logits than with the text's tokens")


def _documents(size: int) -> list[list[int]]:
    """Two documents of different tokens that end with the same one."""
    rows = [[(size // (3 - k) + (7 + 4 * k) * i) % size for i in range(n - 1)] for k, n in enumerate(LENGTHS)]
    return [[*row, size // 5] for row in rows]


def _own(backbone: Backbone, ids: list[int]) -> Tensor:
    """The logits that a model gives by itself, ``(n, n_vocabulary)``, fp32."""
    given = torch.tensor([ids], device=backbone.device)
    logits: Tensor = backbone.model(input_ids=given, use_cache=False).logits[0].float()
    return logits


@torch.no_grad()
def _error(backbone: Backbone, documents: list[list[int]], own: list[Tensor]) -> float:
    """How far the logits are from the model's own when documents are read as here; infinite where that fails."""
    try:
        rows = empty(backbone, len(documents))
        read = rows.feed([ids[:first] for ids, (first, _) in zip(documents, PIECES, strict=True)])
        rows.truncate([kept for _, kept in PIECES])
        rest = rows.feed([ids[kept:] for ids, (_, kept) in zip(documents, PIECES, strict=True)])
        apart = [
            _apart(backbone.logits(torch.cat([read[i, :kept], rest[i, : len(ids) - kept]])), own[i])
            for i, (ids, (_, kept)) in enumerate(zip(documents, PIECES, strict=True))
        ]
    except torch.OutOfMemoryError:
        raise
    except Exception:  # whatever a model raises that has no such cache
        return float("inf")
    return float("inf") if any(one != one for one in apart) else max(apart)


def _apart(a: Tensor, b: Tensor) -> float:
    """The root mean square of the difference; NaN if one of the two holds one."""
    return float((a - b.to(a.device)).double().square().mean().sqrt())


def _refused(model: Any, reason: str) -> UserError:
    return UserError(
        f"{type(model).__name__} is not built like the causal LMs that local-lm takes (Llama, Gemma 2 and 3, Qwen, "
        f"Mistral, Phi, GPT-2 and their like): {reason}. Take another model, or prompt this one with the target chat "
        "and the model local, which looks at no gradients."
    )
