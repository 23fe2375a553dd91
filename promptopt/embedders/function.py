"""Any function as an embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..registry import load_function
from .rows import unit_rows
from .stored import Stored

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["FunctionEmbedder"]


class FunctionEmbedder:
    """What a function of the texts returns, scaled to rows of length 1.

    Args:
        function: n texts to an array ``(n, d)``, or ``package.module:name`` of such a function. A row may not depend on
            the other texts.
        cache: folder for the vectors of a function that is dear; True is the user's cache folder. They are kept under
            the function's name, so a function that changes needs a new folder.

    Raises:
        UserError: the name cannot be imported, or stands for something that cannot be called.
    """

    def __init__(
        self, *, function: str | Callable[[Sequence[str]], Any], cache: str | Path | bool | None = False
    ) -> None:
        self._function: Callable[[Sequence[str]], Any] = load_function(function)
        self._stored = Stored(cache)

    @property
    def name(self) -> str:
        """The function's module and name."""
        named = self._function if hasattr(self._function, "__qualname__") else type(self._function)
        return f"function:{named.__module__}:{named.__qualname__}"

    def embed(self, texts: Sequence[str], /) -> Array:
        """``(n_texts, d)`` float64, each row of length 1.

        Raises:
            UserError: the function returns another shape, or a row that is zero or not finite.
        """
        return self._stored.rows(texts, self._rows, name=lambda: self.name) if texts else np.empty((0, 0))

    def _rows(self, texts: Sequence[str]) -> Array:
        return unit_rows(self._function(list(texts)), texts, what=self.name)
