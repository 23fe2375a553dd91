"""The study of prompts per class: its page says what its results say, and its classifiers compute what they say."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("open_clip")
pytest.importorskip("sklearn")

from promptopt.core import Dataset, Prompt
from promptopt.data.glossary import glossary
from promptopt.targets.clip import Clip

pytestmark = pytest.mark.study

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENT = ROOT / "experiments" / "class_texts"


def module(name: str) -> ModuleType:
    """A script of the study, imported under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"class_texts_{name}", EXPERIMENT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # where its dataclass looks for its types
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def run() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENT))
        return module("run")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return glossary(shots=2, test=96)


@pytest.fixture(scope="module")
def clip(data: Dataset) -> Clip:
    return Clip(classes=data.classes, cache=None)


def results() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXPERIMENT / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_tables_of_the_page_are_those_of_the_results(run: ModuleType) -> None:
    assert run.report(results()) in (ROOT / "docs" / "class_texts.md").read_text(encoding="utf-8")


def test_every_method_has_ten_seeds(run: ModuleType) -> None:
    found = [(one["task"], one["shots"], one["method"], one["seed"]) for one in results()]
    assert len(set(found)) == len(found) == 10 * len(run.METHODS) * len(run.TASKS) * 2


def test_a_method_gives_what_the_results_say(run: ModuleType) -> None:
    for method in ("descriptors", "linear probe"):
        [known] = [
            one
            for one in results()
            if (one["task"], one["shots"], one["method"], one["seed"]) == ("glossary", 1, method, 0)
        ]
        data, file = run.TASKS["glossary"]
        [again] = run.runs_of("glossary", data, json.loads(Path(file).read_text()), 1, 0, [method])
        assert again["accuracy"] == pytest.approx(known["accuracy"], abs=0.01)


def test_tip_adapter_adds_votes_of_labelled_images_to_what_texts_say(clip: Clip, data: Dataset) -> None:
    adapters = module("adapters")
    prompt = "a photo of a {}"
    labels = [data.classes.index(example.label) for example in data.test]
    rows = np.asarray(clip.run(Prompt(prompt), data.test))
    without = adapters.TipAdapter(prompt=prompt, alpha=0.0).fit(clip, data.train)
    assert without.accuracy(data.test) == pytest.approx((rows.argmax(axis=1) == labels).mean())
    voted = adapters.TipAdapter(prompt=prompt, alpha=1e6).fit(clip, data.train)
    features, keys = adapters.image_features(clip, data.test), adapters.image_features(clip, data.train)
    votes = np.exp(-5.5 * (1 - features @ keys.T)).reshape(len(features), len(data.classes), -1).sum(axis=-1)
    assert voted.accuracy(data.test) == pytest.approx((votes.argmax(axis=1) == labels).mean())
    assert voted.accuracy(data.test) > without.accuracy(data.test) + 0.2


def test_image_features_are_those_that_clip_compares(clip: Clip, data: Dataset) -> None:
    features = module("adapters").image_features(clip, data.test)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    scale = clip.model.logit_scale.exp().item()
    logits = scale * features @ clip.class_embeddings(Prompt("a {}")).T
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(logits, clip.run(Prompt("a {}"), data.test), atol=1e-3)
