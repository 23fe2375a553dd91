"""The prompts that may meet in a duel, with their embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ...core import Embedder, Prompt
from ...errors import UserError

if TYPE_CHECKING:
    from ...core import Array, Indices


class Arms:
    """The arms of the bandit: the prompts that may meet in a duel, with their embeddings.

    Some may join later; none leaves, so a prompt keeps its index.

    Attributes:
        prompts: without repeats; the starting prompts come first.
        vectors: ``(n, d)``, their embeddings x.
        squares: ``(n,)``, the squared lengths ``x·x``.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.prompts: list[Prompt] = []
        self.vectors: Array = np.empty((0, 0))
        self.squares: Array = np.empty(0)
        self._embedder = embedder
        self._indices: dict[Prompt, int] = {}
        self._columns: dict[int, Array] = {}  # by index: (n,), the inner products of all embeddings with this one
        self._fields: list[Indices] = []
        self._grouped = 0  # how many prompts the fields hold

    def __len__(self) -> int:
        return len(self.prompts)

    def __contains__(self, prompt: Prompt) -> bool:
        return prompt in self._indices

    def index(self, prompt: Prompt) -> int:
        """The index of a prompt."""
        return self._indices[prompt]

    def fields(self) -> list[Indices]:
        """For each query, the indices of the prompts that answer it; one list of all where there are no queries.

        Which query a prompt answers stands in its origin; the queries are in the order they came.
        """
        if self._grouped != len(self.prompts):
            queries: dict[str | None, list[int]] = {}
            for index, prompt in enumerate(self.prompts):
                queries.setdefault(prompt.origin.get("query"), []).append(index)
            self._fields = [np.array(indices, dtype=np.intp) for indices in queries.values()]
            self._grouped = len(self.prompts)
        return self._fields

    def add(self, prompts: Iterable[Prompt]) -> int:
        """Take new prompts in; returns how many were new.

        Raises:
            UserError: the embedder gave something else than one vector of numbers for each.
        """
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._indices]
        if new:
            vectors = np.asarray(self._embedder.embed([prompt.text for prompt in new]), dtype=np.float64)
            width = self.vectors.shape[1] if self.prompts else vectors.shape[-1]
            if vectors.shape != (len(new), width) or not np.isfinite(vectors).all():
                raise UserError(
                    f"the embedder {self._embedder.name!r} gave an array of shape {vectors.shape} for {len(new)} "
                    f"prompts. It must give one vector of {width} finite numbers for each."
                )
            self._indices |= {prompt: len(self.prompts) + i for i, prompt in enumerate(new)}
            self.prompts += new
            self.vectors = np.concatenate([self.vectors.reshape(-1, width), vectors])
            self.squares = np.sum(self.vectors**2, axis=1)
            self._columns.clear()
        return len(new)

    def inner(self, indices: Indices) -> Array:
        """``(n, m)``: the inner products of all embeddings with those of m prompts; kept, as they are needed again."""
        columns = self._kept(indices)
        return np.stack(columns, axis=1) if columns else self.vectors[:, :0]

    def inner_block(self, indices: Indices) -> Array:
        """``(m, m)``: the inner products of the embeddings of m prompts with each other."""
        columns = [column[indices] for column in self._kept(indices)]
        return np.stack(columns, axis=1) if columns else np.empty((0, 0))

    def _kept(self, indices: Indices) -> list[Array]:
        if missing := [int(index) for index in indices if int(index) not in self._columns]:
            products = np.ascontiguousarray((self.vectors @ self.vectors[missing].T).T)
            self._columns |= zip(missing, products, strict=True)
        return [self._columns[int(index)] for index in indices]
