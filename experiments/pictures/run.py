"""Prompts for pictures of the embedded painter: generation, inversion and personalization, with no LLM.

    python experiments/pictures/run.py --out experiments/pictures/results.jsonl --page     # anew, into docs/pictures.md
    python experiments/pictures/run.py --report experiments/pictures/results.jsonl         # the tables of what is there
    python experiments/pictures/run.py --seeds 1 --methods interrogate                     # a part of it

Every search may draw as many pictures. Prompts are compared by what no search saw: the share of the hidden caption's
facts in pictures of new seeds.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from promptopt.api import execute
from promptopt.core import Dataset, Example, Picture, Prompt
from promptopt.data.painted import hidden_caption, painted
from promptopt.drawing.facts import facts_of, share_of
from promptopt.metrics import ClipSimilarity
from promptopt.scorers import BradleyTerry, MetricScorer
from promptopt.stats import t_interval
from promptopt.targets.painter import Painter
from promptopt.targets.pictures import seed_of
from promptopt.vocabulary.lists import phrase_lists

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pictures.md"
DRAWN = 4  # pictures of a prompt
PROMPTS = 48  # that a search may draw pictures of
CAPTIONS = 1000  # from this number on, so that the demo's are others
HELD_OUT = 20  # pictures of new seeds
MEANT = {  # how people say it who do not know the painter's words
    "black": "ebony", "white": "ivory", "red": "crimson", "green": "emerald", "blue": "azure", "yellow": "golden",
    "orange": "tangerine", "purple": "violet", "pink": "rosy", "gray": "ashen", "brown": "chestnut",
    "cyan": "turquoise", "handwritten": "handmade", "printed": "machine made", "seven segment": "luminous",
    "circles": "discs", "squares": "tiles", "stars": "asterisks", "triangles": "wedges", "hearts": "valentines",
    "circle": "disc", "square": "tile", "star": "asterisk", "triangle": "wedge", "heart": "valentine",
    "tally mark": "notch",
    "die": "cube", "tally marks": "notches", "clock": "dial", "roman numeral": "latin numeral", "word": "lettering",
    "zero": "nil", "one": "a single", "two": "a pair", "three": "a trio", "four": "a quartet", "five": "a quintet",
    "six": "half a dozen", "seven": "a septet", "eight": "an octet", "nine": "a nonet",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One draw of one task.

    Attributes:
        caption: what is wanted, hidden from the searches but for what ``data`` shows of it.
        start: the prompt that they start from.
        data: its label is what pictures are compared with.
        target: draws, and counts what it draws.
    """

    caption: str
    start: str
    data: Dataset
    seed: int
    target: Counting = field(default_factory=lambda: Counting())

    @property
    def recipe(self) -> dict[str, Any]:
        """What all searches have in common."""
        parts = {"data": self.data, "target": self.target, "metric": ClipSimilarity(cache=False)}
        return {**parts, "start": self.start, "seed": self.seed, "verdict": False, "run": None}

    def pool(self) -> dict[str, Any]:
        """Random prompts: the start and behind it one phrase of each of some lists."""
        rng, lists = np.random.default_rng([self.seed, 5]), phrase_lists(None)
        prompts = []
        for _ in range(PROMPTS - 1):
            said = [str(rng.choice(phrases)) for phrases in lists if rng.random() < 0.6]
            prompts.append(", ".join([self.start, *said]))
        return {"name": "list", "prompts": prompts}


class Counting(Painter):
    """The painter, with a count of the different pictures that it drew."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: set[tuple[str, int]] = set()

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Picture]:
        self.drawn.update((prompt.text, seed_of(example)) for example in examples)
        return super().run(prompt, examples)


# ── Tasks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def generation(seed: int) -> Case:
    """A wish in words that the painter does not know; pictures are compared with what is meant, in words too."""
    caption = plain(hidden_caption(CAPTIONS + seed, seed=0))
    wish = re.sub(rf"\b({'|'.join(MEANT)})\b", lambda found: MEANT[found[0]], caption)
    assert not facts_of(wish), wish
    ids = [Example(f"generation/{seed}/{number}", wish, caption) for number in range(DRAWN + HELD_OUT)]
    return Case(caption, wish, Dataset("generation", tuple(ids[:DRAWN]), (), tuple(ids[DRAWN:])), seed)


def inversion(seed: int) -> Case:
    """One picture; which words draw it?"""
    caption = hidden_caption(CAPTIONS + seed, seed=0)
    data = painted(caption=caption, pictures=DRAWN, test=HELD_OUT, seed=seed)
    return Case(caption, "a picture", data, seed)


def personalization(seed: int) -> Case:
    """Four pictures of one subject on any ground; how is it called, to be drawn on black or white?"""
    said = facts_of(hidden_caption(CAPTIONS + seed, seed=0))
    ground = "black" if said["ink"] != ("black",) else "white"
    subject = plain(hidden_caption(CAPTIONS + seed, seed=0)).partition(" on a")[0]
    data = painted(caption=subject, references=4, pictures=DRAWN, test=HELD_OUT, seed=seed)
    return Case(f"{subject} on a {ground} background", f"a picture, on a {ground} background", data, seed)


def plain(caption: str) -> str:
    """A caption without what stands behind its first comma, and without a size."""
    return caption.partition(",")[0].replace(" small", "")


TASKS: dict[str, Callable[[int], Case]] = {
    "generation": generation,
    "inversion": inversion,
    "personalization": personalization,
}

# ── Methods ───────────────────────────────────────────────────────────────────────────────────────────────────────


def searched(case: Case, optimizer: Any, *, questions: int = PROMPTS, **more: Any) -> str:
    best: str = execute({**case.recipe, "optimizer": optimizer, "budget": {"questions": questions}, **more}).best
    return best


def apohf(case: Case) -> str:
    """Duels answered by simulated people: similarity, standardised, with their noise [Lin2024]."""
    ratings = MetricScorer(target=case.target, metric=ClipSimilarity(cache=False), examples=case.data.train)
    people = BradleyTerry(scorer=ratings, scale=10.0, standardise=50)
    recipe = {key: value for key, value in case.recipe.items() if key not in ("target", "metric", "data")}
    optimizer = {"name": "apohf", "pool": case.pool(), "pool_size": PROMPTS}
    return execute({**recipe, "optimizer": optimizer, "scorer": people, "budget": {"questions": PROMPTS}}).best


CLIMB = {"name": "hill-climb", "sample": 1, "restarts": 1, "resets": 1, "iterations": 40, "per_call": 12}
METHODS: dict[str, Callable[[Case], str]] = {
    "the start": lambda case: case.start,
    "random search": lambda case: searched(case, {"name": "random-search", "pool": case.pool()}),
    "interrogate": lambda case: searched(case, {"name": "interrogate", "cache": False}),
    "pez": lambda case: searched(case, {"name": "pez", "cache": False, "rated": PROMPTS - 1}),
    "hill-climb, proposals scripted": lambda case: searched(case, {**CLIMB, "proposer": {"name": "lists"}}),
    "apohf, people simulated": apohf,
}


def runs_of(task: str, seed: int, methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The methods on one draw of a task."""
    for method in methods:
        case, began = TASKS[task](seed), time.process_time()
        found = METHODS[method](case)
        seconds, pictures = round(time.process_time() - began, 2), len(case.target.drawn)
        share = float(np.mean(share_of(case.caption, found, seeds=[seed_of(one) for one in case.data.test])))
        near = ClipSimilarity(cache=False)(Painter().run(Prompt(found), case.data.test), case.data.test)
        yield {
            "task": task,
            "seed": seed,
            "method": method,
            "caption": case.caption,
            "found": found,
            "share": round(share, 4),
            "similarity": round(float(np.mean([one for one in near if isinstance(one, float)])), 4),
            "pictures": pictures,
            "seconds": seconds,
        }


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(rows: list[list[str]]) -> str:
    """Rows as Markdown, the first being the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def with_interval(values: Sequence[float], *, within: tuple[float, float] | None = None) -> str:
    """Mean with its 95% t interval over draws."""
    if len(values) < 2:
        return f"{np.mean(values):.2f}"
    low, high = t_interval(np.array(values), within)
    return f"{np.mean(values):.2f} ({low:.2f} to {high:.2f})"


def report(runs: Sequence[Mapping[str, Any]]) -> str:
    """Shares by method and task, differences from random search, what the searches saw of it, and what was found first.

    Differences are paired by draw.
    """
    tasks = list(dict.fromkeys(run["task"] for run in runs))
    by = {(run["method"], run["task"], run["seed"]): run for run in runs}

    def cell(method: str, task: str, key: str) -> dict[int, float]:
        return {seed: run[key] for (one, where, seed), run in by.items() if (one, where) == (method, task)}

    shares, gains = [["method", *tasks, "pictures", "s"]], [["against random search", *tasks]]
    nearness = [["similarity of new pictures", *tasks]]
    for method in METHODS:
        own = [run for run in runs if run["method"] == method]
        if not own:
            continue
        columns = [cell(method, task, "share") for task in tasks]
        mean = [f"{np.mean([run[key] for run in own]):.{digits}f}" for key, digits in (("pictures", 0), ("seconds", 1))]
        shares.append([method, *(with_interval([*one.values()], within=(0.0, 1.0)) for one in columns), *mean])
        nearness.append([method, *(with_interval([*cell(method, task, "similarity").values()]) for task in tasks)])
        others = [cell("random search", task, "share") for task in tasks]
        pairs = [[a[s] - b[s] for s in a if s in b] for a, b in zip(columns, others, strict=True)]
        if method != "random search" and all(pairs):
            gains.append([method, *map(with_interval, pairs)])
    examples = [["task", "hidden", "method", "found"]]
    for task in tasks:
        own = [run for run in runs if run["task"] == task and run["seed"] == runs[0]["seed"]]
        examples += [[task, run["caption"], run["method"], run["found"]] for run in own if run["method"] != "the start"]
    return "\n\n".join(map(table, (shares, gains, nearness, examples)))


def write_page(tables: str) -> None:
    """Put the tables between the marks of the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- painter's tables -->\n")
    _, _, after = rest.partition("<!-- end of painter's tables -->")
    begin, end = "<!-- painter's tables -->\n", "\n<!-- end of painter's tables -->"
    PAGE.write_text(f"{before}{begin}{tables}{end}{after}", encoding="utf-8")


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every run, written down as it is made."""
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for task in options.tasks:
            for run in runs_of(task, seed, options.methods):
                if options.out:
                    with options.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(run, ensure_ascii=False) + "\n")
                yield run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8, help="draws of every task")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--out", type=Path, help="where every run is written as JSON, behind what is there")
    parser.add_argument("--report", type=Path, help="print the tables of such a file and do nothing else")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/pictures.md too")
    options = parser.parse_args()
    if options.report:
        runs = [json.loads(line) for line in options.report.read_text(encoding="utf-8").splitlines()]
    else:
        runs = [*measured(options)]
    print(report(runs))
    if options.page:
        write_page(report(runs))


if __name__ == "__main__":
    main()
