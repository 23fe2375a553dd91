"""Compare ways to search at equal numbers of evaluations, over the embedded suite.

    python experiments/hill_climb/run.py --seeds 5 --out results.json

For every task, arm and seed one run with ``recipe.toml``. What is reported is accuracy on the held-out images of the
prompt that the search holds best after 10, 30, 100 and all evaluations; the search itself never sees these images.
Prints the tables of README.md in Markdown and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from promptopt.api import execute, prepare
from promptopt.config import build, read_recipe
from promptopt.core import Prompt, Rate
from promptopt.loop import Step
from promptopt.plan import Plan
from promptopt.result import Result
from promptopt.verdict import interval

HERE = Path(__file__).parent
TASKS: dict[str, dict[str, Any]] = {
    "digits": {"name": "digits"},
    "digits rotated": {"name": "digits", "rotated": True},
    "seven-segment": {"name": "rendered", "task": "seven-segment"},
    "tally": {"name": "rendered", "task": "tally"},
    "roman": {"name": "rendered", "task": "roman"},
    "dice": {"name": "rendered", "task": "dice"},
    "printed": {"name": "rendered", "task": "printed"},
}
HILL_CLIMB: dict[str, tuple[str, str]] = {
    "good, fresh": ("good", "fresh"),
    "good, continued": ("good", "continued"),
    "good+bad, fresh": ("good+bad", "fresh"),
    "good+bad, continued": ("good+bad", "continued"),
}
RANDOM = {"random search": []}
ARMS = [*RANDOM, *HILL_CLIMB]
PAIRS = [
    ("good+bad, fresh", "random search"),
    ("good+bad, continued", "random search"),
    ("good+bad, fresh", "good, fresh"),
    ("good+bad, continued", "good, continued"),
    ("good+bad, continued", "good+bad, fresh"),
]
CHECKPOINTS = (10, 30, 100)
END = -1  # stands for all evaluations


def arguments(arm: str, parts: dict[str, Any], *, seed: int) -> dict[str, Any]:
    """The recipe of one run. Random search draws from the whole vocabulary, the same that the proposer has."""
    recipe = read_recipe(HERE / "recipe.toml") | parts | {"seed": seed, "run": None}
    if arm in RANDOM:
        recipe["optimizer"] = {"name": "random-search", "pool": {"name": "grammar"}}
    else:
        feedback, conversation = HILL_CLIMB[arm]
        recipe["optimizer"]["feedback"] = feedback
        recipe["optimizer"]["proposer"]["conversation"] = conversation
    return recipe


def searched(result: Result) -> list[Step]:
    """The answers of the search, without those of the verdict."""
    return [step for step in result.steps if step.stage == "search"]


def incumbents(result: Result) -> dict[int, Prompt]:
    """The best prompt after each checkpoint, ``0`` being the start."""
    ranks: dict[Prompt, tuple[float, float]] = {}
    best = Prompt(result.start)
    found = {0: best}
    for n, step in enumerate(searched(result), start=1):
        ranks[step.question.prompt] = step.answer.rank
        if ranks[step.question.prompt] > ranks.get(best, (-np.inf, -np.inf)):
            best = step.question.prompt
        if n in CHECKPOINTS:
            found[n] = best
    return found | {END: best}


def held_out(plan: Plan, prompts: Iterable[Prompt]) -> list[float]:
    """Accuracy of prompts on the test split."""
    assert plan.test is not None
    return [rating.value for rating in plan.test.answer([Rate(prompt) for prompt in prompts])]


def one_task(task: str, *, shots: int, seed: int) -> Iterator[dict[str, Any]]:
    """Search once with every arm, then open the test split for what each search held best on its way."""
    data = build("datasets", {**TASKS[task], "shots": shots, "seed": seed}, where="data")
    target = build("targets", "clip", where="target", offered={"classes": data.classes})
    for arm in ARMS:
        recipe = arguments(arm, {"data": data, "target": target}, seed=seed)
        result = execute(recipe)
        found = incumbents(result)
        scores = dict(zip(found, held_out(prepare(recipe), found.values()), strict=True))
        run = {"task": task, "arm": arm, "seed": seed, "evaluations": len(searched(result)), "test": scores}
        yield {**run, "train": result.score(result.best), "best": result.best}


def table(rows: list[list[str]]) -> str:
    """Rows as Markdown, the first being the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def with_interval(values: Iterable[float]) -> str:
    """Mean in points, with its 95% bootstrap interval where there are enough values for one, else with their range."""
    points = 100 * np.array(list(values))
    low, high = interval(points, rng=np.random.default_rng(0))
    if low is None or high is None:
        return f"{points.mean():.1f} [{points.min():.1f} to {points.max():.1f}]"
    return f"{points.mean():.1f} ({low:.1f} to {high:.1f})"


def report(runs: list[dict[str, Any]]) -> str:
    """The three tables: accuracy by task, accuracy by evaluations, and paired differences."""
    tasks = list(dict.fromkeys(run["task"] for run in runs))
    by = {(run["arm"], run["task"], run["seed"]): run["test"] for run in runs}
    seeds = sorted({run["seed"] for run in runs})

    def values(arm: str, at: int, tasks: list[str] = tasks) -> list[float]:
        return [by[arm, task, seed][at] for task in tasks for seed in seeds]

    by_task = [["task", "start", *ARMS]]
    for task in tasks:
        start = f"{100 * np.mean(values(ARMS[0], 0, [task])):.1f}"
        by_task.append([task, start, *(with_interval(values(arm, END, [task])) for arm in ARMS)])
    by_task.append(["**all**", "", *(with_interval(values(arm, END)) for arm in ARMS)])
    points = [*CHECKPOINTS, END]
    by_count = [["evaluations", *map(str, CHECKPOINTS), "all"]]
    by_count += [[arm, *(f"{100 * np.mean(values(arm, n)):.1f}" for n in points)] for arm in ARMS]
    pairs = [["comparison", "difference in points"]]
    for one, other in PAIRS:
        gaps = np.array(values(one, END)) - np.array(values(other, END))
        pairs.append([f"{one} against {other}", with_interval(gaps)])
    return "\n\n".join(table(rows) for rows in (by_task, by_count, pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="runs of every task and arm")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--shots", type=int, default=16, help="labelled images per class")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--out", type=Path, help="where to write every run as JSON")
    options = parser.parse_args()
    began = time.monotonic()
    runs = [
        run
        for task in options.tasks
        for seed in range(options.first_seed, options.first_seed + options.seeds)
        for run in one_task(task, shots=options.shots, seed=seed)
    ]
    if options.out:
        options.out.write_text("\n".join(json.dumps(run) for run in runs) + "\n", encoding="utf-8")
    print(report(runs))
    means = {arm: float(np.mean([run["test"][END] for run in runs if run["arm"] == arm])) for arm in ARMS}
    print(json.dumps({"runs": len(runs), "seconds": round(time.monotonic() - began), "accuracy": means}))


if __name__ == "__main__":
    main()
