"""What a trial of a sweep costs besides its runs, and whether many workers at once take each trial once.

    python benchmarks/sweep_overhead.py --trials 200 [--postgresql postgresql://me@host/empty]

A sweep whose score is free, one run a trial, with the study in an SQLite file and, if a server is given, in
PostgreSQL; beside it the same runs without a sweep, and Optuna alone with as many trials that do nothing. Then eight
processes join one study at once. Prints milliseconds a trial, and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from promptopt.sweep import join, sweep
from promptopt.sweep.study import Storage, Study, quietly

JOINERS = 8


def length(text: str) -> float:
    """A score that costs nothing."""
    return float(len(text))


class Free:
    """A scorer that costs nothing."""

    def __new__(cls) -> Any:
        from promptopt.scorers import FunctionScorer

        return FunctionScorer(length)


def recipe(trials: int, name: str) -> dict[str, Any]:
    """One run a trial, of three questions."""
    return {
        "start": "go",
        "scorer": "sweep_overhead:Free",
        "budget": 3,
        "sweep": {
            "name": name,
            "heartbeat": 5,
            "optimizers": {"random-search": {"optimizer.pool": {"name": "list", "prompts": [["a", "bb"]]}}},
            "space": {"patience": {"low": 1, "high": trials, "step": 1}},
        },
    }


def runs_alone(trials: int, folder: Path) -> float:
    """Seconds for the same runs without a sweep."""
    from promptopt.api import execute
    from promptopt.sweep.space import read_space

    space = read_space(recipe(trials, "alone"))
    began = time.monotonic()
    for number, params in enumerate(space.settings()):
        (task, seed), *_ = space.runs
        execute({**space.arguments(params, task, seed), "verdict": False, "run": str(folder / str(number))})
    return time.monotonic() - began


def optuna_alone(trials: int, url: str) -> float:
    """Seconds for Optuna's own loop with an enqueued parameter, a report and an attribute a trial."""
    import optuna

    def objective(trial: Any) -> float:
        value = trial.suggest_int("patience", 1, trials)
        trial.report(value, 0)
        trial.set_user_attr("outcome", {"score": value})
        return float(value)

    def work() -> None:
        study = optuna.create_study(storage=Storage(url).optuna, study_name="optuna")
        for i in range(trials):
            study.enqueue_trial({"patience": i + 1})
        study.optimize(objective, n_trials=trials)

    began = time.monotonic()
    quietly(work)
    return time.monotonic() - began


def whole_sweep(trials: int, folder: Path, url: str) -> float:
    """Seconds for the sweep."""
    began = time.monotonic()
    table = sweep(recipe(trials, "free"), folder=folder, storage=url).table
    assert sum(row.state == "complete" for row in table.rows) == trials
    return time.monotonic() - began


def rush(trials: int, folder: Path, url: str) -> dict[str, Any]:
    """Eight processes at once on a study that has been laid out and not begun."""
    from promptopt.sweep.parts import Parts, identity
    from promptopt.sweep.space import read_space

    space = read_space(recipe(trials, "rush"))
    study = Study(Storage(url, heartbeat=5), "rush")
    study.agree(identity(space, Parts()))
    facts = {"tasks": list(space.tasks), "seeds": list(space.seeds), "optimizers": list(space.optimizers)}
    study.lay_out(dict(enumerate(space.settings())), facts)
    began = time.monotonic()
    command = [sys.executable, __file__, "--join", url, "--folder"]
    workers = [subprocess.Popen([*command, str(folder / str(i))]) for i in range(JOINERS)]
    assert [worker.wait() for worker in workers] == [0] * JOINERS
    seconds = time.monotonic() - began
    done = study.study.get_trials(deepcopy=False)
    begun = Counter(path.parent.relative_to(path.parents[3]) for path in folder.glob("*/trials/*/*/ledger.jsonl"))
    by = Counter(trial.user_attrs["worker"] for trial in done)
    return {
        "trials": len(done),
        "complete": sum(trial.state.name == "COMPLETE" for trial in done),
        "runs begun twice": sum(n > 1 for n in begun.values()),
        "by worker": sorted(by.values()),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--postgresql", help="the URL of an empty database")
    parser.add_argument("--join", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))  # the recipe names its scorer as sweep_overhead:Free
    if options.join:
        join("rush", storage=options.join, folder=options.folder)
        return
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sweep(recipe(2, "warm"), folder=folder / "warm")  # imports
        per = 1000 / options.trials
        found["runs alone"] = round(per * runs_alone(options.trials, folder / "alone"), 1)
        urls = {"sqlite": f"sqlite:///{place}/optuna.db"}
        if options.postgresql:
            urls["postgresql"] = options.postgresql
        for name, url in urls.items():
            found[f"optuna, {name}"] = round(per * optuna_alone(options.trials, url), 1)
            found[f"sweep, {name}"] = round(per * whole_sweep(options.trials, folder / name, url), 1)
        print("\n".join(f"{what:<20}{value:>8.1f} ms a trial" for what, value in found.items()))
        found["8 processes"] = {name: rush(options.trials, folder / f"rush {name}", url) for name, url in urls.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
