"""What a CLIP model sees in reference pictures or texts: how near a text is to them, and which way is nearer.

Optimizers that invert pictures without a generator hold one: ``interrogate`` compares texts, ``pez`` takes gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer

from ...core import Example, Picture
from ...errors import UserError
from ...store import cache_folder
from ..images import names_image
from .images import ImageFeatures
from .models import ClipModel, load
from .text import TextEncoder, causal_tower, project

if TYPE_CHECKING:
    from ...core import Array

__all__ = ["References", "SoftTexts", "loaded_references", "wanted_of"]


class References:
    """References as the mean of their features, each of length 1.

    Args:
        loaded: the model.
        wanted: pictures, paths of pictures, and texts; at least one.
        cache: folder for the features of pictures, or None.

    Attributes:
        mean: ``(dim,)``; its product with a text's feature is the mean of the cosines with the references.

    Raises:
        UserError: a picture cannot be read, or a text is too long for the model.
    """

    def __init__(self, loaded: ClipModel, wanted: Sequence[Picture | Path | str], *, cache: Path | None) -> None:
        self._texts = TextEncoder(loaded.model, loaded.tokenizer)
        pictures = [one for one in wanted if not isinstance(one, str)]
        texts = [one for one in wanted if isinstance(one, str)]
        rows = []
        if pictures:
            images = ImageFeatures(loaded.model, config=loaded.config, batch_size=64, cache=cache)
            features, broken = images.of_seen_once(pictures)
            if broken:
                raise UserError(f"a reference cannot be used: {next(iter(broken.values()))}.")
            rows.append(features)
        if texts:
            if long := next((one for one in texts if not self.fits(one)), None):
                room = self._texts.context
                raise UserError(f"the reference {long[:40]!r} is too long for the CLIP model: {room} tokens fit.")
            rows.append(self._texts.encode(texts))
        self.mean: torch.Tensor = torch.cat(rows).float().mean(dim=0)

    def similarity(self, texts: Sequence[str]) -> Array:
        """The mean cosine of each text with the references: ``(n_texts,)``, in [-1, 1]."""
        near: Array = (self._texts.encode(texts) @ self.mean).double().cpu().numpy()
        return near

    def fits(self, text: str) -> bool:
        """Whether a text has room in the text tower."""
        return self._texts.lengths([text])[0] <= self._texts.context


def loaded_references(
    examples: Sequence[Example],
    *,
    needed_by: str,
    model: str,
    pretrained: str | None,
    like: str | None,
    device: str,
    cache: str | Path | bool | None,
) -> tuple[ClipModel, References] | None:
    """A CLIP model, as of the target ``clip``, and what it sees in the examples' references.

    None where the model is not on this machine and only a recipe is checked.

    Args:
        cache: folder for the features of pictures; True is the user's cache folder, False or None keeps none.

    Raises:
        UserError: there are no references, one cannot be used, or there is no such model.
    """
    wanted = wanted_of(examples, needed_by=needed_by)
    folder = cache_folder() if cache is True else Path(cache) if cache else None
    loaded = load(model, pretrained, like=like, device=device)
    return (loaded, References(loaded, wanted, cache=folder)) if loaded else None


class SoftTexts:
    """Texts as rows of token embeddings, where a row need not be that of a token.

    Args:
        loaded: a model with a causal text tower and CLIP's own tokenizer.
        references: what texts are to be near to.

    Attributes:
        context: tokens that fit beside start and end.

    Raises:
        UserError: the model has another tower or tokenizer.
    """

    def __init__(self, loaded: ClipModel, references: References) -> None:
        found = causal_tower(loaded.model)
        if found is None or not isinstance(loaded.tokenizer, SimpleTokenizer):
            raise UserError(
                "gradients of texts need a CLIP with a causal text tower and CLIP's own tokenizer, such as ViT-B-32 "
                "or the embedded one, and this one has another."
            )
        self._tower, self._tokenizer, self._mean = found.tower, loaded.tokenizer, references.mean
        self.context: int = loaded.tokenizer.context_length - 2

    @cached_property
    def words(self) -> dict[int, str]:
        """The tokens that are words of letters or a digit, by id. In a text of these each is read as itself."""
        ends = ((token, text.removesuffix("</w>")) for text, token in self._tokenizer.encoder.items() if "</w>" in text)
        plain = ((token, text) for token, text in ends if text.isascii() and text.isalnum())
        return {token: text for token, text in plain if self._tokenizer.encode(text) == [token]}

    @cached_property
    def table(self) -> NDArray[np.float32]:
        """The embeddings of :attr:`words`, in that order: ``(n_words, width)``."""
        rows: NDArray[np.float32] = self._tower.token_embedding.weight[list(self.words)].float().cpu().numpy()
        return rows

    def gradient(self, rows: NDArray[Any]) -> tuple[Array, Array]:
        """How near texts are to the references, and how that changes with their embeddings.

        Args:
            rows: ``(n_texts, n_tokens, width)``, without start and end.

        Returns:
            The mean cosines ``(n_texts,)``, and their gradients, each of its own text, shaped as ``rows``.
        """
        with torch.enable_grad():
            soft = torch.as_tensor(rows, device=self._mean.device, dtype=self._mean.dtype).requires_grad_()
            near = F.normalize(self._encode(soft), dim=-1) @ self._mean
            (gradient,) = torch.autograd.grad(near.sum(), soft)
        return near.detach().double().cpu().numpy(), gradient.double().cpu().numpy()

    def _encode(self, soft: torch.Tensor) -> torch.Tensor:
        """Features ``(n_texts, dim)``, those of the token that ends each text."""
        tower, length = self._tower, soft.shape[1] + 2
        ends = torch.tensor([self._tokenizer.sot_token_id, self._tokenizer.eot_token_id], device=soft.device)
        first, last = tower.token_embedding(ends).to(soft.dtype)
        n, width = len(soft), soft.shape[2]
        x = torch.cat([first.expand(n, 1, width), soft, last.expand(n, 1, width)], dim=1)
        x = x + tower.positional_embedding[:length].to(soft.dtype)
        x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length].to(soft.dtype))
        return project(tower.ln_final(x)[:, -1], tower.text_projection)


def wanted_of(examples: Iterable[Example], *, needed_by: str) -> list[Picture | Path | str]:
    """The pictures and texts in the labels of examples, each once; the name of an image file is a picture.

    Raises:
        UserError: a label is neither, or there is none.
    """
    labels = [one for example in examples for one in _each(example.label)]
    if not labels or not all(isinstance(one, Picture | Path | str) for one in labels):
        raise UserError(
            f"{needed_by} looks for a prompt near to reference pictures, and the examples have none as their labels. "
            'Give data = {name = "drawings", references = ["picture.png"]}.'
        )
    return list(dict.fromkeys(Path(one) if names_image(one) else one for one in labels))


def _each(label: Any) -> Sequence[Any]:
    return label if isinstance(label, list | tuple) else [label]
