"""A chat model that sees, as an image classifier."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image

from promptopt import optimize
from promptopt.core import Dataset, Example, Failed, Message, Missing, Picture, Prompt, Reply, Request
from promptopt.errors import ModelError, Rejected, Unanswered, UserError
from promptopt.optimizers import RandomSearch
from promptopt.optimizers.pools.listed import ListPool
from promptopt.recipe.build import call
from promptopt.targets.vlm import VlmClassifier, encode
from promptopt.testing import FakeSetup, ScriptedModel
from promptopt.testing.contracts import TargetContract

COLOURS = {"red": (220, 30, 30), "green": (20, 200, 40), "blue": (10, 40, 210), "light blue": (130, 190, 250)}
CLASSES = tuple(COLOURS)
P = Prompt("What colour is it?")


def image(name: str, size: tuple[int, int] = (12, 8)) -> Image.Image:
    return Image.new("RGB", size, COLOURS[name])


EXAMPLES = [Example(f"e/{i}", image(name, (10 + i, 8)), name) for i, name in enumerate(CLASSES * 2)]


def opened(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.data))


def look(messages: Sequence[Message]) -> str:
    """The colour of the picture, read off its bytes."""
    (picture,) = messages[-1].pictures
    pixel = np.asarray(opened(picture).convert("RGB")).reshape(-1, 3).mean(axis=0)
    return min(COLOURS, key=lambda name: float(np.abs(pixel - COLOURS[name]).sum()))


def begun(replies: Any = look, *, seed: int = 0, **options: Any) -> tuple[VlmClassifier, ScriptedModel, FakeSetup]:
    model, setup = ScriptedModel(replies), FakeSetup(seed=seed)
    target = VlmClassifier(model=model, **{"classes": CLASSES, **options})
    target.begin(setup)
    return target, model, setup


class TestVlmClassifier(TargetContract):
    prompts = ("a photo of a {}", "What colour is it?")
    bad_prompts = ("", " \n")

    def make(self) -> VlmClassifier:
        return VlmClassifier(model=ScriptedModel(look), classes=CLASSES)

    def examples(self) -> Sequence[Example]:
        return EXAMPLES


# ── What is sent ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_picture_question_and_classes_in_one_message() -> None:
    target, model, setup = begun()
    assert target.run(P, EXAMPLES) == [example.label for example in EXAMPLES]
    assert (setup.roles, setup.counts) == (["target"], {})
    names = "red, green, blue, light blue"
    for call_ in model.calls:
        [message] = call_.messages
        assert (message.role, call_.n, call_.temperature) == ("user", 1, 0.0)
        assert message.text == f"What colour is it?\n\nAnswer with one of these names and nothing else: {names}"


@pytest.mark.parametrize(
    ("prompt", "classes", "asked"),
    [
        ("a photo of a {}", ("cat", "dog", "bird"), "a photo of a cat, dog or bird"),
        ("{} or {}?", ("cat", "dog"), "cat or dog or cat or dog?"),
        ("{0} {x} {}", ("{}",), "{0} {x} {}"),
    ],
)
def test_a_template_for_clip_is_filled_with_the_classes(prompt: str, classes: Sequence[str], asked: str) -> None:
    target, _, _ = begun(classes=classes)
    assert target.question(Prompt(prompt)) == f"{asked}\n\nAnswer with one of these names and nothing else."


def test_images_come_as_files_arrays_and_pictures(tmp_path: Path) -> None:
    image("green").save(tmp_path / "one.png")
    image("blue").convert("P").save(tmp_path / "two.gif")
    given: list[Any] = [
        *(str(tmp_path / "one.png"), tmp_path / "two.gif", np.asarray(image("red")), image("light blue")),
        image("red").convert("CMYK"),
    ]
    target, _, _ = begun()
    assert target.run(P, [Example(str(i), one, "") for i, one in enumerate(given)]) == [
        *("green", "blue", "red", "light blue", "red")
    ]


def test_a_picture_is_only_made_smaller() -> None:
    sizes = {(1000, 500): (64, 32), (30, 640): (3, 64), (64, 10): (64, 10), (2, 2): (2, 2)}
    for size, sent in sizes.items():
        given = image("red", size)
        picture = encode(Example("e", given, "red"), max_side=64)
        assert (opened(picture).size, given.size) == (sent, size)


def test_small_pictures_are_sent_without_loss_and_photos_as_jpeg() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    small, large = (encode(Example("e", pixels, ""), max_side=512) for pixels in (noise[:90, :90], noise))
    assert (small.type, opened(small).format) == ("image/png", "PNG")
    assert (np.asarray(opened(small)) == noise[:90, :90]).all()
    assert (large.type, opened(large).format) == ("image/jpeg", "JPEG")


def test_each_image_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    target, model, _ = begun(workers=1)
    encoded: list[str] = []
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda self, *a, **k: (encoded.append("x"), save(self, *a, **k))[1])
    list(target.run_batch([P, Prompt("Which one?")], EXAMPLES))
    target.run(P, EXAMPLES[::-1])
    assert len(encoded) == len(EXAMPLES)
    assert len(model.calls) == 3 * len(EXAMPLES)


def test_every_call_has_a_seed_of_its_own_that_order_and_threads_do_not_change() -> None:
    def seeds(order: Sequence[Example], workers: int, seed: int = 0) -> set[tuple[str, bytes, int | None]]:
        target, model, _ = begun(workers=workers, seed=seed)
        list(target.run_batch([P, Prompt("Other.")], order))
        return {(c.messages[0].text, c.messages[0].pictures[0].data, c.seed) for c in model.calls}

    first = seeds(EXAMPLES, 1)
    assert first == seeds(EXAMPLES[::-1], 4)
    assert len({seed for *_, seed in first}) == 2 * len(EXAMPLES)
    assert first != seeds(EXAMPLES, 1, seed=1)


def test_calls_are_made_side_by_side() -> None:
    barrier = threading.Barrier(4, timeout=30)

    class Waiting(ScriptedModel):
        def complete(self, request: Request, /) -> Any:
            barrier.wait()
            return super().complete(request)

    target = VlmClassifier(model=Waiting(look), classes=CLASSES, workers=4)
    target.begin(FakeSetup())
    assert target.run(P, EXAMPLES[:4]) == list(CLASSES)


# ── What comes back ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("red", "red"),
        (" RED.\n", "red"),
        ("**Green**", "green"),
        ("“light_blue”", "light blue"),
        ("The colour is light\nblue!", "light blue"),
        ("It is red, a deep Red.", "red"),
        ("<think>Is it red or green?</think>It is blue.", "blue"),
        ("reddish", None),
        ("infrared", None),
        ("red or green", None),
        ("not red but light blue", None),
        ("I cannot tell.", None),
        ("lightblue", None),
    ],
)
def test_a_reply_is_read_tolerantly_but_never_guessed(said: str, read: str | None) -> None:
    target, _, setup = begun([said])
    assert target.run(P, EXAMPLES[:1]) == [read or Failed("no class, or several", said)]
    assert setup.counts == ({} if read else {"replies that name no class, or several": 1})


def test_names_are_given_back_as_the_labels_have_them() -> None:
    target, _, _ = begun(["a hot-dog", "C++ !", "STRASSE"], classes=["Hot-Dog", "dog", "C++", "C", "Straße"], workers=1)
    assert target.run(P, EXAMPLES[:3]) == ["Hot-Dog", "C++", "Straße"]


def test_refused_empty_and_truncated_replies_are_counted_and_failed_unless_they_name_a_class() -> None:
    replies = [
        Reply("red", "refusal"),
        Reply(" "),
        Reply("It is", "length"),
        Reply("red, since", "length"),
        Reply("red"),
    ]
    target, _, setup = begun(replies, workers=1)
    assert target.run(P, EXAMPLES[:5]) == [
        Failed("refused", "red"),
        Failed("empty"),
        Failed("cut at max_tokens = 1024", "It is", cut=True),
        "red",
        "red",
    ]
    assert setup.counts == {"refused replies": 1, "empty replies": 1, "truncated replies": 2}


def test_one_request_that_fails_for_good_ends_nothing() -> None:
    answers = iter([Unanswered("m: busy (HTTP 500)"), Rejected("m: too long (HTTP 400)"), "red"])

    def reply(messages: Sequence[Message]) -> str:
        if isinstance(answer := next(answers), ModelError):
            raise answer
        return answer

    target, _, setup = begun(reply, workers=1)
    assert target.run(P, EXAMPLES[:3]) == [
        Missing("requests lost after all retries: m: busy (HTTP 500)"),
        Failed("requests rejected by the provider: m: too long (HTTP 400)"),
        "red",
    ]
    assert setup.counts == {"requests lost after all retries": 1, "requests rejected by the provider": 1}


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────

DATA = Dataset("colours", train=tuple(EXAMPLES), test=tuple(EXAMPLES), classes=CLASSES)


def sees_if_asked(messages: Sequence[Message]) -> str:
    return look(messages) if "colour" in messages[-1].text else "red"


@pytest.mark.parametrize("name", ["promptopt.targets.vlm:VlmClassifier", "clip"])
def test_the_same_task_runs_against_clip_and_a_vlm(name: str) -> None:
    if name == "clip":
        pytest.importorskip("open_clip")
    target = {"name": name} if name == "clip" else {"name": name, "model": ScriptedModel(sees_if_asked)}
    result = optimize(
        start="a photo of a {}",
        target=target,
        data=DATA,
        optimizer=RandomSearch(pool=ListPool(prompts=["a picture of a {}", "the colour {}", "a {}"])),
        budget=4,
        run=None,
    )
    assert result.verdict is not None
    assert len(result.steps) == 4 + 2
    if name != "clip":
        assert (result.best, result.verdict.start, result.verdict.best) == ("the colour {}", 0.25, 1.0)
        assert result.costs.calls == (4 + 2) * len(EXAMPLES)


def test_a_budget_stops_it_before_the_call() -> None:
    result = optimize(
        start="a photo of a {}",
        target=VlmClassifier(model=ScriptedModel(look), classes=CLASSES, workers=1),
        data=Dataset("colours", train=tuple(EXAMPLES), classes=CLASSES),
        optimizer=RandomSearch(pool=ListPool(prompts=["a {}"])),
        budget={"calls": 3},
        run=None,
    )
    assert result.stop_reason == "budget: calls"
    assert result.costs.calls == 3


# ── Mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_arguments_are_checked() -> None:
    good: dict[str, Any] = {"model": ScriptedModel(look), "classes": list(CLASSES)}
    assert isinstance(call(VlmClassifier, good, where="target"), VlmClassifier)
    for bad in (
        *({"max_side": 0}, {"workers": 0}, {"temperature": -1.0}, {"temperature": float("nan")}),
        *({"classes": []}, {"classes": ["a", "A."]}, {"classes": ["!"]}),
    ):
        with pytest.raises(UserError):
            call(VlmClassifier, {**good, **bad}, where="target")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("missing.png", "cannot read the image"),
        (np.zeros((4, 4, 4), dtype=np.uint8), "is no image"),
        (np.zeros((4, 4)), "is no image"),
        (7, "int is no image"),
    ],
)
def test_an_image_that_is_none_is_named(given: Any, said: str) -> None:
    target, model, _ = begun(workers=1)
    with pytest.raises(UserError, match=f"'e/bad'.*{said}"):
        target.run(P, [Example("e/bad", given, "red")])
    assert not model.calls


def test_a_broken_image_stays_unscored(tmp_path: Path) -> None:
    file = io.BytesIO()
    image("red", (64, 64)).save(file, "PNG")
    for data, said in ((b"no image", "no image that Pillow knows"), (file.getvalue()[:60], "cannot decode")):
        (tmp_path / "bad.png").write_bytes(data)
        target, _, _ = begun(workers=1)
        output, other = target.run(P, [Example("e", tmp_path / "bad.png", "red"), EXAMPLES[0]])
        assert isinstance(output, Missing)
        assert output.reason.startswith("broken files: example 'e': cannot decode")
        assert said in output.reason
        assert isinstance(other, str)
