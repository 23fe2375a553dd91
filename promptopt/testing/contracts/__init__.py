"""Contract suites: what every part of a kind must hold. Subclass one, say how to make yours, run pytest.

::

    class TestMyOptimizer(OptimizerContract):
        def make(self):
            return MyOptimizer(k=3)

pytest collects the subclass and runs every test of the suite on it. ``make`` must build a new object each time. Tests
that compare with a fresh process run the file of the subclass there, so it must import by full names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...exports import lazily

if TYPE_CHECKING:
    from .dataset import DatasetContract
    from .embedder import EmbedderContract
    from .metric import MetricContract
    from .model import ModelContract
    from .optimizer import OptimizerContract
    from .pool import PoolContract
    from .proposer import ProposerContract
    from .scorer import ScorerContract
    from .target import TargetContract

__all__ = [
    "DatasetContract",
    "EmbedderContract",
    "MetricContract",
    "ModelContract",
    "OptimizerContract",
    "PoolContract",
    "ProposerContract",
    "ScorerContract",
    "TargetContract",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "DatasetContract": "dataset",
        "EmbedderContract": "embedder",
        "MetricContract": "metric",
        "ModelContract": "model",
        "OptimizerContract": "optimizer",
        "PoolContract": "pool",
        "ProposerContract": "proposer",
        "ScorerContract": "scorer",
        "TargetContract": "target",
    },
)
