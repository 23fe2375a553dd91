"""OpenAI and every server that speaks its wire format, through the ``openai`` package.

vLLM, Ollama, llama.cpp, ``transformers serve`` and most hosted providers are reached with ``base_url``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ..core import Message, Reply
from .hosted import HostedModel
from .hosted.wire import PICTURE_TOKENS, Answer, Ask, BrokenStream, Dispensable, NoAnswer, clean, count, encoded
from .openai_responses import Responses

__all__ = ["OpenAI"]


MOST_STOPS = 4  # that OpenAI takes; replies are cut at the others when they have come


class OpenAI(HostedModel):
    """A chat model over the ``openai`` package.

    The key comes from the environment variable ``OPENAI_API_KEY`` and from nowhere else, and goes to ``base_url`` where
    one is given. With a ``base_url`` the key may be missing: local servers want none. Nothing is imported or sent
    before the first request. One object may be used from many threads.

    Of a server that refuses a field, it is asked without that field from then on, with a warning where something is
    lost: ``seed``, ``temperature``, the schema. The limit on output is sent as ``max_completion_tokens`` to OpenAI and
    as ``max_tokens`` to other servers, which get the other name if they refuse this one.

    Args:
        model: the provider's name for the model.
        base_url: where the server is, for example ``http://127.0.0.1:8000/v1``. Without it ``OPENAI_BASE_URL``, or else
            OpenAI.
        api: ``chat`` for chat completions, which every server speaks; ``responses`` for the Responses API, which has no
            seed and gives one reply a request. Responses are not stored at the provider.
        max_tokens: limit on the output of one reply, in tokens. Reasoning models spend it on their thoughts as well, so
            give them several thousand.
        stream: receive replies piece by piece, so that ``timeout`` counts from one piece to the next. The reply is
            handed on when it is complete; a stream that breaks off is asked for again.
        timeout: seconds for one attempt, to the last byte. With ``stream`` they are from one piece to the next, and the
            attempt has ten times as many. All attempts of a call together have five times one's, five minutes at least.
        retries: further attempts after a transient error (408, 409, 429, 5xx, a lost connection, a time-out). The wait
            is what ``retry-after`` says, up to 120 s, or else 0.5 s, doubled each time up to 8 s.
        prices: ``input`` and ``output``, in US dollars per million tokens. Without them those of the user's price file
            (:mod:`promptopt.models.hosted.prices`); without either, dollars are not counted.
        extra: further fields of the request's body, for example ``reasoning_effort`` or ``top_p``.
        picture_tokens: the most tokens that the model counts for one picture; the budget is checked against it.

    Raises:
        UserError: an argument is out of range, or ``extra`` holds a field that the request sets itself.
    """

    provider = "openai"
    client = "OpenAI"
    key_variable = "OPENAI_API_KEY"
    base_url_variable = "OPENAI_BASE_URL"
    home = "api.openai.com"
    hints: ClassVar[Mapping[int, str]] = {
        401: "Check the environment variable OPENAI_API_KEY.",
        403: "Check what the key in OPENAI_API_KEY may use.",
        404: "Check model and base_url (which usually ends in /v1).",
    }

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None = None,
        api: Literal["chat", "responses"] = "chat",
        max_tokens: int = 1024,
        stream: bool = False,
        timeout: float = 60.0,
        retries: int = 4,
        prices: Mapping[str, float] | None = None,
        extra: Mapping[str, Any] | None = None,
        picture_tokens: int = PICTURE_TOKENS,
    ) -> None:
        super().__init__(
            api=Responses() if api == "responses" else ChatCompletions(),
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

    def _connect(self) -> Any:
        client = super()._connect()
        if self._is_home(client):
            self._without.add("max_tokens")
        return client


class ChatCompletions:
    """``POST /chat/completions``."""

    own: ClassVar[Sequence[str]] = (
        *("model", "messages", "n", "stream", "stream_options", "temperature", "seed", "response_format"),
        *("max_tokens", "max_completion_tokens", "stop"),
    )
    dispensable: ClassVar[Mapping[str, Dispensable]] = {
        "seed": Dispensable(r"\bseed\b", "seed: its replies cannot be reproduced"),
        "response_format": Dispensable(r"response_format|json_schema", "schema: its replies are read tolerantly"),
        "max_tokens": Dispensable(r"\bmax_tokens\b"),
        "temperature": Dispensable(r"\btemperature\b", "temperature: it samples as its provider chose"),
        "stop": Dispensable(r"\bstop\b"),
        "stream_options": Dispensable(r"stream_options"),
        "n": Dispensable(r"['\"`]n['\"`]"),
    }

    def body(self, ask: Ask) -> dict[str, Any]:
        """The request's body; one of the two names for the limit stands in it."""
        limit = "max_completion_tokens" if "max_tokens" in ask.without else "max_tokens"
        body: dict[str, Any] = {
            "model": ask.model,
            "messages": [{"role": m.role, "content": _content(m)} for m in ask.request.messages],
            "temperature": ask.request.temperature,
            limit: ask.max_tokens,
        }
        if ask.request.n > 1:
            body["n"] = ask.request.n
        if ask.request.seed is not None:
            body["seed"] = ask.request.seed
        if ask.request.stop:
            body["stop"] = list(ask.request.stop[:MOST_STOPS])
        if ask.stream:
            body["stream_options"] = {"include_usage": True}
        if ask.request.schema is not None:
            schema = {"name": "reply", "strict": True, "schema": dict(ask.request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def method(self, client: Any) -> Any:
        """``chat.completions.create`` of the SDK's client, which imports a good deal."""
        return client.chat.completions.create

    def call(self, client: Any, body: dict[str, Any], *, stream: bool) -> Any:
        """The SDK's ``ChatCompletion``, whose fields it does not validate, or a stream of chunks, usage last."""
        rest = {field: value for field, value in body.items() if field not in ("model", "messages")}
        mode = {"stream": True} if stream else {}
        return self.method(client)(model=body["model"], messages=body["messages"], extra_body=rest, **mode)

    def read(self, response: Any) -> Answer:
        """One reply a choice; servers send web pages and error objects with status 200, which are none."""
        choices = getattr(response, "choices", None)
        if not isinstance(choices, list):
            error = getattr(response, "error", None)
            said = error.get("message", error) if isinstance(error, Mapping) else error or response
            raise NoAnswer(f"it is not a chat completion: {str(said)[:200]!r}")
        replies = []
        for choice in choices:
            message, end = getattr(choice, "message", None), getattr(choice, "finish_reason", None)
            replies.append(_reply(getattr(message, "content", None), getattr(message, "refusal", None), end))
        return _answer(replies, response)

    def assemble(self, events: Any) -> Answer:
        """The choices, each put together from its pieces."""
        parts: defaultdict[int, _Parts] = defaultdict(_Parts)
        last = None
        for chunk in events:
            last = chunk if getattr(chunk, "usage", None) else last
            for choice in getattr(chunk, "choices", None) or ():
                part, delta = parts[choice.index], choice.delta
                part.text += getattr(delta, "content", None) or ""
                part.refusal += getattr(delta, "refusal", None) or ""
                part.end = choice.finish_reason or part.end
        if any(part.end is None for part in parts.values()) or not (parts or last):
            raise BrokenStream
        return _answer([_reply(part.text, part.refusal, part.end) for _, part in sorted(parts.items())], last)


@dataclass
class _Parts:
    """What has come in of one streamed choice."""

    text: str = ""
    refusal: str = ""
    end: str | None = None


def _content(message: Message) -> str | list[dict[str, Any]]:
    if not message.pictures:
        return message.text
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": f"data:{picture.type};base64,{encoded(picture)}"}}
        for picture in message.pictures
    ]
    return parts + ([{"type": "text", "text": message.text}] if message.text else [])


def _reply(text: object, refusal: object, end: object) -> Reply:
    """A choice as a reply; a missing text is an empty one."""
    if refusal or end == "content_filter":
        return Reply(clean(text) or clean(refusal), "refusal")
    return Reply(clean(text), "length" if end == "length" else "stop")


def _answer(replies: Sequence[Reply], response: object) -> Answer:
    usage = getattr(response, "usage", None)
    return Answer(tuple(replies), count(usage, "prompt_tokens"), count(usage, "completion_tokens"))
