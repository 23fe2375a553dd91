"""The embedded CLIP: what is shipped loads, is small, and does what its card says."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("open_clip")

import open_clip
import torch

import promptopt.data

pytestmark = pytest.mark.study

EMBEDDED = Path(promptopt.data.__file__).parents[1] / "embedded"
CLIP = EMBEDDED / "clip"
EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "embedded_clip"
FILES = ("open_clip_config.json", "open_clip_model.safetensors", "bpe.txt.gz")
POINTS = 1.0  # what another processor's rounding may change


@cache
def script(name: str) -> ModuleType:
    """A script of the experiment, imported under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"embedded_clip_{name}", EXPERIMENT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def card() -> dict[str, Any]:
    """The numbers of the shipped weights, as they stand in the card."""
    found = re.search(r"```json\n(\{.*?\})\n```", (EXPERIMENT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    numbers: dict[str, Any] = json.loads(found[1])
    return numbers


@pytest.fixture(scope="module")
def classifier() -> Any:
    return script("evaluate").Classifier(CLIP)


@pytest.fixture(scope="module")
def phrases() -> dict[str, list[str]]:
    return tomllib.loads((EMBEDDED / "phrases.toml").read_text(encoding="utf-8"))


def test_the_files_are_there_and_small() -> None:
    assert all((CLIP / name).is_file() for name in FILES)
    assert all((CLIP / name).stat().st_mode & 0o044 for name in FILES)  # readable for whoever installs the package
    assert sum((CLIP / name).stat().st_size for name in FILES) <= 4_000_000


def test_open_clip_loads_them_with_their_preprocessing() -> None:
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{CLIP}", precision="fp32")
    assert list(model.visual.preprocess_cfg["mean"]) == [0.5, 0.5, 0.5]
    assert prepare is not None
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_the_tokenizer_fits_the_model() -> None:
    tokenize = open_clip.get_tokenizer(f"local-dir:{CLIP}", bpe_path=str(CLIP / "bpe.txt.gz"))
    config = json.loads((CLIP / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]["text_cfg"]
    tokens = tokenize(["a scan of a blurry handwritten digit three on paper"])
    assert tokens.shape == (1, config["context_length"])
    assert int(tokens.max()) == tokenize.eot_token_id == config["vocab_size"] - 1


def test_phrases_are_many_and_written_as_the_full_vocabulary_writes_them(phrases: dict[str, list[str]]) -> None:
    small = open_clip.get_tokenizer(f"local-dir:{CLIP}", bpe_path=str(CLIP / "bpe.txt.gz"))
    full = open_clip.tokenizer.SimpleTokenizer()
    every = [phrase for slot in ("frames", "adjectives", "nouns", "suffixes") for phrase in phrases[slot]]
    assert len(every) >= 600
    assert all(len(set(listed)) == len(listed) for listed in phrases.values())
    assert not [phrase for phrase in every if "{" in phrase or small.decode(small.encode(phrase)).strip() == ""]
    assert [p for p in every if len(small.encode(p)) != len(full.encode(p))] == []


def test_the_right_words_beat_plain_ones_on_real_digits(classifier: Any) -> None:
    evaluate = script("evaluate")
    task = evaluate.digits()
    scores = classifier.scores(task, [evaluate.PLAIN, evaluate.BY_HAND, "a seven segment digit {}"])
    plain, by_hand, wrong = scores.right[:, task.held_out].mean(1)
    assert by_hand >= 0.8
    assert by_hand - plain >= 0.15
    assert by_hand > wrong


@pytest.mark.parametrize(
    "name", ["digits", "digits, upside down", "roman", "tally", "seven-segment", "dice", "printed"]
)
def test_the_card_says_what_the_shipped_weights_do(classifier: Any, name: str) -> None:
    evaluate = script("evaluate")
    task = evaluate.load_task(name)
    texts = [evaluate.PLAIN, "{}", evaluate.KNOWING[name]]
    measured = 100 * classifier.scores(task, texts).right[:, task.held_out].mean(1)
    row = card()["tasks"][name]
    assert measured == pytest.approx([row["plain"], row["bare"], row["knowing"]], abs=POINTS)


def test_what_captions_say_is_listed_and_rare(phrases: dict[str, list[str]]) -> None:
    captions = script("captions")
    useful = captions.meaningful()
    for slot in ("adjectives", "nouns", "suffixes"):
        assert useful[slot] - {""} <= set(phrases[slot])
        idle = set(phrases[slot]) - useful[slot]
        assert len(idle) > len(useful[slot])
    assert useful["frames"] <= {captions.core(frame) for frame in phrases["frames"]}
