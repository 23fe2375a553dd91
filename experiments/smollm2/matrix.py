"""How likely SmolLM2 finds each label for every example of a task under every prompt of its pool, computed once.

    python experiments/smollm2/matrix.py --examples 80     # appends to matrix.jsonl.gz what it lacks; can be stopped
    python experiments/smollm2/matrix.py --tasks language --prompts 10 --examples 160

The rows are those of ``local-lm`` with ``answers = "likelihood"``. Examples are read in blocks of 40, all tasks in
turns. A line holds a prompt's log-probabilities on one block, in hundredths of a nat, example by example in the order
of the classes; block -1 are the inputs without content, by which a row is calibrated.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tasks import TASKS, Task

from promptopt.core import Example, Prompt
from promptopt.targets.labels import Labels, Likeliest, content_free
from promptopt.targets.local_lm import LocalLM

HERE = Path(__file__).resolve().parent
FILE = HERE / "matrix.jsonl.gz"
BLOCK = 40  # examples read together
EMPTY = -1  # the block without content

Rows = NDArray[np.float64]


class Looked:
    """A target that looks up what ``local-lm`` said: a likeliest label for each example.

    Args:
        rows: by prompt ``(n_examples, n_classes)`` log-probabilities, nats.
        empty: by prompt ``(3, n_classes)``, those of inputs without content.
        examples: in the order of the rows.
        classes: in the order of the columns.
        calibrated: whether rows are calibrated by the inputs without content, as with ``calibration = "content-free"``.
    """

    metric, tiebreak = "accuracy", "log-probability"

    def __init__(
        self,
        rows: Mapping[str, Rows],
        empty: Mapping[str, Rows],
        *,
        examples: Sequence[Example],
        classes: Sequence[str],
        calibrated: bool,
    ) -> None:
        self.rows, self.empty, self.classes = rows, empty, tuple(classes)
        self.labels, self.calibrated = Labels(self.classes), calibrated
        self.place = {example.id: i for i, example in enumerate(examples)}
        self.asked = Counter[str]()  # how often, by example

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """Whether it is none of the pool."""
        return None if prompt.text in self.rows else "the matrix does not know it; take a prompt of the pool."

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Likeliest]:
        """What was said for each example."""
        self.asked.update(one.id for one in examples)
        prior = self.labels.prior([*self.empty[prompt.text]]) if self.calibrated else None
        return [self.labels.likeliest(self.rows[prompt.text][self.place[one.id]], prior) for one in examples]


# ── The file ──────────────────────────────────────────────────────────────────────────────────────────────────────


def lines(file: Path = FILE) -> list[dict[str, Any]]:
    """What is there; a last line that was cut off is not."""
    found: list[dict[str, Any]] = []
    try:
        with gzip.open(file, "rt", encoding="utf-8") as kept:
            found += map(json.loads, kept)
    except (FileNotFoundError, EOFError, json.JSONDecodeError):
        pass
    return found


def looked(task: Task, known: Iterable[Mapping[str, Any]], *, calibrated: bool) -> tuple[Looked, list[Example]]:
    """The target, and the examples that it knows all prompts' answers for."""
    own = [one for one in known if one["task"] == task.name]
    width = len(task.classes)
    by = {(one["prompt"], one["block"]): np.array(one["rows"]).reshape(-1, width) / 100 for one in own}
    prompts = [text for text in task.pool if (text, EMPTY) in by]
    blocks = [b for b in range(1000) if prompts and all((text, b) in by for text in prompts)]
    rows = {text: np.concatenate([by[text, b] for b in blocks]) for text in prompts} if blocks else {}
    examples = [one for b in blocks for one in task.examples()[b * BLOCK : (b + 1) * BLOCK]]
    empty = {text: by[text, EMPTY] for text in prompts}
    return Looked(rows, empty, examples=examples, classes=task.classes, calibrated=calibrated), examples


# ── The model ─────────────────────────────────────────────────────────────────────────────────────────────────────


def target(task: Task, model: str) -> LocalLM:
    """What is looked up later."""
    how: dict[str, Any] = {"answers": "likelihood", "labels": task.classes, "template": task.template}
    return LocalLM(model=model, chat_template=False, **how)


def block_lines(task: Task, block: int, *, lm: LocalLM, prompts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A line for each prompt, on one block of examples."""
    every = task.examples()
    examples = content_free(every[0]) if block == EMPTY else every[block * BLOCK : (block + 1) * BLOCK]
    for prompt, outputs in zip(prompts, lm.run_batch([Prompt(text) for text in prompts], examples), strict=True):
        likely = [one.log_probabilities for one in outputs if isinstance(one, Likeliest)]
        rows = [round(100 * row[name]) for row in likely for name in task.classes]
        yield {"task": task.name, "block": block, "prompt": prompt, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--examples", type=int, default=80, help="of each task, in whole blocks")
    parser.add_argument("--prompts", type=int, help="the first of each pool alone")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    lms = {name: target(TASKS[name], options.model) for name in options.tasks}  # which share the weights
    done = {(one["task"], one["block"], one["prompt"]) for one in lines(options.out)}
    for block in range(EMPTY, -(-options.examples // BLOCK)):
        for name, lm in lms.items():
            task, began, spent = TASKS[name], time.monotonic(), time.process_time()
            left = [text for text in task.pool[: options.prompts] if (name, block, text) not in done]
            if not left or block * BLOCK >= len(task.examples()):
                continue
            found = [json.dumps(line, separators=(",", ":")) for line in block_lines(task, block, lm=lm, prompts=left)]
            with gzip.open(options.out, "at", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in found))
            seconds = f"{time.process_time() - spent:.0f} s of the processor, {time.monotonic() - began:.0f} s"
            print(f"{name}, block {block}: {len(left)} prompts in {seconds}", flush=True)


if __name__ == "__main__":
    main()
