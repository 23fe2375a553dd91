"""A chat model whose replies a prompt can break. Recipes name it as ``unusable_parts:...``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from promptopt.core import Dataset, Example, Message, Reply
from promptopt.testing import ScriptedModel


def share(*parts: object) -> float:
    """A number in [0, 1) that depends on the arguments alone."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest()) / 2**32


def reviews(*, train: int = 50, test: int = 20) -> Dataset:
    """Reviews that are all good; the input is the review's number."""
    splits = {"train": train, "test": test}
    made = {
        name: tuple(Example(f"{name}-{i}", f"{name} {i}", "positive") for i in range(size))
        for name, size in splits.items()
    }
    return Dataset("reviews", made["train"], (), made["test"])


def _of(messages: Sequence[Message]) -> tuple[str, str, int]:
    """Prompt, split and number of what is asked."""
    prompt, _, rest = messages[-1].text.partition("\n\nInput: ")
    split, number = rest.split("\n")[0].split()
    return prompt, split, int(number)


def breakable() -> ScriptedModel:
    """Right for 80% with *kindly*, refuses 90% with *breaking*, half right else."""

    def reply(messages: Sequence[Message]) -> str | Reply:
        prompt, _, number = _of(messages)
        if "breaking" in prompt:
            return "positive" if number % 10 == 0 else Reply("I cannot say.", "refusal")
        return "positive" if number % 10 < (8 if "kindly" in prompt else 5) else "negative"

    return ScriptedModel(reply, name="breakable")


def talkative(*, max_tokens: int = 5) -> ScriptedModel:
    """Says a whole sentence before the answer, cut off where it may not be that long."""

    def reply(messages: Sequence[Message]) -> Reply:
        text = "The sentiment of the review is, as far as I can see, positive."
        return Reply(text) if max_tokens >= 20 else Reply(text[: 4 * max_tokens], "length")

    return ScriptedModel(reply, name="talkative", max_tokens=max_tokens)


def terse() -> ScriptedModel:
    """Readable only where it is asked to be brief."""

    def reply(messages: Sequence[Message]) -> Reply:
        return Reply("12") if "brief" in _of(messages)[0] else Reply("twelve")

    return ScriptedModel(reply, name="terse")


def silent() -> ScriptedModel:
    """Readable in the search, and refuses everything that is held out."""

    def reply(messages: Sequence[Message]) -> str | Reply:
        return "positive" if _of(messages)[1] == "train" else Reply("", "refusal")

    return ScriptedModel(reply, name="silent")
