"""CoOp, the white-box baseline of the study of [Liu2024]: learnt context vectors."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("open_clip")

import torch

from promptopt import UserError
from promptopt.core import Dataset, Example, Prompt
from promptopt.data.digits import digits
from promptopt.errors import BrokenFile
from promptopt.targets.clip import Clip

pytestmark = pytest.mark.study

FILE = Path(__file__).resolve().parents[1] / "experiments" / "liu2024" / "coop.py"


def script() -> ModuleType:
    """The module beside the experiment, imported under a name of its own."""
    spec = importlib.util.spec_from_file_location("liu2024_coop", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


coop = script()


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits(shots=4, seed=0)


@pytest.fixture(scope="module")
def clip(data: Dataset) -> Clip:
    return Clip(classes=data.classes, cache=None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_embeddings_of_words_give_what_the_words_give(clip: Clip, data: Dataset) -> None:
    text = "a handwritten digit"
    ids = torch.tensor(clip.tokenizer.encode(text))
    vectors = clip.model.token_embedding.weight[ids]
    found = coop.ContinuousPrompt(clip, vectors, ()).run(data.train)
    np.testing.assert_allclose(found, clip.run(Prompt(f"{text} {{}}"), data.train), atol=1e-4)


def test_it_learns_and_beats_the_plain_prompt_on_held_out_images(clip: Clip, data: Dataset) -> None:
    learnt = coop.CoOp(vectors=4, epochs=40).fit(clip, data.train, rng=rng())
    assert learnt.losses[-1] < learnt.losses[0] / 2
    test = data.test[:500]
    plain = clip.run(Prompt("a photo of a {}"), test)
    labels = [clip.classes.index(example.label) for example in test]
    assert learnt.accuracy(test) > (np.asarray(plain).argmax(axis=1) == labels).mean() + 0.1


def test_gradients_are_those_of_finite_differences(clip: Clip, data: Dataset) -> None:
    vectors = torch.from_numpy(rng().normal(0, 0.02, (3, 64)).astype(np.float32)).requires_grad_()
    labels = torch.tensor([clip.classes.index(example.label) for example in data.train])

    def loss(at: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(clip.logits(coop._class_features(clip, at), data.train), labels)

    loss(vectors).backward()
    assert vectors.grad is not None
    direction = torch.from_numpy(rng(1).normal(size=vectors.shape).astype(np.float32))
    with torch.no_grad():
        step = 1e-3
        slope = (loss(vectors + step * direction) - loss(vectors - step * direction)) / (2 * step)
    assert slope.item() == pytest.approx((vectors.grad * direction).sum().item(), rel=0.02)


def test_the_model_is_left_as_it_was(clip: Clip, data: Dataset) -> None:
    before = {name: value.clone() for name, value in clip.model.state_dict().items()}
    texts = clip.run(Prompt("a photo of a {}"), data.train)
    coop.CoOp(vectors=2, epochs=2).fit(clip, data.train, rng=rng())
    assert all(torch.equal(value, before[name]) for name, value in clip.model.state_dict().items())
    np.testing.assert_array_equal(clip.run(Prompt("a photo of a {}"), data.train), texts)
    assert not clip.model.token_embedding._forward_hooks


def test_equal_generators_give_equal_prompts(clip: Clip, data: Dataset) -> None:
    one, same, other = (coop.CoOp(vectors=2, epochs=2).fit(clip, data.train, rng=rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(one.vectors, same.vectors)
    assert not torch.equal(one.vectors, other.vectors)


def test_the_placeholder_is_one_token(clip: Clip) -> None:
    assert len(clip.tokenizer.encode(coop.WORD)) == 1


def test_another_architecture_of_open_clip(data: Dataset) -> None:
    clip = Clip(classes=data.classes, model="RN50", pretrained="random", cache=None)
    learnt = coop.CoOp(vectors=2, epochs=1).fit(clip, data.train[:2], rng=rng())
    assert learnt.run(data.train[:2]).shape == (2, 10)


def test_a_broken_picture_is_said_and_not_classified(clip: Clip, data: Dataset, tmp_path: Path) -> None:
    learnt = coop.CoOp(vectors=2, epochs=1).fit(clip, data.train[:2], rng=rng())
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = Example("broken", tmp_path / "broken.png", clip.classes[0])
    for ask in (learnt.run, learnt.accuracy):
        with pytest.raises(BrokenFile, match=r"broken\.png"):
            ask([*data.test[:2], broken])


def test_what_cannot_work_is_said(clip: Clip, data: Dataset) -> None:
    with pytest.raises(UserError, match="no examples"):
        coop.CoOp().fit(clip, [], rng=rng())
    with pytest.raises(UserError, match="at most"):
        coop.CoOp(vectors=30).fit(clip, data.train, rng=rng())
    with pytest.raises(UserError, match="vectors is 0; allowed is 1 or more"):
        coop.CoOp(vectors=0)
