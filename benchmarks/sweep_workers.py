"""How much faster a sweep is with two processes than with one, on the embedded models.

    python benchmarks/sweep_workers.py

Runs 3 optimizers x 3 settings x 3 tasks x 3 seeds twice, from nothing each time (no cache, no folder of an earlier
sweep), each in a fresh interpreter and with one thread a process, and prints the seconds, their ratio, and whether the
two tables are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def recipe(questions: int, *, settings: int, tasks: int, seeds: int) -> dict[str, Any]:
    """The sweep, cut down where asked."""
    climb = {"name": "hill-climb", "pool": "grammar", "proposer": "lexical"}
    three = {
        "digits": {"data": {"name": "digits", "shots": 16, "dev": 16}},
        "roman": {"data": {"name": "rendered", "task": "roman", "shots": 16}},
        "tally": {"data": {"name": "rendered", "task": "tally", "shots": 16}},
    }
    return {
        "start": "a photo of a {}",
        "target": "clip",
        "budget": questions,
        "sweep": {
            "seeds": seeds,
            "tasks": dict(list(three.items())[:tasks]),
            "optimizers": {
                "hill-climb": {"optimizer": climb, "optimizer.k": [5, 10, 15][:settings]},
                "racing": {"optimizer.optimizer": climb, "optimizer.minibatch": [10, 20, 40][:settings]},
                "random-search": {"optimizer.pool.name": "grammar", "optimizer.pool.adjectives": [0, 1, 2][:settings]},
            },
        },
    }


def one(arguments: dict[str, Any], folder: Path, workers: int) -> list[list[str]]:
    """Run the sweep; the table without what depends on the clock."""
    from promptopt.sweep import sweep

    table = sweep(arguments, folder=folder, workers=workers).table
    return [[row.label, f"{row.score.mean:.9f}" if row.score else "", row.state] for row in table.rows]


def measure(options: argparse.Namespace, workers: int) -> tuple[float, list[list[str]]]:
    """Seconds of a sweep in a fresh interpreter, its start included, and its table."""
    with tempfile.TemporaryDirectory() as place:
        threads = str(options.threads)
        env = {**os.environ, "PROMPTOPT_CACHE": str(Path(place) / "cache"), "OMP_NUM_THREADS": threads}
        command = [sys.executable, __file__, "--only", str(workers), "--folder", place]
        for key in ("questions", "settings", "tasks", "seeds"):
            command += [f"--{key}", str(getattr(options, key))]
        began = time.monotonic()
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return time.monotonic() - began, json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000, help="budget of every run")
    parser.add_argument("--settings", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--threads", type=int, default=1, help="of every process; with 2 one worker uses two cores")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        cut = {key: getattr(options, key) for key in ("settings", "tasks", "seeds")}
        rows = one(recipe(options.questions, **cut), options.folder / "sweep", options.only)
        print(json.dumps(rows))
        return
    found = {workers: measure(options, workers) for workers in options.workers}
    seconds = {workers: round(taken, 1) for workers, (taken, _) in found.items()}
    first = next(iter(found.values()))
    same = all(rows == first[1] for _, rows in found.values())
    ratio = found[options.workers[-1]][0] / first[0]
    print(json.dumps({"seconds": seconds, "ratio": round(ratio, 3), "same table": same, "settings": len(first[1])}))


if __name__ == "__main__":
    main()
