"""Metrics as DSPy has them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Protocol, runtime_checkable

from ..checks import above_zero
from ..core import Example, Mark, Target
from ..errors import UserError, require
from ..registry import load_function

__all__ = ["DSPyMetric"]

FORMS = (2, 3, 5)
"""How many arguments a metric of DSPy's takes: with ``trace``, and with ``pred_name`` and ``pred_trace``."""


@runtime_checkable
class KnowsFields(Protocol):
    """A target that knows examples in DSPy's fields; without it, an input and a label have to be tables."""

    @property
    def fields(self) -> Any: ...


class DSPyMetric:
    """A metric of DSPy's: ``(example, prediction)``, with a ``trace`` or GEPA's five arguments.

    It may return a number, a bool, or a prediction or dict with ``score`` and ``feedback``, which stands in the cases
    as the reason. The ``trace`` is None: this is evaluation. An output on which it raises has failed.

    Args:
        function: the metric; or ``package.module:name`` of one.
        worst: its worst value, which failed outputs count as; 0 by default. A metric that gives less has to name one.
        seconds: an output for which it takes longer has failed.
        target: the run's; it knows the fields of its examples.

    Raises:
        UserError: it cannot be imported, or takes other arguments.
    """

    def __init__(
        self,
        *,
        function: str | Callable[..., Any],
        worst: float | None = None,
        seconds: float = 60.0,
        target: Target | None = None,
    ) -> None:
        above_zero(seconds=seconds)
        self.time_limit = seconds
        self.worst = worst
        self.function = load_function(function)
        self._n = _arguments(self.function)
        self._fields = target.fields if isinstance(target, KnowsFields) else None

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One mark per output.

        Raises:
            UserError: it returned something else than a number or a score with feedback.
        """
        return [
            None if output is None else self._mark(output, example)
            for output, example in zip(outputs, examples, strict=True)
        ]

    def _mark(self, output: Any, example: Example) -> Mark | None:
        gold = self._fields.example(example) if self._fields else _as_dspy(example)
        given = self.function(gold, output, *[None] * (self._n - 2))
        score, feedback = _read(given)
        if score is None:
            return None
        if not isinstance(score, Real):
            raise UserError(
                f"the metric returned {given!r} for example {example.id!r}; it must return a number, a bool, or a "
                "prediction with score and feedback."
            )
        return Mark(None if math.isnan(float(score)) else float(score), feedback)


def _arguments(function: Callable[..., Any]) -> int:
    """With how many arguments a metric is called: the fewest that it takes.

    Raises:
        UserError: it takes none of the numbers that DSPy knows.
    """
    kind: Any = type(function)
    called = kind.forward.__get__(function) if hasattr(kind, "forward") else function  # a metric may be a program
    signature = inspect.signature(called)
    for n in FORMS:
        try:
            signature.bind(*[None] * n)
        except TypeError:
            continue
        return n
    raise UserError(
        f"a metric of DSPy's takes (example, prediction), (example, prediction, trace) or (gold, pred, trace, "
        f"pred_name, pred_trace); this one takes {signature}."
    )


def _read(given: Any) -> tuple[Any, str]:
    """A metric's score and feedback."""
    if isinstance(given, Mapping) or hasattr(given, "toDict"):
        return given.get("score"), str(given.get("feedback") or "")
    return given, ""


def _as_dspy(example: Example) -> Any:
    if not (isinstance(example.input, Mapping) and isinstance(example.label, Mapping)):
        raise UserError(
            f"example {example.id!r}: a metric of DSPy's reads fields, and only the target dspy-program knows those of "
            "a plain input and label; give both as tables."
        )
    made = require("dspy", extra="dspy").Example(**{**example.label, **example.input})
    return made.with_inputs(*example.input)
