"""The demo of inversion: which words draw this picture? The embedded painter drew it, and no search is told of what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .api import execute
from .checks import at_least
from .data.painted import hidden_caption, painted
from .drawing.facts import share_of
from .stats import interval

__all__ = ["Found", "lines", "searched"]

PICTURES = 20
DRAWN = 4  # pictures of a prompt in the search
HELD_OUT = range(1000, 1020)  # seeds of the pictures by which prompts are compared at the end
WITHOUT = "interrogate"  # stands beside the search: it needs no generator


@dataclass(frozen=True)
class Found:
    """What came of one picture.

    Attributes:
        caption: what it shows, hidden from the search.
        start: the starting prompt.
        best: the prompt that was found.
        pictures: how many pictures were drawn to find it.
        shares: of the caption's facts, in [0, 1], those to be seen in held-out pictures of start and best.
    """

    caption: str
    start: str
    best: str
    pictures: int
    shares: tuple[float, float]


def searched(recipe: Mapping[str, Any], *, pictures: int = PICTURES) -> Iterator[Found]:
    """A search for each picture, one after another.

    Args:
        recipe: of the search, without data; its seed draws the captions.

    Raises:
        UserError: something in the recipe cannot work.
    """
    at_least(1, pictures=pictures)
    for number in range(pictures):
        caption = hidden_caption(number, seed=recipe.get("seed", 0))
        data = painted(caption=caption, pictures=DRAWN, test=0, seed=number)
        result = execute({**recipe, "data": data, "verdict": False, "run": None})
        shares = [float(np.mean(share_of(caption, text, seeds=HELD_OUT))) for text in (result.start, result.best)]
        drawn = DRAWN * result.costs.questions
        yield Found(caption, result.start, result.best, drawn, (shares[0], shares[1]))


def lines(found: list[Found]) -> Iterator[str]:
    """The comparison of start and best over all pictures, for people."""
    start, best = np.array([one.shares for one in found]).T
    yield f"Of what the hidden captions say, pictures of new seeds show, of {len(found)} pictures on average:"
    yield f"  {start.mean():.3f}  the start: {found[0].start}"
    low, high = interval(best - start, rng=np.random.default_rng(0))
    more = f", {(best - start).mean():+.3f} ({low:+.3f} to {high:+.3f}, 95% interval)" if low is not None else ""
    yield f"  {best.mean():.3f}  the prompts found{more}"
    drawn = np.mean([one.pictures for one in found])
    yield f"No search saw a caption or was scored by it. {drawn:.0f} pictures were drawn for each."


def as_json(found: list[Found]) -> list[dict[str, Any]]:
    """The same as JSON values, picture by picture."""
    return [asdict(one) for one in found]
