"""A guard against training examples in the best prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .core import Dataset

SHARED_WORDS = 5  # a run of this many words shared with an example is no coincidence


def leaks(prompt: str, data: Dataset) -> list[str]:
    """Warnings about training text in a prompt: class names, and five words in a row of an example's text."""
    words = _words(prompt)
    named = [name for name in data.classes if _holds(words, _words(name))]
    runs = set(_runs(words))
    quoted = [e.id for e in data.train if not data.classes and not runs.isdisjoint(_runs(_text(e.input, e.label)))]
    warnings = []
    if named:
        warnings.append(f"The best prompt names classes of the task: {', '.join(named)}.")
    if quoted:
        warnings.append(
            f"The best prompt shares {SHARED_WORDS} words in a row with training examples: {', '.join(quoted[:5])}."
        )
    return warnings


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _text(*values: object) -> list[str]:
    return _words(" ".join(value for value in values if isinstance(value, str)))


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + SHARED_WORDS]) for i in range(len(words) - SHARED_WORDS + 1)]


def _holds(words: Sequence[str], name: Sequence[str]) -> bool:
    return bool(name) and any(list(name) == list(words[i : i + len(name)]) for i in range(len(words) - len(name) + 1))
