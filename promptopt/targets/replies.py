"""What a target makes of a chat model's replies: outputs, or why there are none."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import ChatModel, Failed, Message, Missing, Reply, Request, Setup
from ..replies import NoReply, flaw, reply_to

__all__ = ["asked", "no_output", "unusable"]


def asked(
    model: ChatModel, messages: Sequence[Message], *, temperature: float, seed: int, setup: Setup
) -> Reply | Failed | Missing:
    """The reply to one conversation, or why there is none, counted.

    Raises:
        ModelError: the provider refuses whatever it is asked, or nothing was answered for long; the run says when.
    """
    said = reply_to(lambda: model.complete(Request(messages, temperature=temperature, seed=seed)).replies)
    if isinstance(said, NoReply):
        setup.count(said.counted("requests"))
        return no_output(said)
    return said[0] if said else Reply("")


def no_output(why: NoReply) -> Failed | Missing:
    """Failed where the prompt or the example is at fault, else Missing."""
    return (Missing if why.lost else Failed)(why.reason("requests"))


def unusable(reply: Reply, *, model: ChatModel, setup: Setup) -> Failed | None:
    """What failed about a reply, counted; None where nothing did. What there is of its text is kept for metrics.

    Args:
        model: gave the reply; it knows how long replies may be.
    """
    wrong = flaw(reply)
    if wrong is None:
        return None
    setup.count(f"{wrong} replies")
    text = reply.text if reply.text.strip() else None
    return Failed(_cut(model), text, cut=True) if wrong == "truncated" else Failed(wrong, text)


def _cut(model: ChatModel) -> str:
    limit = model.at_most(Request([Message("user", "")])).output_tokens
    return f"cut at max_tokens = {limit}" if limit else "cut at max_tokens"
