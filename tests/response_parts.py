"""A query whose replies have to name facts, a verifier that says which one is missing, and an LLM that reads it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from promptopt.core import Completion, Rating, Reply, Request, Usage
from promptopt.testing import ScriptedModel

QUERY = "Why is the sky blue?"
START = "I do not know."
FACTS = ("sunlight", "air", "scatters", "wavelengths")


class Sampler(ScriptedModel):
    """Replies that depend on the message, on the seed and on their place among the n of a call."""

    def __init__(self, reply: Callable[[str, int], str], *, dollars: float = 0.0) -> None:
        super().__init__([], dollars=dollars)
        self._reply = reply

    def complete(self, request: Request, /) -> Completion:
        self.calls.append(request)
        text = request.messages[-1].text
        seeds = [hashlib.blake2b(f"{text} {request.seed} {i}".encode(), digest_size=4) for i in range(request.n)]
        replies = [self._reply(text, int.from_bytes(seed.digest())) for seed in seeds]
        usage = Usage(1, len(text) // 4, sum(map(len, replies)) // 4, self._dollars)
        return Completion(tuple(map(Reply, replies)), usage)


def varied(text: str, seed: int) -> str:
    """A reply that says little."""
    return f"Because of {seed % 1_000}."


def refined(text: str, seed: int) -> str:
    """The best reply that is shown with the fact that is said to be missing; else a reply that says little."""
    best = re.search(r"The best reply so far:\n\[begin \w+\]\n(.*?)\n\[end", text, re.DOTALL)
    missing = re.search(r"missing: (\w+)", text)
    if best and missing and seed % 2:
        return f"{best[1]} The {missing[1]}."
    return varied(text, seed)


def verified(reply: str) -> Rating:
    """The share of the facts that a reply names; the first one that it lacks is named."""
    lacking = [fact for fact in FACTS if fact not in reply]
    return Rating(1 - len(lacking) / len(FACTS), feedback=f"missing: {lacking[0]}" if lacking else "")


def sampler(*, dollars: float = 0.0) -> Sampler:
    return Sampler(refined, dollars=dollars)
