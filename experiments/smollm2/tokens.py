"""Searches that write prompts, on the likelihood of labels of SmolLM2, at equal forward passes; and what goes across.

    python experiments/smollm2/tokens.py --out experiments/smollm2/tokens.jsonl --page    # appends what is missing
    python experiments/smollm2/tokens.py --tasks category --arms greater gcg --seeds 0
    python experiments/smollm2/tokens.py --report experiments/smollm2/tokens.jsonl

A pass is one example with one prompt; a gradient costs two, as in ``gradient.py``, at all positions together for
``gcg``. What a proposer writes is not counted. With ``across`` the same random prompts are tried on SmolLM2 and on the
embedded LM, on the latter's tasks.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import product, zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from gradient import shown, table
from matrix import HERE
from run import halves
from tasks import INPUT_FIRST, TASKS

from promptopt.api import execute
from promptopt.core import Dataset, Example, Prompt
from promptopt.data.reasoning import reasoning
from promptopt.models.local import Local
from promptopt.optimizers import HillClimb, LexicalProposer, RandomSearch
from promptopt.optimizers.gcg import Gcg
from promptopt.optimizers.greater import Greater
from promptopt.optimizers.proposers.chat import ChatProposer
from promptopt.stats import interval
from promptopt.targets.local_lm import LocalLM

RATINGS, SEEN = 40, 16  # what may be spent, in ratings; examples that a search sees
EXAMPLES = 80  # of a task; half of them are the test
ACROSS = ("boolean", "comparing")  # tasks of the embedded LM
DRAWN, ASKED = 24, 40  # prompts and examples that go across
ARMS = (
    "greater",
    "greater, race",
    "greater, uphill",
    "greater, random proposals",
    "gcg",
    "random search",
    "hill-climb, lexical",
    "hill-climb, SmolLM2",
)
PHRASES = (
    "please", "carefully", "now", "in one word", "read it twice", "name the kind", "say what it is", "the answer is",
    "choose", "label it", "what is it?", "think of a dictionary", "answer", "this word", "sort it", "which kind?",
)  # fmt: skip


def script(name: str) -> ModuleType:
    """``experiments/greater/run.py``, which has the same name as a script here."""
    spec = importlib.util.spec_from_file_location(name, HERE.parent / "greater" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GREATER = script("greater_run")
GREATER.BACKWARD = 1


# ── Searches ──────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def target(task: str) -> Any:
    """SmolLM2 names the labels; passes are counted."""
    own = TASKS[task]
    template = INPUT_FIRST.format(thing=own.thing.capitalize())
    how: dict[str, Any] = {"answers": "likelihood", "labels": own.classes, "calibration": "none"}
    return GREATER.Metered(model="smollm2", chat_template=False, template=template, **how)


def optimizer(arm: str, lm: Any, data: Dataset, start: str) -> Any:
    """What searches in an arm."""
    backward = arm in ("greater", "greater, uphill", "gcg")
    lm.meter(backward=backward, once=arm == "gcg", limit=RATINGS * len(data.train))
    given: dict[str, Any] = {"target": lm, "examples": data.train, "perplexity_weight": 0.0, "reasoning": False}
    if arm == "gcg":
        return Gcg(**given, steps=10_000, k=64, candidates=8)
    if arm == "random search":
        return RandomSearch(pool=GREATER.Words(GREATER.words(lm), longest=9), batch=5)
    if arm.startswith("hill-climb"):
        chat = Local(model="smollm2", max_tokens=80)
        proposer = LexicalProposer(phrases=PHRASES) if "lexical" in arm else ChatProposer(model=chat)
        return HillClimb(proposer=proposer, restarts=1, resets=1, iterations=10_000, k=5, per_call=5)
    how = {
        "greater": {},
        "greater, race": {"shortlist": "race"},
        "greater, uphill": GREATER.UPHILL,
        "greater, random proposals": {"shortlist": "random"},
    }[arm]
    return Greater(**given, steps=10_000, k=40, longest=len(lm.tokens(start)) + 4, **how)


def one_run(task: str, arm: str, seed: int) -> dict[str, Any]:
    """Search once, then open the test half."""
    began, lm = time.process_time(), target(task)
    whole = halves(TASKS[task].examples(EXAMPLES), TASKS[task], seed)
    data = replace(whole, train=few(whole.train))
    start = TASKS[task].written[0]
    searching = GREATER.Until(optimizer(arm, lm, data, start), lm)
    recipe = {"start": start, "data": data, "target": lm, "optimizer": searching, "budget": 2 * RATINGS, "seed": seed}
    found = execute({**recipe, "shorten": 0, "run": None, "verdict": False})
    lm.limit = 10**9
    test = [accuracy(lm, text, data) for text in (start, found.best)]
    return {
        "task": task, "arm": arm, "seed": seed, "passes": searching.used, "start": test[0], "test": test[1],
        "train": found.score(found.best), "best": found.best, "seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def few(examples: Sequence[Example]) -> tuple[Example, ...]:
    """The first ones of each class, the classes in turns."""
    by = [[one for one in examples if one.label == label] for label in dict.fromkeys(one.label for one in examples)]
    return tuple(one for row in zip_longest(*by) for one in row if one is not None)[:SEEN]


def accuracy(lm: Any, text: str, data: Dataset) -> float:
    """On the test half."""
    outputs = lm.run(Prompt(text), data.test)
    return float(np.mean([str(one) == example.label for one, example in zip(outputs, data.test, strict=True)]))


# ── Across ────────────────────────────────────────────────────────────────────────────────────────────────────────


def across(task: str) -> dict[str, Any]:
    """How likely the true label is under the same prompts on both models, the mean over examples of either half."""
    began = time.process_time()
    data = reasoning(task=task, train=ASKED, dev=0, test=10)  # type: ignore[arg-type]
    labels = sorted({str(one.label) for one in data.train})
    how: dict[str, Any] = {"answers": "likelihood", "labels": labels}
    lms = {
        "embedded": LocalLM(model="embedded", **how),
        "SmolLM2": LocalLM(model="smollm2", chat_template=False, **how),
    }
    pool = GREATER.Words(GREATER.words(lms["embedded"]), longest=9).draw(np.random.default_rng(0))
    prompts = [next(pool) for _ in range(DRAWN)]
    found: dict[str, Any] = {}
    for name, lm in lms.items():
        rows = [
            [out.log_probabilities[example.label] for out, example in zip(said, data.train, strict=True)]
            for said in lm.run_batch([Prompt(text) for text in prompts], data.train)
        ]
        found[name] = np.round(np.array(rows), 3).tolist()
    return {"task": task, "arm": "across", "seed": 0, **found, "seconds": round(time.process_time() - began, 1)}


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────


def report(lines: Sequence[dict[str, Any]]) -> str:
    """Accuracy of what was found, differences to the start, and what goes across."""
    runs = [line for line in lines if line["arm"] != "across"]
    tables = [searches(runs)] if runs else []
    rows = [line for line in lines if line["arm"] == "across"]
    return "\n\n".join([*tables, *([transferred(rows)] if rows else [])])


def searches(runs: Sequence[dict[str, Any]]) -> str:
    """An arm a row."""
    tasks = [task for task in TASKS if any(run["task"] == task for run in runs)]
    rows = [["arm", "runs", *tasks, "against the start, points", "against greater, points", "found"]]
    of = {(run["arm"], run["task"], run["seed"]): run for run in runs}
    for arm in ("start", *ARMS):
        own = [run for run in runs if run["arm"] == arm] if arm != "start" else [r for r in runs if r["arm"] == ARMS[0]]
        if not own:
            continue
        what = "start" if arm == "start" else "test"
        cells = [f"{100 * np.mean([r[what] for r in own if r['task'] == t] or [np.nan]):.1f}" for t in tasks]
        gains = [100 * (run[what] - run["start"]) for run in own]
        other = [of.get(("greater", run["task"], run["seed"])) for run in own]
        gaps = [100 * (run[what] - one["test"]) for run, one in zip(own, other, strict=True) if one]
        found = "" if arm == "start" else f"{max(own, key=lambda run: run['train'])['best']}".replace("|", "\\|")
        more = ["", ""] if arm == "start" else [ranged(gains), "" if arm == "greater" or not gaps else ranged(gaps)]
        rows.append([arm, str(len(own)), *cells, *more, found])
    return table(rows)


def ranged(points: Sequence[float]) -> str:
    """Mean, with the range of what there is."""
    low, high = interval(np.array(points), rng=np.random.default_rng(0))
    if low is None or high is None:
        return f"{np.mean(points):.1f} [{min(points):.1f} to {max(points):.1f}]"
    return f"{np.mean(points):.1f} ({low:.1f} to {high:.1f})"


def transferred(rows: Sequence[dict[str, Any]]) -> str:
    """What the prompt that is best on some examples of one model is worth on others of either."""
    head = ["task", "rank correlation of the prompts on the two models"]
    head += ["chosen on SmolLM2, gain there", "and on the embedded LM", "chosen on the embedded LM, gain there"]
    lines = [[*head, "and on SmolLM2"]]
    for row in rows:
        each = {name: np.array(row[name]) for name in ("SmolLM2", "embedded")}
        cells = []
        for one, other in (("SmolLM2", "embedded"), ("embedded", "SmolLM2")):
            half = each[one].shape[1] // 2
            best = int(each[one][:, :half].mean(axis=1).argmax())
            for name in (one, other):
                held = each[name][:, half:]
                cells.append(shown(list(held[best] - held.mean(axis=0))))
        lines.append([row["task"], correlated(each["SmolLM2"], each["embedded"]), *cells])
    return table(lines)


def correlated(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> str:
    """Rank correlation of prompts' means, with its bootstrap interval over prompts."""
    from scipy.stats import spearmanr

    means, rng = np.stack([one.mean(axis=1), other.mean(axis=1)]), np.random.default_rng(0)
    drawn = (means[:, rng.integers(means.shape[1], size=means.shape[1])] for _ in range(1000))
    low, high = np.nanquantile([spearmanr(*part).statistic for part in drawn], [0.025, 0.975])
    return f"{spearmanr(*means).statistic:.2f} ({low:.2f} to {high:.2f})"


def write_page(tables: str) -> None:
    """Put the tables between the marks of README.md."""
    page = HERE / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- tokens -->\n")
    _, _, after = rest.partition("<!-- end of tokens -->")
    page.write_text(f"{before}<!-- tokens -->\n{tables}\n<!-- end of tokens -->{after}", encoding="utf-8")


def jobs(options: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """What is asked for, in the order in which it is done."""
    if "across" in options.arms:
        yield from ((task, "across", 0) for task in ACROSS)
    arms = [arm for arm in options.arms if arm != "across"]
    yield from ((task, arm, seed) for seed, task, arm in product(options.seeds, options.tasks, arms))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=["category", "language"], choices=list(TASKS))
    parser.add_argument("--arms", nargs="*", default=[*ARMS, "across"], choices=[*ARMS, "across"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--out", type=Path, help="a file to append every run to; what it holds stays")
    parser.add_argument("--report", type=Path, help="run nothing; print the tables of this file")
    parser.add_argument("--page", action="store_true", help="write the tables into README.md too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = options.report or options.out
    kept = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    lines = [json.loads(line) for line in kept]
    done = {(line["task"], line["arm"], line["seed"]) for line in lines}
    for task, arm, seed in () if options.report else jobs(options):
        if (task, arm, seed) in done:
            continue
        lines.append(across(task) if arm == "across" else one_run(task, arm, seed))
        if options.out:
            with options.out.open("a", encoding="utf-8") as written:
                written.write(json.dumps(lines[-1], ensure_ascii=False) + "\n")
    print(report(lines))
    if options.page:
        write_page(report(lines))


if __name__ == "__main__":
    main()
