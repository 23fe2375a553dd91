"""A causal LM taken apart: a body that gives hidden states, and a head that makes logits of them."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

__all__ = ["Backbone"]

LOGITS = 1 << 26
"""So many logits are computed at a time: 256 MB in fp32."""


class Backbone:
    """A causal LM of transformers in two parts: the backbone gives hidden states, and the head makes logits of them.

    So logits are computed only where they are needed. The weights are frozen.

    Whether a model can be read like this at all, :func:`~promptopt.targets.local_lm.trial.fitted` finds out.

    Args:
        model: a causal LM in eval mode.

    Attributes:
        context: the most tokens that the model can hold.
        rereads: whether rows are read again as a whole whenever tokens are added, since the model has no cache of keys
            and values that could be cut and picked.
        factor: what embeddings are multiplied by before they are fed.
        work: what was done: ``forwards`` (calls of the backbone), ``tokens`` (fed, padding included), ``backwards``.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.requires_grad_(False)
        self.work: Counter[str] = Counter()
        self._backbone = model.base_model
        takes = inspect.signature(self._backbone.forward).parameters
        self._cache = "cache" if "cache" in takes else "past_key_values"  # as it was called before transformers 5.24
        self._head = model.get_output_embeddings()
        self._embeddings = model.get_input_embeddings()
        config = model.config.get_text_config()
        self.context: int = getattr(config, "max_position_embeddings", None) or sys.maxsize
        caps = (getattr(config, name, None) for name in ("final_logit_softcapping", "logits_soft_cap"))
        self._cap: float | None = next((cap for cap in caps if cap), None)
        self._scale = _scale(config)
        self.rereads = False
        self.factor = 1.0
        self.device: torch.device = self._embeddings.weight.device

    def hidden(self, *, embeds: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """The last hidden states ``(n_rows, n, width)`` of new tokens; their keys and values go into the cache.

        Args:
            embeds: ``(n_rows, n, width)`` embeddings of the tokens.
            mask: ``(n_rows, n_cached + n)`` what may be attended to.
            positions: ``(n_rows, n)``.
        """
        self.work["forwards"] += 1
        self.work["tokens"] += embeds.shape[0] * embeds.shape[1]
        given = {"inputs_embeds": embeds, "attention_mask": mask, "position_ids": positions, self._cache: cache}
        out = self._backbone(**given, use_cache=True)
        states: Tensor = out.last_hidden_state
        return states

    def read(self, embeds: Tensor) -> Tensor:
        """The last hidden states ``(n_rows, n, width)`` of whole rows, padded on the right, without a cache.

        Nothing is masked: what a causal model makes of a token does not depend on what stands behind it.
        """
        self.work["forwards"] += 1
        self.work["tokens"] += embeds.shape[0] * embeds.shape[1]
        states: Tensor = self._backbone(inputs_embeds=embeds, use_cache=False).last_hidden_state
        return states

    @property
    def size(self) -> int:
        """How many tokens have an embedding."""
        return int(self._embeddings.weight.shape[0])

    def embed(self, ids: Tensor) -> Tensor:
        """The embeddings of tokens: ``ids.shape + (width,)``."""
        embedded: Tensor = self._embeddings(ids.to(self.device))
        return embedded if self.factor == 1 else self.factor * embedded

    def logits(self, hidden: Tensor) -> Tensor:
        """``(n, n_vocabulary)`` fp32, of hidden states ``(n, width)``."""
        logits: Tensor = self._scale * self._head(hidden.to(self._head.weight.dtype)).float()
        return logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)

    def losses(self, hidden: Tensor, targets: Sequence[int], *, temperatures: Sequence[float] = ()) -> Tensor:
        """Negative log-likelihood of the token that follows each hidden state, nats: ``(n,)``, fp32.

        Args:
            temperatures: ``(n,)`` what each state's logits are divided by; 1 by default.
        """
        return torch.cat([loss for loss, _ in self._scored(hidden, targets, temperatures)])

    def log_probabilities(self, hidden: Tensor, tokens: Sequence[int]) -> Tensor:
        """How likely each of some tokens is to follow each hidden state, nats: ``(n, n_tokens)``, fp32."""
        parts = (self.logits(part) for part in self._in_parts(hidden))
        return torch.cat([logits[:, list(tokens)] - logits.logsumexp(dim=-1, keepdim=True) for logits in parts])

    def scored(self, hidden: Tensor, targets: Sequence[int]) -> tuple[Tensor, Tensor]:
        """:meth:`losses`, and whether each token is the likeliest one: ``(n,)`` both."""
        losses, logits = zip(
            *[(loss, logits.argmax(dim=-1)) for loss, logits in self._scored(hidden, targets, ())], strict=True
        )
        likeliest = torch.cat(logits)
        return torch.cat(losses), likeliest == torch.tensor(targets, device=likeliest.device)

    def _scored(
        self, hidden: Tensor, targets: Sequence[int], temperatures: Sequence[float]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Losses and logits, part by part."""
        parts = self._in_parts(hidden)
        sizes = [len(part) for part in parts]
        wanted = torch.split(torch.tensor(targets, dtype=torch.long), sizes)
        divisors = torch.split(torch.tensor(temperatures or [1.0] * len(targets)), sizes)
        for part, target, divisor in zip(parts, wanted, divisors, strict=True):
            logits = self.logits(part)
            if temperatures:
                logits = logits / divisor.to(logits.device)[:, None]
            yield F.cross_entropy(logits, target.to(logits.device), reduction="none"), logits

    def likeliest(self, hidden: Tensor) -> list[int]:
        """The likeliest next token behind each hidden state: ``(n,)``."""
        return [token for part in self._in_parts(hidden) for token in self.logits(part).argmax(dim=-1).tolist()]

    def _in_parts(self, hidden: Tensor) -> tuple[Tensor, ...]:
        return torch.split(hidden, max(1, LOGITS // self._head.weight.shape[0]))


def _scale(config: Any) -> float:
    """What a model multiplies its logits by: Cohere, Falcon-H1 and Granite each have a name of their own for it."""
    scale = getattr(config, "logit_scale", None) or getattr(config, "lm_head_multiplier", None) or 1.0
    return float(scale) / float(getattr(config, "logits_scaling", None) or 1.0)
