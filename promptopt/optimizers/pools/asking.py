"""What pools that draw from an LLM share: calls, tolerant reading, and an end when nothing new comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...checks import at_least
from ...core import ChatModel, Message, Prompt, Reply, Setup
from ..proposers.parse import parse_prompts

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PATIENCE", "Asker", "new_texts"]

PATIENCE = 5  # a pool is used up after so many calls in a row without anything new


class Asker:
    """A chat model at a temperature, billed to the run as ``proposer`` once that has begun.

    Refused, truncated, empty and unparsable replies are counted and left out; of a truncated list only the last line.
    """

    def __init__(self, model: ChatModel, *, temperature: float) -> None:
        at_least(0, temperature=temperature)
        self._model = model
        self._temperature = temperature

    def begin(self, setup: Setup) -> None:
        """Bill the model to this run."""
        self._setup = setup
        self._billed = setup.model(self._model, role="proposer")

    def prompts(self, text: str, rng: np.random.Generator) -> list[str]:
        """One call, and the prompts that its reply lists and the target can take."""
        return [prompt for reply in self._call(text, rng, n=1) for prompt in self._listed(reply)]

    def replies(self, text: str, rng: np.random.Generator, *, n: int) -> list[str]:
        """One call for ``n`` replies: those that are whole, as they are."""
        return [reply.text.strip() for reply in self._call(text, rng, n=n) if reply.finish == "stop"]

    def _call(self, text: str, rng: np.random.Generator, *, n: int) -> list[Reply]:
        """The replies that say something."""
        seed = int(rng.integers(2**31))
        completion = self._billed.complete([Message("user", text)], n=n, temperature=self._temperature, seed=seed)
        for reply in completion.replies:
            if reply.finish != "stop":
                self._setup.count("refused replies" if reply.finish == "refusal" else "truncated replies")
            elif not reply.text.strip():
                self._setup.count("empty replies")
        return [reply for reply in completion.replies if reply.finish != "refusal" and reply.text.strip()]

    def _listed(self, reply: Reply) -> list[str]:
        text = reply.text.rpartition("\n")[0] if reply.finish == "length" else reply.text
        prompts = parse_prompts(text, problem_with=lambda prompt: self._setup.problem_with(Prompt(prompt)))
        if not prompts:
            self._setup.count("unparsable replies")
        return prompts


def new_texts(calls: Iterator[list[str]], *, seen: set[str]) -> Iterator[str]:
    """What calls bring that was not seen before, until several in a row bring nothing."""
    idle = 0
    while idle < PATIENCE:
        fresh = [text for text in dict.fromkeys(next(calls)) if text not in seen]
        idle = 0 if fresh else idle + 1
        seen.update(fresh)
        yield from fresh
