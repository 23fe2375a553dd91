"""Pictures as outputs: their seeds, what cannot be used, and those that come as text, such as from ``http``."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from ..attachments import picture_of
from ..core import Begins, Example, Failed, Missing, Picture, Prompt, Setup, Target
from ..pictures import flaw_of
from .outputs import outputs_of

__all__ = ["Pictures", "picture_in", "seed_of", "usable"]

SHOWN = 300  # characters of what is no picture
UNUSABLE = "pictures that cannot be used"


def seed_of(example: Example) -> int:
    """The seed of the picture that a prompt gets on an example, in [0, 2**32): the same for all prompts."""
    return int.from_bytes(hashlib.sha256(example.id.encode("utf-8", "surrogatepass")).digest()[:4], "big")


def usable(picture: Picture, setup: Setup) -> Picture | Missing:
    """A generator's picture; Missing, and counted, where it is broken, huge or animated: no prompt makes it so."""
    if (flaw := flaw_of(picture)) is None:
        return picture
    setup.count(UNUSABLE)
    return Missing(f"{flaw.partition(':')[0]} picture: {flaw}")


class Pictures:
    """Turns another target's outputs, base64 or ``data:`` URLs, into pictures.

    An output that holds no PNG, JPEG, WebP or GIF is :class:`promptopt.core.Failed`, and counted; one that has failed
    already stays as it is. A picture that is broken, huge or animated is :class:`promptopt.core.Missing`, and counted.
    What it shows is not looked at, and addresses are not fetched.

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

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Picture | Failed | Missing | None]:
        """One picture per example, in order.

        Raises:
            PromptoptError: as the other target's ``run``.
        """
        (outputs,) = self.run_batch([prompt], examples)
        return outputs

    def run_batch(
        self, prompts: Sequence[Prompt], examples: Sequence[Example], /
    ) -> Iterator[list[Picture | Failed | Missing | None]]:
        """What ``run`` returns, prompt by prompt; made side by side where the other target can.

        Raises:
            PromptoptError: as ``run``.
        """
        for outputs in outputs_of(self._target, prompts, examples):
            yield [self._picture(output) for output in outputs]

    def _picture(self, output: Any) -> Picture | Failed | Missing | None:
        if output is None or isinstance(output, Failed | Missing | Picture):
            return output
        if (found := picture_in(output)) is None:
            self._setup.count("outputs that are no pictures")
            return Failed("no picture", str(output)[:SHOWN])
        return usable(found, self._setup)


def picture_in(output: Any) -> Picture | None:
    """The picture that a text holds as base64 or as a data URL."""
    if not isinstance(output, str):
        return None
    text = output.partition(",")[2] if output.startswith("data:") else output
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return picture_of(data)
