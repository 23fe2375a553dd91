"""Text-to-image models behind OpenAI's images endpoint, and every server that speaks its wire format."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..attachments import picture_of
from ..bodies import LARGEST
from ..checks import above_zero, at_least
from ..core import Reply, Request, Usage
from ..errors import require
from ..pictures import flaw_of
from .hosted import HostedModel
from .hosted.sdk_errors import is_moderation, message_of
from .hosted.wire import Answer, Ask, Dispensable, NoAnswer, clean, count
from .openai import OpenAI

__all__ = ["ImageModel"]

PICTURE_TOKENS = {"low": 1_000, "medium": 4_000}
"""More than the models count for a picture of that quality up to 1536 x 1024 pixels."""
MOST_TOKENS = 16_000
"""Likewise for the others."""


class ImageModel(HostedModel):
    """A text-to-image model in the shape of a chat model, so that a run bills, records, caches and replays its calls.

    The last message's text is drawn; ``n`` replies are as many pictures, each as base64. What the provider's moderation
    refuses is a reply of its own, a refusal with its words, and costs a call without tokens. A reply that is no picture
    that can be used ends as if it were cut off, so that no cache keeps it.

    Args:
        model: the provider's name for the model.
        settings: fields of the request that say how to draw, such as ``size`` and ``quality``.
        price: US dollars a picture; by default tokens are what is paid for.
        picture_tokens: the most tokens that the model counts for one picture; the budget is checked against it.
        base_url, timeout, retries, prices, extra: as of :class:`promptopt.models.openai.OpenAI`.

    Raises:
        UserError: an argument is out of range.
    """

    provider = OpenAI.provider
    client = OpenAI.client
    key_variable = OpenAI.key_variable
    base_url_variable = OpenAI.base_url_variable
    home = OpenAI.home
    hints = OpenAI.hints
    largest = 16 * LARGEST  # ten large pictures as PNG

    def __init__(
        self,
        *,
        model: str,
        settings: Mapping[str, Any],
        base_url: str | None,
        timeout: float,
        retries: int,
        prices: Mapping[str, float] | None,
        price: float | None,
        picture_tokens: int | None,
        extra: Mapping[str, Any] | None,
    ) -> None:
        above_zero(timeout=timeout)
        at_least(0, price=price)
        at_least(1, picture_tokens=picture_tokens)
        self._settings, self._each = dict(settings), price
        most = PICTURE_TOKENS.get(str(settings.get("quality")), MOST_TOKENS)
        super().__init__(
            api=Images(self._settings),
            model=model,
            base_url=base_url,
            max_tokens=most if picture_tokens is None else picture_tokens,
            stream=False,
            timeout=timeout,
            retries=retries,
            prices=prices,
            extra=extra,
            picture_tokens=1,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What besides the name makes the pictures differ, as JSON values."""
        return {**super().identity, "settings": self._settings}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear before the first call."""
        known = self._price or self._each is not None
        price = () if known else (f"no price known for {self.name}: dollars are not counted",)
        return (*price, f"{self.name} takes no seed: its pictures cannot be reproduced")

    def at_most(self, request: Request, /) -> Usage:
        """An upper bound for :meth:`complete`; with a price for each picture, exactly what they cost."""
        most = super().at_most(request)
        return most if self._each is None else replace(most, dollars=request.n * self._each)

    def expected(self, request: Request, /) -> Usage:
        """What a call will cost about: one request, and half of the most tokens that its pictures can take."""
        most, read = self.at_most(request), sum(len(message.text) // 4 for message in request.messages)
        dollars = most.dollars if self._each is not None else self._dollars(read, most.output_tokens // 2)
        return Usage(1, read, most.output_tokens // 2, dollars)

    def _cost(self, answer: Answer) -> Usage:
        if self._each is None:
            return super()._cost(answer)
        drawn = sum(reply.finish != "refusal" for reply in answer.replies)
        return Usage(1, answer.input_tokens or 0, answer.output_tokens or 0, drawn * self._each)

    def _connect(self) -> Any:
        client = super()._connect()
        if self._is_home(client):
            self._without.add("response_format")  # its models send nothing but base64, and refuse the field
        return client


class Images:
    """``POST /images/generations``.

    Args:
        settings: fields that say how to draw.
    """

    own: ClassVar[Sequence[str]] = (
        *("model", "prompt", "n", "stream", "partial_images"),
        *("size", "quality", "background", "moderation", "output_format", "output_compression"),
    )
    dispensable: ClassVar[Mapping[str, Dispensable]] = {
        "response_format": Dispensable(r"\bresponse_format\b"),
        "quality": Dispensable(r"\bquality\b", "quality: it draws as its provider chose"),
        "n": Dispensable(r"['\"`]n['\"`]"),
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings

    def body(self, ask: Ask) -> dict[str, Any]:
        """The request's body."""
        several = {"n": ask.request.n} if ask.request.n > 1 else {}
        what = {"model": ask.model, "prompt": ask.request.messages[-1].text, **several}
        return {**what, **self._settings, "response_format": "b64_json"}

    def method(self, client: Any) -> Any:
        """``images.generate`` of the SDK's client."""
        return client.images.generate

    def call(self, client: Any, body: dict[str, Any], *, stream: bool) -> Any:
        """The SDK's ``ImagesResponse``, whose fields it does not validate; or what moderation says against it."""
        sdk = require("openai", extra="openai")
        rest = {field: value for field, value in body.items() if field not in ("model", "prompt")}
        try:
            return self.method(client)(model=body["model"], prompt=body["prompt"], extra_body=rest)
        except sdk.APIStatusError as error:
            if not is_moderation(error):
                raise
            request = f" [request {error.request_id}]" if error.request_id else ""
            return _Moderated(message_of(error) + request, body.get("n", 1))

    def read(self, response: Any) -> Answer:
        """One reply a picture; servers send web pages and error objects with status 200, which are none."""
        if isinstance(response, _Moderated):
            return Answer((Reply(response.said, "refusal"),) * response.n, 0, 0)
        data = getattr(response, "data", None)
        if not isinstance(data, list):
            error = getattr(response, "error", None)
            said = error.get("message", error) if isinstance(error, Mapping) else error or response
            raise NoAnswer(f"it is not a list of pictures: {str(said)[:200]!r}")
        usage = getattr(response, "usage", None)
        replies = tuple(_reply(getattr(one, "b64_json", None), getattr(one, "url", None)) for one in data)
        return Answer(replies, count(usage, "input_tokens"), count(usage, "output_tokens"))

    def assemble(self, events: Any) -> Answer:
        """Never called: nothing is streamed."""
        raise NoAnswer("it is a stream")


@dataclass(frozen=True)
class _Moderated:
    """What the provider's moderation says against a request for so many pictures."""

    said: str
    n: int


def _reply(encoded: object, address: object) -> Reply:
    """A picture as a reply: base64, or the address of one; a refusal where moderation has taken it out."""
    text = clean(encoded) or clean(address)
    if not text:
        return Reply("the provider sent no picture", "refusal")
    return Reply(text, "stop" if _is_whole(text) else "length")


def _is_whole(encoded: str) -> bool:
    """Whether base64 holds a picture that can be used."""
    try:
        picture = picture_of(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        return False
    return picture is not None and flaw_of(picture) is None
