"""Chat models: LLMs that propose, judge or are prompted. Each module loads its SDK on first use, not on import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exports import lazily

if TYPE_CHECKING:
    from .anthropic import Anthropic
    from .dspy import DSPy
    from .local import Local
    from .openai import OpenAI

__all__ = [
    "Anthropic",
    "DSPy",
    "Local",
    "OpenAI",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Anthropic": "anthropic",
        "DSPy": "dspy",
        "Local": "local",
        "OpenAI": "openai",
    },
)
