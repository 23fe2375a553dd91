"""Text features of CLIP models, fast: what a search over templates spends nearly all its time on.

A causal text tower that pools at the end-of-text token computes, for every token, something that depends on the tokens
before it alone. So nothing behind the end of a text matters, and texts that begin alike ("a photo of a dog", "a photo
of a cat") share the work on what they have in common. :class:`TextEncoder` encodes every distinct beginning once. Other
towers (SigLIP, CoCa, Hugging Face) go through the model's own ``encode_text``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from open_clip.transformer import ResidualAttentionBlock, TextTransformer
from torch import Tensor

from ..oom_backoff import in_batches
from .precision import autocast

Row: TypeAlias = tuple[int, ...]
T = TypeVar("T")


class TextEncoder:
    """Encodes texts with an open_clip model, in batches, on the model's device.

    Args:
        model: an open_clip model in eval mode.
        tokenizer: its tokenizer.
        batch_size: texts a batch; halved for good when memory runs out.

    Attributes:
        way: ``shared`` where common beginnings are encoded once, ``whole`` where the model's ``encode_text`` is called
            on full rows, since anything else would not be exact.
        context: tokens that fit, start and end included.
    """

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int = 512) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._tower = causal_tower(model)
        self._batch_size = batch_size
        self._device: torch.device = model.logit_scale.device
        self._by_word = type(tokenizer) is SimpleTokenizer and tokenizer.reduction_fn is None
        self._words: dict[str, Row] = {}
        self.way: Literal["shared", "whole"] = "shared" if self._tower else "whole"
        self.context: int = tokenizer.context_length

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Features of texts, L2-normalised, fp32: ``(n_texts, dim)``. A text longer than the context is cut.

        Raises:
            RuntimeError: a single text does not fit into memory.
        """
        if not texts:
            raise ValueError("no texts to encode")
        distinct = list(dict.fromkeys(texts))
        with torch.inference_mode(), autocast(self._device):
            features = self._shared(distinct) if self._tower else self._whole(distinct)
        place = {text: i for i, text in enumerate(distinct)}
        return features if len(distinct) == len(texts) else features[[place[text] for text in texts]]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, start and end included. Hugging Face tokenizers count to 4 contexts at most."""
        if self._by_word:
            return [len(self._ids(text)) + 2 for text in texts]
        if isinstance(self._tokenizer, HFTokenizer) and self._tokenizer.tokenizer_mode != "clips":
            # its rows do not tell: some tokenizers end a text with what they pad with, or blank out the end
            cleaned = [self._tokenizer.clean_fn(text) for text in texts]
            ids = self._tokenizer.tokenizer(cleaned, truncation=True, max_length=4 * self.context).input_ids
            return [len(row) for row in ids]
        padding = getattr(getattr(self._tokenizer, "tokenizer", None), "pad_token_id", None) or 0
        rows: Tensor = self._tokenizer(list(texts), context_length=4 * self.context)
        return (rows != padding).sum(dim=-1).tolist()

    # ── Whole rows ────────────────────────────────────────────────────────────────────────────────────────────────

    def _whole(self, texts: Sequence[str]) -> Tensor:
        def encode(batch: Sequence[str]) -> Tensor:
            features: Tensor = self._model.encode_text(self._tokenizer(list(batch)).to(self._device), normalize=False)
            return F.normalize(features.float(), dim=-1)

        return torch.cat(list(self._batches(texts, encode)))

    # ── Shared beginnings ─────────────────────────────────────────────────────────────────────────────────────────

    def _shared(self, texts: Sequence[str]) -> Tensor:
        rows = self._rows(texts)
        distinct = sorted(set(rows))  # neighbours share the longest beginnings
        tower = self._tower
        assert tower is not None

        def encode(batch: Sequence[Row]) -> Tensor:
            return F.normalize(tower.encode(Beginnings.of(batch, self._device)).float(), dim=-1)

        features = torch.cat(list(self._batches(distinct, encode)))
        place = {row: i for i, row in enumerate(distinct)}
        return features[[place[row] for row in rows]]

    def _rows(self, texts: Sequence[str]) -> list[Row]:
        """The token ids of each text, up to the one that is pooled."""
        assert self._tower is not None
        rows = [self._row(text) for text in texts] if self._by_word else self._tokenizer(list(texts)).tolist()
        return [tuple(row[: self._tower.pooled(row) + 1]) for row in rows]

    def _row(self, text: str) -> Row:
        """What open_clip's SimpleTokenizer makes of a text, without the padding."""
        start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        row: Row = (start, *self._ids(text), end)
        return row if len(row) <= self.context else (*row[: self.context - 1], end)

    def _ids(self, text: str) -> Row:
        """Token ids by way of a cache of words.

        Exact: cleaning leaves printable ASCII without an ampersand as it is but for case and spaces, and no token
        reaches over a space. Any other text is encoded as a whole.
        """
        if not (text.isascii() and text.isprintable() and "&" not in text):
            return tuple(self._tokenizer.encode(text))
        words = text.split()
        for word in words:
            if word not in self._words:
                self._words[word] = tuple(self._tokenizer.encode(word))
        return tuple(itertools.chain.from_iterable(self._words[word] for word in words))

    def _batches(self, items: Sequence[T], encode: Callable[[Sequence[T]], Tensor]) -> Iterator[Tensor]:
        for features, size in in_batches(items, encode, batch_size=self._batch_size):
            self._batch_size = min(size, self._batch_size)
            yield features


@dataclass(frozen=True)
class Beginnings:
    """A batch of token rows as a tree: a node for each distinct beginning, numbered row by row.

    Attributes:
        token: ``(n_nodes,)`` token id of a node.
        depth: ``(n_nodes,)`` its position in the text.
        first: ``(n_nodes,)`` where it stands first, as an index into the flattened grid ``(n_rows * longest,)``.
        node: ``(n_rows, longest)`` the node at each place; 0 behind the end of a row, where nothing looks.
        inside: ``(n_rows, longest)`` False behind the end of a row.
        last: ``(n_rows,)`` where each row ends.
    """

    token: Tensor
    depth: Tensor
    first: Tensor
    node: Tensor
    inside: Tensor
    last: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], device: torch.device) -> Beginnings:
        """The tree of rows, which must be sorted."""
        lengths = np.array([len(row) for row in rows])
        longest = int(lengths.max())
        inside = np.arange(longest) < lengths[:, None]
        ids = np.full(inside.shape, -1, dtype=np.int64)
        ids[inside] = np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int64)
        new = inside.copy()  # a place is new unless the row above agrees up to there
        new[1:] &= np.logical_or.accumulate(ids[1:] != ids[:-1], axis=1)
        number = np.where(new, np.cumsum(new).reshape(new.shape) - 1, 0)
        node = np.where(inside, np.maximum.accumulate(number, axis=0), 0)
        first = np.flatnonzero(new)
        arrays = (ids[new], first % longest, first, node, inside, lengths - 1)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


@dataclass(frozen=True)
class CausalTower:
    """A text tower of open_clip whose result depends on the tokens up to the pooled one alone."""

    tower: Any
    pool: str
    eos: int

    def pooled(self, row: Sequence[int]) -> int:
        """The position that open_clip pools."""
        if self.pool == "argmax":
            return row.index(max(row))
        return row.index(self.eos) if self.eos in row else 0

    def encode(self, tree: Beginnings) -> Tensor:
        """Features of the rows of a tree, not normalised: ``(n_rows, dim)``."""
        tower = self.tower
        x = tower.token_embedding(tree.token) + tower.positional_embedding[tree.depth]  # (n_nodes, width)
        *blocks, last = tower.transformer.resblocks
        for block in blocks:
            x = _rest(block, x, _attend(block, x, tree))
        ends = tree.node.gather(1, tree.last[:, None]).squeeze(1)
        x = _rest(last, x[ends], _attend_last(last, x, tree))  # (n_rows, width)
        return project(tower.ln_final(x), tower.text_projection)


def _attend(block: Any, x: Tensor, tree: Beginnings) -> Tensor:
    """What attention reads for each node, ``(n_nodes, width)``. It runs on the grid: each row sees its own past."""
    q, k, v = _queries_keys_values(block, x, tree)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (n_rows, heads, longest, width / heads)
    return mixed.transpose(1, 2).flatten(2).flatten(0, 1)[tree.first]


def _attend_last(block: Any, x: Tensor, tree: Beginnings) -> Tensor:
    """What attention reads for the end of each row: ``(n_rows, width)``. Nothing else of the last block is needed."""
    q, k, v = _queries_keys_values(block, x, tree)
    q = q.take_along_dim(tree.last[:, None, None, None], dim=2)  # (n_rows, heads, 1, width / heads)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=tree.inside[:, None, None]).flatten(1)


def _queries_keys_values(block: Any, x: Tensor, tree: Beginnings) -> Tensor:
    """Computed for the nodes, laid out on the grid: ``(3, n_rows, heads, longest, width / heads)``."""
    attention = block.attn
    of_nodes = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)  # (n_nodes, 3 * width)
    grid = F.embedding(tree.node, of_nodes)  # a gather, faster than indexing
    return grid.view(*tree.node.shape, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)


def _rest(block: Any, x: Tensor, mixed: Tensor) -> Tensor:
    """The rest of a residual attention block, once attention has been read."""
    x = x + block.ls_1(block.attn.out_proj(mixed))
    out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def project(x: Tensor, projection: Tensor | torch.nn.Module | None) -> Tensor:
    """Features of the joint space from those of the tower."""
    if projection is None:
        return x
    out: Tensor = projection(x) if isinstance(projection, torch.nn.Module) else x @ projection
    return out


def causal_tower(model: Any) -> CausalTower | None:
    """The model's text tower, if what lies behind the pooled token cannot change its result; else None."""
    if type(model) is CLIP:
        tower, pool, eos = model, model.text_pool_type, model.text_eos_id
    elif type(model) is CustomTextCLIP and type(model.text) is TextTransformer:
        tower, pool, eos = model.text, model.text.pool_type, model.text.eos_id
    else:
        return None
    exact = (
        pool in ("argmax", "eos")
        and getattr(tower, "cls_emb", None) is None
        and not getattr(tower, "output_tokens", False)
        and _is_causal(tower.attn_mask)
        and all(_is_plain(block) for block in tower.transformer.resblocks)
    )
    return CausalTower(tower, pool, eos) if exact else None


def _is_causal(mask: Tensor | None) -> bool:
    if mask is None:
        return False
    return torch.equal(mask, torch.full_like(mask, float("-inf")).triu(1))


def _is_plain(block: Any) -> bool:
    """Whether ``_attend`` and ``_rest`` compute what this block does."""
    attention = getattr(block, "attn", None)
    return (
        type(block) is ResidualAttentionBlock
        and not hasattr(block, "ln_1_kv")
        and type(attention) is torch.nn.MultiheadAttention
        and attention.in_proj_weight is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
    )
