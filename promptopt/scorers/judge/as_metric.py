"""A judge as a metric, for the scorer that runs targets and marks their outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...core import Example, Mark, Metric

__all__ = ["AsMetric"]


class AsMetric:
    """What marks outputs with an LLM's help: its worst value is 0, and it is not shown what was cut off.

    It takes as long as its model takes: a provider that is slow is no fault of the outputs.
    """

    reads_cut = False
    time_limit = math.inf

    def __init__(self, marks: Metric) -> None:
        self._marks = marks

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> Sequence[float | Mark | None]:
        """As of the marks that it was given."""
        return self._marks(outputs, examples)
