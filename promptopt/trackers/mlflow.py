"""Runs in MLflow: metrics as they come, the recipe as parameters, the verdict, the best prompt and the ledger."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from ..errors import require
from ..run.recorder import Progress
from ..run.result import Result
from . import values

__all__ = ["MLflow"]

LONGEST = 500  # characters of a parameter; older servers take no more


class MLflow:
    """One tracked run. Nothing global is changed: no active run, no tracking URI.

    Args:
        uri: of the tracking store, for example ``sqlite:///mlflow.db`` or ``http://127.0.0.1:5000``; MLflow's own
            default (``MLFLOW_TRACKING_URI``) if not given.
        experiment: it is made where it is missing.
        name: of the tracked run; MLflow invents one if not given.

    Raises:
        MissingExtra: MLflow is not installed.
    """

    def __init__(self, *, uri: str | None = None, experiment: str = "promptopt", name: str | None = None) -> None:
        require("mlflow", extra="mlflow")
        from mlflow import MlflowClient

        self._client: Any = MlflowClient(tracking_uri=uri)
        self._experiment = experiment
        self._name = name
        self._pace = values.LoggingPace()
        self.run_id = ""

    def __enter__(self) -> MLflow:
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(self._experiment)
        tags = {"source": "promptopt"}
        self.run_id = self._client.create_run(experiment, run_name=self._name, tags=tags).info.run_id
        return self

    def __call__(self, progress: Progress) -> None:
        """Log where the run stands; the step is the number of questions."""
        if self._pace.due(progress):
            self._log(values.standing(progress), step=progress.costs.questions)

    def finish(self, result: Result) -> None:
        """Log how the run ended, with its files."""
        from mlflow.entities import Param

        self._log(values.outcome(result), step=result.costs.questions)
        params = [Param(key, text[:LONGEST]) for key, text in values.parameters(result).items()]
        for first in range(0, len(params), 100):
            self._client.log_batch(self.run_id, params=params[first : first + 100])
        self._client.set_tag(self.run_id, "stop_reason", result.stop_reason)
        self._client.log_text(self.run_id, result.best, "best.txt")
        for file in values.files(result):
            self._client.log_artifact(self.run_id, str(file))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.set_terminated(self.run_id, "FAILED" if error else "FINISHED")

    def _log(self, numbers: dict[str, float], *, step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(key, value, now, step) for key, value in numbers.items()])
