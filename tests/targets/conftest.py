"""Tiny CLIP models with random weights, and folders that hold them as open_clip saves them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("open_clip")

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from safetensors.torch import save_file

CONTEXT = 16
VISION = {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
TEXT = {"context_length": CONTEXT, "width": 32, "heads": 4, "layers": 2}


def shaken(model: Any, *, seed: int = 0) -> Any:
    """The model with weights large enough for every part of it to matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim and "logit" not in name:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 400 merges of CLIP's vocabulary."""
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")[:401]
    path = tmp_path_factory.mktemp("vocabulary") / "bpe.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


@pytest.fixture(scope="session")
def tokenizer(vocabulary: Path) -> SimpleTokenizer:
    return SimpleTokenizer(bpe_path=str(vocabulary), context_length=CONTEXT)


@pytest.fixture(scope="session")
def config(tokenizer: SimpleTokenizer) -> dict[str, Any]:
    """A tiny open_clip.CLIP."""
    return {
        "embed_dim": 24,
        "vision_cfg": dict(VISION),
        "text_cfg": {**TEXT, "vocab_size": tokenizer.vocab_size},
    }


@pytest.fixture(scope="session")
def folder(config: dict[str, Any], vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with its own vocabulary and preprocessing."""
    path = tmp_path_factory.mktemp("clip")
    return save(shaken(open_clip.CLIP(**config)), config, path, vocabulary)


def save(model: Any, config: dict[str, Any], path: Path, vocabulary: Path) -> Path:
    path.mkdir(exist_ok=True)
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    (path / "bpe.txt.gz").write_bytes(vocabulary.read_bytes())
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path / "open_clip_model.safetensors"
    )
    return path
