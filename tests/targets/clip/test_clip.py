"""The CLIP target: what it computes, what it refuses, what it leaves alone."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("open_clip")

import open_clip
import torch
import torch.nn.functional as F
from PIL import Image

from promptopt.core import BatchTarget, Coverage, Example, Prompt, Rate
from promptopt.errors import UnknownName, UserError
from promptopt.metrics.classification import Accuracy, LogProbability
from promptopt.recipe.build import build
from promptopt.scorers import MetricScorer
from promptopt.targets import clip
from promptopt.targets.clip import Clip
from promptopt.targets.clip import models as clip_models
from promptopt.testing.contracts import TargetContract

from ..conftest import CONTEXT, save, shaken

CLASSES = ("dog", "cat", "fire engine")
TEMPLATES = ["a photo of a {}", "{} in the dark", "one {}, two"]


def images(n: int = 5) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)) for _ in range(n)]


def examples(n: int = 5) -> list[Example]:
    return [Example(str(i), image, CLASSES[i % 3]) for i, image in enumerate(images(n))]


@pytest.fixture(scope="module")
def target(folder: Path) -> Clip:
    return Clip(classes=CLASSES, model=str(folder), cache=None)


@pytest.fixture
def make(folder: Path) -> Any:
    return lambda **options: Clip(**{"classes": CLASSES, "model": str(folder), "cache": None, **options})


def by_the_book(folder: Path, templates: Sequence[str]) -> torch.Tensor:
    """Zero-shot log-probabilities as open_clip's own functions give them."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}", bpe_path=str(folder / "bpe.txt.gz"))
    weights = open_clip.build_zero_shot_classifier(model.eval(), tokenizer, CLASSES, templates)
    with torch.no_grad():
        features = F.normalize(model.encode_image(torch.stack([preprocess(image) for image in images()])), dim=-1)
        logits = model.logit_scale.exp() * features @ weights
        return (logits + (model.logit_bias or 0)).log_softmax(dim=-1)


# ── What it computes ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("template", TEMPLATES)
def test_log_probabilities_are_those_of_open_clip(template: str, target: Clip, folder: Path) -> None:
    found = target.run(Prompt(template), examples())
    assert found.shape == (5, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_the_book(folder, [template]).numpy(), atol=1e-4)
    assert np.ptp(found) > 0.1


def test_lines_are_an_ensemble(target: Clip, folder: Path) -> None:
    found = target.run(Prompt("\n".join(TEMPLATES) + "\n\n"), examples())
    np.testing.assert_allclose(found, by_the_book(folder, TEMPLATES).numpy(), atol=1e-4)


def test_tokens_are_counted_line_by_line(target: Clip) -> None:
    rows = target.tokenizer(TEMPLATES)
    alone = [int((row != 0).sum()) - 2 for row in rows]  # without those that mark beginning and end
    assert [target.count_tokens(template) for template in TEMPLATES] == alone
    assert target.count_tokens("\n".join(TEMPLATES)) == sum(alone)
    assert target.count_tokens("") == 0


def test_a_logit_bias_is_honoured(config: dict[str, Any], vocabulary: Path, tmp_path: Path) -> None:
    config = {**config, "custom_text": True, "init_logit_bias": -10.0, "nonscalar_logit_scale": True}
    settings = {name: value for name, value in config.items() if name != "custom_text"}
    folder = save(shaken(open_clip.CustomTextCLIP(**settings)), config, tmp_path / "model", vocabulary)
    target = Clip(classes=CLASSES, model=str(folder), cache=None)
    assert target._bias == -10.0
    found = target.run(Prompt(TEMPLATES[0]), examples())
    np.testing.assert_allclose(found, by_the_book(folder, TEMPLATES[:1]).numpy(), atol=1e-4)


@pytest.mark.parametrize("texts_at_once", [1, 8, 10_000])
def test_many_prompts_equal_one_by_one(texts_at_once: int, target: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "TEXTS_AT_ONCE", texts_at_once)
    prompts = [Prompt(text) for text in [*TEMPLATES, "\n".join(TEMPLATES[1:]), TEMPLATES[0]]]
    found = list(target.run_batch(prompts, examples()))
    assert isinstance(target, BatchTarget)
    for rows, prompt in zip(found, prompts, strict=True):
        np.testing.assert_allclose(rows, target.run(prompt, examples()), atol=1e-4)


def test_no_more_texts_are_held_than_needed(target: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "TEXTS_AT_ONCE", 6)
    encoder, sizes = target._texts, []

    class Watched:
        def encode(self, texts: Sequence[str]) -> torch.Tensor:
            sizes.append(len(texts))
            return encoder.encode(texts)

    monkeypatch.setattr(target, "_texts", Watched())
    answers = target.run_batch([Prompt(f"{word} {{}}") for word in "a b c d e".split()], examples())
    next(answers)
    assert sizes == [6]
    assert len(list(answers)) == 4
    assert sizes == [6, 6, 3]


def test_no_prompts_and_no_examples(target: Clip) -> None:
    assert list(target.run_batch([], examples())) == []
    assert target.run(Prompt("{}"), []).shape == (0, 3)


def test_the_template_is_data(target: Clip) -> None:
    found = target.run(Prompt("{0.__class__} %s {} {name}"), examples())
    assert np.isfinite(found).all()


def test_metrics_take_its_outputs(target: Clip) -> None:
    rows = target.run(Prompt("a {}"), examples())
    true = [CLASSES.index(example.label) for example in examples()]
    assert Accuracy(classes=CLASSES)(rows, examples()) == (rows.argmax(1) == true).astype(float).tolist()
    assert LogProbability(classes=CLASSES)(list(rows), examples()) == pytest.approx(rows[range(5), true].tolist())


def test_features_are_cached_where_it_was_told(make: Any, tmp_path: Path) -> None:
    make(cache=tmp_path / "here").run(Prompt("{}"), examples())
    assert (tmp_path / "here" / "clip-features.sqlite").is_file()


def test_the_default_cache_is_the_users(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platformdirs = pytest.importorskip("platformdirs")
    monkeypatch.delenv("PROMPTOPT_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name, appauthor: tmp_path / name)
    Clip(classes=CLASSES, model=str(folder)).run(Prompt("{}"), examples())
    assert (tmp_path / "promptopt" / "clip-features.sqlite").is_file()


class TestContract(TargetContract):
    prompts = (*TEMPLATES, "\n".join(TEMPLATES))
    bad_prompts = ("", " \n", "a photo", "{} and {}", "a {}\na photo", "x " * 99 + "{}")

    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> Clip:
        return Clip(classes=CLASSES, model=str(self.folder), cache=None)

    def examples(self) -> list[Example]:
        return examples()


# ── What it refuses ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("a photo", "no {}"),
        ("{} or {}", "2 times {}"),
        ("a {}\nwithout", "'without' has no {}"),
        ("{ }", "no {}"),
    ],
)
def test_what_is_wrong_with_a_prompt(text: str, said: str, target: Clip) -> None:
    problem = target.problem_with(Prompt(text))
    assert problem is not None
    assert said in problem
    with pytest.raises(UserError, match="cannot run"):
        target.run(Prompt(text), examples())


def test_a_prompt_that_is_too_long(target: Clip) -> None:
    room = CONTEXT - 2 - max(n - 2 for n in target._texts.lengths(CLASSES))
    assert target.problem_with(Prompt("a " * room + "{}")) is None
    problem = target.problem_with(Prompt("a " * (room + 1) + "{}"))
    assert problem is not None
    assert f"{CONTEXT + 1} tokens with the class 'fire engine'" in problem
    assert f"{CONTEXT} fit" in problem


@pytest.mark.parametrize("classes", [(), "dog", ("dog", "dog")])
def test_classes_that_are_none(classes: Any, make: Any) -> None:
    with pytest.raises(UserError, match="classes"):
        make(classes=classes)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"model": "ViT-B-23", "pretrained": "openai"}, UnknownName, "Did you mean 'ViT-B-32'"),
        ({"model": "embeded"}, UnknownName, "Did you mean 'embedded'"),
        ({"model": "ViT-B-32", "pretrained": "opneai"}, UnknownName, "Did you mean 'openai'"),
        ({"model": "ViT-B/32"}, UserError, "say which with pretrained.*laion2b_s34b_b79k.*random"),
        ({"pretrained": "openai"}, UserError, "brings its own weights"),
        ({"model": "local-dir:nowhere"}, UserError, "'nowhere' holds no CLIP model"),
        ({"device": "toaster"}, UserError, "'toaster' cannot be used here"),
        ({"batch_size": 0}, UserError, "batch_size"),
    ],
)
def test_arguments_that_do_not_fit(options: dict[str, Any], error: type[Exception], said: str, make: Any) -> None:
    with pytest.raises(error, match=said):
        make(**options)


def test_broken_weights_are_the_users_to_mend(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot load the CLIP model"):
        Clip(classes=CLASSES, model=str(tmp_path), cache=None)
    (tmp_path / "open_clip_model.safetensors").unlink()
    with pytest.raises(UserError, match="pretrained weights"):
        Clip(classes=CLASSES, model=str(tmp_path), cache=None)


def test_a_recipe_is_checked_against_its_signature(folder: Path) -> None:
    spec = {"name": "clip", "model": str(folder), "cache": False, "batch_size": 8}
    built = build("targets", spec, where="target", offered={"classes": CLASSES, "seed": 0})
    assert built.classes == CLASSES
    with pytest.raises(UserError, match="batch_size"):
        build("targets", {**spec, "batch_size": "many"}, where="target", offered={"classes": CLASSES})


# ── What it leaves alone ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.study
def test_random_weights_are_the_same_every_time_and_leave_the_generators_alone() -> None:
    def weights() -> dict[str, torch.Tensor]:
        clip_models._latest.clear()
        loaded = clip_models.load("RN50", "random", device="cpu")
        assert loaded is not None
        state: dict[str, torch.Tensor] = loaded.model.state_dict()
        return state

    before = torch.get_rng_state()
    first = weights()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(first.values(), weights().values(), strict=True))


def test_a_run_changes_nothing_but_itself(make: Any) -> None:
    before = (
        torch.get_rng_state(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        list(logging.getLogger().handlers),
    )
    some = examples()
    kept = copy.deepcopy([np.asarray(example.input) for example in some])
    target = make()
    target.run(Prompt("a {}"), some)
    after = (
        torch.get_rng_state(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        list(logging.getLogger().handlers),
    )
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert all(np.array_equal(a, example.input) for a, example in zip(kept, some, strict=True))
    assert not target.model.training
    assert not any(parameter.requires_grad for parameter in target.model.parameters())


BARE = """
import logging, sys
from promptopt.targets.clip import Clip
assert not {"torch", "open_clip", "PIL"} & set(sys.modules)
Clip(classes=["dog"], model=sys.argv[1], cache=None)
assert not logging.getLogger().handlers, logging.getLogger().handlers
"""


@pytest.mark.study
def test_importing_loads_nothing_and_loading_installs_no_log_handler(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BARE, str(folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_agrees_with_the_cpu(make: Any) -> None:
    on_gpu = make(device="cuda").run(Prompt("a {}"), examples())
    np.testing.assert_allclose(on_gpu, make(device="cpu").run(Prompt("a {}"), examples()), atol=0.1)


def test_a_broken_file_leaves_its_example_unscored_and_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    examples = [Example(str(i), rng.integers(0, 255, (20, 20), dtype=np.uint8), "cat") for i in range(3)]
    (tmp_path / "broken.png").write_bytes(b"not an image")
    target = Clip(classes=["cat", "dog"], cache=None)
    for metric in (Accuracy(classes=["cat", "dog"]), LogProbability(classes=["cat", "dog"])):
        ratings = []
        for broken in ([], [Example("broken", str(tmp_path / "broken.png"), "cat")]):
            scorer = MetricScorer(target=target, metric=metric, examples=[*broken, *examples])
            ratings += scorer.answer([Rate(Prompt("a photo of a {}"))])
        assert ratings[1].value == pytest.approx(ratings[0].value)
        assert ratings[1].coverage == Coverage(4, 3, 0, {"broken files": 1})
        assert "cannot decode" in ratings[1].feedback
