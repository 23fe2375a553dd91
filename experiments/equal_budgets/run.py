"""Searches at equal calls: target and proposer together, on a real LLM of 135 million parameters and a very small one.

    python experiments/equal_budgets/run.py --store FOLDER --page      # everything; goes on where it was stopped
    python experiments/equal_budgets/run.py --store FOLDER --tasks arithmetic --seeds 0 --searches gepa protegi
    python experiments/equal_budgets/run.py --report                   # the tables of results.jsonl
    python experiments/equal_budgets/run.py --quick                    # all searches of promptopt on a made-up model

FOLDER keeps what models answered, for all searches and seeds. ``--originals FOLDER`` names the environments of the
packages that are compared (README.md says how to make them); without it they are left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

from problems import TASKS, Answers, Task
from searches import OURS, Cell, outcome
from tables import ORIGINALS, report, write_page
from writers import Scripted, Small, Writer

from promptopt.core import Example

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.jsonl"
CALLS = 240
SEEDS = {"scripted": 5, "smollm2": 3}
WRITERS = {"scripted": lambda task: Scripted(task), "smollm2": lambda task: Small()}


def cells(options: argparse.Namespace, made: Mapping[str, Task]) -> Iterator[tuple[Cell, list[str]]]:
    """Draws with the searches that are to be done on them, the seeds one after the other."""
    store = {name: Answers(task, options.store) for name, task in made.items()}
    for seed, writer, name in product(range(max(SEEDS.values())), options.proposers, made):
        if seed in (options.seeds or range(SEEDS[writer])):
            task, folder = made[name], options.store
            kept = folder / f"{writer}.jsonl" if folder and writer == "smollm2" else None
            one = Writer(WRITERS[writer](task), kept)
            yield Cell(task, task.data(seed), store[name], one, seed, options.calls), list(options.searches)


def results(options: argparse.Namespace, made: Mapping[str, Task], known: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The lines that are not there yet."""
    done = {(one["task"], one["proposer"], one["search"], one["seed"], one["calls"]) for one in known}
    with ExitStack() as stack:
        originals: Mapping[str, Any] = {}
        if options.originals:
            from originals import started

            originals = stack.enter_context(started(options.originals))
        for cell, searches in cells(options, made):
            for name in searches:
                key = (cell.task.name, cell.writer.name, name, cell.seed, cell.calls)
                if key in done or (name in ORIGINALS and name not in originals):
                    continue
                if name == "demonstrations" and cell.writer.name != options.proposers[0]:
                    continue  # it has no proposer
                yield outcome(cell, name, originals)


# ── A made-up model, for a look at the whole in seconds ───────────────────────────────────────────────────────────


class Ruled:
    """Answers rightly where the prefix has a sentence with the label, or a demonstration of it, and else "none"."""

    def problem_with(self, prefix: str) -> str | None:
        return None

    def answers(self, prefix: str, examples: Sequence[Example]) -> list[str]:
        return [one.label if f"is {one.label}." in prefix or f": {one.label}" in prefix else "none" for one in examples]

    def length(self, text: str) -> int:
        return len(text.split())


def quick() -> dict[str, Task]:
    """A task of four labels that have to be named in the prompt."""
    labels = ("red", "green", "blue", "grey")
    return {
        "colours": Task(
            "colours",
            target="made up",
            start="Name the colour.",
            about="Instructions for a model that names colours.",
            template="Thing: {input}\nAnswer:",
            examples=[Example(f"{n}/{label}", f"thing {n} {label[-2:]}", label) for n in range(24) for label in labels],
            bases=["Which colour is it?", "Say the colour."],
            rules={label: [f"What is {label[-2:]} is {label}."] for label in labels},
            others=["Be brief."],
            lm=Ruled,
            most=2,
        )
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--searches", nargs="*", default=[*OURS, *ORIGINALS], choices=[*OURS, *ORIGINALS])
    parser.add_argument("--proposers", nargs="*", default=list(WRITERS), choices=list(WRITERS))
    parser.add_argument("--seeds", nargs="*", type=int, help=f"by default the first {SEEDS}")
    parser.add_argument("--calls", type=int, default=CALLS, help="of target and proposer together")
    parser.add_argument("--store", type=Path, help="folder of what models answered")
    parser.add_argument("--originals", type=Path, help="folder of the environments of other packages")
    parser.add_argument("--out", type=Path, default=RESULTS, help="every line is appended; what it holds stays")
    parser.add_argument("--report", action="store_true", help="the tables of what is there alone")
    parser.add_argument("--page", action="store_true", help="put the tables into README.md")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.out, options.proposers = Path(tempfile.mkdtemp()) / "results.jsonl", ["scripted"]
        options.seeds = options.seeds or [0]
    if options.store:
        options.store.mkdir(parents=True, exist_ok=True)
    kept = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    known = [json.loads(line) for line in kept]
    if not options.report:
        made = quick() if options.quick else {name: TASKS[name]() for name in options.tasks}
        for line in results(options, made, known):
            known.append(line)
            with options.out.open("a", encoding="utf-8") as written:
                written.write(json.dumps(line, ensure_ascii=False) + "\n")
            shown = {key: line[key] for key in ("task", "proposer", "search", "seed", "start", "test", "seconds")}
            print(*shown.values(), line["ended"], flush=True)
    print(report(known))
    if options.page:
        write_page(report(known))


if __name__ == "__main__":
    main()
