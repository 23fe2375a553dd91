"""Pictures from texts: base64 and data URLs, and what is neither."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from promptopt.core import Example, Failed, Missing, Picture, Prompt
from promptopt.targets.pictures import Pictures
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import TargetContract


def drawn(kind: str, **how: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, kind, **how)
    return file.getvalue()


PNG = drawn("PNG")
KINDS = {f"image/{kind.lower()}": drawn(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF")}
EXAMPLES = [Example(str(i), i, "") for i in range(3)]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Says:
    """A target that says the same for every prompt; notes who began it."""

    def __init__(self, *outputs: Any) -> None:
        self.outputs = outputs
        self.begun: list[Any] = []

    def begin(self, setup: Any) -> None:
        self.begun.append(setup)

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return "no" if prompt.text == "bad" else None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        return [self.outputs[example.input] for example in examples]


class TestPictures(TargetContract):
    """The suite."""

    bad_prompts = ("bad",)

    def make(self) -> Pictures:
        return Pictures(target=Says(encoded(PNG), "no picture", None))

    def examples(self) -> Sequence[Example]:
        return EXAMPLES


@pytest.mark.parametrize("kind", KINDS)
def test_base64_and_data_urls(kind: str) -> None:
    text = encoded(KINDS[kind])
    broken = text[:6] + "\n" + text[6:]
    target = Pictures(target=Says(text, f"data:{kind};base64,{text}", broken))
    target.begin(FakeSetup())
    assert target.run(Prompt(""), EXAMPLES) == [Picture(KINDS[kind], kind)] * 3  # type: ignore[arg-type]


def test_what_is_no_picture_has_failed_and_is_counted() -> None:
    inner, setup = Says("https://example.org/a.png", encoded(b"<svg/>"), None, Failed("HTTP 400: no")), FakeSetup()
    target = Pictures(target=inner)
    target.begin(setup)
    assert target.run(Prompt(""), [*EXAMPLES, Example("3", 3, "")]) == [
        Failed("no picture", "https://example.org/a.png"),
        Failed("no picture", encoded(b"<svg/>")),
        None,
        Failed("HTTP 400: no"),
    ]
    assert setup.counts == {"outputs that are no pictures": 2}
    assert inner.begun == [setup]


class Batches(Says):
    """Makes the outputs of all prompts side by side; notes how many it was given at once."""

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> list[list[Any]]:
        self.at_once = len(prompts)
        return [self.run(prompt, examples) for prompt in prompts]


def test_pictures_of_all_prompts_are_asked_for_at_once() -> None:
    target = Pictures(target=(inner := Batches(encoded(PNG), encoded(PNG), None)))
    target.begin(FakeSetup())
    assert [*target.run_batch([Prompt("a"), Prompt("b")], EXAMPLES)] == [[Picture(PNG), Picture(PNG), None]] * 2
    assert inner.at_once == 2


def test_a_picture_that_cannot_be_used_is_unscored_and_counted() -> None:
    moving = drawn("GIF", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    setup, target = FakeSetup(), Pictures(target=Says(encoded(PNG[:-30]), encoded(moving), encoded(PNG)))
    target.begin(setup)
    broken, animated, fine = target.run(Prompt(""), EXAMPLES)
    assert isinstance(broken, Missing)
    assert broken.reason.startswith("broken picture: ")
    assert animated == Missing("animated picture: animated")
    assert fine == Picture(PNG)
    assert setup.counts == {"pictures that cannot be used": 2}
