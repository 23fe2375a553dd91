from __future__ import annotations

from pathlib import Path

import pytest
import torch

from promptopt.core import Prompt
from promptopt.data.digits import CLASSES, digits
from promptopt.embedders.clip_text import ClipText
from promptopt.targets.clip import Clip

HALF_ULP = 2**-8  # bf16 keeps 8 bits; a tower of a few layers stays within ten of these


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU does, on the CPU: autocast, in bf16."""
    for module in ("text", "images"):
        name = f"promptopt.targets.clip.{module}.autocast"
        monkeypatch.setattr(name, lambda device: torch.autocast(device.type, dtype=torch.bfloat16))
    monkeypatch.setattr("promptopt.targets.clip.images.precision", lambda device: "bf16")
    monkeypatch.setattr("promptopt.targets.clip.precision.precision", lambda device: "bf16")


def rows(cache: Path | None) -> torch.Tensor:
    examples = digits(seed=0).test[:30]
    return torch.tensor(Clip(classes=CLASSES, cache=cache).run(Prompt("a photo of a {}"), examples))


def test_half_precision_comes_to_the_same_classes(half: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rounded = rows(None)
    monkeypatch.undo()
    exact = rows(None)
    assert (rounded - exact).abs().max() > 0
    assert torch.allclose(rounded.exp(), exact.exp(), atol=20 * HALF_ULP)
    assert rounded.dtype == exact.dtype == torch.float32
    sure = exact.exp().topk(2).values.diff().abs().squeeze() > 40 * HALF_ULP
    assert sure.any()
    assert (rounded.argmax(dim=1) == exact.argmax(dim=1))[sure].all()


def test_features_on_disk_are_kept_apart(half: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(tmp_path)
    name = ClipText(classes=CLASSES, cache=None).name
    monkeypatch.undo()
    assert torch.equal(rows(tmp_path), rows(None))
    assert ClipText(classes=CLASSES, cache=None).name != name
