"""Targets: what is being prompted. One file, or one room, per kind of thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exports import lazily

if TYPE_CHECKING:
    from .chat import ChatTarget
    from .clip import Clip
    from .dspy import DSPyProgram
    from .function import Function
    from .http import Http
    from .local_lm import LocalLM
    from .openai_images import OpenAIImages
    from .painter import Painter
    from .pictures import Pictures
    from .vlm import VlmClassifier

__all__ = [
    "ChatTarget",
    "Clip",
    "DSPyProgram",
    "Function",
    "Http",
    "LocalLM",
    "OpenAIImages",
    "Painter",
    "Pictures",
    "VlmClassifier",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "ChatTarget": "chat",
        "Clip": "clip",
        "DSPyProgram": "dspy",
        "Function": "function",
        "Http": "http",
        "LocalLM": "local_lm",
        "OpenAIImages": "openai_images",
        "Painter": "painter",
        "Pictures": "pictures",
        "VlmClassifier": "vlm",
    },
)
