"""Trackers: a run's progress and outcome in MLflow or Weights & Biases, beside the run's own ledger.

A tracker is a watcher, and a context manager that ends the tracked run::

    with MLflow() as tracker:
        tracker.finish(promptopt.optimize(..., watch=tracker))

What it logs is the same for all of them (:mod:`.values`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from ..errors import UnknownName
from ..run.recorder import Progress, Watch
from ..run.result import Result

__all__ = ["Tracker", "tracking"]


class Tracker(Protocol):
    """What receives a run's progress, and its result when it has ended."""

    def __call__(self, progress: Progress, /) -> None: ...

    def finish(self, result: Result, /) -> None: ...


@contextmanager
def tracking(names: Sequence[str], watch: Watch | None = None) -> Iterator[tuple[Watch, Callable[[Result], None]]]:
    """Open the trackers of these names.

    Args:
        names: ``mlflow``, ``wandb``.
        watch: another watcher to be called as well.

    Yields:
        A watcher for all, and what takes the result in the end.

    Raises:
        UnknownName: there is no such tracker.
        MissingExtra: its package is not installed.
    """
    with ExitStack() as stack:
        opened = [_open(name, stack) for name in dict.fromkeys(names)]
        watchers: list[Watch] = [*opened, *([watch] if watch else [])]

        def together(progress: Progress) -> None:
            for one in watchers:
                one(progress)

        def finish(result: Result) -> None:
            for tracker in opened:
                tracker.finish(result)

        yield together, finish


def _open(name: str, stack: ExitStack) -> Tracker:
    if name == "mlflow":
        from .mlflow import MLflow

        return stack.enter_context(MLflow())
    if name == "wandb":
        from .wandb import WandB

        return stack.enter_context(WandB())
    raise UnknownName("tracker", name, ["mlflow", "wandb"])
