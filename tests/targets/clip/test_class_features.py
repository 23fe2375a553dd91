"""Class embeddings of prompts with texts of single classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("open_clip")

import open_clip
import torch
import torch.nn.functional as F

from promptopt.core import HasClassEmbeddings, Prompt
from promptopt.errors import UserError
from promptopt.targets.clip import Clip
from promptopt.targets.clip.class_features import ClassFeatures
from promptopt.vocabulary.class_texts import ClassLines

CLASSES = ("dog", "cat", "fire engine")
TEXTS = {
    "dog": ["a photo of a dog", "one dog here", "a brown animal", "a brown animal"],
    "cat": ["a photo of a cat", "one cat here"],
    "fire engine": ["a photo of a fire engine", "one fire engine here", "a red car"],
}
MIXED = "a photo of a {}\none {} here\nDOG: a brown animal\nfire_engine: a red car\ndog: a brown animal"
OWN = "\n".join(f"{name}: {text}" for name in CLASSES for text in TEXTS[name])


@pytest.fixture(scope="module")
def target(folder: Path) -> Clip:
    return Clip(classes=CLASSES, model=str(folder), cache=None)


def by_the_book(folder: Path) -> np.ndarray:
    """The mean of normalised embeddings, normalised again, by open_clip's own functions."""
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}", bpe_path=str(folder / "bpe.txt.gz"))
    with torch.no_grad():
        means = [F.normalize(model.encode_text(tokenizer(TEXTS[name])), dim=-1).mean(dim=0) for name in CLASSES]
        return F.normalize(torch.stack(means), dim=-1).numpy()


@pytest.mark.parametrize("prompt", [MIXED, OWN])
def test_embeddings_are_those_of_open_clip(prompt: str, target: Clip, folder: Path) -> None:
    found, expected = target.class_embeddings(Prompt(prompt)), by_the_book(folder)
    assert isinstance(target, HasClassEmbeddings)
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-5
    assert not np.allclose(found, target.class_embeddings(Prompt("a photo of a {}\none {} here")), atol=1e-3)


def test_a_prompt_that_cannot_be_run(target: Clip) -> None:
    assert target.problem_with(Prompt(MIXED)) is None
    assert "Near is 'dog'" in (target.problem_with(Prompt("{}\ndogg: brown")) or "")
    with pytest.raises(UserError, match=r"cannot run .* no text for 'cat'"):
        target.class_embeddings(Prompt("dog: x\nfire engine: y"))


def test_a_text_that_is_too_long(target: Clip) -> None:
    problem = target.problem_with(Prompt("{}\ncat: " + "a " * 15))
    assert problem is not None
    assert "tokens with the class 'cat'" in problem


class Counted:
    """Features of texts, each a different direction; and which were asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        self.asked.append(list(texts))
        rows = torch.stack([torch.tensor([len(text), *map(ord, text[:3].ljust(3))]).float() for text in texts])
        return F.normalize(rows, dim=-1)


def embeddings(prompts: Sequence[str], features: ClassFeatures, encode: Counted) -> torch.Tensor:
    return torch.stack([*features.of([ClassLines(CLASSES).read(one) for one in prompts], encode=encode)])


def test_a_changed_line_is_encoded_alone() -> None:
    features, encode = ClassFeatures(CLASSES), Counted()
    first = embeddings(["a {}\ndog: brown\ncat: grey"], features, encode)
    second = embeddings(["a {}\ndog: brown\ncat: white"], features, encode)
    assert encode.asked == [["a dog", "a cat", "a fire engine", "brown", "grey"], ["white"]]
    assert torch.equal(embeddings(["a {}\ndog: brown\ncat: grey"], features, encode), first)
    assert len(encode.asked) == 2
    changed = (first != second).any(dim=-1)[0].tolist()
    assert changed == [False, True, False]


def test_the_lines_used_last_are_kept() -> None:
    features, encode = ClassFeatures(CLASSES, most_bytes=2 * 3 * 4 * 4), Counted()
    for prompt in ("a {}", "b {}", "a {}", "c {}", "a {}", "b {}"):
        embeddings([prompt], features, encode)
    assert [asked[0] for asked in encode.asked] == ["a dog", "b dog", "c dog", "b dog"]


def test_prompts_together_equal_prompts_alone() -> None:
    prompts = ["a {}", "b {}\na {}\ndog: x", "dog: x\ncat: y\nfire engine: z"]
    together = embeddings(prompts, ClassFeatures(CLASSES, most_bytes=0), Counted())
    for prompt, rows in zip(prompts, together, strict=True):
        torch.testing.assert_close(embeddings([prompt], ClassFeatures(CLASSES), Counted())[0], rows)
