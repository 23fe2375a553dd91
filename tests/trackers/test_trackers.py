"""Trackers against real stores: MLflow in an SQLite file, Weights & Biases offline."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from run_parts import CLIMB

import promptopt
from promptopt.core import Belief, Prompt, Rating
from promptopt.errors import UnknownName
from promptopt.run.budget import Budget, Costs
from promptopt.run.recorder import Progress
from promptopt.trackers import tracking
from promptopt.trackers.values import LoggingPace, standing


def search(folder: Path | None, **options: Any) -> promptopt.Result:
    recipe: dict[str, Any] = {"start": "answer {}", "target": "run_parts:ToyTarget", "data": "run_parts:toy_data"}
    return promptopt.optimize(**{**recipe, "optimizer": CLIMB, "budget": 40, "run": folder, **options})


# ── What is logged ────────────────────────────────────────────────────────────────────────────────────────────────


def progress(text: str, value: float | None = 0.5, **more: Any) -> Progress:
    rating = None if value is None else Rating(value)
    return Progress(Prompt(text), rating, Costs(questions=7, input_tokens=5, output_tokens=6), Budget(), (), **more)


def test_a_new_best_is_always_due_and_the_same_only_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("promptopt.trackers.values.time.monotonic", lambda: now)
    pace = LoggingPace()
    assert [pace.due(progress(text)) for text in "aabb"] == [True, False, True, False]
    now = 101.5
    assert pace.due(progress("b"))


def test_unknown_numbers_are_left_out() -> None:
    assert "best_score" not in standing(progress("a", None))
    assert "best_score" not in standing(progress("a", float("nan")))
    values = standing(progress("a", belief=Belief(0.9)))
    assert (values["best_score"], values["questions"], values["tokens"], values["confidence"]) == (0.5, 7, 11, 0.9)


def test_unknown_trackers() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'mlflow'"), tracking(["mlfow"]):
        pass


def test_without_trackers_the_watcher_is_called_all_the_same() -> None:
    seen: list[Progress] = []
    with tracking([], seen.append) as (watch, finish):
        finish(search(None, watch=watch))
    assert seen[-1].costs.questions == 40


# ── MLflow ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for one store: making its tables takes seconds."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def store(place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("alembic")
    monkeypatch.chdir(place)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    return f"sqlite:///{place / 'mlflow.db'}"


def tracked(store: str) -> tuple[Any, Any]:
    """The client and the last run of the store."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("promptopt")
    assert experiment is not None
    return client, client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]


def test_mlflow_holds_the_run(store: str, tmp_path: Path) -> None:
    from promptopt.trackers.mlflow import MLflow

    with MLflow(uri=store, name="toy") as tracker:
        result = search(tmp_path / "run", watch=tracker)
        tracker.finish(result)
    client, run = tracked(store)
    verdict = result.verdict
    assert verdict is not None
    metrics = run.data.metrics
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "toy"
    assert metrics["best_score"] == result.score(result.best)
    assert metrics["test_difference"] == pytest.approx(verdict.difference)
    assert metrics["questions"] == result.costs.questions == 40
    assert run.data.params["optimizer.name"] == "hill-climb"
    assert run.data.params["optimizer.proposer.name"] == "lexical"
    assert run.data.params["seed"] == "0"
    assert run.data.tags["stop_reason"] == "budget: questions"
    history = sorted(client.get_metric_history(run.info.run_id, "best_score"), key=lambda one: one.step)
    assert history[0].value < history[-1].value
    assert [one.value for one in history] == sorted(one.value for one in history)
    names = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert names == {"best.txt", "result.json", "ledger.jsonl"}
    path = client.download_artifacts(run.info.run_id, "best.txt", str(tmp_path))
    assert Path(path).read_text(encoding="utf-8").strip() == result.best


def test_mlflow_marks_a_run_that_failed(store: str) -> None:
    from promptopt.trackers.mlflow import MLflow

    def score(text: str) -> float:
        raise KeyError("no")

    with pytest.raises(KeyError), MLflow(uri=store) as tracker:
        promptopt.optimize(start="a", score=score, optimizer="run_parts:Counting", run=None, watch=tracker)
    assert tracked(store)[1].info.status == "FAILED"


def test_mlflow_by_name_takes_its_store_from_the_environment(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    with tracking(["mlflow", "mlflow"]) as (watch, finish):
        finish(search(None, watch=watch))
    assert tracked(store)[1].data.metrics["questions"] == 40


# ── Weights & Biases ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.study
def test_wandb_offline_writes_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    from promptopt.trackers.wandb import WandB

    for name, value in {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_MODE": "offline"}.items():
        monkeypatch.setenv(name, value)
    with WandB(folder=str(tmp_path), name="toy") as tracker:
        result = search(tmp_path / "run", watch=tracker)
        tracker.finish(result)
    [folder] = (tmp_path / "wandb").glob("offline-run-*")
    [file] = folder.glob("*.wandb")
    texts = ("best_score", "test_difference", "optimizer.proposer.name", "budget: questions", result.best)
    until = time.monotonic() + 60  # a process of its own writes the file, and need not be done when the run is
    while missing := [text for text in texts if text.encode() not in file.read_bytes()]:
        assert time.monotonic() < until, missing
        time.sleep(0.1)
    assert {one.name for one in (folder / "files").iterdir()} >= {"best.txt", "result.json", "ledger.jsonl"}
