"""A pool without near-duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...checks import check_argument
from ...core import Begins, Embedder, HasQueries, Prompted, Setup
from ...embedders.ngrams import Ngrams
from ...vocabulary import check
from . import Pool

if TYPE_CHECKING:
    from ...core import Array

__all__ = ["Distinct"]

PATIENCE = 100  # the pool is used up after so many near-duplicates in a row


class Distinct:
    """What another pool draws, less what lies close to something drawn before; the first to come stays.

    Prompts whose embeddings have a cosine above the threshold are near-duplicates. The pool counts as used up after 100
    of them in a row.

    Args:
        pool: the pool to draw from.
        embedder: says what is close; hashed n-grams by default, which know wording and not meaning.
        threshold: the highest cosine that two prompts may have, in [-1, 1].

    Raises:
        UserError: the threshold is no cosine.
    """

    def __init__(self, *, pool: Pool, embedder: Embedder | None = None, threshold: float = 0.95) -> None:
        check_argument("threshold", threshold, allowed="a cosine from -1 to 1", holds=-1 <= threshold <= 1)
        self.pool = pool
        self.embedder = embedder or Ngrams()
        self.threshold = threshold

    def check(self, run: Prompted, /) -> None:
        """Whether the inner pool suits the prompts.

        Raises:
            UserError: it does not.
        """
        check(self.pool, run)

    def begin(self, setup: Setup, /) -> None:
        """Hand the setup to the inner pool and to the embedder, where they want it."""
        for part in (self.pool, self.embedder):
            if isinstance(part, Begins):
                part.begin(setup)

    @property
    def queries(self) -> Sequence[str]:
        """Those that the inner pool answers, see :class:`promptopt.core.HasQueries`."""
        return self.pool.queries if isinstance(self.pool, HasQueries) else ()

    def query_of(self, text: str, /) -> str | None:
        """The query that a text of the inner pool answers."""
        return self.pool.query_of(text) if isinstance(self.pool, HasQueries) else None

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """Prompts of the inner pool, in its order; no two are near-duplicates."""
        kept: Array | None = None
        dropped = 0
        for text in self.pool.draw(rng):
            row = self.embedder.embed([text])
            if kept is not None and float((kept @ row[0]).max()) > self.threshold:
                dropped += 1
                if dropped == PATIENCE:
                    return
                continue
            dropped = 0
            kept = row if kept is None else np.concatenate([kept, row])
            yield text
