"""Embedders: rows of length 1, the same in every process, each by itself; the disk in front of the dear ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.core import Embedder
from promptopt.embedders.function import FunctionEmbedder
from promptopt.embedders.ngrams import Ngrams
from promptopt.embedders.stored import Stored
from promptopt.errors import MissingExtra, UserError
from promptopt.recipe.build import build

TEXTS = ["a photo of a {}", "a photo of the {}", "translate the sentence into German", "", "{}", "Ü\ud800 \x00"]
ANGLES = {"north": (0.0, 2.0), "east": (3.0, 0.0), "nowhere": (0.0, 0.0), "?": (np.nan, 1.0)}


def angles(texts: Sequence[str]) -> Any:
    return np.array([ANGLES[text] for text in texts])


def clip_text(**options: Any) -> Embedder:
    pytest.importorskip("open_clip")
    from promptopt.embedders.clip_text import ClipText

    return ClipText(classes=["zero", "seven"], device="cpu", **options)


@pytest.mark.parametrize("make", [Ngrams, lambda: clip_text(cache=False)], ids=["ngrams", "clip-text"])
def test_rows_have_length_1_and_do_not_depend_on_the_others(make: Callable[[], Embedder]) -> None:
    embedder = make()
    texts = [*TEXTS[:5], TEXTS[0]]
    rows = embedder.embed(texts)
    assert rows.dtype == np.float64
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(len(texts)))
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert np.array_equal(rows, alone)
    assert np.array_equal(rows[0], rows[-1])
    assert embedder.embed([]).shape == (0, rows.shape[1])


# ── N-grams ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_texts_that_share_words_or_pieces_of_words_lie_closer() -> None:
    photo, other, german, germany = Ngrams(dimensions=2048).embed(
        ["a photo of a dog", "a photo of one dog", "put it into German", "translations for Germany"]
    )
    assert photo @ other > 0.5 > german @ germany > 0.05 > abs(photo @ german)


def test_case_and_compatible_letters_do_not_matter_but_order_does() -> None:
    plain, loud, wide, turned = Ngrams().embed(["one two three", "ONE Two three", "ｏｎｅ two three", "three two one"])
    assert np.array_equal(plain, loud)
    assert np.array_equal(plain, wide)
    assert 0.5 < plain @ turned < 0.99


def test_the_projection_keeps_cosines() -> None:
    """Against the exact cosines of the weights, which need the whole vocabulary."""
    from promptopt.embedders.ngrams import _weighted

    texts = [f"write the {a} word of the {b}" for a in ("first", "second", "last") for b in ("line", "list", "answer")]
    vocabulary: dict[bytes, int] = {}
    sparse = np.zeros((len(texts), 1000))
    for row, text in zip(sparse, texts, strict=True):
        for gram, weight in zip(*_weighted(text), strict=True):
            row[vocabulary.setdefault(gram, len(vocabulary))] = weight
    sparse /= np.linalg.norm(sparse, axis=1, keepdims=True)
    rows = Ngrams(dimensions=8192).embed(texts)
    assert rows @ rows.T == pytest.approx(sparse @ sparse.T, abs=0.05)


@settings(max_examples=50)
@given(st.text(max_size=50))
def test_every_text_has_a_direction(text: str) -> None:
    assert np.linalg.norm(Ngrams(dimensions=64).embed([text])[0]) == pytest.approx(1)


def test_another_hash_seed_changes_nothing() -> None:
    code = "from promptopt.embedders.ngrams import Ngrams; print(Ngrams().embed(['a photo of a {}']).tobytes().hex())"
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert said == [Ngrams().embed(["a photo of a {}"]).tobytes().hex()] * 2


def test_dimensions() -> None:
    rows = [Ngrams(dimensions=d).embed(["a"]) for d in (100, 768)]
    assert [row.shape for row in rows] == [(1, 100), (1, 768)]
    assert Ngrams(dimensions=100).name != Ngrams().name
    with pytest.raises(UserError, match="dimensions is 4; allowed is 8 or more"):
        Ngrams(dimensions=4)


# ── Functions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_function_is_scaled_to_length_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "angles_of_tests", sys.modules[__name__])
    spec = {"name": "promptopt.embedders.function:FunctionEmbedder", "function": "angles_of_tests:angles"}
    embedder = build("embedders", spec, where="embedder")
    assert embedder.embed(["north", "east"]) == pytest.approx(np.array([[0, 1], [1, 0]]))
    assert embedder.name.endswith(":angles")


@pytest.mark.parametrize("text", ["nowhere", "?"])
def test_what_has_no_direction_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match=r"no direction for '(nowhere|\?)'"):
        FunctionEmbedder(function=angles).embed(["north", text])


@pytest.mark.parametrize("value", [1e-300, 1e300])
def test_tiny_and_huge_vectors_have_a_direction(value: float) -> None:
    row = FunctionEmbedder(function=lambda texts: [[value, value]]).embed(["a"])
    assert row == pytest.approx(np.full((1, 2), 0.5**0.5))


def test_wrong_functions() -> None:
    with pytest.raises(UserError, match=r"must be \(2, d\)"):
        FunctionEmbedder(function=lambda texts: np.zeros(2)).embed(["a", "b"])
    with pytest.raises(UserError, match=r"package\.module:name"):
        FunctionEmbedder(function="angles")
    with pytest.raises(UserError, match="cannot load"):
        FunctionEmbedder(function="promptopt.core:nothing")


# ── The disk ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_vectors_are_computed_once_and_come_back_exactly(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def embed(texts: Sequence[str]) -> Any:
        asked.append(list(texts))
        return [[len(text), 1 / 3] for text in texts]

    first = FunctionEmbedder(function=embed, cache=tmp_path).embed(["a", "bb", "a"])
    again = FunctionEmbedder(function=embed, cache=tmp_path).embed(["bb", "ccc", "a"])
    assert asked == [["a", "bb"], ["ccc"]]
    assert np.array_equal(first[1], again[0])
    assert np.array_equal(first[0], again[2])
    again[0, 0] = 5.0  # its own memory
    assert len(list(tmp_path.iterdir())) == 1


def test_embedders_do_not_share_vectors(tmp_path: Path) -> None:
    for name, value in (("one", 1.0), ("other", 2.0)):
        rows = Stored(tmp_path).rows(["a"], lambda texts, v=value: np.full((len(texts), 1), v), name=lambda n=name: n)
        assert rows == value


def test_without_a_disk_nothing_is_written_and_no_name_is_needed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path))
    for cache in (False, None):
        assert Stored(cache).rows(["a"], lambda texts: np.ones((1, 2)), name=lambda: 1 / 0).shape == (1, 2)  # type: ignore[arg-type, return-value]
    assert not list(tmp_path.iterdir())


# ── CLIP ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_template_is_the_mean_of_its_class_texts() -> None:
    embedder: Any = clip_text(cache=False)
    from promptopt.targets.clip.models import load

    loaded = load("embedded", None, device="cpu")
    assert loaded is not None
    model, tokenizer = loaded.model, loaded.tokenizer
    texts = [f"a {style} of a {name}" for style in ("scan", "sketch") for name in ("zero", "seven")]
    features = model.encode_text(tokenizer(texts), normalize=True).double().numpy()
    for template, rows in {"a scan of a {}": features[:2], "a scan of a {}\n\na sketch of a {}": features}.items():
        mean = rows.mean(axis=0)
        assert embedder.embed([template])[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_the_name_tells_classes_and_weights_apart() -> None:
    pytest.importorskip("open_clip")
    from promptopt.embedders.clip_text import ClipText

    one, same, other = (ClipText(classes=names, device="cpu") for names in (["a", "b"], ["a", "b"], ["a", "c"]))
    assert one.name == same.name != other.name
    assert np.array_equal(one.embed(["a {}"]), same.embed(["a {}"]))
    with pytest.raises(UserError, match="classes"):
        ClipText(classes=[])


# ── Sentence encoders ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from promptopt.embedders.sentence import SentenceTransformer

    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"promptopt-toolkit\[similarity\]"):
        SentenceTransformer()


def test_clip_text_averages_templates_and_texts_of_classes() -> None:
    pytest.importorskip("open_clip")
    embedder = clip_text(cache=False)
    found = embedder.embed(["a photo of a {}\nSeven: a die"])[0]
    texts = embedder._encoder.encode(["a photo of a zero", "a photo of a seven", "a die"]).double().mean(dim=0).numpy()
    np.testing.assert_allclose(found, texts / np.linalg.norm(texts), atol=1e-6)
