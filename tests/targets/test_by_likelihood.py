"""The targets chat and vlm, choosing labels by likelihood."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
from PIL import Image

from promptopt import optimize, resume
from promptopt.core import Example, Message, Prompt
from promptopt.errors import Unanswered, UserError
from promptopt.models.local import Local
from promptopt.record.codec import decode_choice, encode_choice
from promptopt.targets.chat import ChatTarget
from promptopt.targets.labels import CONTENT_FREE, Likeliest
from promptopt.targets.vlm import VlmClassifier
from promptopt.testing import FakeSetup, ScriptedModel

from ..models.tiny_lm import save_llama, save_llava

EXAMPLES = [
    Example(f"{i}", text, "good" if i % 2 else "very bad") for i, text in enumerate(["soup", "rain", "a b", "?"])
]
LABELS = ["good", "very bad", "goodness"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def save(make: Callable[..., Path]) -> Path:
        with torch.random.fork_rng(devices=[]):
            return make(tmp_path_factory.mktemp("models") / "tiny")

    return save


@pytest.fixture(scope="module")
def folder(saved: Callable[..., Path]) -> Path:
    return saved(save_llama)


def normalized(row: np.ndarray) -> np.ndarray:
    return row - np.logaddexp.reduce(row)


def test_chat_gives_the_label_that_the_model_would_choose(folder: Path) -> None:
    local, setup = Local(model=folder), FakeSetup()
    for normal in (False, True):
        target = ChatTarget(model=local, answers="likelihood", labels=LABELS, length_normalized=normal)
        target.begin(setup)
        for output, example in zip(target.run(Prompt("Judge."), EXAMPLES), EXAMPLES, strict=True):
            choice = local.choose(target.messages(Prompt("Judge."), example), LABELS)
            sizes = np.array(choice.tokens if normal else [1, 1, 1])
            wanted = normalized(np.array(choice.log_probabilities) / sizes)
            assert isinstance(output, Likeliest)
            assert list(output.log_probabilities.values()) == pytest.approx(wanted)
            assert output == LABELS[int(wanted.argmax())]
    assert setup.counts == {}


def test_chat_is_calibrated_by_inputs_without_content(folder: Path) -> None:
    local = Local(model=folder)
    target = ChatTarget(model=local, answers="likelihood", labels=LABELS, calibration="content-free")
    target.begin(FakeSetup())

    def row(text: str) -> np.ndarray:
        messages = target.messages(Prompt("Judge."), Example("x", text, "good"))
        return normalized(np.array(local.choose(messages, LABELS).log_probabilities))

    (output,) = target.run(Prompt("Judge."), EXAMPLES[:1])
    prior = np.log(np.mean([np.exp(row(text)) for text in CONTENT_FREE], axis=0))
    assert isinstance(output, Likeliest)
    wanted = normalized(row("soup") - prior)
    assert list(output.log_probabilities.values()) == pytest.approx(wanted)


def test_calls_are_paid_for_written_down_and_not_made_again(folder: Path, tmp_path: Path) -> None:
    recipe = {
        "start": "Judge.",
        "target": {
            "name": "chat",
            "model": {"name": "local", "model": str(folder)},
            "answers": "likelihood",
            "length_normalized": True,
        },
        "data": [[one.input, one.label] for one in EXAMPLES],
        "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": ["Say.", "Which?"]}},
        "budget": 3,
    }
    done = optimize(**recipe, run=tmp_path / "run")
    assert done.costs.calls >= 4
    assert done.costs.output_tokens == 0
    written = (tmp_path / "run" / "ledger.jsonl").read_text(encoding="utf-8")
    again = resume(tmp_path / "run", ["budget=4"])
    assert (tmp_path / "run" / "ledger.jsonl").read_text(encoding="utf-8").count('"call"') == written.count('"call"')
    assert again.best == done.best


def test_how_many_tokens_options_have_is_written_down(folder: Path) -> None:
    choice = Local(model=folder).choose([Message("user", "x")], LABELS)
    assert choice.tokens == (4, 8, 8)
    assert decode_choice(encode_choice(choice)) == choice
    assert "tokens" not in encode_choice(type(choice)((0.0,)))


class Lost(Local):
    def choose(self, messages, options, /):
        if "N/A" in messages[-1].text:
            raise Unanswered("the line is dead")
        return super().choose(messages, options)


def test_without_calibration_nothing_is_known(folder: Path) -> None:
    setup = FakeSetup()
    target = ChatTarget(model=Lost(model=folder), answers="likelihood", labels=LABELS, calibration="content-free")
    target.begin(setup)
    outputs = target.run(Prompt("Judge."), EXAMPLES[:2])
    assert [getattr(one, "reason", "") for one in outputs] == ["requests lost after all retries: the line is dead"] * 2
    assert setup.counts == {"requests lost after all retries": 1}


def test_vlm_chooses_among_the_classes(saved: Callable[..., Path]) -> None:
    local = Local(model=saved(save_llava))
    target = VlmClassifier(
        model=local, classes=["cat", "dog"], answers="likelihood", labels={"cat": "Cat", "dog": "dog"}
    )
    target.begin(FakeSetup())
    pictures = [Example(colour, Image.new("RGB", (16, 16), colour), "cat") for colour in ("red", "blue")]
    outputs = target.run(Prompt("which?"), pictures)
    assert target.tiebreak == "log-probability"
    assert all(isinstance(one, Likeliest) and one in ("cat", "dog") for one in outputs)
    found = [list(one.log_probabilities.values()) for one in outputs if isinstance(one, Likeliest)]
    assert found[0] != pytest.approx(found[1], abs=1e-4)


def test_a_model_that_does_not_say_how_likely_replies_are_is_refused() -> None:
    with pytest.raises(UserError, match="does not say how likely replies are"):
        ChatTarget(model=ScriptedModel(["x"]), answers="likelihood", labels=LABELS)
    with pytest.raises(UserError, match="does not say how likely replies are"):
        VlmClassifier(model=ScriptedModel(["x"]), answers="likelihood", classes=["a", "b"])
    with pytest.raises(UserError, match="here answers are written"):
        ChatTarget(model=ScriptedModel(["x"]), calibration="content-free")
