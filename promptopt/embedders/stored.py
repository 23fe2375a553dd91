"""Vectors that were computed before, kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..store import Store, cache_folder

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["Stored"]


class Stored:
    """The disk in front of an embedder whose vectors are dear.

    Vectors are kept exactly, as float64, under a hash of the embedder's name and the text.

    Args:
        cache: folder for the file of vectors; True is the user's cache folder, False or None keeps nothing.
    """

    def __init__(self, cache: str | Path | bool | None = True) -> None:
        folder = cache_folder() if cache is True else Path(cache) if cache else None
        self._store = Store(folder / "embeddings.sqlite") if folder else None

    def rows(
        self, texts: Sequence[str], compute: Callable[[Sequence[str]], Array], *, name: Callable[[], str]
    ) -> Array:
        """Vectors ``(n_texts, d)``; those of distinct texts without one on disk are computed together.

        Args:
            compute: texts to ``(n, d)``.
            name: gives the embedder's name, which may take time; called only where there is a disk to look at.
        """
        if self._store is None or not texts:
            return compute(texts)
        space = hashlib.sha256(name().encode()).digest()
        keys = [hashlib.sha256(space + text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        known = {key: np.frombuffer(value, "<f8") for key, value in self._store.read(list(dict.fromkeys(keys))).items()}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            fresh = dict(zip(missing, compute(list(missing.values())), strict=True))
            self._store.write({key: row.astype("<f8").tobytes() for key, row in fresh.items()})
            known |= fresh
        return np.stack([known[key] for key in keys]).astype(np.float64)
