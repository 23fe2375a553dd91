"""OpenAI's Responses API on the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ..core import Message, Reply
from .hosted.wire import Answer, Ask, BrokenStream, Dispensable, NoAnswer, clean, count, encoded

__all__ = ["Responses"]

TRANSIENT = ("server_error", "rate_limit_exceeded")
"""Codes of a failed response that asking again may mend."""

ENDS = ("response.completed", "response.incomplete", "response.failed")


class Responses:
    """``POST /responses``: one reply a request, no seed; nothing is stored at the provider."""

    own: ClassVar[Sequence[str]] = ("model", "input", "stream", "store", "temperature", "max_output_tokens", "text")
    dispensable: ClassVar[Mapping[str, Dispensable]] = {
        "text": Dispensable(r"text\.format|json_schema|['\"`]text['\"`]", "schema: its replies are read tolerantly"),
        "temperature": Dispensable(r"\btemperature\b", "temperature: it samples as its provider chose"),
        "store": Dispensable(r"\bstore\b"),
    }

    def body(self, ask: Ask) -> dict[str, Any]:
        """The request's body."""
        body: dict[str, Any] = {
            "model": ask.model,
            "input": [{"role": m.role, "content": _content(m)} for m in ask.request.messages],
            "temperature": ask.request.temperature,
            "max_output_tokens": ask.max_tokens,
            "store": False,
        }
        if ask.request.schema is not None:
            schema = {"type": "json_schema", "name": "reply", "strict": True, "schema": dict(ask.request.schema)}
            body["text"] = {"format": schema}
        return body

    def method(self, client: Any) -> Any:
        """``responses.create`` of the SDK's client, which imports a good deal."""
        return client.responses.create

    def call(self, client: Any, body: dict[str, Any], *, stream: bool) -> Any:
        """The SDK's ``Response``, whose fields it does not validate, or a stream of events."""
        rest = {field: value for field, value in body.items() if field not in ("model", "input")}
        mode = {"stream": True} if stream else {}
        return self.method(client)(model=body["model"], input=body["input"], extra_body=rest, **mode)

    def read(self, response: Any) -> Answer:
        """The one reply of a response; a failed one has none."""
        if not isinstance(getattr(response, "output", None), list):
            raise NoAnswer(f"it is not a response: {str(response)[:200]!r}")
        usage = getattr(response, "usage", None)
        tokens = count(usage, "input_tokens"), count(usage, "output_tokens")
        if getattr(response, "status", None) == "failed":
            return Answer((_failed(getattr(response, "error", None)),), *tokens)
        return Answer((_reply(response),), *tokens)

    def assemble(self, events: Any) -> Answer:
        """The response that the last event holds; the pieces before it say the same."""
        for event in events:
            kind = getattr(event, "type", "")
            if kind == "error":
                return Answer((_failed(event),), None, None)
            if kind in ENDS:
                return self.read(event.response)
        raise BrokenStream


def _content(message: Message) -> str | list[dict[str, Any]]:
    if not message.pictures:
        return message.text
    parts = [
        {"type": "input_image", "image_url": f"data:{picture.type};base64,{encoded(picture)}", "detail": "auto"}
        for picture in message.pictures
    ]
    return parts + ([{"type": "input_text", "text": message.text}] if message.text else [])


def _reply(response: Any) -> Reply:
    parts = list(_parts(response.output))
    text = "".join(clean(getattr(part, "text", None)) for part in parts)
    refusal = "".join(clean(getattr(part, "refusal", None)) for part in parts)
    reason = getattr(getattr(response, "incomplete_details", None), "reason", None)
    if refusal or reason == "content_filter":
        return Reply(text or refusal, "refusal")
    return Reply(text, "stop" if reason is None else "length")


def _parts(output: list[Any]) -> Iterator[Any]:
    """What the model said, without its reasoning."""
    for item in output:
        if getattr(item, "type", None) == "message":
            yield from getattr(item, "content", None) or ()


def _failed(error: Any) -> Reply:
    """A refusal as a reply.

    Raises:
        BrokenStream: it may go better the next time.
        NoAnswer: it will not.
    """
    code, said = getattr(error, "code", None) or "", getattr(error, "message", None) or "the response failed"
    if code in TRANSIENT:
        raise BrokenStream(str(said), throttled=code == "rate_limit_exceeded")
    if "policy" in code:
        return Reply(str(said), "refusal")
    raise NoAnswer(f"it is a failure: {said}" + (f" ({code})" if code else ""))
