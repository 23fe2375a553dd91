"""What tells models apart whose names are alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["digest"]


def digest(settings: str, weights: Mapping[str, torch.Tensor]) -> str:
    """16 hexadecimal digits of a hash over a model's settings and weights."""
    import torch

    found = hashlib.sha256(settings.encode())
    for name, tensor in sorted(weights.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
