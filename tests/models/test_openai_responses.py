"""What is particular to the Responses API; what all providers share stands in ``test_wires.py``."""

from __future__ import annotations

from typing import Any

import pytest

from promptopt import retries
from promptopt.core import Message, Reply, Request
from promptopt.errors import ModelError

from .openai_server import Answer, serving
from .wires import RESPONSES, RESPONSES_STREAM, response, response_events

HELLO = [Message("system", "Be short."), Message("user", "Hello"), Message("assistant", "Hi"), Message("user", "Bye")]
REFUSAL = {"type": "refusal", "refusal": "I will not."}

MEANINGS: list[tuple[dict[str, Any], str, Reply]] = [
    (response("Hel", "lo"), "completed", Reply("Hello")),
    (
        response("cut of", status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        "incomplete",
        Reply("cut of", "length"),
    ),
    (
        response("", status="incomplete", incomplete_details={"reason": "content_filter"}),
        "incomplete",
        Reply("", "refusal"),
    ),
    (response(REFUSAL), "completed", Reply("I will not.", "refusal")),
    (
        response(status="failed", error={"code": "bio_policy", "message": "Not this."}),
        "failed",
        Reply("Not this.", "refusal"),
    ),
]


def test_what_was_sent() -> None:
    with serving(Answer(response("Hi"))) as server:
        RESPONSES.model(server, max_tokens=77, extra={"reasoning": {"effort": "low"}}).complete(Request(HELLO, seed=1))
    assert server.requests[0].body == {
        "model": "m",
        "input": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
            {"role": "user", "content": "Bye"},
        ],
        "temperature": 1.0,
        "max_output_tokens": 77,
        "store": False,
        "reasoning": {"effort": "low"},
    }


@pytest.mark.parametrize(("whole", "end", "reply"), MEANINGS)
def test_what_a_response_means(whole: dict[str, Any], end: str, reply: Reply) -> None:
    with serving(Answer(whole)) as server:
        assert RESPONSES.model(server).complete(Request(HELLO)).replies == (reply,)
    with serving(response_events(whole, "Hel", f"response.{end}")) as server:
        assert RESPONSES_STREAM.model(server).complete(Request(HELLO)).replies == (reply,)


def test_a_response_that_failed_for_a_moment_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.01)
    failed = Answer(response(status="failed", error={"code": "server_error", "message": "oops"}))
    with serving(failed, Answer(response("Hi"))) as server:
        assert RESPONSES.model(server).complete(Request(HELLO)).replies == (Reply("Hi"),)


def test_a_response_that_failed_for_good_is_an_error() -> None:
    failed = Answer(response(status="failed", error={"code": "invalid_image", "message": "no picture"}))
    with serving(failed) as server, pytest.raises(ModelError, match=r"no picture \(invalid_image\)"):
        RESPONSES.model(server).complete(Request(HELLO))


def test_the_missing_seed_is_said() -> None:
    with serving() as server:
        assert "openai:m takes no seed: its replies cannot be reproduced" in RESPONSES.model(server).notes
