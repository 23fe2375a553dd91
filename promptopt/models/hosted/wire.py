"""Values that pass between a provider's wire format and our own."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from ...core import Picture, Reply, Request

__all__ = ["PICTURE_TOKENS", "Answer", "Api", "Ask", "BrokenStream", "Dispensable", "NoAnswer"]

TOKENS_PER_MESSAGE, TOKENS_PER_CONVERSATION = 16, 64
"""More than the chat templates in use add: role markers, separators, a default system prompt."""

PICTURE_TOKENS = 10_000
"""More than providers count for a picture in their ordinary settings."""

REFUSES = re.compile(
    r"support|unknown|unrecogni[sz]ed|unexpected|permitted|not allowed|extra|deprecated|instead|unused|schema", re.I
)
"""Words of a server that does not know a field; one that dislikes its value says other things."""


@dataclass(frozen=True)
class Ask:
    """One request to a provider. ``without`` names the fields that this server has refused before."""

    model: str
    request: Request
    max_tokens: int
    stream: bool = False
    without: AbstractSet[str] = frozenset()


@dataclass(frozen=True)
class Answer:
    """What came back. Token counts are None where the server reports none.

    Attributes:
        written: those input tokens that were written into the provider's prompt cache, which costs more than reading.
    """

    replies: tuple[Reply, ...]
    input_tokens: int | None
    output_tokens: int | None
    written: int = 0


@dataclass(frozen=True)
class Dispensable:
    """A field that a request can do without.

    Attributes:
        pattern: how an error message names it.
        lost: what the user loses without it; empty if nothing.
    """

    pattern: str
    lost: str = ""

    def refused_in(self, said: str) -> bool:
        """Whether an error message says that the server does not take the field."""
        return bool(re.search(self.pattern, said, re.I) and REFUSES.search(said))


class BrokenStream(Exception):
    """A stream that ended before the reply did; asking again may help.

    Args:
        said: what happened.
        throttled: the server said that it was asked too much.
    """

    def __init__(self, said: str = "the stream ended before the reply did", *, throttled: bool = False) -> None:
        super().__init__(said)
        self.throttled = throttled


class NoAnswer(Exception):
    """The server answered with something that is not a reply; asking again would not help."""


class Api(Protocol):
    """One of a provider's APIs: how a request and its answer look on the wire.

    Attributes:
        own: fields of the body that the request sets itself.
        dispensable: those that it can do without when a server refuses them.
    """

    own: ClassVar[Sequence[str]]
    dispensable: ClassVar[Mapping[str, Dispensable]]

    def body(self, ask: Ask) -> dict[str, Any]:
        """The request's body. What stands in ``ask.without`` is taken out of it afterwards."""

    def method(self, client: Any) -> Any:
        """What of the SDK's client sends a request."""

    def call(self, client: Any, body: dict[str, Any], *, stream: bool) -> Any:
        """Send a request through the SDK; what comes back is its response, or an iterable of events."""

    def read(self, response: Any) -> Answer:
        """The replies in a response.

        Raises:
            NoAnswer: it is something else.
        """

    def assemble(self, events: Any) -> Answer:
        """The replies in a stream, read to its end.

        Raises:
            BrokenStream: it ended too early.
            NoAnswer: it is something else.
        """


def most_read(request: Request, extra: Mapping[str, Any], *, picture_tokens: int) -> int:
    """An upper bound on the input tokens of one request: every token is at least a byte."""
    texts = sum(len(message.text.encode("utf-8", "surrogatepass")) + TOKENS_PER_MESSAGE for message in request.messages)
    pictures = sum(len(message.pictures) for message in request.messages) * picture_tokens
    sent = sum(len(json.dumps(field, default=str).encode()) for field in (extra, request.schema) if field)
    return texts + pictures + sent + TOKENS_PER_CONVERSATION


def again(request: Request, number: int, *, n: int = 1) -> Request:
    """A request for further replies of the same, with another seed each number."""
    return replace(request, n=n, seed=None if request.seed is None else request.seed + number)


def cut(reply: Reply, stop: Sequence[str]) -> Reply:
    """A reply up to the first of these texts, for servers that do not stop there themselves."""
    places = [place for text in stop if (place := reply.text.find(text)) >= 0]
    return Reply(reply.text[: min(places)]) if places and reply.finish != "refusal" else reply


def encoded(picture: Picture) -> str:
    """A picture as base64."""
    return base64.b64encode(picture.data).decode("ascii")


def clean(text: object) -> str:
    """A reply's text without half surrogate pairs, which no file takes; a missing one is empty."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else ""


def count(usage: object, name: str) -> int | None:
    """A token count that a server reports, or None."""
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else None
