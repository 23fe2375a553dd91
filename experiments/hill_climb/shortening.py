"""What dropping parts of an answer costs on images that nobody chose by, for several meanings of a fall.

    python experiments/hill_climb/shortening.py --first-seed 10 --seeds 4 --out answers.jsonl

For every task and seed one search with ``bayes``, 300 evaluations, 16 images per class. Its best prompt is then
shortened with each rule, 20 ratings at the most, and all are tried on the held-out images. Prints the tables of
README.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from run import TASKS, arguments, held_out, incumbents, searched, table, target_for, with_interval

from promptopt.api import execute, prepare
from promptopt.core import Prompt, Rate, Rating
from promptopt.recipe.build import build
from promptopt.run.plan import Plan
from promptopt.run.shorten import shorten, shorter

ANY = float("inf")  # of the tiebreak: it plays no part
RULES = {  # standard errors of the rating, and share of the tiebreak, by which a fall is none
    "no fall": (0.0, ANY),
    "1 error": (1.0, ANY),
    "1.5 errors": (1.5, ANY),
    "2 errors": (2.0, ANY),
    "1 error, a tenth": (1.0, 0.1),
    "1.5 errors, a tenth": (1.5, 0.1),
}
MOST = 20  # ratings, as a run keeps back by default
END = -1


def one_answer(task: str, *, seed: int) -> dict[str, Any]:
    """Search once, shorten with every rule, open the test split for what each leaves."""
    data = build("datasets", {**TASKS[task], "shots": 16, "seed": seed}, where="data")
    recipe = arguments("bayes", {"data": data, "target": target_for(data.classes)}, seed=seed)
    result = execute(recipe)
    plan = prepare(recipe | {"verdict": True})
    known = {step.question.prompt: step.answer for step in searched(result)}
    best = incumbents(result)[END]
    answers = {"searched": best} | dict(shortened(plan, best, known))
    tested = dict(zip(answers, held_out(plan, answers.values()), strict=True))
    told = {name: {"text": prompt.text, "test": tested[name]} for name, prompt in answers.items()}
    return {"task": task, "seed": seed, "searched": len(known), "answers": told}


def shortened(plan: Plan, best: Prompt, known: dict[Prompt, Rating]) -> Iterator[tuple[str, Prompt]]:
    """What each rule leaves of a prompt."""

    def rate(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Rating]]:
        return list(zip(prompts, plan.scorer.answer([Rate(prompt) for prompt in prompts]), strict=True))

    drop = shorter(plan, getattr(plan.optimizer, "vocabulary", ()))
    for name, (errors, slack) in RULES.items():
        may = {"errors": errors, "slack": slack}
        found, *_ = shorten(best, known[best], shorter=drop, rate=rate, most=MOST, known=known, **may)
        yield name, found


def report(answers: Sequence[dict[str, Any]]) -> str:
    """Words, accuracy and paired difference by rule; by task the differences; the answers of the first seed."""
    names = ["searched", *RULES]

    def tested(name: str, task: str | None = None) -> list[float]:
        return [a["answers"][name]["test"] for a in answers if task in (None, a["task"])]

    def words(name: str) -> float:
        return float(np.mean([len(a["answers"][name]["text"].split()) for a in answers]))

    def change(name: str, task: str | None = None) -> str:
        return with_interval(np.subtract(tested(name, task), tested("searched", task)))

    rules = [["what is no fall", "words", "accuracy", "change"]]
    rules += [[name, f"{words(name):.1f}", f"{100 * np.mean(tested(name)):.1f}", change(name)] for name in names]
    by_task = [["task", *names[1:]]]
    by_task += [
        [task, *(change(name, task) for name in names[1:])] for task in dict.fromkeys(a["task"] for a in answers)
    ]
    first = min(a["seed"] for a in answers)
    texts = [["task", *names]]
    texts += [[a["task"], *(a["answers"][name]["text"] for name in names)] for a in answers if a["seed"] == first]
    return "\n\n".join(map(table, (rules, by_task, texts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=10)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--out", type=Path, help="where to write every answer as JSON, anew")
    parser.add_argument(
        "--report", nargs="*", type=Path, help="search nothing; print the tables of these files together"
    )
    options = parser.parse_args()
    if options.report:
        print(report([json.loads(line) for file in options.report for line in file.read_text().splitlines()]))
        return
    if options.out:
        options.out.unlink(missing_ok=True)
    answers = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for task in options.tasks:
            answers.append(one_answer(task, seed=seed))
            if options.out:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(answers[-1]) + "\n")
    print(report(answers))


if __name__ == "__main__":
    main()
