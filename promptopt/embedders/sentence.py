"""Sentence encoders of the package sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError, require
from .rows import unit_rows
from .stored import Stored
from .weights import digest

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["SentenceTransformer", "load_sentence_transformer"]


class SentenceTransformer:
    """Vectors of a sentence encoder, in which texts of like meaning lie close.

    Each text is encoded by itself: batches differ in their last digits, and a resumed run would not equal an
    uninterrupted one. That costs about twice the time of a batch, once for each text; vectors are kept on disk.

    Args:
        model: the name of a sentence-transformers model, or a folder that holds one; weights are loaded from
            safetensors. The default is the paper's [Lin2024], d = 768.
        cache: folder for the vectors; True is the user's cache folder, False or None keeps none.

    Raises:
        UserError: the model cannot be loaded.
        MissingExtra: ``sentence-transformers`` is not installed.
    """

    def __init__(self, *, model: str | Path = "all-mpnet-base-v2", cache: str | Path | bool | None = True) -> None:
        self._called = str(model)
        self._model = load_sentence_transformer(model)
        self._stored = Stored(cache)

    @cached_property
    def name(self) -> str:
        """The model's own name, and a hash of its modules and weights: a folder may be written to."""
        return f"sentence-transformers:{Path(self._called).name}:{digest(repr(self._model), self._model.state_dict())}"

    def embed(self, texts: Sequence[str], /) -> Array:
        """``(n_texts, d)`` float64, each row of length 1."""
        return self._stored.rows(texts, self._encode, name=lambda: self.name)

    def _encode(self, texts: Sequence[str]) -> Array:
        if not texts:
            return np.empty((0, self._model.get_embedding_dimension()))
        rows = [self._model.encode([text], show_progress_bar=False)[0] for text in texts]
        return unit_rows(rows, texts, what=self._called)


def load_sentence_transformer(model: str | Path) -> Any:
    """The encoder of that name or in that folder, from safetensors and without remote code.

    Raises:
        UserError: it cannot be loaded.
        MissingExtra: ``sentence-transformers`` is not installed.
    """
    package = require("sentence_transformers", extra="similarity")
    try:
        return package.SentenceTransformer(str(model), model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot load the sentence encoder {str(model)!r}: {error}. "
            "Give the name of a sentence-transformers model or a folder that holds one."
        ) from error
