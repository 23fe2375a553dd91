"""Runs in Weights & Biases: the same values as in MLflow, online or (``WANDB_MODE=offline``) in files."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Literal

from ..errors import require
from ..run.recorder import Progress
from ..run.result import Result
from . import values

__all__ = ["WandB"]


class WandB:
    """One tracked run, beside any other that the process has open.

    Args:
        project: it is made where it is missing.
        name: of the tracked run; one is invented if not given.
        mode: ``offline`` writes files that ``wandb sync`` can send later; by default what ``WANDB_MODE`` says.
        folder: where files are written; ``wandb`` in the working folder by default.

    Raises:
        MissingExtra: wandb is not installed.
    """

    def __init__(
        self,
        *,
        project: str = "promptopt",
        name: str | None = None,
        mode: Literal["online", "offline"] | None = None,
        folder: str | None = None,
    ) -> None:
        self._wandb: Any = require("wandb", extra="wandb")
        self._options = {"project": project, "name": name, "mode": mode, "dir": folder}
        self._pace = values.LoggingPace()
        self._run: Any = None

    def __enter__(self) -> WandB:
        self._run = self._wandb.init(**self._options, reinit="create_new")
        return self

    def __call__(self, progress: Progress) -> None:
        """Log where the run stands; the step is the number of questions."""
        if self._pace.due(progress):
            self._run.log(
                {**values.standing(progress), "best_prompt": progress.best.text}, step=progress.costs.questions
            )

    def finish(self, result: Result) -> None:
        """Log how the run ended, with its files."""
        self._run.config.update(values.parameters(result))
        ended = {"best_prompt": result.best, "stop_reason": result.stop_reason}
        self._run.summary.update({**values.outcome(result), **ended})
        for file in values.files(result):
            self._run.save(str(file), base_path=str(file.parent), policy="now")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.finish(exit_code=1 if error else 0)
