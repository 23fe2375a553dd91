"""Random duels: the baseline that does not choose its questions [Lin2024].

Lin et al., *Prompt Optimization with Human Feedback*, arXiv 2405.17346. The released baseline learns nothing: it
reports the winner of the last duel (``fit = "released"``). By default we learn from its answers as ``apohf`` does, so
that what choosing is worth can be told from what learning is worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..core import Embedder
from .duels import Duels, DuelSearch, Utility
from .duels.posterior import GaussianProcess, kernels
from .pools import Pool

if TYPE_CHECKING:
    from ..core import Indices


class RandomDuels(DuelSearch):
    """Duels between two prompts drawn at random.

    Args:
        pool, pool_size, embedder, batch: as in :class:`promptopt.optimizers.apohf.Apohf`.
        fit: the incumbent is the best by the utility of ``apohf``'s default, the ``gaussian-process``; or the winner of
            the last duel that had one, as ``released``.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        *,
        pool: Pool | None = None,
        pool_size: int = 200,
        embedder: Embedder | None = None,
        fit: Literal["gaussian-process", "released"] = "gaussian-process",
        batch: int = 1,
    ) -> None:
        super().__init__(pool=pool, pool_size=pool_size, embedder=embedder, batch=batch, n_init=0)
        self.fit = fit

    def _fit(self, duels: Duels) -> Utility:
        return GaussianProcess(duels, kernels(self._arms))

    def _choose(self, among: Indices) -> tuple[int, int]:
        return self._random_pair(among)

    def _best(self, among: Indices) -> int:
        if self.fit == "gaussian-process":
            return super()._best(among)
        duels = self._record.duels().decided
        won = np.where(duels.wins > 0.5, duels.a, duels.b)[(duels.wins != 0.5) & np.isin(duels.a, among)]
        return int(won[-1]) if len(won) else int(among[0])
