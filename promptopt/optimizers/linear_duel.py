"""The linear dueling bandit: a baseline of [Lin2024], and the choice where the utility is known to be linear.

Lin et al., *Prompt Optimization with Human Feedback*, arXiv 2405.17346. The rule of :mod:`promptopt.optimizers.apohf`
with ``h(x) = w·x`` on the embeddings: logistic regression with the penalty ``λ/2 ‖w‖²``, and V over differences of
embeddings. The norm is that of all of V, exact in the dual.
"""

from __future__ import annotations

from ..core import Embedder
from ..errors import UserError
from .duels import Duels, DuelSearch, Utility
from .pools import Pool
from .posterior import Embedded, GaussianProcess
from .proposers import Proposer


class LinearDuel(DuelSearch):
    """Duels chosen by a linear model of the utility.

    Args:
        pool, pool_size, embedder, n_init, batch, proposer, mutate_every: as in
            :class:`promptopt.optimizers.apohf.Apohf`.
        nu: how much the second prompt is to explore, 0 or more.
        lam: the penalty λ, above 0.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        *,
        pool: Pool | None = None,
        pool_size: int = 200,
        embedder: Embedder | None = None,
        nu: float = 1.0,
        lam: float = 0.1,
        n_init: int = 5,
        batch: int = 1,
        proposer: Proposer | None = None,
        mutate_every: int = 0,
    ) -> None:
        super().__init__(
            pool=pool,
            pool_size=pool_size,
            embedder=embedder,
            batch=batch,
            n_init=n_init,
            proposer=proposer,
            mutate_every=mutate_every,
        )
        if nu < 0 or lam <= 0:
            raise UserError(f"nu is {nu} and lam is {lam}; give 0 or more, and more than 0.")
        self.nu = nu
        self.lam = lam

    def _fit(self, duels: Duels) -> Utility:
        return GaussianProcess(duels, [Embedded(self._arms, 1 / self.lam)], counts=1.0)

    def _choose(self) -> tuple[int, int]:
        return self._optimistic_pair(self.nu)
