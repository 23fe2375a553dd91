"""Prompts per class for CLIP: template searches, descriptors, random words, ProAPO and what needs no prompt at all.

    python experiments/class_texts/run.py --out experiments/class_texts/results.jsonl     # ten seeds, 1 and 16 shots
    python experiments/class_texts/run.py --seeds 1 --methods proapo                      # a part of it
    python experiments/class_texts/run.py --report experiments/class_texts/results.jsonl  # the tables once more
    python experiments/class_texts/run.py --data '{"name": "folder", "path": "birds"}' --descriptors birds.json

Every search has the same number of evaluations of a prompt on the training images. Prints the tables in Markdown, and
writes them into docs/class_texts.md with --page.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from adapters import LinearProbe, TipAdapter

from promptopt.api import execute
from promptopt.core import Dataset, Prompt
from promptopt.recipe.build import build
from promptopt.stats import interval
from promptopt.targets.clip import Clip

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "class_texts.md"
START = "a photo of a {}"
EVALUATIONS = 300
VIEWS = 16  # of each image, where there is one a class: the default of searches
STRENGTH = {1: 10.0, 16: 100.0}  # of the linear probe, by shots; chosen on seeds 100 and 101

TASKS: dict[str, tuple[dict[str, Any], str]] = {  # data and descriptors
    "glossary": ({"name": "glossary"}, str(HERE.parent / "glossary" / "descriptors.json")),
    "digits": ({"name": "digits"}, str(HERE / "digits.json")),
}


def coop() -> ModuleType:
    """CoOp, of the study of [Liu2024]."""
    spec = importlib.util.spec_from_file_location("liu2024_coop", HERE.parent / "liu2024" / "coop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Setting:
    """One draw of one task."""

    data: Dataset
    clip: Clip
    descriptors: Mapping[str, Sequence[str]]
    shots: int
    seed: int

    @property
    def views(self) -> int:
        """Copies of a training image, as searches rate them by default."""
        return VIEWS if self.shots == 1 else 1

    def search(self, optimizer: Any, *, evaluations: int = EVALUATIONS) -> str:
        """The answer of a search on the training images."""
        found = execute(
            {
                "start": START,
                "data": self.data,
                "target": self.clip,
                "optimizer": optimizer,
                "budget": {"questions": evaluations},
                "seed": self.seed,
                "verdict": False,
                "run": None,
            }
        )
        return found.best

    def first(self, pool: Any) -> str:
        """The first prompt of a pool, without a search."""
        built = build("pools", pool, where="pool", offered={"classes": self.data.classes})
        built.begin(Start())
        drawn: str = next(built.draw(np.random.default_rng(self.seed)))
        return drawn

    def accuracy(self, prompt: str) -> float:
        """Share of the held-out images whose likeliest class is theirs."""
        labels = [self.data.classes.index(example.label) for example in self.data.test]
        rows = np.asarray(self.clip.run(Prompt(prompt), self.data.test))
        return float((rows.argmax(axis=1) == labels).mean())


class Start:
    """What a pool is told of a run that has not begun."""

    start = (Prompt(START),)

    def rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(key)

    def problem_with(self, prompt: Prompt) -> str | None:
        return None

    def count(self, what: str, n: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


Method = Callable[[Setting], "str | float"]  # a prompt, or an accuracy where there is none


def described(setting: Setting, **options: Any) -> dict[str, Any]:
    return {"name": "descriptors", "descriptors": setting.descriptors, "form": "sentences", **options}


def searched(setting: Setting, pool: Any) -> str:
    return setting.search({"name": "random-search", "pool": pool})


def proapo(setting: Setting, **options: Any) -> str:
    return setting.search({"name": "proapo", **options})


METHODS: dict[str, Method] = {
    "a photo of a {}": lambda setting: START,
    "random search, templates": lambda setting: searched(setting, {"name": "grammar"}),
    "bayes, templates": lambda setting: setting.search("bayes"),
    "proapo, templates alone": lambda setting: proapo(setting, sample=100, generations=25),
    "waffle": lambda setting: setting.first({"name": "waffle"}),
    "waffle, best of 300": lambda setting: searched(setting, {"name": "waffle", "count": 2, "shared": False}),
    "descriptors after the name": lambda setting: setting.first(described(setting, form="features")),
    "descriptors": lambda setting: setting.first(described(setting)),
    "descriptors, best of 300": lambda setting: searched(setting, described(setting)),
    "proapo": lambda setting: proapo(setting, descriptors=setting.descriptors, form="sentences"),
    "CoOp": lambda setting: (
        coop().CoOp().fit(setting.clip, setting.data.train, rng=np.random.default_rng(setting.seed))
    ).accuracy(setting.data.test),
    "Tip-Adapter": lambda setting: (
        TipAdapter(prompt=START, views=setting.views).fit(setting.clip, setting.data.train)
    ).accuracy(setting.data.test),
    "linear probe": lambda setting: (
        LinearProbe(strength=STRENGTH.get(setting.shots, 100.0), views=setting.views)
        .fit(setting.clip, setting.data.train)
        .accuracy(setting.data.test)
    ),
}
PAIRS = [
    ("proapo", "descriptors"),
    ("proapo", "descriptors, best of 300"),
    ("proapo", "bayes, templates"),
    ("proapo", "CoOp"),
    ("proapo", "linear probe"),
    ("descriptors", "waffle"),
    ("waffle", "a photo of a {}"),
    ("bayes, templates", "random search, templates"),
]


def runs_of(
    task: str,
    data: Mapping[str, Any],
    descriptors: Mapping[str, Sequence[str]],
    shots: int,
    seed: int,
    methods: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """The methods on one draw of a task."""
    drawn = build("datasets", {**data, "shots": shots, "seed": seed}, where="data")
    setting = Setting(drawn, Clip(classes=drawn.classes), descriptors, shots, seed)
    for method in methods:
        began = time.process_time()
        found = METHODS[method](setting)
        accuracy = found if isinstance(found, float) else setting.accuracy(found)
        prompt = {} if isinstance(found, float) else {"prompt": found if len(found) <= 200 else found[:200] + "…"}
        seconds = round(time.process_time() - began, 1)
        yield {
            "task": task,
            "shots": shots,
            "seed": seed,
            "method": method,
            "accuracy": accuracy,
            "seconds": seconds,
        } | prompt


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(rows: list[list[str]]) -> str:
    """Rows as Markdown, the first being the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def with_interval(values: Sequence[float]) -> str:
    """Mean in points with its 95% bootstrap interval over seeds, where there are enough for one."""
    points = 100 * np.array(values)
    low, high = interval(points, rng=np.random.default_rng(0))
    return f"{points.mean():.1f}" + (f" ({low:.1f} to {high:.1f})" if low is not None else "")


def report(runs: Sequence[Mapping[str, Any]]) -> str:
    """Held-out accuracy by method, task and shots; differences, paired by seed."""
    columns = list(dict.fromkeys((run["task"], run["shots"]) for run in runs))
    by = {(run["method"], run["task"], run["shots"], run["seed"]): run["accuracy"] for run in runs}

    def values(method: str, column: tuple[str, int]) -> dict[int, float]:
        return {seed: value for (one, *where, seed), value in by.items() if one == method and tuple(where) == column}

    head = [f"{task}, {shots} shot{'s' if shots > 1 else ''}" for task, shots in columns]
    rows = [["method", *head]]
    for method in METHODS:
        cells = [values(method, column) for column in columns]
        if any(cells):
            rows.append([method, *(with_interval([*cell.values()]) if cell else "" for cell in cells)])
    pairs = [["comparison", *head]]
    for one, other in PAIRS:
        found = [(values(one, column), values(other, column)) for column in columns]
        shared = [[a[seed] - b[seed] for seed in a if seed in b] for a, b in found]
        if any(shared):
            pairs.append([f"{one} against {other}", *(with_interval(cell) if cell else "" for cell in shared)])
    return f"{table(rows)}\n\n{table(pairs)}"


def write_page(tables: str) -> None:
    """Put the tables between the marks of the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- tables -->\n")
    _, _, after = rest.partition("<!-- end of tables -->")
    PAGE.write_text(f"{before}<!-- tables -->\n{tables}\n<!-- end of tables -->{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="draws of every task")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--shots", type=int, nargs="*", default=[1, 16], help="training images per class")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--data", type=json.loads, help="another data set, as a recipe has it, in JSON")
    parser.add_argument("--descriptors", help="its descriptors; without them, methods that need them are left out")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--out", type=Path, help="where every run is written as JSON, behind what is there")
    parser.add_argument("--report", type=Path, help="print the tables of such a file and do nothing else")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/class_texts.md too")
    options = parser.parse_args()
    tasks = {task: TASKS[task] for task in options.tasks}
    if options.data:
        tasks = {options.data["name"]: (options.data, options.descriptors or "")}
    if options.report:
        runs = [json.loads(line) for line in options.report.read_text(encoding="utf-8").splitlines()]
    else:
        runs = [*measured(tasks, options)]
    print(report(runs))
    if options.page:
        write_page(report(runs))


def measured(tasks: Mapping[str, tuple[dict[str, Any], str]], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every run, written down as it is made."""
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for task, (data, file) in tasks.items():
            lists = json.loads(Path(file).read_text(encoding="utf-8")) if file else {}
            methods = [name for name in options.methods if lists or not name.startswith("descriptors")]
            methods = [name for name in methods if lists or name != "proapo"]
            for shots in options.shots:
                for run in runs_of(task, data, lists, shots, seed, methods):
                    if options.out:
                        with options.out.open("a", encoding="utf-8") as file_:
                            file_.write(json.dumps(run, ensure_ascii=False) + "\n")
                    yield run


if __name__ == "__main__":
    main()
