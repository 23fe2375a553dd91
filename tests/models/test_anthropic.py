"""What is particular to Anthropic; what all providers share stands in ``test_wires.py``."""

from __future__ import annotations

from typing import Any

import pytest

from promptopt.core import Message, Reply, Request, Usage
from promptopt.errors import UserError
from promptopt.models.anthropic import Anthropic

from .openai_server import Answer, serving
from .wires import ANTHROPIC, ANTHROPIC_STREAM, PICTURE, message, message_stream

HELLO = [Message("system", "Be short."), Message("user", "Hello"), Message("system", "Be kind."), Message("user", "!")]
DETAILS = {"type": "refusal", "category": "bio", "explanation": "Not this."}


def test_what_was_sent() -> None:
    with serving(Answer(message("Hi"))) as server:
        ANTHROPIC.model(server, max_tokens=77, extra={"top_k": 3}).complete(Request(HELLO, temperature=0.3, seed=1))
    assert server.requests[0].body == {
        "model": "m",
        "system": "Be short.\n\nBe kind.",
        "messages": [{"role": "user", "content": "Hello"}, {"role": "user", "content": "!"}],
        "temperature": 0.3,
        "max_tokens": 77,
        "top_k": 3,
    }


@pytest.mark.parametrize(
    ("stop", "text", "fields", "reply"),
    [
        ("end_turn", "Hi", {}, Reply("Hi")),
        ("stop_sequence", "Hi", {}, Reply("Hi")),
        ("max_tokens", "cut of", {}, Reply("cut of", "length")),
        ("model_context_window_exceeded", "cut of", {}, Reply("cut of", "length")),
        ("refusal", "", {}, Reply("", "refusal")),
        ("refusal", "", {"stop_details": DETAILS}, Reply("Not this.", "refusal")),
    ],
)
def test_what_a_message_means(stop: str, text: str, fields: dict[str, Any], reply: Reply) -> None:
    with serving(Answer(message(*filter(None, [text]), end=stop, **fields))) as server:
        assert ANTHROPIC.model(server).complete(Request(HELLO)).replies == (reply,)
    with serving(message_stream(text, end=stop, **fields)) as server:
        assert ANTHROPIC_STREAM.model(server).complete(Request(HELLO)).replies == (reply,)


def test_thoughts_are_no_part_of_the_reply() -> None:
    thought = {"type": "thinking", "thinking": "Hmm.", "signature": "s"}
    body = message("Hel", "lo")
    with serving(Answer({**body, "content": [thought, *body["content"]]})) as server:
        assert ANTHROPIC.model(server).complete(Request(HELLO)).replies == (Reply("Hello"),)


def test_tokens_of_the_prompt_cache_are_counted_and_priced() -> None:
    usage = {"input_tokens": 100, "output_tokens": 10}
    cached = {"cache_read_input_tokens": 1_000, "cache_creation_input_tokens": 50}
    expected = Usage(1, 1_150, 10, pytest.approx((1_150 + 50) * 1e-6 + 10 * 5e-6))
    prices = {"input": 1.0, "output": 5.0}
    with serving(Answer({**message("Hi"), "usage": {**usage, **cached}})) as server:
        assert ANTHROPIC.model(server, prices=prices).complete(Request(HELLO)).usage == expected
    with serving(message_stream("Hi", (100, 10), usage=cached)) as server:
        assert ANTHROPIC_STREAM.model(server, prices=prices).complete(Request(HELLO)).usage == expected


def test_writing_into_the_prompt_cache_is_within_the_bound() -> None:
    prices = {"input": 1.0, "output": 0.0}
    plain = Anthropic(model="m", prices=prices).at_most(Request(HELLO))
    caching = Anthropic(model="m", prices=prices, extra={"cache_control": {"type": "ephemeral"}}).at_most(
        Request(HELLO)
    )
    assert caching.dollars >= 2 * plain.dollars


def test_a_picture_in_a_system_message_is_the_users_mistake() -> None:
    with serving() as server, pytest.raises(UserError, match="system message"):
        ANTHROPIC.model(server).complete(Request([Message("system", "x", (PICTURE,)), Message("user", "y")]))


def test_the_missing_seed_is_said() -> None:
    assert "anthropic:m takes no seed: its replies cannot be reproduced" in Anthropic(model="m").notes
