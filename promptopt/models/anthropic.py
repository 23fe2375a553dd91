"""Anthropic's messages API, through the ``anthropic`` package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..core import Message, Reply
from ..errors import UserError
from .hosted import HostedModel
from .hosted.wire import PICTURE_TOKENS, Answer, Ask, BrokenStream, Dispensable, NoAnswer, clean, count, encoded

__all__ = ["Anthropic"]


class Anthropic(HostedModel):
    """A chat model over the ``anthropic`` package.

    The key comes from the environment variable ``ANTHROPIC_API_KEY`` and from nowhere else, and goes to ``base_url``
    where one is given. Nothing is imported or sent before the first request. One object may be used from many threads.

    The API gives one reply a request and takes no seed: ``n`` replies are ``n`` requests, and they cannot be
    reproduced. A schema is sent as ``output_config.format``, without tools. A server that refuses ``temperature``
    (several models take none but 1) or the schema is asked without it from then on, with a warning. Tokens read from
    the prompt cache are priced like all input, those written into it twice as high, which is the most that is charged.

    Args:
        model: the provider's name for the model.
        base_url: where the server is, without ``/v1``. Without it ``ANTHROPIC_BASE_URL``, or else Anthropic.
        max_tokens: limit on the output of one reply, in tokens; a model's thoughts count.
        stream: receive replies piece by piece, so that ``timeout`` counts from one piece to the next. The reply is
            handed on when it is complete; a stream that breaks off is asked for again.
        timeout: seconds for one attempt, to the last byte. With ``stream`` they are from one piece to the next, and the
            attempt has ten times as many. All attempts of a call together have five times one's, five minutes at least.
        retries: further attempts after a transient error (408, 409, 429, 5xx, a lost connection, a time-out). The wait
            is what ``retry-after`` says, up to 120 s, or else 0.5 s, doubled each time up to 8 s.
        prices: ``input`` and ``output``, in US dollars per million tokens. Without them those of the user's price file
            (:mod:`promptopt.models.hosted.prices`); without either, dollars are not counted.
        extra: further fields of the request's body, for example ``thinking`` or ``top_k``.
        picture_tokens: the most tokens that the model counts for one picture; the budget is checked against it.

    Raises:
        UserError: an argument is out of range, or ``extra`` holds a field that the request sets itself.
    """

    provider = "anthropic"
    client = "Anthropic"
    key_variable = "ANTHROPIC_API_KEY"
    base_url_variable = "ANTHROPIC_BASE_URL"
    home = "api.anthropic.com"
    hints: ClassVar[Mapping[int, str]] = {
        401: "Check the environment variable ANTHROPIC_API_KEY.",
        403: "Check what the key in ANTHROPIC_API_KEY may use.",
        404: "Check model and base_url (which does not end in /v1).",
    }

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None = None,
        max_tokens: int = 1024,
        stream: bool = False,
        timeout: float = 60.0,
        retries: int = 4,
        prices: Mapping[str, float] | None = None,
        extra: Mapping[str, Any] | None = None,
        picture_tokens: int = PICTURE_TOKENS,
    ) -> None:
        super().__init__(
            api=Messages(),
            model=model,
            base_url=base_url,
            max_tokens=max_tokens,
            stream=stream,
            timeout=timeout,
            retries=retries,
            prices=prices,
            extra=extra,
            picture_tokens=picture_tokens,
        )


class Messages:
    """``POST /v1/messages``."""

    own: ClassVar[Sequence[str]] = (
        "model",
        "messages",
        "system",
        "stream",
        "temperature",
        "max_tokens",
        "output_config",
        "stop_sequences",
    )
    dispensable: ClassVar[Mapping[str, Dispensable]] = {
        "output_config": Dispensable(r"output_config|output_format|json_schema", "schema: replies are read tolerantly"),
        "temperature": Dispensable(r"\btemperature\b", "temperature: it samples as its provider chose"),
    }

    def body(self, ask: Ask) -> dict[str, Any]:
        """The request's body; system messages stand apart, wherever they stood in the conversation."""
        system = [message for message in ask.request.messages if message.role == "system"]
        if any(message.pictures for message in system):
            raise UserError("Anthropic takes no pictures in a system message; put them into one of the user.")
        body: dict[str, Any] = {
            "model": ask.model,
            "messages": [{"role": m.role, "content": _content(m)} for m in ask.request.messages if m.role != "system"],
            "max_tokens": ask.max_tokens,
            "temperature": ask.request.temperature,
        }
        if stop := [text for text in ask.request.stop if text.strip()]:  # others are refused; replies are cut there
            body["stop_sequences"] = stop
        if system:
            body["system"] = "\n\n".join(message.text for message in system)
        if ask.request.schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": dict(ask.request.schema)}}
        return body

    def method(self, client: Any) -> Any:
        """``messages.create`` of the SDK's client, which imports a good deal."""
        return client.messages.create

    def call(self, client: Any, body: dict[str, Any], *, stream: bool) -> Any:
        """The SDK's ``Message``, whose fields it does not validate, or a stream of events."""
        named = {field: body[field] for field in ("model", "messages", "max_tokens")}
        rest = {field: value for field, value in body.items() if field not in named}
        return self.method(client)(**named, extra_body=rest, **({"stream": True} if stream else {}))

    def read(self, response: Any) -> Answer:
        """The one reply of a message: its text blocks, without its thoughts."""
        content = getattr(response, "content", None)
        if not isinstance(content, list):
            raise NoAnswer(f"it is not a message: {str(response)[:200]!r}")
        text = "".join(clean(getattr(block, "text", None)) for block in content)
        reply = _reply(text, getattr(response, "stop_reason", None), getattr(response, "stop_details", None))
        return _answer(reply, getattr(response, "usage", None))

    def assemble(self, events: Any) -> Answer:
        """The message, put together from its pieces; counts of tokens grow, so the last ones hold."""
        text, stop, details = "", None, None
        usage = _Usage()
        for event in events:
            if event.type == "message_start":
                usage.take(getattr(event.message, "usage", None))
            elif event.type == "content_block_start":
                text += clean(getattr(event.content_block, "text", None))
            elif event.type == "content_block_delta":
                text += clean(getattr(event.delta, "text", None))
            elif event.type == "message_delta":
                stop, details = event.delta.stop_reason, getattr(event.delta, "stop_details", None)
                usage.take(getattr(event, "usage", None))
            elif event.type == "message_stop":
                return _answer(_reply(text, stop, details), usage)
        raise BrokenStream


class _Usage:
    """The latest of each count in a stream."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None

    def take(self, usage: object) -> None:
        for name in _Usage.__annotations__:
            if (value := count(usage, name)) is not None:
                setattr(self, name, value)


def _content(message: Message) -> str | list[dict[str, Any]]:
    if not message.pictures:
        return message.text
    parts: list[dict[str, Any]] = [
        {"type": "image", "source": {"type": "base64", "media_type": picture.type, "data": encoded(picture)}}
        for picture in message.pictures
    ]
    return parts + ([{"type": "text", "text": message.text}] if message.text else [])


def _reply(text: str, stop: str | None, details: object) -> Reply:
    if stop == "refusal":
        return Reply(text or clean(getattr(details, "explanation", None)), "refusal")
    return Reply(text, "length" if stop in ("max_tokens", "model_context_window_exceeded") else "stop")


def _answer(reply: Reply, usage: object) -> Answer:
    """Input is what was read anew, read from the cache and written into it, together."""
    fresh, out = count(usage, "input_tokens"), count(usage, "output_tokens")
    read, written = (count(usage, f"cache_{what}_input_tokens") or 0 for what in ("read", "creation"))
    return Answer((reply,), None if fresh is None else fresh + read + written, out, written)
