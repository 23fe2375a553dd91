"""Prompts that are rated by the words they name, and an LLM that makes them longer, shorter or politer when told to."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from promptopt.core import Message, Reply
from promptopt.testing import ScriptedModel

START = "Sort the list of numbers."
GOOD = ("sort", "list", "ascending", "commas")
FILL = "and then do so again with care for every single one of them as told".split()


def quality(text: str) -> float:
    """The share of the good words that a prompt has."""
    return sum(word in text.lower() for word in GOOD) / len(GOOD)


def shown(text: str) -> str:
    """The prompt that a message is about: the first between marks, or the first of a list."""
    found = re.search(r"\[begin \w+\]\n(.*?)\n\[end|^- (.*?)$", text, re.DOTALL | re.MULTILINE)
    assert found, text
    return found[1] or found[2]


def written(messages: Sequence[Message]) -> str:
    """What the LLM replies: it does what it is told of words and politeness, and else names one more good word."""
    text = messages[-1].text
    prompt, words = shown(text), shown(text).split()
    if "where it stands on a scale" in text:
        return "formal" if "kindly" in prompt else "casual"
    if found := re.search(r"words is to be (?:below )?(\d+)", text):
        most = int(found[1]) + (0 if "be below" not in found[0] else -1)
        made = " ".join((words + FILL * 8)[:most])
    elif "politeness is to be" in text or "tone is to be formal" in text:
        made = f"{prompt} Please, kindly." if "higher" in text or "formal" in text else prompt.replace(" Please", "")
    else:
        lacking = [word for word in GOOD if word not in prompt.lower()]
        made = f"{prompt} {lacking[0].capitalize()}." if lacking else prompt
    return json.dumps({"prompts": [made]})


def writer(*, dollars: float = 0.0) -> ScriptedModel:
    return ScriptedModel(written, dollars=dollars)


def polite(text: str) -> float:
    """A measure of a recipe's."""
    return text.lower().count("please")


def refused(messages: Sequence[Message]) -> Reply:
    return Reply("", "refusal")
