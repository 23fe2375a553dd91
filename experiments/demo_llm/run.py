"""What `promptopt demo --llm` finds, beside what people write: the accuracy of both.

    python experiments/demo_llm/run.py --seeds 3 --out experiments/demo_llm

Fifteen instructions as people write them are rated on every second one of the 320 texts, 80 of each class
(``written.json``), and the demo is run with each seed, which draws the texts for the search and the others for its
verdict (``found.json``). Prints the tables of docs/local.md. What a file already holds is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from promptopt.core import Example, Prompt
from promptopt.data.reviews import reviews
from promptopt.recipe.read import read_recipe
from promptopt.targets.local_lm import LocalLM

HERE = Path(__file__).parent
RECIPE = HERE.parents[1] / "promptopt" / "embedded" / "demo_llm.toml"
WRITTEN = (
    "Classify the sentiment as positive or negative.",
    "Is this review positive or negative?",
    "Is the sentiment of this review positive or negative?",
    "Classify this review as positive or negative.",
    "Decide whether the review is positive or negative.",
    "Read the review carefully and say positive or negative.",
    "What is the sentiment of this review?",
    "Sentiment:",
    "Answer with positive or negative.",
    "What does the reviewer feel?",
    "Did the writer like it or not?",
    "Determine the sentiment: positive or negative.",
    "You are a sentiment classifier. Answer positive or negative.",
    "Label the text as positive or negative.",
    "Does the writer sound happy or unhappy?",
)


def texts() -> list[Example]:
    """Every second one, by id."""
    data = reviews(wording="felt")
    return sorted([*data.train, *data.test], key=lambda one: int(one.id.rpartition("/")[2]))[::2]


def rated(known: dict[str, list[int]]) -> dict[str, list[int]]:
    """Which of the texts each prompt gets right, 1 or 0."""
    wanted = [prompt for prompt in WRITTEN if prompt not in known]
    if not wanted:
        return known
    examples = texts()
    target = read_recipe(RECIPE)["target"]
    lm = LocalLM(model=target["model"], answers=target["answers"], labels=["positive", "negative"])
    for prompt in wanted:
        outputs = lm.run(Prompt(prompt), examples)
        known[prompt] = [int(str(one) == example.label) for one, example in zip(outputs, examples, strict=True)]
        print(f"{sum(known[prompt]) / len(examples):.3f} {prompt}", file=sys.stderr)
    return known


def found(seed: int) -> dict[str, Any]:
    """What the demo finds in a process of its own, and the processor time that took."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.times()
        run = f"run={folder}/run"
        command = [sys.executable, "-m", "promptopt", "demo", "--llm", "--json", f"seed={seed}", run]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        after = os.times()
    result = json.loads(done.stdout)
    verdict = {key: result["verdict"][key] for key in ("difference", "low", "high")}
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "best": result["best"]["prompt"],
        "score": result["best"]["test"],
        "start": result["start"]["test"],
        **verdict,
        "processor_seconds": round(used),
    }


def tables(written: dict[str, list[int]], seeds: dict[str, dict[str, Any]]) -> str:
    """Both in Markdown."""
    lines = ["| seed | start | found | gain | 95% interval | prompt |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {seed} | {_short(one['start'])} | {_short(one['score'])} | {one['difference']:+.2f} "
        f"| {one['low']:+.2f} to {one['high']:+.2f} | {one['best']} |"
        for seed, one in seeds.items()
    ]
    lines += ["", "| written by hand | accuracy |", "|---|---|"]
    shares = {prompt: sum(right) / len(right) for prompt, right in written.items()}
    lines += [f"| {prompt} | {_short(share)} |" for prompt, share in sorted(shares.items(), key=lambda one: -one[1])]
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def _read(file: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    of_people, of_demo = given.out / "written.json", given.out / "found.json"
    seeds = _read(of_demo)
    for seed in map(str, range(given.seeds)):
        if seed not in seeds:
            seeds[seed] = found(int(seed))
            of_demo.write_text(json.dumps(seeds, indent=1) + "\n", encoding="utf-8")
    written = rated(_read(of_people))
    of_people.write_text(json.dumps(written, separators=(",", ":")) + "\n", encoding="utf-8")
    print(tables(written, seeds))


if __name__ == "__main__":
    main()
