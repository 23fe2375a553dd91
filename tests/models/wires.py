"""The wire formats of the providers, streamed and not, under one interface, so that one test runs over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from promptopt.core import Picture
from promptopt.models.anthropic import Anthropic
from promptopt.models.hosted import HostedModel
from promptopt.models.openai import OpenAI
from promptopt.models.wrappers import limit

from .openai_server import Answer, Server, completion, events, failure

KEY = "sk-planted-0123456789abcdef"
PICTURE = Picture(b"\x89PNG\r\n\x1a\n not really", "image/png")


@contextmanager
def hearing() -> Iterator[list[float | None]]:
    """What the models that this thread asks report to :func:`promptopt.models.wrappers.limit.throttled`."""
    heard: list[float | None] = []
    before = limit._LISTENER.set(heard.append)
    try:
        yield heard
    finally:
        limit._LISTENER.reset(before)


# ── Chat completions ──────────────────────────────────────────────────────────────────────────────────────────────


def chat_chunk(text: str | None = None, *, end: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": {"content": text, **delta}, "finish_reason": end}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def chat_usage(tokens: tuple[int, int]) -> dict[str, Any]:
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return {**chat_chunk(), "choices": [], "usage": usage}


def chat_stream(text: str, tokens: tuple[int, int] = (12, 5), end: str = "stop") -> Answer:
    pieces = [chat_chunk(text[i : i + 2]) for i in range(0, len(text), 2)]
    return events(
        chat_chunk("", role="assistant"), *pieces, chat_chunk(end=end), chat_usage(tokens), end="data: [DONE]\n\n"
    )


# ── Responses ─────────────────────────────────────────────────────────────────────────────────────────────────────


def response(
    *parts: str | dict[str, Any], tokens: tuple[int, int] = (12, 5), status: str = "completed", **fields: Any
) -> dict[str, Any]:
    content = [{"type": "output_text", "text": p, "annotations": []} if isinstance(p, str) else p for p in parts]
    thought = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Thinking."}]}
    message = {"type": "message", "id": "msg", "role": "assistant", "status": "completed", "content": content}
    usage = {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens)}
    body = {"id": "resp", "object": "response", "created_at": 1, "model": "m", "status": status, "usage": usage}
    return {**body, "output": [thought, message] if parts else [], **fields}


def response_stream(text: str, tokens: tuple[int, int] = (12, 5)) -> Answer:
    whole = response(text, tokens=tokens) if text else response(tokens=tokens)
    return response_events(whole, text)


def response_events(whole: dict[str, Any], text: str = "", kind: str = "response.completed") -> Answer:
    place = {"item_id": "msg", "output_index": 1, "content_index": 0, "sequence_number": 1, "logprobs": []}
    deltas = [{"type": "response.output_text.delta", "delta": text[i : i + 2], **place} for i in range(0, len(text), 2)]
    created = {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}}
    return events(created, *deltas, {"type": kind, "response": whole}, named=True)


# ── Messages ──────────────────────────────────────────────────────────────────────────────────────────────────────


def message(*texts: str, tokens: tuple[int, int] = (12, 5), end: str = "end_turn", **fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None, "usage": usage}
    return {**body, "content": [{"type": "text", "text": text} for text in texts], "stop_reason": end, **fields}


def message_stream(
    text: str,
    tokens: tuple[int, int] = (12, 5),
    end: str = "end_turn",
    usage: dict[str, int] | None = None,
    **delta: Any,
) -> Answer:
    first = {"input_tokens": tokens[0], "output_tokens": 1, **(usage or {})}
    start = {"type": "message_start", "message": message(tokens=tokens, end="", usage=first)}
    opened = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    pieces = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text[i : i + 2]}}
        for i in range(0, len(text), 2)
    ]
    blocks = [opened, *pieces, {"type": "content_block_stop", "index": 0}] if text else []
    last = {"stop_reason": end, "stop_sequence": None, **delta}
    done = {"type": "message_delta", "delta": last, "usage": {"output_tokens": tokens[1]}}
    return events(start, {"type": "ping"}, *blocks, done, {"type": "message_stop"}, named=True)


def anthropic_failure(status: int, said: str, **options: Any) -> Answer:
    kind = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}.get(status, "api_error")
    error = {"type": "error", "error": {"type": kind, "message": said}, "request_id": "req_7"}
    return Answer(error, status, {"request-id": "req_7", **options.get("headers", {})})


# ── One interface ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Wire:
    """A provider's API, streamed or not.

    Attributes:
        make: the model class; ``options`` are its arguments besides the server.
        reply: an answer with one reply and its tokens.
        empty: an answer without any.
        late_error: a stream that ends in an overload.
        cut: a stream that ends, in good order, before the reply does.
        picture: what :data:`PICTURE` looks like in a request.
    """

    id: str
    make: type[HostedModel]
    path: str
    reply: Callable[..., Answer]
    empty: Answer
    failure: Callable[..., Answer]
    picture: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    late_error: Answer | None = None
    cut: Answer | None = None

    @property
    def key_variable(self) -> str:
        return self.make.key_variable

    def url(self, server: Server) -> str:
        return server.root if self.make is Anthropic else server.url

    def model(self, server: Server, **options: Any) -> HostedModel:
        defaults = {"model": "m", "base_url": self.url(server), "retries": 2, "timeout": 5.0}
        return self.make(**{**defaults, **self.options, **options})  # type: ignore[call-arg]

    def spec(self, server: Server, **options: Any) -> dict[str, Any]:
        """The model in a recipe."""
        name = f"{self.make.__module__}:{self.make.__name__}"
        return {"name": name, "model": "m", "base_url": self.url(server), "retries": 1, **self.options, **options}


DATA_URL = "data:image/png;base64,iVBORw0KGgogbm90IHJlYWxseQ=="
CHAT_PICTURE = {"type": "image_url", "image_url": {"url": DATA_URL}}
RESPONSES_PICTURE = {"type": "input_image", "image_url": DATA_URL, "detail": "auto"}
SOURCE = {"type": "base64", "media_type": "image/png", "data": DATA_URL.partition(",")[2]}
ANTHROPIC_PICTURE = {"type": "image", "source": SOURCE}

CHAT = Wire(
    "chat", OpenAI, "/v1/chat/completions", lambda text, tokens=(12, 5): completion(text, usage=tokens),
    completion(), failure, CHAT_PICTURE,
)  # fmt: skip
CHAT_STREAM = Wire(
    "chat-stream", OpenAI, "/v1/chat/completions", chat_stream, events(chat_usage((12, 5)), end="data: [DONE]\n\n"),
    failure, CHAT_PICTURE, {"stream": True},
    late_error=events(chat_chunk("Hel"), {"error": {"message": "overloaded", "type": "server_error", "code": 503}}),
    cut=events(chat_chunk("Hel")),
)  # fmt: skip
RESPONSES = Wire(
    "responses", OpenAI, "/v1/responses", lambda text, tokens=(12, 5): Answer(response(text, tokens=tokens)),
    Answer(response()), failure, RESPONSES_PICTURE, {"api": "responses"},
)  # fmt: skip
RESPONSES_STREAM = Wire(
    "responses-stream", OpenAI, "/v1/responses", response_stream, response_stream(""), failure, RESPONSES_PICTURE,
    {"api": "responses", "stream": True},
    late_error=response_events(
        response(status="failed", error={"code": "rate_limit_exceeded", "message": "overloaded"}),
        "Hel",
        "response.failed",
    ),
    cut=events({"type": "response.created", "response": response(status="in_progress")}, named=True),
)  # fmt: skip
ANTHROPIC = Wire(
    "anthropic", Anthropic, "/v1/messages", lambda text, tokens=(12, 5): Answer(message(text, tokens=tokens)),
    Answer(message()), anthropic_failure, ANTHROPIC_PICTURE,
)  # fmt: skip
ANTHROPIC_STREAM = Wire(
    "anthropic-stream", Anthropic, "/v1/messages", message_stream, message_stream(""), anthropic_failure,
    ANTHROPIC_PICTURE, {"stream": True},
    late_error=events(
        {"type": "message_start", "message": message()},
        {"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}}, named=True,
    ),
    cut=events({"type": "message_start", "message": message()}, named=True),
)  # fmt: skip

WIRES: Sequence[Wire] = (CHAT, CHAT_STREAM, RESPONSES, RESPONSES_STREAM, ANTHROPIC, ANTHROPIC_STREAM)
