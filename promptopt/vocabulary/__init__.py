"""What a search without an LLM may say: phrases for templates, or whole units for texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from ..core import Checks, Prompt, Prompted
from ..errors import UserError
from .phrases import PLACEHOLDER, Phrases
from .units import Keep, Units

__all__ = [
    "PLACEHOLDER_RULE",
    "Checks",
    "Given",
    "Prompted",
    "Vocabulary",
    "check",
    "is_template",
    "need_templates",
    "vocabulary",
]

NO_CLASS = "a line"  # that is no template, and names no class
TEMPLATE = f"a photo of a {PLACEHOLDER}"
PLACEHOLDER_RULE = "In a template, {} stands for the name of a class. Keep {} exactly once in each, as it is."
"""What an LLM that writes templates is told."""

Given: TypeAlias = str | Path | Sequence[str] | Mapping[str, Sequence[str]]
"""Phrases as a user gives them: a flat list, lists by slot, or a TOML file of such lists."""

NO_TEMPLATE = (
    "the prompts hold texts of single classes and no template, and there is nothing else in them to vary. Add a line "
    'with {} where the class name goes, such as "a photo of a {}", or search the texts: optimizer = "proapo".'
)
NO_PHRASES = (
    "the prompts are texts, and the phrases that come along are for CLIP templates alone. Give phrases = [...], whole "
    'sentences or lines that may help, such as "Answer in one word."; or have a chat model write the prompts: '
    'optimizer = {name = "hill-climb", proposer = {name = "chat", model = {name = "openai", model = "..."}}}.'
)


def check(part: object, run: Prompted) -> None:
    """Have a part checked, if it can be."""
    if isinstance(part, Checks):
        part.check(run)


def is_template(run: Prompted) -> bool:
    """Whether a run's prompts are templates with one ``{}`` a line, as CLIP's, and not texts.

    The starting prompts have it, and the target refuses them without it. A target that refuses nothing, not even an
    empty prompt, as a plain function does, is taken at the word of the starting prompts. Beside templates there may be
    lines for single classes, where the target takes these and no other line.
    """
    lines = _lines(run)
    templates = [line for line in lines if PLACEHOLDER in line]
    if not templates or any(line.count(PLACEHOLDER) != 1 for line in templates):
        return False
    if len(templates) < len(lines) and not _refused(run, f"{templates[0]}\n{NO_CLASS}"):
        return False
    return _refused(run, templates[0].replace(PLACEHOLDER, "thing")) or not _refused(run, "")


def _only_class_lines(run: Prompted) -> bool:
    """Whether the starting prompts are texts of single classes alone: a template beside them would be taken too.

    A target of somebody's own may know but a few prompts, and refuse all others.
    """
    lines = _lines(run)
    if not lines or not all(":" in line and "{" not in line for line in lines):
        return False
    return _refused(run, NO_CLASS) and not _refused(run, f"{run.start[0].text}\n{TEMPLATE}")


def _lines(run: Prompted) -> list[str]:
    return [line for prompt in run.start for line in prompt.text.splitlines() if line.strip()]


def _refused(run: Prompted, text: str) -> bool:
    return run.problem_with(Prompt(text)) is not None


def need_templates(run: Prompted, pool: str) -> None:
    """For a pool that makes templates.

    Raises:
        UserError: the run's prompts are texts.
    """
    if not is_template(run):
        raise UserError(
            f'{pool} makes CLIP templates with {PLACEHOLDER}, and the prompts are texts. Give pool = {{name = "list", '
            'prompts = [...]}, a file of prompts (pool = {name = "file", path = "..."}), or leave the pool out.'
        )


class Vocabulary(Protocol):
    """Phrases, and how prompts are taken apart, changed and put together with them.

    A prompt is a list of strings. For a template (:class:`.phrases.Phrases`) these are phrases, for a text
    (:class:`.units.Units`) whole units with the white space before them.
    """

    all: list[str]

    def split(self, text: str) -> list[str]:
        """A prompt's parts."""

    def join(self, units: Sequence[str], /) -> str:
        """The prompt that parts spell."""

    def content(self, part: str, /) -> str:
        """A part as the phrase that it is, without white space and the marks of lists."""

    def contents(self, text: str) -> list[str]:
        """What of a prompt may go, as phrases that can be inserted again. None comes twice."""

    def free(self, units: Sequence[str], /) -> list[int]:
        """The places of the parts that may go."""

    def drop(self, units: list[str], place: int, /) -> None:
        """Take a part out, in place."""

    def insert(self, units: list[str], new: str, rng: np.random.Generator, /) -> None:
        """Bring a phrase in, in place."""

    def move(self, units: list[str], rng: np.random.Generator, /) -> None:
        """Put a part elsewhere, in place, where order is free."""

    def cross(self, one: Sequence[str], other: Sequence[str], rng: np.random.Generator, /) -> list[str]:
        """A child of two prompts."""


def vocabulary(
    phrases: Given | None, run: Prompted, *, exclude: Sequence[str] = (), keep: Keep = "rules"
) -> Vocabulary:
    """The vocabulary that suits a run's prompts.

    Args:
        phrases: the user's; None means the embedded ones, which are for templates alone.
        run: a setup or a plan.
        exclude: phrases that contain one of these words are left out.
        keep: what of a starting text is never dropped; see :class:`.units.Units`.

    Raises:
        UserError: the phrases cannot be read, or the prompts are texts and there are none.
    """
    if is_template(run):
        return Phrases.load(phrases, exclude=exclude)
    if _only_class_lines(run):
        raise UserError(NO_TEMPLATE)
    given = [] if phrases is None else Phrases.load(phrases, exclude=exclude).all
    if not given:
        raise UserError(NO_PHRASES)
    return Units(given, start=[prompt.text for prompt in run.start], keep=keep)
