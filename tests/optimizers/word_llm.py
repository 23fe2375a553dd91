"""A scripted LLM that writes words, and what the messages that it got have shown it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from promptopt.core import Message, Prompt, Rating
from promptopt.testing import FakeSetup

WORDS = "clear short polite formal exact calm plain brief careful honest vivid dry".split()
QUOTED = re.compile(r"^([^\n]+):\n\[begin (\w+)\]\n(.*?)\n\[end \2\]", re.DOTALL | re.MULTILINE)


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on the arguments alone."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest()) / 2**32


def value(text: str) -> float:
    """A made-up score: the words of a text, and a little that depends on the whole."""
    return sum(chance("worth", word) for word in {*text.split()} & {*WORDS}) + chance("text", text) / 10


def words_for(messages: Sequence[Message], number: int = 0) -> str:
    """Three words that depend on every letter of the conversation, and on which of its replies they are."""
    said = [number, *(message.text for message in messages)]
    return " ".join(WORDS[int(chance(said, place) * len(WORDS))] for place in range(3))


def writes_words(messages: Sequence[Message]) -> str:
    """A list of one prompt."""
    return f"- {words_for(messages)}"


def quoted_in(message: str) -> list[tuple[str, str]]:
    """The titles and texts that a message quotes."""
    return [(title, text) for title, _, text in QUOTED.findall(message)]


def pairs_shown(message: str) -> list[tuple[str, str]]:
    """The inputs and outputs that a message quotes."""
    texts = [text for title, text in quoted_in(message) if title.split()[0] in ("Input", "Output")]
    return list(zip(texts[::2], texts[1::2], strict=True))


def searched(
    optimizer: Any,
    *,
    start: Sequence[str] = ("start",),
    score: Callable[[str], float] = value,
    setup: FakeSetup | None = None,
) -> list[list[Prompt]]:
    """All batches of a search."""
    optimizer.begin(setup or FakeSetup(start=start))
    asked = []
    while batch := optimizer.ask():
        asked.append([question.prompt for question in batch])
        optimizer.tell([(question, Rating(score(question.prompt.text))) for question in batch])
    return asked
