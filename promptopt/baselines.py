"""What a search on CLIP has to beat to be worth its while: a template that comes to mind, and random search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .api import execute, prepare
from .core import Prompt, Rate

__all__ = ["beside"]

WRITTEN = "a handwritten {}"  # what somebody writes who knows that the images show handwriting, and has not tried it


def beside(recipe: Mapping[str, Any]) -> Iterator[str]:
    """A line for each baseline: its score on the test split, who made it, and the prompt.

    Args:
        recipe: of the search, on handwritten digits. Random search has as many questions, and the same images.
    """
    plan = prepare(recipe)
    assert plan.test is not None
    parts = {"data": plan.data, "target": plan.target}
    others = {"seed": plan.seed, "start": recipe["start"], "budget": recipe["budget"], "verdict": False, "run": None}
    random = {"name": "random-search", "pool": {"name": "grammar"}}
    searched = execute({**others, "data": recipe["data"], "target": recipe["target"], "optimizer": random}, parts=parts)
    named = {"written by hand": WRITTEN, f"random search, {searched.costs.questions} questions": searched.best}
    for name, prompt in named.items():
        (rating,) = plan.test.answer([Rate(Prompt(prompt))])
        yield f"  {rating.value:.3f}  {name}: {prompt}"
