"""Compare searches on the embedded LM at equal numbers of forward passes.

    python experiments/greater/run.py --out runs.jsonl
    python experiments/greater/run.py --tasks arithmetic --arms greater gcg --seeds 0 1 --out part.jsonl
    python experiments/greater/run.py --report runs.jsonl part.jsonl

For every task, arm and seed one run with ``recipe.toml``, and for every task and seed one look at how well the
gradient tells which candidate has the least loss. Appends one JSON line per run to ``--out``, leaving out those that it
holds, and prints the tables of README.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

import promptopt
from promptopt.api import execute
from promptopt.core import Dataset, Example, Prompt, Rate, Rating, Setup
from promptopt.data.reasoning import TASKS, reasoning
from promptopt.optimizers import HillClimb, LexicalProposer, RandomSearch
from promptopt.optimizers.gcg import Gcg
from promptopt.optimizers.greater import Greater
from promptopt.optimizers.token_search import ALLOWED, directions, likeliest, pattern, takeable, usable_tokens
from promptopt.recipe.read import read_recipe
from promptopt.scorers.task_loss import TaskLoss
from promptopt.stats import interval
from promptopt.targets.local_lm import LocalLM
from promptopt.testing import FakeSetup

HERE = Path(__file__).parent
EMBEDDED = Path(promptopt.__file__).parent / "embedded" / "lm"
UPHILL = {"downhill": False, "stay": False, "again": False}
OPTIONS: dict[str, dict[str, Any]] = {  # of greater
    "greater": {},
    "uphill, unit": {**UPHILL, "average": "unit"},
    "uphill": UPHILL,
    "unit": {"average": "unit"},
    "not downhill": {"downhill": False},
    "not stay": {"stay": False},
    "not again": {"again": False},
    "without reasoning": {"reasoning": False},
    "random proposals": {"shortlist": "random"},
    "race": {"shortlist": "race"},
}
GCGS: dict[str, dict[str, Any]] = {"gcg": {}, "gcg uphill": {"downhill": False}}
ARMS = (*OPTIONS, *GCGS, "random search", "hill-climb")
COMPARED = [
    *(("greater", other) for other in ARMS[1:]),
    ("uphill, unit", "random search"),
    ("uphill, unit", "hill-climb"),
    ("gcg", "gcg uphill"),
    ("gcg", "hill-climb"),
    ("gcg", "random search"),
]
CORRELATION = "correlation"
RATINGS = 100  # a search may make as many forward passes as it takes to rate so many prompts
BACKWARD = 2  # a backward pass counts as so many forward passes
WAYS: dict[str, dict[str, Any]] = {"": {}, " unit": {"average": "unit"}, " without": {}}
LOOKS = (*(f"{name}{way}" for name in ("rank", "regret") for way in WAYS), "chance")
CASES = 8  # positions at which gradient and loss are compared, for a task and seed
SHOWN = 20  # candidates compared at each


# ── Forward passes, counted ───────────────────────────────────────────────────────────────────────────────────────


class Spent(Exception):
    """The forward passes are used up."""


class Metered(LocalLM):
    """Counts forward passes, one example and one prompt each.

    A rating is one for every example, whatever it takes to reason and answer. So is a gradient's forward pass; its
    backward pass counts as two more. Reasoning written for the gradient alone is one more. ``gcg`` takes the gradients
    of all positions, for which one pass would do, so they count as one.
    """

    def meter(self, *, backward: bool, once: bool, limit: int) -> None:
        """Begin to count."""
        self.spent, self.limit, self.known = 0, limit, set[str]()
        self.price, self.once = 1 + BACKWARD * backward, once

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Any:
        self.spent += len(prompts) * len(examples)
        self.known |= {prompt.text for prompt in prompts}
        return super().run_batch(prompts, examples)

    def step(self, text: str, position: int, examples: Sequence[Example], **options: Any) -> Any:
        if self.spent >= self.limit:
            raise Spent
        if not (self.once and position):
            self.spent += (self.price if options.get("with_gradient", True) else 1) * len(examples)
        if options["with_reasoning"] and text not in self.known:
            self.spent += len(examples)
        return super().step(text, position, examples, **options)

    def losses(self, texts: Sequence[str], examples: Sequence[Example]) -> Any:
        self.spent += len(texts) * len(examples)
        return super().losses(texts, examples)


class Until:
    """An optimizer that stops when the forward passes are used up."""

    question = Rate

    def __init__(self, optimizer: Any, target: Metered) -> None:
        self.optimizer, self.target = optimizer, target
        self.used = 0

    def begin(self, setup: Setup, /) -> None:
        self.optimizer.begin(setup)

    def ask(self) -> Sequence[Rate]:
        try:
            questions: Sequence[Rate] = () if self.target.spent >= self.target.limit else self.optimizer.ask()
        except Spent:
            questions = ()
        self.used = self.target.spent if not questions else self.used
        return questions

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        self.optimizer.tell(answered)

    def best(self) -> Prompt:
        return self.optimizer.best()


# ── The arms ──────────────────────────────────────────────────────────────────────────────────────────────────────


def words(lm: LocalLM) -> list[str]:
    """The words of the model's vocabulary that a prompt may hold."""
    usable = usable_tokens(lm.vocabulary, pattern(r" ?[A-Za-z]+"))
    said = sorted({text.strip() for text, good in zip(lm.vocabulary, usable, strict=True) if good})
    return [word for word in said if len(word) > 1 or word == "a"]


class Words:
    """A pool of random words, as many as the other searches may use."""

    def __init__(self, words: Sequence[str], *, longest: int) -> None:
        self.words, self.longest = words, longest

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        while True:
            chosen = rng.choice(self.words, int(rng.integers(3, self.longest)), replace=False)
            yield f"{' '.join(str(word) for word in chosen)}."


def optimizer(arm: str, lm: Metered, data: Dataset, options: dict[str, Any]) -> Any:
    """What searches in an arm."""
    lm.meter(backward=arm != "random proposals", once=arm in GCGS, limit=RATINGS * len(data.train))
    given: dict[str, Any] = {"target": lm, "examples": data.train}
    if arm in GCGS:
        return Gcg(**given, steps=10_000, k=64, candidates=8, **GCGS[arm])
    if arm == "random search":
        return RandomSearch(pool=Words(words(lm), longest=options["longest"]), batch=5)
    if arm == "hill-climb":
        proposer = LexicalProposer(phrases=words(lm))
        return HillClimb(proposer=proposer, restarts=1, resets=1, iterations=10_000, k=5, per_call=5)
    return Greater(**given, **options, **OPTIONS[arm])


def recipe(seed: int) -> dict[str, Any]:
    """What all runs share."""
    return read_recipe(HERE / "recipe.toml") | {"seed": seed, "run": None}


@cache
def told(task: str, seed: int) -> Dataset:
    """The examples of a task and seed."""
    sizes = {key: value for key, value in recipe(seed)["data"].items() if key in ("train", "dev", "test")}
    return reasoning(task=task, seed=seed, **sizes)


@lru_cache(maxsize=1)
def target(task: str, seed: int, model: str) -> Metered:
    """The arms of a task and seed share what it has written, which saves work and changes no token."""
    options = {key: value for key, value in recipe(seed)["target"].items() if key != "name"}
    return Metered(**options | {"model": model})


@cache
def accuracy(text: str, task: str, seed: int, model: str) -> float:
    """On the held-out examples."""
    lm, test = target(task, seed, model), told(task, seed).test
    (rating,) = TaskLoss(target=lm, examples=test, select="accuracy").answer([Rate(Prompt(text))])
    return rating.value


def one_run(task: str, arm: str, seed: int, *, model: str) -> dict[str, Any]:
    """Search once, then open the test split."""
    began, arguments = time.process_time(), recipe(seed)
    data, lm = told(task, seed), target(task, seed, model)
    options = {key: value for key, value in arguments["optimizer"].items() if key != "name"} | {"steps": 10_000}
    searching = Until(optimizer(arm, lm, data, options), lm)
    result = execute(
        {**arguments, "optimizer": searching, "target": lm, "data": data, "budget": 100_000, "verdict": False}
    )
    return {
        "task": task, "arm": arm, "seed": seed, "forwards": searching.used, "train": result.score(result.best),
        "ratings": sum(step.stage == "search" for step in result.steps),
        "start": accuracy(arguments["start"], task, seed, model), "test": accuracy(result.best, task, seed, model),
        "best": result.best, "seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


# ── Does the gradient know? ───────────────────────────────────────────────────────────────────────────────────────


def correlation(task: str, seed: int, *, model: str) -> dict[str, Any]:
    """Over random prompts and positions: gradient of candidates against the loss they come to.

    ``rank``: Spearman's correlation of gradient and loss, also with each example's gradient at length 1, and without
    reasoning in the gradient; ``regret``: how far the best of the three most negative is above the best of all;
    ``chance``: the same for three at random.
    """
    began, arguments = time.process_time(), recipe(seed)
    lm, examples = target(task, seed, model), told(task, seed).train
    lm.meter(backward=True, once=False, limit=10**9)
    rng = np.random.default_rng([seed, 55])
    setup = FakeSetup(problem_with=lambda text: lm.problem_with(Prompt(text)))
    usable = usable_tokens(lm.vocabulary, pattern(ALLOWED))
    pool = Words(words(lm), longest=9).draw(rng)
    weight = arguments["optimizer"]["perplexity_weight"]
    found: dict[str, list[float]] = {name: [] for name in LOOKS}
    for case in range(CASES):
        text = arguments["start"] if case < 3 else next(pool)
        tokens = lm.tokens(text)
        position = int(rng.integers(len(tokens)))
        seen = {
            on: lm.step(text, position, examples, with_reasoning=on, perplexity_weight=weight) for on in (True, False)
        }
        ranked = zip(*likeliest(seen[True], usable, SHOWN), strict=False)  # every example's first, then every second
        proposed = [token for token in dict.fromkeys(t for row in ranked for t in row) if token != tokens[position]]
        new = takeable(lm, setup, text, position, proposed[:SHOWN])
        losses = lm.losses([*new.values()], examples).mean(axis=1)
        if len(new) < 6 or np.ptp(losses) == 0:
            continue
        for name, how in WAYS.items():
            slopes = directions(seen[name != " without"], [*new], **how)
            found[f"rank{name}"].append(float(spearmanr(slopes, losses).statistic))
            found[f"regret{name}"].append(float(losses[np.argsort(slopes)[:3]].min() - losses.min()))
        drawn = [losses[rng.permutation(len(losses))[:3]].min() - losses.min() for _ in range(200)]
        found["chance"].append(float(np.mean(drawn)))
    seconds = round(time.process_time() - began, 1)
    return {"task": task, "arm": CORRELATION, "seed": seed, **found, "seconds": seconds}


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(rows: list[list[str]]) -> str:
    """Rows as Markdown, the first being the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def shown(values: Sequence[float], *, scale: float = 100, digits: int = 1) -> str:
    """Mean with its 95% bootstrap interval, or with the range of fewer than ten values."""
    points = scale * np.array(values, dtype=float)
    low, high = interval(points, rng=np.random.default_rng(0))
    if low is None or high is None:
        return f"{points.mean():.{digits}f} [{points.min():.{digits}f} to {points.max():.{digits}f}]"
    return f"{points.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def report(lines: Sequence[dict[str, Any]]) -> str:
    """Accuracy by task, paired differences, and what the gradient knows."""
    runs = {(line["arm"], line["task"], line["seed"]): line for line in lines}
    arms = [arm for arm in ARMS if any(key[0] == arm for key in runs)]
    tasks = [task for task in TASKS if any(key[1] == task for key in runs)]
    tables = []
    if arms:
        rows = [["task", "start", *arms]]
        for task in tasks:
            starts = [run["start"] for (_, t, _), run in runs.items() if t == task and "start" in run]
            rows.append([task, f"{100 * np.mean(starts):.1f}", *(cell(runs, arm, [task]) for arm in arms)])
        rows.append(["**all**", "", *(cell(runs, arm, tasks) for arm in arms)])
        tables.append(table(rows))
    pairs = [["comparison", "difference in points", "wins and losses"]]
    for one, other in COMPARED:
        keys = [key[1:] for key in runs if key[0] == other and (one, *key[1:]) in runs]
        gaps = [runs[(one, *key)]["test"] - runs[(other, *key)]["test"] for key in keys]
        if gaps:
            wins, losses = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
            pairs.append([f"{one} against {other}", shown(gaps), f"{wins} and {losses} of {len(gaps)}"])
    tables += [table(pairs)] if len(pairs) > 1 else []
    looks = {task: [run for key, run in runs.items() if key[:2] == (CORRELATION, task)] for task in tasks}
    looks["**all**"] = [run for found in looks.values() for run in found]
    rows = [["task", *LOOKS]]
    for name, found in looks.items():
        if found:
            rows.append([name, *(shown([x for run in found for x in run[one]], scale=1, digits=2) for one in LOOKS)])
    tables += [table(rows)] if len(rows) > 1 else []
    return "\n\n".join(tables)


def cell(runs: dict[Any, dict[str, Any]], arm: str, tasks: Sequence[str]) -> str:
    """Held-out accuracy of an arm; a dash where one of the tasks was not run."""
    of = {task: [run["test"] for key, run in runs.items() if key[:2] == (arm, task)] for task in tasks}
    return shown([value for part in of.values() for value in part]) if all(of.values()) else "–"


def main() -> None:
    """Run what is asked for, or report what was run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--arms", nargs="*", default=[*ARMS, CORRELATION], choices=[*ARMS, CORRELATION])
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(5)))
    parser.add_argument("--model", default=str(EMBEDDED))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a file to append every run to, as JSON lines; what it holds stays")
    parser.add_argument("--report", nargs="*", type=Path, help="run nothing; print the tables of these files")
    options = parser.parse_args()
    if options.report:
        print(report([line for path in options.report for line in read(path)]))
        return
    torch.set_num_threads(options.threads)
    lines = read(options.out) if options.out and options.out.exists() else []
    done = {(line["task"], line["arm"], line["seed"]) for line in lines}
    for seed, task, arm in product(options.seeds, options.tasks, options.arms):
        if (task, arm, seed) not in done:
            one = correlation if arm == CORRELATION else partial(one_run, arm=arm)
            lines.append(one(task=task, seed=seed, model=options.model))
            if options.out:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
    print(report(lines))


def read(path: Path) -> list[dict[str, Any]]:
    """The runs in a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
