"""What a search by ratings did: every rated prompt, the improvements, and where the best prompt came from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import Rate, Rating
from ..parts import changes
from ..record.answers import Rated, counted
from ..record.codec import decode_question
from ..record.story import Story
from ..stats import interval
from ..text import Change

if TYPE_CHECKING:
    from ..core import Array


@dataclass(frozen=True)
class Improvement:
    """A prompt that was better than all before it."""

    rated: Rated

    @cached_property
    def interval(self) -> tuple[float | None, float | None]:
        """Low and high end of the 95% interval of its mean over the examples, as of :func:`band`."""
        return band(self.rated.rating.per_example)


@dataclass(frozen=True)
class Ancestor:
    """One prompt in the line of descent. ``shown`` counts the prompts that its proposer was shown."""

    prompt: str
    step: str
    rating: Rating | None
    shown: int
    changes: Sequence[tuple[Change, str]]


def improvements(ratings: Sequence[Rated]) -> list[Improvement]:
    """The prompts that were the best so far when they were rated, of those that can be compared."""
    found: list[Improvement] = []
    best = (float("-inf"), float("-inf"))
    for one in counted(ratings):
        if one.rating.rank > best:
            best = one.rating.rank
            found.append(Improvement(one))
    return found


def band(values: Array | None) -> tuple[float | None, float | None]:
    """The 95% bootstrap interval of a mean over examples; None, None where they are unknown or too few."""
    if values is None:
        return None, None
    return interval(values[np.isfinite(values)], rng=np.random.default_rng(0))


# ── Where the best prompt came from ───────────────────────────────────────────────────────────────────────────────


def lineage(story: Story, ratings: Sequence[Rated]) -> list[Ancestor]:
    """The line of descent of the best prompt, oldest first, as of :func:`lineages`."""
    return lineages(story, ratings, [story.best])[0]


def lineages(story: Story, ratings: Sequence[Rated], prompts: Sequence[str]) -> list[list[Ancestor]]:
    """The line of descent of each of some prompts, oldest first.

    A proposer is shown several prompts; a line follows the one whose words are closest to what it wrote.
    """
    origins = _origins(story)
    scores = {one.prompt: one.rating for one in ratings}
    return [_line(prompt, origins, scores, story.manifest["start"]) for prompt in prompts]


def _line(
    prompt: str, origins: Mapping[str, Mapping[str, Any]], scores: Mapping[str, Rating], start: Sequence[str]
) -> list[Ancestor]:
    line = [prompt]
    while parents := [p for p in origins.get(prompt, {}).get("parents", ()) if p not in line]:
        prompt = _closest(parents, prompt)
        line.append(prompt)
    line.reverse()
    before = [None, *line]
    return [
        Ancestor(
            text,
            str(origins.get(text, {}).get("step", "start" if text in start else "")),
            scores.get(text),
            len(origins.get(text, {}).get("parents", ())),
            changes(earlier, text) if earlier is not None else [("same", text)],
        )
        for earlier, text in zip(before, line, strict=False)
    ]


def _origins(story: Story) -> dict[str, Mapping[str, Any]]:
    """Where each prompt came from, as it was said first."""
    found: dict[str, Mapping[str, Any]] = {}
    for event in story.events:
        if event["event"] == "answer":
            question = decode_question(event)
            for prompt in [question.prompt] if isinstance(question, Rate) else [question.a, question.b]:
                found.setdefault(prompt.text, prompt.origin)
    return found


def _closest(prompts: Sequence[str], to: str) -> str:
    matcher = difflib.SequenceMatcher(b=to.split(), autojunk=False)

    def closeness(prompt: str) -> float:
        matcher.set_seq1(prompt.split())
        return matcher.ratio()

    return max(prompts, key=closeness)
