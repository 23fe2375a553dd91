"""Embedders: texts into vectors of length 1, for optimizers that learn over prompts [Lin2024]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exports import lazily

if TYPE_CHECKING:
    from .clip_text import ClipText
    from .function import FunctionEmbedder
    from .ngrams import Ngrams
    from .outputs import Outputs
    from .sentence import SentenceTransformer

__all__ = [
    "ClipText",
    "FunctionEmbedder",
    "Ngrams",
    "Outputs",
    "SentenceTransformer",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "ClipText": "clip_text",
        "FunctionEmbedder": "function",
        "Ngrams": "ngrams",
        "Outputs": "outputs",
        "SentenceTransformer": "sentence",
    },
)
