"""Closeness in meaning, through any sentence encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import Example, Mark
from ..embedders.rows import as_rows
from ..embedders.sentence import load_sentence_transformer
from ..registry import load_function
from .text import no_text, references, shown, text_of


class Similarity:
    """Cosine similarity of output and reference in an encoder's space, in [-1, 1]; the closest reference counts.

    All different texts of a call are encoded together. An output that is blank, or whose embedding is zero or not
    finite, has failed: -1. Where that of every reference is, the output stays unscored.

    Args:
        encoder: the name or folder of a sentence-transformers model, loaded from safetensors; ``package.module:Name``
            of a function; or a function. A function takes n texts and returns an array ``(n, d)``.

    Raises:
        UserError: the encoder cannot be loaded.
        MissingExtra: ``sentence-transformers`` is needed and not installed.
    """

    worst = -1.0

    def __init__(self, *, encoder: str | Path | Callable[[Sequence[str]], Any]) -> None:
        self._encode = encoder if callable(encoder) else _loaded(encoder)

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One number per output; None where the output is None.

        Raises:
            UserError: an output or label is not text, or the encoder does not return an array ``(n, d)``.
        """
        pairs = [
            None if output is None or no_text(output) else (text_of(output), references(example))
            for output, example in zip(outputs, examples, strict=True)
        ]
        units = self._units(list(dict.fromkeys(text for pair in pairs if pair for text in (pair[0], *pair[1]))))
        return [
            _mark(pair[0], units[pair[0]], [units[one] for one in pair[1]]) if pair else no_text(output)
            for output, pair in zip(outputs, pairs, strict=True)
        ]

    def _units(self, texts: list[str]) -> dict[str, NDArray[np.float64]]:
        """Embeddings of length 1, each ``(d,)``; NaN where the encoder's is zero or not finite."""
        if not texts:
            return {}
        rows = as_rows(self._encode(texts), n=len(texts))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return dict(zip(texts, rows, strict=True))


def _mark(text: str, output: NDArray[np.float64], wanted: Sequence[NDArray[np.float64]]) -> float | Mark | None:
    if not text.strip() or np.isnan(output).any():
        return Mark(None, f"no meaning that the encoder sees: {shown(text)}", failed=True)
    found = [float(output @ one) for one in wanted if not np.isnan(one).any()]
    return min(1.0, max(-1.0, *found)) if found else None


def _loaded(name: str | Path) -> Callable[[Sequence[str]], Any]:
    if isinstance(name, str) and ":" in name and not Path(name).exists():
        function: Callable[[Sequence[str]], Any] = load_function(name, where="encoder")
        return function
    model = load_sentence_transformer(name)
    return lambda texts: model.encode(list(texts), show_progress_bar=False)
