"""Replies of chat models that came but cannot be used."""

from __future__ import annotations

from ..core import ChatModel, Failed, Message, Reply, Setup

__all__ = ["unusable"]


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
