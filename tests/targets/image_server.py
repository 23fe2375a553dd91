"""The wire format of ``POST /v1/images/generations``, and pictures to send."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from promptopt.core import Picture

from ..models.openai_server import Answer, Received, failure

USAGE = (12, 272)  # tokens in, and out for each picture


def drawn(colour: tuple[int, int, int] = (255, 0, 0), *, size: tuple[int, int] = (64, 64), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def picture(number: int) -> Picture:
    """A picture that differs from all others."""
    return Picture(drawn((number % 256, number // 256 % 256, 7)))


def images(*pictures: bytes | str | dict[str, Any], usage: tuple[int, int] | None = USAGE) -> Answer:
    """An answer with pictures, as bytes, as base64 of any kind, or as whole entries."""
    data = [one if isinstance(one, dict) else {"b64_json": encoded(one)} for one in pictures]
    body: dict[str, Any] = {"created": 1_700_000_000, "data": data}
    if usage:
        read, wrote = usage[0] * len(data), usage[1] * len(data)
        body["usage"] = {"input_tokens": read, "output_tokens": wrote, "total_tokens": read + wrote}
        body["usage"]["input_tokens_details"] = {"text_tokens": read, "image_tokens": 0}
    return Answer(body)


def encoded(one: bytes | str) -> str:
    return one if isinstance(one, str) else base64.b64encode(one).decode()


MODERATED = failure(
    400,
    "Your request was rejected by the safety system. safety_violations=[violence].",
    type="image_generation_user_error",
    code="moderation_blocked",
)


class Painter:
    """A script: each picture is another one; prompts with ``blood`` in them are moderated."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, request: Received) -> Answer:
        if "blood" in request.body["prompt"]:
            return MODERATED
        n = request.body.get("n", 1)
        self.drawn += n
        return images(*(picture(number).data for number in range(self.drawn - n, self.drawn)))
