"""A guard against training examples in the best prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ..core import Dataset
from ..demonstrations import PART, of_prompt
from ..parts import parts_of, text_of
from ..vocabulary.class_texts import ClassLines

SHARED_WORDS = 5  # a run of this many words shared with an example is no coincidence


def leaks(prompt: str, data: Dataset, *, called: str = "The best prompt") -> list[str]:
    """Warnings about training text in a prompt: class names, and five words in a row of an example's text.

    Class names are a leak where the target puts them into the prompt itself, as CLIP does; a line for a single class,
    ``class: text``, has to name it. A prompt for a task whose inputs are texts has to name the answers. Demonstrations
    that are named are training examples, and meant to be. Words that stand in held-out inputs as well, such as the wish
    for a picture, belong to the task.
    """
    prompt = _without_demonstrations(prompt)
    texts = {example.id: _words(" ".join(_texts(example.input))) for example in data.train}
    shown = any(texts.values())
    words = _words(prompt if shown else ClassLines(data.classes).without(prompt))
    named = [name for name in data.classes if not shown and _holds(words, _words(name))]
    runs = set(_runs(words))
    if runs:
        held_out = (_words(" ".join(_texts(e.input))) for e in (*data.dev, *data.test))
        runs -= {run for text in held_out for run in _runs(text)}
    quoted = [e.id for e in data.train if not runs.isdisjoint(_runs(texts[e.id] + _words(" ".join(_texts(e.label)))))]
    warnings = []
    if named:
        warnings.append(f"{called} names classes of the task: {', '.join(named)}.")
    if quoted:
        warnings.append(
            f"{called} shares {SHARED_WORDS} words in a row with training examples: {', '.join(quoted[:5])}."
        )
    return warnings


def _without_demonstrations(prompt: str) -> str:
    """The prompt without a part that names demonstrations."""
    if not of_prompt(prompt):
        return prompt
    kept = {name: text for name, text in parts_of(prompt).items() if name != PART}
    return text_of(kept) if kept else ""


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _texts(value: object) -> Iterator[str]:
    """Every text in an input or label, whatever fields or lists it lies in."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + SHARED_WORDS]) for i in range(len(words) - SHARED_WORDS + 1)]


def _holds(words: Sequence[str], name: Sequence[str]) -> bool:
    return bool(name) and any(list(name) == list(words[i : i + len(name)]) for i in range(len(words) - len(name) + 1))
