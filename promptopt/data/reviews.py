"""Short reviews that come with the package: written for it, twice 320 texts of eight kinds of thing, half negative.

Those told say what happened more often than what the writer felt, so they are harder than most: "The rice was crunchy
in a way rice should never be." Those felt say how the writer feels about it: "I was really unhappy with the tiny
portions and the awful noise."
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

from ..checks import check_argument
from ..core import Dataset, Example
from .splits import few_shot

EMBEDDED = Path(__file__).parents[1] / "embedded"
FILES = {"told": EMBEDDED / "reviews.tsv", "felt": EMBEDDED / "opinions.tsv"}
CLASSES = {
    "sentiment": ("positive", "negative"),
    "topic": ("food", "film", "gadget", "hotel", "service", "book", "clothes", "travel"),
}


def reviews(
    *,
    task: Literal["sentiment", "topic"] = "sentiment",
    wording: Literal["told", "felt"] = "told",
    shots: int | None = None,
    dev: int = 0,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """The reviews as a task of short texts, as many of each class in every split.

    Args:
        task: ``sentiment``, whose classes are positive and negative, 160 texts each; or ``topic``, what kind of thing
            is reviewed, eight classes of 40 texts.
        wording: ``told``, what happened; or ``felt``, how the writer feels about it, which is easier.
        shots: training texts per class; by default 32 for sentiment and 8 for topics.
        dev: dev texts per class.
        test: at most so many test texts per class; None means all others.
        seed: of the draw.

    Raises:
        UserError: there is no such task or wording, or a class has too few texts.
    """
    check_argument("task", task, allowed=" or ".join(CLASSES), holds=task in CLASSES, where="reviews")
    check_argument("wording", wording, allowed=" or ".join(FILES), holds=wording in FILES, where="reviews")
    with FILES[wording].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    pool = {name: [i for i, row in enumerate(rows) if row[task] == name] for name in CLASSES[task]}
    shots = {"sentiment": 32, "topic": 8}[task] if shots is None else shots
    splits = few_shot(pool, shots=shots, dev=dev, test=test, seed=seed, where="reviews", things="texts")
    kind = FILES[wording].stem

    def examples(drawn: list[tuple[str, int]]) -> tuple[Example, ...]:
        return tuple(Example(f"{kind}/{i}", rows[i]["text"], label) for label, i in drawn)

    train, devs, tests = (examples(drawn) for drawn in (splits.train, splits.dev, splits.test))
    return Dataset(f"{kind}:{task}", train, devs, tests, CLASSES[task])
