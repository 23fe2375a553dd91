"""Any function as a metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

from ..checks import above_zero, check_argument
from ..core import Example, HasWorst, Mark
from ..errors import UserError
from ..registry import load_function


class FunctionMetric:
    """What a function of one output and its example returns; higher is better.

    Args:
        function: a callable ``(output, example) -> number, Mark or None``, or ``package.module:Name`` of one. It is not
            called where the output is None. NaN counts as None: unscored for outside reasons; where the output itself
            is to blame, return ``Mark(None, reason, failed=True)``. An output on which it raises has failed, too.
        worst: its worst value, which failed outputs count as; by default the function's own attribute ``worst``, or
            else 0. A function that gives less has to name one.
        seconds: an output for which it takes longer has failed; see :func:`promptopt.scorers.marks.marks_of`.

    Raises:
        UserError: the name cannot be imported, or stands for something that cannot be called.
    """

    def __init__(
        self,
        *,
        function: str | Callable[[Any, Example], float | Mark | None],
        worst: float | None = None,
        seconds: float = 60.0,
    ) -> None:
        above_zero(seconds=seconds)
        self.time_limit = seconds
        found = load_function(function)
        self.function: Callable[[Any, Example], Any] = found
        own = found.worst if isinstance(found, HasWorst) else None
        self.worst: float | None = own if worst is None else worst
        holds = self.worst is None or math.isfinite(self.worst)
        check_argument("worst", self.worst, allowed="the least number that the function returns", holds=holds)

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One mark per output.

        Raises:
            UserError: the function returns something else than a number, a Mark or None.
        """
        return [
            None if output is None else self._checked(self.function(output, example), example)
            for output, example in zip(outputs, examples, strict=True)
        ]

    def _checked(self, mark: Any, example: Example) -> float | Mark | None:
        value = mark.value if isinstance(mark, Mark) else mark
        if value is not None and not isinstance(value, Real):
            raise UserError(
                f"the metric's function returned {value!r} for example {example.id!r}; "
                "it must return a number, a Mark or None."
            )
        number = None if value is None or math.isnan(float(value)) else float(value)
        return replace(mark, value=number) if isinstance(mark, Mark) else number
