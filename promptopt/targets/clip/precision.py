"""What CLIP models compute in: fp32 on a CPU, half precision where autocast chooses it on a CUDA device."""

from __future__ import annotations

from typing import Literal

import torch

__all__ = ["autocast", "precision"]


def precision(device: torch.device) -> Literal["fp16", "fp32"]:
    """The precision on a device; features computed in another one are others, so keys of features name it."""
    return "fp16" if device.type == "cuda" else "fp32"


def autocast(device: torch.device) -> torch.autocast:
    """A context in which a model on the device computes in that precision."""
    return torch.autocast(device.type, enabled=precision(device) == "fp16")
