"""The main table of [Liu2024] at the scale that runs here: one labelled image per class, seven tasks, ten methods.

    python experiments/liu2024/run.py --seeds 10 --out runs.jsonl
    python experiments/liu2024/run.py --methods bayes "random search"   # some of the methods
    python experiments/liu2024/run.py --seeds 10 --backbone DIR     # and how the prompts do on another CLIP

``DIR`` holds another backbone, for example one that ``python experiments/embedded_clip/train.py --seed 1 --out DIR``
has trained. Prints the tables of README.md in Markdown and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from coop import CoOp

from promptopt.api import execute
from promptopt.core import Dataset, Prompt
from promptopt.recipe.build import build
from promptopt.recipe.read import read_recipe
from promptopt.stats import interval
from promptopt.targets.clip import Clip

HERE = Path(__file__).parent
TASKS: dict[str, dict[str, Any]] = {
    "digits": {"name": "digits"},
    "digits rotated": {"name": "digits", "rotated": True},
    **{task: {"name": "rendered", "task": task} for task in ("seven-segment", "tally", "roman", "dice", "printed")},
}
WRITTEN = {  # by somebody who knows what the images show and has not tried anything
    "digits": "a photo of a handwritten digit {}",
    "digits rotated": "a photo of a handwritten digit {} upside down",
    "seven-segment": "a photo of the digit {} on a seven segment display",
    "tally": "a photo of {} tally marks",
    "roman": "a photo of the roman numeral {}",
    "dice": "a photo of a die showing {}",
    "printed": "a photo of a printed digit {}",
}
PLAIN, HAND, POOL, RANDOM, RANDOM_VIEWS, BARE, BAYES, GOOD, BOTH, COOP = METHODS = (
    "a photo of a {}",
    "hand-written",
    "best of the poor pool",
    "random search",
    "random search, views",
    "bayes, views = 1",
    "bayes",
    "good only",
    "good + bad",
    "CoOp (white-box)",
)
PAIRS = [
    (BAYES, RANDOM),
    (BAYES, HAND),
    (BAYES, COOP),
    (BAYES, BARE),
    (BAYES, RANDOM_VIEWS),
    (RANDOM_VIEWS, RANDOM),
    (BARE, RANDOM),
    (BOTH, HAND),
    (BOTH, POOL),
    (BOTH, RANDOM),
    (BOTH, GOOD),
    (BOTH, COOP),
    (RANDOM, COOP),
]


def recipe(method: str) -> dict[str, Any]:
    """The search that a method stands for, as the arguments of ``optimize``."""
    table = read_recipe(HERE / "recipe.toml")
    poor = table["optimizer"]["pool"]
    if method == POOL:
        table["optimizer"] = {"name": "random-search", "pool": poor}
    elif method in (RANDOM, RANDOM_VIEWS):
        table["optimizer"] = {"name": "random-search", "pool": {"name": "grammar"}}
    elif method in (BARE, BAYES):
        table["optimizer"] = {"name": "bayes"}
    else:
        table["optimizer"]["feedback"] = "good" if method == GOOD else "good+bad"
    if method in (BAYES, RANDOM_VIEWS):
        del table["views"]  # as many as there are by default
    return table


def accuracy(target: Clip, prompt: str, data: Dataset) -> float:
    """Share of the held-out images whose likeliest class is theirs."""
    labels = [data.classes.index(example.label) for example in data.test]
    return float((np.asarray(target.run(Prompt(prompt), data.test)).argmax(axis=1) == labels).mean())


def one_task(task: str, *, seed: int, targets: dict[str, Clip], methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The methods on one task and seed; held-out accuracy on each backbone."""
    data = build("datasets", {**TASKS[task], "shots": 1, "seed": seed}, where="data")
    for method in methods:
        if method == COOP:
            learnt = CoOp().fit(targets["own"], data.train, rng=np.random.default_rng(seed))
            yield {"task": task, "method": method, "seed": seed, "test": {"own": learnt.accuracy(data.test)}}
            continue
        known = {PLAIN: "a photo of a {}", HAND: WRITTEN[task]}
        best = (
            known.get(method)
            or execute(
                {**recipe(method), "data": data, "target": targets["own"], "seed": seed, "verdict": False, "run": None}
            ).best
        )
        test = {name: accuracy(target, best, data) for name, target in targets.items()}
        yield {"task": task, "method": method, "seed": seed, "best": best, "test": test}


def table(rows: list[list[str]]) -> str:
    """Rows as Markdown, the first being the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def with_interval(values: Iterable[float]) -> str:
    """Mean in points with its 95% bootstrap interval, where there are enough values for one."""
    points = 100 * np.array(list(values))
    low, high = interval(points, rng=np.random.default_rng(0))
    return f"{points.mean():.1f}" + (f" ({low:.1f} to {high:.1f})" if low is not None else "")


def report(runs: list[dict[str, Any]]) -> str:
    """Accuracy by task and method, paired differences, and accuracy on the other backbone."""
    tasks = list(dict.fromkeys(run["task"] for run in runs))
    methods = [m for m in METHODS if any(run["method"] == m for run in runs)]
    backbones = [name for name in runs[0]["test"] if name != "own"]

    def values(method: str, chosen: list[str], backbone: str = "own") -> list[float]:
        rows = [run for run in runs if run["method"] == method and run["task"] in chosen]
        return [row["test"][backbone] for row in sorted(rows, key=lambda row: (row["task"], row["seed"]))]

    by_task = [["method", *tasks, "all"]]
    by_task += [
        [m, *(f"{100 * np.mean(values(m, [t])):.1f}" for t in tasks), with_interval(values(m, tasks))] for m in methods
    ]
    pairs = [["comparison", "difference in points"]]
    pairs += [
        [f"{one} against {other}", with_interval(np.subtract(values(one, tasks), values(other, tasks)))]
        for one, other in PAIRS
        if one in methods and other in methods
    ]
    tables = [by_task, pairs]
    for backbone in backbones if PLAIN in methods else []:
        moved = [["method", "own backbone", "the other", "gain over 'a photo of a {}' there"]]
        for method in (m for m in methods if m != COOP):
            gain = np.subtract(values(method, tasks, backbone), values(PLAIN, tasks, backbone))
            there = with_interval(values(method, tasks, backbone))
            moved.append([method, with_interval(values(method, tasks)), there, with_interval(gain)])
        tables.append(moved)
    return "\n\n".join(table(rows) for rows in tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="runs of every task and method")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--backbone", help="folder of another CLIP to try the prompts on")
    parser.add_argument("--out", type=Path, help="where to write every run as JSON, anew")
    options = parser.parse_args()
    began = time.monotonic()
    runs = []
    if options.out:
        options.out.unlink(missing_ok=True)
    for task in options.tasks:
        classes = build("datasets", {**TASKS[task], "shots": 1}, where="data").classes
        targets = {"own": Clip(classes=classes)}
        if options.backbone:
            targets["other"] = Clip(classes=classes, model=options.backbone)
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for run in one_task(task, seed=seed, targets=targets, methods=options.methods):
                runs.append(run)
                if options.out:
                    with options.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(run) + "\n")
    print(report(runs))
    means = {m: float(np.mean([run["test"]["own"] for run in runs if run["method"] == m])) for m in options.methods}
    print(json.dumps({"runs": len(runs), "seconds": round(time.monotonic() - began), "accuracy": means}))


if __name__ == "__main__":
    main()
