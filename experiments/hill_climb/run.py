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
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from promptopt.api import execute, prepare
from promptopt.core import Prompt, Rate
from promptopt.recipe.build import build
from promptopt.recipe.read import read_recipe
from promptopt.run.plan import Plan
from promptopt.run.recorder import Step
from promptopt.run.result import Result
from promptopt.stats import interval
from promptopt.targets.clip import Clip

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
WITHOUT = {"random search": {"name": "random-search", "pool": {"name": "grammar"}}, "bayes": {"name": "bayes"}}
ARMS = [*WITHOUT, *HILL_CLIMB]
PAIRS = [
    ("bayes", "random search"),
    ("bayes", "good+bad, fresh"),
    ("good+bad, fresh", "random search"),
    ("good+bad, continued", "random search"),
    ("good+bad, fresh", "good, fresh"),
    ("good+bad, continued", "good, continued"),
    ("good+bad, continued", "good+bad, fresh"),
]
WRITTEN = {  # by somebody who knows what the images show and has not tried anything; as in ../liu2024/run.py
    "digits": "a photo of a handwritten digit {}",
    "digits rotated": "a photo of a handwritten digit {} upside down",
    "seven-segment": "a photo of the digit {} on a seven segment display",
    "tally": "a photo of {} tally marks",
    "roman": "a photo of the roman numeral {}",
    "dice": "a photo of a die showing {}",
    "printed": "a photo of a printed digit {}",
}
CHECKPOINTS = (10, 30, 100)
END = -1  # stands for all evaluations


def arguments(arm: str, parts: dict[str, Any], *, seed: int) -> dict[str, Any]:
    """The recipe of one run. Random search and bayes have the whole vocabulary, the same that the proposer has."""
    recipe = read_recipe(HERE / "recipe.toml") | parts | {"seed": seed, "run": None, "verdict": False}
    if arm in WITHOUT:
        recipe["optimizer"] = WITHOUT[arm]
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


@cache
def target_for(classes: tuple[str, ...]) -> Clip:
    """One model for all tasks with these classes."""
    return Clip(classes=classes)


def one_task(task: str, arms: Sequence[str], *, shots: int, seed: int) -> Iterator[dict[str, Any]]:
    """Search once with every arm, then open the test split for what each search held best on its way."""
    data = build("datasets", {**TASKS[task], "shots": shots, "seed": seed}, where="data")
    parts = {"data": data, "target": target_for(data.classes)}
    written = held_out(prepare(arguments(arms[0], parts, seed=seed) | {"verdict": True}), [Prompt(WRITTEN[task])])
    for arm in arms:
        recipe = arguments(arm, parts, seed=seed)
        began = time.monotonic()
        result = execute(recipe)
        seconds = time.monotonic() - began
        found = incumbents(result)
        plan = prepare(recipe | {"verdict": True})
        scores = dict(zip(map(str, found), held_out(plan, found.values()), strict=True))
        run = {"task": task, "arm": arm, "seed": seed, "evaluations": len(searched(result)), "test": scores}
        yield {**run, "written": written[0], "seconds": round(seconds, 2), "best": found[END].text}


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
    """Accuracy by task, accuracy by evaluations, paired differences, and those with random search on the way."""
    tasks = list(dict.fromkeys(run["task"] for run in runs))
    by = {(run["arm"], run["task"], run["seed"]): run for run in runs}
    arms = [arm for arm in ARMS if any(run["arm"] == arm for run in runs)]
    seeds = [s for s in sorted({r["seed"] for r in runs}) if all((a, t, s) in by for a in arms for t in tasks)]

    def values(arm: str, at: int, tasks: list[str] = tasks) -> list[float]:
        return [by[arm, task, seed]["test"][str(at)] for task in tasks for seed in seeds]

    def against(arm: str, other: str, at: int) -> str:
        return with_interval(np.subtract(values(arm, at), values(other, at)))

    hand = {task: [by[arms[0], task, seed]["written"] for seed in seeds] for task in tasks}
    by_task = [["task", "start", "hand-written", *arms]]
    for task in tasks:
        known = [values(arms[0], 0, [task]), hand[task]]
        cells = [with_interval(values(arm, END, [task])) for arm in arms]
        by_task.append([task, *(f"{100 * np.mean(some):.1f}" for some in known), *cells])
    every = [value for task in tasks for value in hand[task]]
    by_task.append(["**all**", "", f"{100 * np.mean(every):.1f}", *(with_interval(values(arm, END)) for arm in arms)])
    points = [*CHECKPOINTS, END]
    by_count = [["evaluations", *map(str, CHECKPOINTS), "all"]]
    by_count += [[arm, *(f"{100 * np.mean(values(arm, n)):.1f}" for n in points)] for arm in arms]
    pairs = [["comparison", "difference in points"]]
    pairs += [[f"{a} against {b}", against(a, b, END)] for a, b in PAIRS if a in arms and b in arms]
    pairs += [[f"{a} against hand-written", with_interval(np.subtract(values(a, END), every))] for a in arms]
    tables = [by_task, by_count, pairs]
    if "bayes" in arms and "random search" in arms:
        ahead = ["bayes against random search", *(against("bayes", "random search", n) for n in points)]
        tables.append([["after evaluations", *map(str, CHECKPOINTS), "all"], ahead])
    return "\n\n".join(table(rows) for rows in tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="runs of every task and arm")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--shots", type=int, default=16, help="labelled images per class")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--out", type=Path, help="where to write every run as JSON")
    parser.add_argument("--arms", nargs="*", default=ARMS, choices=ARMS)
    options = parser.parse_args()
    began, runs = time.monotonic(), []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for task in options.tasks:
            for run in one_task(task, options.arms, shots=options.shots, seed=seed):
                runs.append(run)
                if options.out:
                    with options.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(run) + "\n")
    print(report(runs))
    means = {arm: float(np.mean([r["test"][str(END)] for r in runs if r["arm"] == arm])) for arm in options.arms}
    print(json.dumps({"runs": len(runs), "seconds": round(time.monotonic() - began), "accuracy": means}))


if __name__ == "__main__":
    main()
