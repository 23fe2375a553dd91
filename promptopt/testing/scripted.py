"""A chat model that says what a test wrote down for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..core import Completion, Message, Reply, Request, Usage

__all__ = ["ScriptedModel"]

CHARACTERS_PER_TOKEN = 4


class ScriptedModel:
    """Replies from a list, in order, or from a function of the conversation.

    Usage is made up from lengths: one token for every 4 characters begun, in each message and each reply.

    Args:
        replies: texts, or :class:`Reply` objects for refused and truncated ones; or a function that is called once for
            each reply.
        name: what the record calls it.
        max_tokens: the longest reply allowed; what :meth:`at_most` counts on.
        dollars: price of a call.

    Attributes:
        calls: what it was asked, call by call.
    """

    def __init__(
        self,
        replies: Sequence[str | Reply] | Callable[[Sequence[Message]], str | Reply],
        *,
        name: str = "scripted",
        max_tokens: int = 1024,
        dollars: float = 0.0,
    ) -> None:
        if isinstance(replies, str):
            raise TypeError("replies is a list of texts or a function, not one text")
        self._script = replies if callable(replies) else iter(tuple(replies))
        self._name = name
        self._max_tokens = max_tokens
        self._dollars = dollars
        self._lock = threading.Lock()
        self.calls: list[Request] = []

    @property
    def name(self) -> str:
        return self._name

    def complete(self, request: Request, /) -> Completion:
        """The next replies.

        Raises:
            AssertionError: the script has run out, or a reply is longer than ``max_tokens``.
        """
        with self._lock:
            self.calls.append(request)
            replies = tuple(self._next(request.messages) for _ in range(request.n))
        lengths = [_tokens(reply.text) for reply in replies]
        if max(lengths, default=0) > self._max_tokens:
            raise AssertionError(f"a scripted reply has {max(lengths)} tokens, more than max_tokens={self._max_tokens}")
        return Completion(replies, Usage(1, _read(request), sum(lengths), self._dollars))

    def at_most(self, request: Request, /) -> Usage:
        """What replies of ``max_tokens`` would cost."""
        return Usage(1, _read(request), request.n * self._max_tokens, self._dollars)

    def _next(self, messages: Sequence[Message]) -> Reply:
        if callable(self._script):
            reply = self._script(messages)
        else:
            try:
                reply = next(self._script)
            except StopIteration:
                raise AssertionError(f"the script has no reply for call {len(self.calls)}") from None
        return reply if isinstance(reply, Reply) else Reply(reply)


def _read(request: Request) -> int:
    return sum(_tokens(message.text) for message in request.messages)


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)
