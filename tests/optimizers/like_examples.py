"""Tasks whose answers a scripted model reads off the demonstrations that it is shown."""

from __future__ import annotations

from collections.abc import Sequence

from promptopt.core import Completion, Dataset, Example, Message, Request
from promptopt.demonstrations import of_prompt
from promptopt.parts import text_of
from promptopt.testing import ScriptedModel

KINDS = {"fruit": "round", "tool": "hard", "bird": "light", "fish": "wet"}
TRAIN, TEST = (
    tuple(
        Example(f"{split}/{kind}{i}", f"a {kind} in the {split} {i}", KINDS[kind]) for i in range(n) for kind in KINDS
    )
    for split, n in (("train", 5), ("test", 3))
)
DATA = Dataset("kinds", TRAIN, (), TEST)
START = {"instruction": "How is it?", "demonstrations": ""}
LISTED = text_of(START)


class Stopped(Exception):
    """What kills a run in these tests."""


def kind(text: str) -> str:
    """The kind of thing that a turn is about."""
    return text.rpartition("Input: a ")[2].split()[0]


class Likes(ScriptedModel):
    """Answers as the last demonstration about the same kind of thing, and wrongly where it is shown none.

    Args:
        kill: the call that ends the run.
    """

    def __init__(self, *, kill: int | None = None, dollars: float = 0.0) -> None:
        super().__init__(self.reply, max_tokens=30, dollars=dollars)
        self.left = kill

    def complete(self, request: Request, /) -> Completion:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Stopped
        return super().complete(request)

    def reply(self, messages: Sequence[Message]) -> str:
        *shown, asked = messages
        answers = {kind(q.text): a.text for q, a in zip(shown[::2], shown[1::2], strict=True)}
        return answers.get(kind(asked.text), "?")


def ids(prompt: str) -> list[str]:
    """The ids that a prompt shows."""
    return [one.example for one in of_prompt(prompt)]
