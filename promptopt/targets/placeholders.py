"""Placeholders such as ``{prompt}`` in templates, replaced as data: what is put in is not read for placeholders."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..core import Example
from ..errors import UnknownName, UserError

PLACEHOLDER = re.compile(r"\{(\w+)\}")


def names(template: str) -> set[str]:
    """The placeholders in a template."""
    return set(PLACEHOLDER.findall(template))


def values(example: Example, *, prompt: str) -> dict[str, str]:
    """What placeholders stand for: ``prompt``, ``input`` and, where an input is a dict, each of its fields.

    A dict as ``{input}`` is one line a field.

    Raises:
        UserError: the input is no text, or a field is called prompt or input.
    """
    given = example.input
    if not isinstance(given, Mapping):
        return {"prompt": prompt, "input": text_of(given, example)}
    fields = {str(name): text_of(value, example) for name, value in given.items()}
    if taken := {"prompt", "input"} & set(fields):
        raise UserError(f"example {example.id!r}: a field of the input is called {taken.pop()!r}; rename it.")
    return {**fields, "prompt": prompt, "input": "\n".join(f"{name}: {text}" for name, text in fields.items())}


def fill(template: str, known: Mapping[str, str]) -> str:
    """A template with its placeholders replaced, in one pass.

    Raises:
        UnknownName: it has a placeholder that stands for nothing.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise UnknownName("placeholder", found[1], known, where=f"template {template!r}")
        return known[found[1]]

    return PLACEHOLDER.sub(value, template)


def text_of(value: Any, example: Example) -> str:
    """A value of an example as text: texts as they are, numbers and lists as JSON.

    Raises:
        UserError: it is something else, for example an image.
    """
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        raise UserError(
            f"example {example.id!r}: {type(value).__name__} is no text. This target takes texts, numbers and lists."
        ) from None
