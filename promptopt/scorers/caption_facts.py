"""Ratings of prompts for the embedded painter by how much of a hidden caption its pictures show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..checks import check_argument, not_empty
from ..core import Example, Rate, Rating
from ..drawing.facts import facts_of, share_of
from ..targets.pictures import seed_of

__all__ = ["CaptionFacts"]


class CaptionFacts:
    """Rates a prompt by the share of a caption's facts, in [0, 1], that the painter's pictures of it show.

    No picture is looked at: what the painter draws with a seed is known. It is meant for verdicts on searches that did
    not see it, ``verdict = {scorer = {name = "caption-facts", caption = "..."}}``.

    Args:
        caption: what the pictures are to show, in words that the painter understands.
        examples: the run's; each has its picture's seed.

    Raises:
        UserError: the painter understands nothing of the caption, or there are no examples.
    """

    question = Rate

    def __init__(self, *, caption: str, examples: Sequence[Example]) -> None:
        allowed = 'words that the painter understands, such as "three red stars"'
        check_argument("caption", caption, allowed=allowed, holds=bool(facts_of(caption)))
        not_empty(examples=examples)
        self.caption = caption
        self._seeds = {example.id: seed_of(example) for example in examples}

    def answer(self, questions: Sequence[Rate], /) -> Iterator[Rating]:
        """Ratings one by one, with a share for each example."""
        for question in questions:
            seeds = [self._seeds[one] for one in question.on or self._seeds]
            shares = np.array(share_of(self.caption, question.prompt.text, seeds=seeds))
            yield Rating(float(shares.mean()), per_example=shares)
