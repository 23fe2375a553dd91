"""Proposals and gradients for one token of a prompt [Das2025].

Let the token at a position be relaxed to a mixture with weights ``e`` over the vocabulary, which enters the model as
``h = sum_c e_c * embedding(c)``. The gradient of the loss is ``dL/de_c = <dL/dh, embedding(c)>``: one backward pass
gives it for every candidate ``c``. The hidden state before the position, which the same forward pass goes through,
gives the model's own proposals.

The prompt's NLL is differentiated through what the token does to the tokens after it; that it is itself predicted,
more or less well, is not part of the gradient, as in [Das2025].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .backbone import Backbone
from .documents import Ids
from .kv_cache import padded
from .loss import Read
from .rows import empty

__all__ = ["Page", "Terms", "TokenStep", "steps"]

EMBEDDED = 1 << 14
"""So many tokens' embeddings are taken at a time."""


@dataclass(frozen=True)
class Page:
    """The tokens of a whole document: question, prompt, reasoning, extractor and true answer.

    ``place``, ``stop`` and ``first`` are indices into ``ids``, in this order.

    Attributes:
        ids: ``(n_tokens,)``.
        place: of the prompt's token that is to be replaced.
        stop: of the first token behind the prompt.
        size: how many of the prompt's tokens have one before them that predicts them.
        first: of the answer's first token; the answer goes on to the end of the document.
    """

    ids: Ids
    place: int
    stop: int
    size: int
    first: int


class TokenStep:
    """What the model says about one position of a prompt. Arrays are on the CPU.

    Attributes:
        loss: ``(n_examples,)`` cross-entropy of the true answer, mean nats a token. NaN for an example in whose
            document the position has no token of its own; so is all else that is said about this example.
    """

    def __init__(
        self, backbone: Backbone, size: int, loss: NDArray[np.float64], logits: Tensor, slopes: Tensor
    ) -> None:
        self.loss = loss
        self._backbone, self._size = backbone, size
        self._logits = logits[:, :size]  # (n_examples, n_vocabulary), fp32
        self._slopes = slopes  # (n_examples, width)

    def top(self, k: int) -> NDArray[np.int64]:
        """``(n_examples, k)`` the model's likeliest tokens at the position, given what stands before, likeliest first.

        Equally likely ones come in the order of their ids. -1 for an example that has no such position.
        """
        values, ids = (one.numpy() for one in self._logits.topk(min(k, self._size), dim=-1))
        order = np.lexsort((ids, -values), axis=-1)
        return np.where(np.isnan(self.loss)[:, None], -1, np.take_along_axis(ids, order, axis=-1))

    def log_probabilities(self, tokens: Sequence[int]) -> NDArray[np.float64]:
        """``(n_examples, n_tokens)`` of tokens at the position, given what stands before, in nats.

        NaN for a token of the tokenizer that the model does not know.
        """
        wanted, unknown = self._known(tokens, self._logits.shape[1])
        rows = self._logits.log_softmax(dim=-1)[:, wanted].double().numpy()
        return np.where(np.isnan(self.loss)[:, None] | unknown, np.nan, rows)

    def gradient(self, tokens: Sequence[int] | None = None) -> NDArray[np.float64]:
        """``(n_examples, n_tokens)`` d loss / d weight of a token, each example's own; all tokens by default.

        NaN where no gradient was asked for, and for a token of the tokenizer that the model does not know.
        """
        wanted, unknown = self._known(range(self._size) if tokens is None else tokens, self._backbone.size)
        slopes = self._slopes.to(self._backbone.device)
        with torch.no_grad():
            parts = [(slopes @ self._backbone.embed(part).float().T).cpu() for part in torch.split(wanted, EMBEDDED)]
        rows = torch.cat(parts, dim=1).double().numpy()
        return np.where(np.isnan(self.loss)[:, None] | unknown, np.nan, rows)

    @staticmethod
    def _known(tokens: Sequence[int], size: int) -> tuple[Tensor, NDArray[np.bool_]]:
        """Tokens ``(n_tokens,)``, 0 in the place of those that the model does not know; and which these are."""
        given = np.array(list(tokens), dtype=np.int64)
        unknown = given >= size
        return torch.from_numpy(np.where(unknown, 0, given)), unknown


@dataclass(frozen=True)
class Terms:
    """The loss that is differentiated: the answer's cross-entropy, and what is added to it.

    Attributes:
        perplexity_weight: what the mean NLL of the prompt's tokens is multiplied by before it is added.
        answer_temperature: what the answer's logits are divided by.
    """

    perplexity_weight: float
    answer_temperature: float


def steps(
    backbone: Backbone,
    pages: Sequence[Page],
    terms: Terms,
    *,
    reuse_prefix: bool,
    one_pass: bool,
    with_gradient: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """What the model says about the token at ``place`` in each of n documents; all fp32.

    Args:
        reuse_prefix: read the tokens before the place without a gradient.
        one_pass: take logits and slopes from one forward pass, not from one each.
        with_gradient: without it no backward pass is made, and the slopes are NaN.

    Returns:
        The losses of the true answers ``(n,)``; the logits ``(n, n_vocabulary)`` with which the model proposes a token
        for the place; and the slopes ``(n, width)``, the gradient of the loss with respect to that token's embedding.
    """
    losses, logits, slopes = _pass(backbone, pages, terms, reuse_prefix=reuse_prefix, with_gradient=with_gradient)
    if one_pass:
        return losses, logits, slopes
    with torch.no_grad():
        states = empty(backbone, len(pages)).feed([page.ids[: page.place] for page in pages])
        hidden = Read(states, [0] * len(pages)).at([(i, page.place - 1) for i, page in enumerate(pages)])
        return losses, backbone.logits(hidden).cpu(), slopes


def _pass(
    backbone: Backbone, pages: Sequence[Page], terms: Terms, *, reuse_prefix: bool, with_gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    n = len(pages)
    cuts = [page.place - 1 if reuse_prefix else 0 for page in pages]  # the token before is read again: it proposes
    rows = empty(backbone, n)
    with torch.no_grad():
        if max(cuts):
            rows.feed([page.ids[:cut] for page, cut in zip(pages, cuts, strict=True)])
        ids = [page.ids[cut:] for page, cut in zip(pages, cuts, strict=True)]
        embeds = backbone.embed(padded(ids))
        index = torch.tensor([[i, page.place - cut] for i, (page, cut) in enumerate(zip(pages, cuts, strict=True))])
        row, column = index.to(embeds.device).unbind(dim=1)
    with torch.set_grad_enabled(with_gradient):
        leaf = embeds[row, column].clone().requires_grad_(with_gradient)
        read = Read(rows.feed(ids, embeds=embeds.index_put((row, column), leaf)), cuts)
        losses, answers = _losses(backbone, read, pages, terms)
        slopes = torch.autograd.grad(losses.sum(), leaf)[0] if with_gradient else torch.full_like(leaf, torch.nan)
    backbone.work["backwards"] += with_gradient
    with torch.no_grad():
        logits = backbone.logits(read.at([(i, page.place - 1) for i, page in enumerate(pages)]))
    return answers.detach().float().cpu(), logits.cpu(), slopes.float().cpu()


def _losses(backbone: Backbone, read: Read, pages: Sequence[Page], terms: Terms) -> tuple[Tensor, Tensor]:
    """The losses that are differentiated, and the cross-entropies of the answers alone; both ``(n,)``.

    The former leave out the NLL of the prompt's tokens up to and with the one that is replaced: no gradient reaches it,
    since a token's embedding has no say in what stands before, nor in how likely the token itself is.

    Both are weighted sums of the NLLs of tokens, and share a forward pass. So each term in ``found`` is (the page, the
    index of one of its tokens, the token's weight in the first sum, its weight in the second, its temperature).
    """
    found: list[tuple[int, int, float, float, float]] = []
    for i, page in enumerate(pages):
        answer, after = range(page.first, len(page.ids)), range(page.place + 1, page.stop)
        share = 1 / len(answer)
        if terms.answer_temperature == 1:
            found += [(i, t, share, share, 1.0) for t in answer]
        else:
            found += [(i, t, share, 0.0, terms.answer_temperature) for t in answer]
            found += [(i, t, 0.0, share, 1.0) for t in answer]
        if terms.perplexity_weight:
            found += [(i, t, terms.perplexity_weight / page.size, 0.0, 1.0) for t in after]
    row, place, whole, part, temperatures = zip(*found, strict=True)
    states = read.at([(i, t - 1) for i, t in zip(row, place, strict=True)])
    targets = [pages[i].ids[t] for i, t in zip(row, place, strict=True)]
    each = backbone.losses(states, targets, temperatures=() if terms.answer_temperature == 1 else temperatures)
    index = torch.tensor(row, device=each.device)
    nothing = torch.zeros(len(pages), device=each.device, dtype=each.dtype)
    one, other = (nothing.index_add(0, index, each.new_tensor(weights) * each) for weights in (whole, part))
    return one, other
