"""Chat models: what is sent, what comes back, what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from .values import Picture


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; its pictures stand before its text."""

    role: Literal["system", "user", "assistant"]
    text: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Request:
    """What a chat model is asked: a conversation, and how to reply to it.

    Attributes:
        messages: the conversation so far.
        n: how many replies to sample.
        temperature: of the sampling; 0 takes the likeliest reply.
        seed: of the sampling, for models that take one.
        schema: a JSON schema that the replies are to follow. Models that cannot be held to one do without, so a reply
            is still read tolerantly.
        stop: texts before which a reply ends.
        max_tokens: limit on one reply in tokens, where it is below the model's own.
    """

    messages: Sequence[Message]
    n: int = 1
    temperature: float = 1.0
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    stop: Sequence[str] = ()
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))

    def limit(self, own: int) -> int:
        """The limit on one reply in tokens, for a model whose own is given."""
        return own if self.max_tokens is None else min(own, self.max_tokens)


@dataclass(frozen=True)
class Usage:
    """What LLM calls cost: calls, tokens in and out, US dollars."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.dollars + other.dollars,
        )

    def times(self, factor: float) -> Usage:
        """So many times as much, rounded up."""
        tokens = math.ceil(self.input_tokens * factor), math.ceil(self.output_tokens * factor)
        return Usage(math.ceil(self.calls * factor), *tokens, self.dollars * factor)

    def __neg__(self) -> Usage:
        return Usage(-self.calls, -self.input_tokens, -self.output_tokens, -self.dollars)


@dataclass(frozen=True)
class Reply:
    """One sampled reply. ``finish`` is ``stop`` where the model ended by itself."""

    text: str
    finish: Literal["stop", "length", "refusal"] = "stop"


@dataclass(frozen=True)
class Completion:
    """What one call returned: ``n`` replies and what they cost together."""

    replies: tuple[Reply, ...]
    usage: Usage = Usage(calls=1)


class ChatModel(Protocol):
    """An LLM that proposes, judges or is prompted."""

    @property
    def name(self) -> str:
        """What the record calls it, for example ``openai:gpt-5-mini``."""

    def complete(self, request: Request, /) -> Completion:
        """Sample as many replies as are asked for.

        Raises:
            Unanswered: a transient error outlasted the retries that are made inside.
            Rejected: the provider refused this request for what stands in it.
            ModelError: it refuses whatever it is asked.
        """

    def at_most(self, request: Request, /) -> Usage:
        """The most that :meth:`complete` could cost for this request; the budget is checked against it."""


@dataclass(frozen=True)
class Choice:
    """How likely each of some replies is: log-probabilities in nats, in the order asked, and what it cost to know.

    ``tokens`` says how many tokens each of them has, where the model tells.
    """

    log_probabilities: tuple[float, ...]
    usage: Usage = Usage(calls=1)
    tokens: tuple[int, ...] = ()


@runtime_checkable
class Chooses(Protocol):
    """A chat model that can say how likely given replies are, without writing one.

    Without it, it cannot judge with ``read = "probabilities"``.
    """

    def choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Choice:
        """The log-probability that a reply to a conversation begins with each of these texts.

        Raises:
            ModelError: as ``complete``.
        """

    def at_most_to_choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Usage:
        """The most that :meth:`choose` could cost with these arguments; the budget is checked against it."""


@runtime_checkable
class ChecksKey(Protocol):
    """A chat model, or a target with a model of its own, that knows whether the key for its first call is there.

    Without it, a missing key comes out at the first call, when the data and the other models are loaded.
    """

    def check_key(self) -> object:
        """Sends nothing; what it returns is not looked at.

        Raises:
            UserError: there is no key, or it cannot be one.
        """
