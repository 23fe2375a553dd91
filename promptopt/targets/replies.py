"""Replies of chat models that did not come, or came but cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import ChatModel, Failed, Message, Missing, Reply, Setup
from ..errors import Rejected, Unanswered

__all__ = ["LOST", "asked", "unusable"]

LOST, REJECTED = "requests lost after all retries", "requests rejected by the provider"


def asked(
    model: ChatModel, messages: Sequence[Message], *, temperature: float, seed: int, setup: Setup
) -> Reply | Failed | Missing:
    """The reply to one conversation, or why there is none, counted.

    A provider that refuses a request for what stands in it refuses the prompt or the example: that has failed. An error
    that outlasts all retries is no fault of theirs.

    Raises:
        ModelError: the provider refuses whatever it is asked, or nothing was answered for long; the run says when.
    """
    try:
        replies = model.complete(messages, n=1, temperature=temperature, seed=seed).replies
    except Unanswered as error:
        setup.count(LOST)
        return Missing(f"{LOST}: {error}")
    except Rejected as error:
        setup.count(REJECTED)
        return Failed(f"{REJECTED}: {error}")
    return replies[0] if replies else Reply("")


def unusable(reply: Reply, *, model: ChatModel, setup: Setup) -> Failed | None:
    """What failed about a reply, counted; None where nothing did. What there is of its text is kept for metrics.

    Args:
        model: gave the reply; it knows how long replies may be.
    """
    text = reply.text if reply.text.strip() else None
    if reply.finish == "refusal":
        setup.count("refused replies")
        return Failed("refused", text)
    if reply.finish == "length":
        setup.count("truncated replies")
        return Failed(_cut(model), text, cut=True)
    if text is None:
        setup.count("empty replies")
        return Failed("empty")
    return None


def _cut(model: ChatModel) -> str:
    limit = model.at_most([Message("user", "")]).output_tokens
    return f"cut at max_tokens = {limit}" if limit else "cut at max_tokens"
