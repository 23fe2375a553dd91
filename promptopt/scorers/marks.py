"""A metric's marks, whatever the outputs do to it: one bad output has failed, and no run ends by it."""

from __future__ import annotations

import ctypes
import math
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextvars import copy_context
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from ..core import Example, FailedRule, HasTimeLimit, Mark, Metric
from ..errors import PromptoptError, UserError

__all__ = ["marks_of"]

TIME_LIMIT = 60.0  # seconds for an output, of a metric that names none
EACH = 1.0  # second more for each of several outputs
REASON = 200  # characters

T = TypeVar("T")


class _Late(BaseException):
    """The time is up; no ``except Exception`` of a metric holds it up."""


def marks_of(
    metric: Metric, outputs: Sequence[Any], examples: Sequence[Example], *, failed: FailedRule
) -> list[float | Mark | None]:
    """The metric's marks, one per output.

    Where it raises, takes too long or gives a number that is infinite, each output is marked on its own, and those at
    which it happens have failed. Minus infinity stays where failed outputs are left out of the mean, lest it drop out.

    An output may take a minute, or as long as the metric says (:class:`HasTimeLimit`); n of them together may take n
    seconds more before each is marked on its own. On the main thread an alarm stops what takes longer. Elsewhere, and
    where there are no alarms or somebody else has set one, the metric is called in a thread of its own, which is
    stopped if it runs Python, and else left to itself. Code in C that keeps Python's lock, as ``re``, holds up all of
    them.

    Raises:
        UserError: the metric says that it is set up wrongly, or gave something else than a number, a Mark or None for
            each output.
        PromptoptError: whatever else of this kind the metric raises.
    """
    limit = metric.time_limit if isinstance(metric, HasTimeLimit) else TIME_LIMIT
    try:
        together = limit if len(outputs) == 1 else limit + EACH * len(outputs)
        marks = _within(together, lambda: metric(outputs, examples))
        return _checked(marks, metric, examples, least=-math.inf if failed == "leave-out" else None)
    except PromptoptError:
        raise
    except _Late:
        reason = f"too slow: the metric took longer than {limit:g} s"
    except Exception as error:
        reason = f"the metric raised {type(error).__name__}: {' '.join(str(error).split())}"
    if len(outputs) == 1:
        return [Mark(None, reason if len(reason) <= REASON else reason[: REASON - 3] + "...", failed=True)]
    alone = (marks_of(metric, outputs[i : i + 1], examples[i : i + 1], failed=failed) for i in range(len(outputs)))
    return [mark for (mark,) in alone]


def _checked(
    marks: Any, metric: Metric, examples: Sequence[Example], *, least: float | None
) -> list[float | Mark | None]:
    """Marks as they are; NaN is a value that is missing.

    Args:
        least: an infinite number that is let through.

    Raises:
        OverflowError: another number is infinite, or too large for a float.
    """
    name = getattr(metric, "__name__", type(metric).__name__)
    if len(marks) != len(examples):
        raise UserError(f"the metric {name} gave {len(marks)} marks for {len(examples)} outputs; it must give as many.")
    for mark, example in zip(marks, examples, strict=True):
        value = mark.value if isinstance(mark, Mark) else mark
        if value is not None and not isinstance(value, Real | np.bool_):
            raise UserError(
                f"the metric {name} gave {str(value)[:80]!r} for example {example.id!r}; "
                "it must give a number, a Mark or None."
            )
        if value is not None and math.isinf(float(value)) and value != least:
            raise OverflowError(f"{float(value)} is no finite number")
    return list(marks)


def _within(seconds: float, call: Callable[[], T]) -> T:
    """What the call returns.

    Raises:
        _Late: it took longer and could be stopped, or left.
    """
    if not math.isfinite(seconds):
        return call()
    return _by_alarm(seconds, call) if _can_set_an_alarm() else _in_a_thread(seconds, call)


def _by_alarm(seconds: float, call: Callable[[], T]) -> T:
    before = signal.signal(signal.SIGALRM, _late)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            return call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


def _in_a_thread(seconds: float, call: Callable[[], T]) -> T:
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=copy_context().run, args=(work,), name="promptopt-metric", daemon=True)
    thread.start()
    if not wait([done], timeout=min(seconds, threading.TIMEOUT_MAX)).done:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Late))
        raise _Late
    return done.result()


def _can_set_an_alarm() -> bool:
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getitimer(signal.ITIMER_REAL)[0] == 0
        and signal.getsignal(signal.SIGALRM) is not None
    )


def _late(signum: int, frame: Any) -> None:
    raise _Late
