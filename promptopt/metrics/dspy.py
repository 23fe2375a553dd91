"""Metrics as DSPy has them."""

from __future__ import annotations

import inspect
import math
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Protocol, runtime_checkable

from ..checks import above_zero, at_least
from ..core import ChatModel, Completion, Example, InWords, Mark, Request, Setup, Target, Usage
from ..errors import UserError, require
from ..fanout import fan_out
from ..models.dspy import DSPy
from ..registry import load_function
from ..targets.dspy.engine import Attempt, billed_lm, within
from ..targets.dspy.predictors import copied, lms_of, set_lms

__all__ = ["DSPyMetric"]

MINUTE = 60.0
STREAM = int.from_bytes(b"metric")
"""Key of the random stream of the LMs that a metric asks."""
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

    A metric may ask LMs: its calls to the one that DSPy is configured with when the run begins are billed to the run as
    ``judge``, written down and replayed; a metric that is a ``dspy.Module`` may have LMs of its own. An output whose
    judge gave no answer, or one that cannot be read, stays unscored.

    Args:
        function: the metric; or ``package.module:name`` of one.
        worst: its worst value, which failed outputs count as; 0 by default. A metric that gives less has to name one.
        seconds: an output for which it takes longer has failed; a minute by default, and any time where there is an LM
            that it may ask.
        workers: outputs at a time; more than 1 for a metric that asks LMs.
        target: the run's; it knows the fields of its examples.

    Raises:
        UserError: it cannot be imported, or takes other arguments, or a number is out of range.
    """

    def __init__(
        self,
        *,
        function: str | Callable[..., Any],
        worst: float | None = None,
        seconds: float | None = None,
        workers: int = 1,
        target: Target | None = None,
    ) -> None:
        above_zero(seconds=seconds)
        at_least(1, workers=workers)
        self._seconds, self._workers = seconds, workers
        self.worst = worst
        self.function = load_function(function)
        self._n = _arguments(self.function)
        self._fields = target.fields if isinstance(target, KnowsFields) else None

        self._setup: Setup | None = None
        self._lms: dict[int, Any] = {}

    @property
    def time_limit(self) -> float:
        """In seconds, for one output."""
        return self._seconds or (math.inf if self._lms else MINUTE)

    def begin(self, setup: Setup, /) -> None:
        """Take the run's random streams, and have it pay for the LMs that are asked."""
        dspy = require("dspy", extra="dspy")
        self._setup = setup
        own = lms_of(self.function) if isinstance(self.function, dspy.Module) else []
        every = {**{id(lm): lm for lm in own}, **({0: dspy.settings.lm} if dspy.settings.lm is not None else {})}
        self._lms = {
            key: billed_lm(OnDemand(DSPy(model=lm), setup), like=lm, temperature=1.0) for key, lm in every.items()
        }

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One mark per output.

        Raises:
            UserError: it returned something else than a number or a score with feedback, or asks an LM that is not the
                run's.
            BudgetExhausted, ModelError: an LM that it asks cannot be asked any more.
        """
        pairs = list(zip(outputs, examples, strict=True))
        return list(fan_out(lambda pair: self._mark(*pair), pairs, workers=self._workers))

    def _mark(self, output: Any, example: Example) -> Mark | None:
        if output is None:
            return None
        gold = self._fields.example(example) if self._fields else _as_dspy(example)
        given = self._given(gold, output, example)
        if isinstance(given, Mark):
            return given
        score, feedback = _read(given)
        if score is None:
            return None
        if not isinstance(score, Real):
            raise UserError(
                f"the metric returned {given!r} for example {example.id!r}; it must return a number, a bool, or a "
                "prediction with score and feedback."
            )
        return Mark(None if math.isnan(float(score)) else float(score), feedback)

    def _given(self, gold: Any, output: Any, example: Example) -> Any:
        """What the function returns, or a mark where an LM that it asked is to blame."""
        if self._setup is None:
            return self.function(gold, output, *[None] * (self._n - 2))
        setup, keys = (
            self._setup,
            (_crc(example.id), _crc(output.in_words if isinstance(output, InWords) else str(output))),
        )
        attempt = Attempt(lambda *more: setup.rng(STREAM, *keys, *more), lambda reply: None)
        unreadable = require("dspy.utils.exceptions", extra="dspy").AdapterParseError
        try:
            with within(attempt, lm=self._lms.get(0)):
                given = self._own()(gold, output, *[None] * (self._n - 2))
        except Exception as error:
            attempt.check()
            if attempt.missing:
                return Mark(None, f"the metric: {attempt.missing.reason}")
            if isinstance(error, unreadable):
                setup.count("unreadable replies to the metric")
                return Mark(None, "the metric: unreadable reply")
            raise
        attempt.check()
        return Mark(None, f"the metric: {attempt.missing.reason}") if attempt.missing else given

    def _own(self) -> Callable[..., Any]:
        """The function, or a copy of the program with the LMs that the run pays for."""
        if not isinstance(self.function, require("dspy", extra="dspy").Module):
            return self.function
        program: Callable[..., Any] = copied(self.function)
        set_lms(program, self._lms)
        return program


class OnDemand:
    """A chat model that is billed, as ``judge``, when it is first asked; of one that is not, nobody hears."""

    def __init__(self, model: ChatModel, setup: Setup) -> None:
        self._model, self._setup = model, setup
        self._billed: ChatModel | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._model.name

    def complete(self, request: Request, /) -> Completion:
        with self._lock:
            self._billed = self._billed or self._setup.model(self._model, role="judge")
        return self._billed.complete(request)

    def at_most(self, request: Request, /) -> Usage:
        return self._model.at_most(request)


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


def _crc(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
