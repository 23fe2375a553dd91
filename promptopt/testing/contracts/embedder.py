"""What every embedder must hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import Begins, Embedder
from ..setup import FakeSetup
from .fresh import in_a_fresh_process

if TYPE_CHECKING:
    from ...core import Array

__all__ = ["EmbedderContract"]


class EmbedderContract:
    """What optimizers and pools rely on in an embedder.

    Attributes:
        texts: at least two different texts that it can embed.
    """

    texts: Sequence[str] = ("a photo of a {}", "a drawing of a {}", "translate the sentence into German", "{}")

    def make(self) -> Embedder:
        """A new embedder."""
        raise AssertionError("say how to make the embedder: override make()")

    def test_its_name_stays(self) -> None:
        embedder = self._begun()
        name = embedder.name
        assert isinstance(name, str)
        assert name.strip()
        embedder.embed(self.texts)
        assert embedder.name == name == self._begun().name

    def test_one_row_of_float64_per_text(self) -> None:
        rows = self._rows(self.texts)
        assert rows.ndim == 2
        assert len(rows) == len(self.texts)
        assert rows.dtype == np.float64
        assert self._rows([]).ndim == 2
        assert len(self._rows([])) == 0

    def test_rows_have_length_1(self) -> None:
        np.testing.assert_allclose(np.linalg.norm(self._rows(self.texts), axis=1), 1.0, rtol=1e-6)

    def test_a_row_does_not_depend_on_the_others(self) -> None:
        together = self._rows(self.texts)
        alone = np.concatenate([self._rows([text]) for text in self.texts])
        assert np.array_equal(together, alone), "exactly equal: a resumed run embeds other texts together"
        assert np.array_equal(self._rows(self.texts[::-1])[::-1], together)

    def test_the_same_text_has_the_same_row(self) -> None:
        embedder = self._begun()
        rows = embedder.embed([*self.texts, self.texts[0]])
        assert np.array_equal(rows[0], rows[-1])
        assert np.array_equal(embedder.embed(self.texts), rows[:-1])
        assert np.array_equal(self._rows(self.texts), rows[:-1])

    def test_same_rows_in_a_fresh_process_with_another_hash_seed(self) -> None:
        assert in_a_fresh_process(self, "_new_rows") == self._new_rows()

    def _begun(self) -> Embedder:
        embedder = self.make()
        if isinstance(embedder, Begins):
            embedder.begin(FakeSetup(start=self.texts[:1]))
        return embedder

    def _rows(self, texts: Sequence[str]) -> Array:
        return self._begun().embed(texts)

    def _new_rows(self) -> Any:
        return self._rows(self.texts).tolist()
