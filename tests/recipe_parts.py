"""Parts that tests put into shipped recipes, named as ``recipe_parts:...``: LLMs and judges that know what to say."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from promptopt.core import Example, Message, Picture, Rate, Rating
from promptopt.testing import ScriptedModel

PAIRS = Path(__file__).resolve().parents[1] / "experiments" / "apohf_instructions" / "examples.jsonl"
WISHES = ("Write the opposite of the word", "Repeat the word", "Spell the word backwards", "Name a colour")
MANNERS = ("", " in capitals", " and say why", " politely", " twice")


def writer() -> ScriptedModel:
    """Writes instructions, a few of which say the right thing; after 20 it repeats itself."""
    written = [f"- {wish}{manner}." for manner in MANNERS for wish in WISHES]
    calls = count()

    def reply(messages: Sequence[Message]) -> str:
        assert "[begin " in messages[-1].text
        first = 4 * next(calls) % len(written)
        return "\n".join(written[first : first + 4])

    return ScriptedModel(reply, name="writer")


def follower() -> ScriptedModel:
    """Gives the opposite where it is told to, and otherwise the word."""
    opposites = {line["input"]: line["label"] for line in map(json.loads, PAIRS.read_text("utf-8").splitlines())}

    def reply(messages: Sequence[Message]) -> str:
        text = messages[-1].text
        [word] = re.findall("Input: (.*)", text)
        return str(opposites[word]) if "opposite" in text else str(word)

    return ScriptedModel(reply, name="follower")


def talker() -> ScriptedModel:
    """Replies with ever more apologies."""
    calls = count(1)
    return ScriptedModel(lambda messages: "I am sorry. " * next(calls) + "I cannot come.", name="talker")


class Sincere:
    """Rates replies: best with ten apologies."""

    question = Rate

    def answer(self, questions: Sequence[Rate], /) -> list[Rating]:
        """Minus the distance to ten."""
        return [Rating(-abs(10 - question.prompt.text.count("sorry"))) for question in questions]


def brightness(output: Picture, example: Example) -> float:
    """What the tests' image service writes behind the end of its pictures."""
    return float(output.data.rpartition(b" ")[2])
