"""Replies of chat models that did not come, or came but cannot be used: told apart and named alike everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from .core import Reply
from .errors import Rejected, Unanswered

__all__ = ["NoReply", "flaw", "reply_to"]

T = TypeVar("T")


@dataclass(frozen=True)
class NoReply:
    """Why a call brought nothing.

    Attributes:
        lost: a transient error outlasted all retries, which is nobody's fault. Else the provider rejected the request
            for what stands in it, which is the prompt's or the example's.
        said: by the provider.
    """

    lost: bool
    said: str

    def counted(self, what: str) -> str:
        """What the user hears at the end that there were some of, for example ``requests lost after all retries``."""
        return f"{what} lost after all retries" if self.lost else f"{what} rejected by the provider"

    def reason(self, what: str) -> str:
        """The same with the provider's words behind a colon."""
        return f"{self.counted(what)}: {self.said}"


def reply_to(call: Callable[[], T]) -> T | NoReply:
    """What a call returns, or why it brought nothing.

    Raises:
        ModelError: the provider refuses whatever it is asked, or nothing was answered for long; the run says when.
    """
    try:
        return call()
    except (Unanswered, Rejected) as error:
        return NoReply(isinstance(error, Unanswered), str(error))


def flaw(reply: Reply) -> Literal["refused", "truncated", "empty"] | None:
    """What is wrong with a reply that came; None where nothing is. A truncated one may still hold something."""
    if reply.finish == "refusal":
        return "refused"
    if reply.finish == "length":
        return "truncated"
    return None if reply.text.strip() else "empty"
