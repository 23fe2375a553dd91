"""Rows of length 1, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["as_rows", "unit_rows"]


def as_rows(encoded: Any, *, n: int, what: str = "the encoder") -> Array:
    """What an encoder returned for ``n`` texts, as float64 ``(n, d)``.

    Raises:
        UserError: it has another shape.
    """
    rows = np.asarray(encoded, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != n:
        raise UserError(f"{what} returned an array of shape {rows.shape} for {n} texts; it must be ({n}, d).")
    return rows


def unit_rows(encoded: Any, texts: Sequence[str], *, what: str) -> Array:
    """Rows for texts, float64 ``(n_texts, d)``, each divided by its length.

    Raises:
        UserError: the shape is another, or a row is zero or not finite; the message quotes its text.
    """
    rows = as_rows(encoded, n=len(texts), what=what)
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    for text, size in zip(texts, largest[:, 0], strict=True):
        if not (np.isfinite(size) and size > 0):
            raise UserError(f"{what} has no direction for {text[:200]!r}: its vector is zero or not finite.")
    rows = rows / largest  # first, so that squares neither overflow nor vanish
    units: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units
