"""A plug-in annotated the house's own way. Recipes name its parts as ``plug_in_parts:...``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptopt.core import ChatModel as Model
    from promptopt.core import Rate, Rating, Scorer
    from promptopt.optimizers.pools import Pool as Prompts


class Weighted:
    """Types that only a type checker imports: arrays, parts, and a part under another name."""

    def __init__(
        self,
        *,
        model: Model | None = None,
        inner: Scorer[Rate, Rating] | None = None,
        pool: Prompts | None = None,
        weights: NDArray[np.float64] | None = None,
        size: int = 1,
    ) -> None:
        self.model, self.inner, self.pool, self.weights, self.size = model, inner, pool, weights, size


@dataclass
class Pool:
    """No pool of prompts, in spite of its name."""

    size: int = 5


class Swims:
    """Has a pool of its own kind."""

    def __init__(self, *, pool: Pool | str = "five", lanes: Sequence[Pool] = ()) -> None:
        self.pool, self.lanes = pool, lanes
