"""Pictures from a target that sends them as text: a text-to-image service behind ``http``, for instance."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from ..core import Begins, Example, Picture, Prompt, Setup, Target

__all__ = ["Pictures"]


class Pictures:
    """Turns another target's outputs, base64 or ``data:`` URLs, into pictures.

    An output that holds no PNG, JPEG, WebP or GIF becomes None, so it stays unscored, and is counted. What the picture
    shows is not looked at, and addresses are not fetched.

    Args:
        target: gives one text per example.
    """

    def __init__(self, *, target: Target) -> None:
        self._target = target

    def begin(self, setup: Setup, /) -> None:
        """Pass the setup on."""
        self._setup = setup
        if isinstance(self._target, Begins):
            self._target.begin(setup)

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """What the other target says."""
        return self._target.problem_with(prompt)

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Picture | None]:
        """One picture per example, in order.

        Raises:
            PromptoptError: as the other target's ``run``.
        """
        outputs = self._target.run(prompt, examples)
        pictures = [_picture(output) for output in outputs]
        if lost := sum(p is None and o is not None for p, o in zip(pictures, outputs, strict=True)):
            self._setup.count("outputs that are no pictures", lost)
        return pictures


def _picture(output: Any) -> Picture | None:
    if not isinstance(output, str):
        return None
    text = output.partition(",")[2] if output.startswith("data:") else output
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Picture(data, "image/png")
    if data.startswith(b"\xff\xd8\xff"):
        return Picture(data, "image/jpeg")
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Picture(data, "image/webp")
    return Picture(data, "image/gif") if data.startswith((b"GIF87a", b"GIF89a")) else None
