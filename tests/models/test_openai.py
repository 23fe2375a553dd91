"""What is particular to chat completions; what all providers share stands in ``test_wires.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from promptopt.core import Message, Reply, Request, Usage
from promptopt.errors import ModelError
from promptopt.models.openai import OpenAI

from .openai_server import Answer, Received, Server, choice, completion, failure, serving
from .wires import KEY

HELLO = [Message("system", "Be short."), Message("user", "Hello")]


def model(server: Server, **options: Any) -> OpenAI:
    return OpenAI(**{"model": "m", "base_url": server.url, "retries": 2, "timeout": 5.0, **options})


def refused(server: Server, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        model(server, **options).complete(Request(HELLO))
    return str(caught.value)


# ── Replies ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reply_with_its_cost_and_what_was_sent() -> None:
    with serving(completion("Hi", usage=(1_000, 200))) as server:
        chat = model(server, prices={"input": 2.0, "output": 10.0}, max_tokens=77, extra={"top_p": 0.5, "top_k": 3})
        assert chat.complete(Request(HELLO, temperature=0.3, seed=0)).replies == (Reply("Hi"),)
    [request] = server.requests
    assert (request.path, request.key) == ("/v1/chat/completions", KEY)
    assert request.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}],
        "temperature": 0.3,
        "seed": 0,
        "max_tokens": 77,
        "top_p": 0.5,
        "top_k": 3,
    }


def test_n_replies_come_from_one_request_where_the_server_knows_n() -> None:
    with serving(completion("a", "b", "c", usage=(10, 9))) as server:
        done = model(server).complete(Request(HELLO, n=3))
    assert ([reply.text for reply in done.replies], done.usage) == (["a", "b", "c"], Usage(1, 10, 9))
    assert server.requests[0].body["n"] == 3


def test_a_server_that_ignores_n_is_asked_for_what_is_missing_with_new_seeds() -> None:
    with serving(completion("a"), completion("b"), completion("c")) as server:
        done = model(server).complete(Request(HELLO, n=3, seed=5))
    assert ([reply.text for reply in done.replies], done.usage) == (["a", "b", "c"], Usage(3, 36, 15))
    assert [(request.body.get("n"), request.body["seed"]) for request in server.requests] == [(3, 5), (2, 6), (None, 7)]


def test_more_replies_than_wanted_are_cut() -> None:
    with serving(completion("a", "b", "c")) as server:
        assert model(server).complete(Request(HELLO, n=2)).replies == (Reply("a"), Reply("b"))


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (choice(None), Reply("")),
        (choice("cut of", finish="length"), Reply("cut of", "length")),
        (choice(None, finish="length"), Reply("", "length")),
        (choice(None, refusal="I will not."), Reply("I will not.", "refusal")),
        (choice("", finish="content_filter"), Reply("", "refusal")),
        (choice("text", finish=None), Reply("text")),
        (choice("half \ud800 pair"), Reply("half ? pair")),
        ({"index": 0}, Reply("")),
    ],
)
def test_what_a_choice_means(sent: dict[str, Any], reply: Reply) -> None:
    with serving(completion(sent)) as server:
        assert model(server).complete(Request(HELLO)).replies == (reply,)


def test_missing_usage_counts_the_call_and_warns() -> None:
    with (
        serving(completion("Hi", usage=None)) as server,
        pytest.warns(UserWarning, match="openai:m reports no token usage: only its calls are counted"),
    ):
        assert model(server).complete(Request(HELLO)).usage == Usage(1, 0, 0)


# ── Errors ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_error_without_a_message_shows_its_body() -> None:
    with serving(Answer({"detail": "Not Found"}, 404)) as server:
        assert "Not Found" in refused(server)


def test_an_error_with_status_200_is_an_error() -> None:
    with serving(Answer({"error": {"message": "upstream is down", "code": 502}})) as server:
        assert "it is not a chat completion: 'upstream is down'" in refused(server)


# ── What servers take ─────────────────────────────────────────────────────────────────────────────────────────────


def picky(*unknown: str) -> Callable[[Received], Answer]:
    """A server that refuses these fields."""

    def script(request: Received) -> Answer:
        for name in unknown:
            if name in request.body:
                return failure(400, f"Unsupported parameter: '{name}' is not supported with this model.", param=name)
        return completion("Hi")

    return script


def test_a_server_that_wants_the_other_name_for_the_limit_gets_it_from_then_on() -> None:
    with serving(script=picky("max_tokens")) as server:
        chat = model(server, max_tokens=9)
        chat.complete(Request(HELLO))
        chat.complete(Request(HELLO))
    limits = [{k: v for k, v in request.body.items() if k.startswith("max")} for request in server.requests]
    assert limits == [{"max_tokens": 9}, {"max_completion_tokens": 9}, {"max_completion_tokens": 9}]


def test_a_server_without_seeds_is_asked_without_and_the_user_is_warned() -> None:
    with serving(script=picky("seed")) as server:
        chat = model(server)
        with pytest.warns(UserWarning, match="takes no seed"):
            chat.complete(Request(HELLO, seed=1))
        chat.complete(Request(HELLO, seed=2))
    assert [request.body.get("seed") for request in server.requests] == [1, None, None]


def test_a_server_that_gives_one_reply_at_a_time_is_asked_for_each() -> None:
    with serving(script=picky("n")) as server:
        assert model(server).complete(Request(HELLO, n=2, seed=3)).replies == (Reply("Hi"), Reply("Hi"))
    assert [(request.body.get("n"), request.body["seed"]) for request in server.requests] == [
        (2, 3),
        (None, 3),
        (None, 4),
    ]


def test_a_mistake_in_the_limit_is_no_reason_to_rename_it() -> None:
    said = "This model's maximum context length is 8192 tokens, less than max_tokens."
    with serving(failure(400, said)) as server:
        assert said in refused(server)


def test_a_server_that_takes_neither_name_is_an_error() -> None:
    with serving(script=picky("max_tokens", "max_completion_tokens")) as server:
        assert "'max_completion_tokens' is not supported" in refused(server)
    assert len(server.requests) == 2


def test_openai_itself_gets_max_completion_tokens() -> None:
    with serving(script=picky("max_tokens")) as server:
        chat = OpenAI(model="m", retries=0)
        client = chat._connect()
        assert str(client.base_url) == "https://api.openai.com/v1/"
        client.base_url = server.url
        chat.complete(Request(HELLO))
    assert [request.body.get("max_completion_tokens") for request in server.requests] == [1024]


# ── Construction ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_unknown_prices_are_said_and_count_nothing() -> None:
    chat = OpenAI(model="gpt-x")
    assert chat.notes == ("no price known for openai:gpt-x: dollars are not counted",)
    assert chat.at_most(Request(HELLO)).dollars == 0.0
    assert OpenAI(model="m", prices={"input": 0, "output": 0}).notes == ()
