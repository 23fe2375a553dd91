"""Random duels: the baseline that learns from its answers and does not choose its questions [Lin2024]."""

from __future__ import annotations

from ..core import Embedder
from .duels import Duels, DuelSearch, Utility
from .pools import Pool
from .posterior import GaussianProcess, kernels


class RandomDuels(DuelSearch):
    """Duels between two prompts drawn at random; the incumbent is the best by the utility of ``apohf``'s default.

    Args:
        pool, pool_size, embedder, batch: as in :class:`promptopt.optimizers.apohf.Apohf`.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        *,
        pool: Pool | None = None,
        pool_size: int = 200,
        embedder: Embedder | None = None,
        batch: int = 1,
    ) -> None:
        super().__init__(pool=pool, pool_size=pool_size, embedder=embedder, batch=batch, n_init=0)

    def _fit(self, duels: Duels) -> Utility:
        return GaussianProcess(duels, kernels(self._arms))

    def _choose(self) -> tuple[int, int]:
        return self._random_pair()
