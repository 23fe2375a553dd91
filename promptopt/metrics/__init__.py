"""Metrics: one number per output of a target, higher is better. None is loaded before it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exports import lazily

if TYPE_CHECKING:
    from .answers import MultipleChoice, Numeric
    from .classification import Accuracy, LogProbability, Margin
    from .code import Code
    from .function import FunctionMetric
    from .pictures.clip import ClipSimilarity
    from .pictures.plain import CompressedSize, Palette
    from .pictures.trained import Aesthetic, Hps, PickScore
    from .schema import JsonSchema
    from .similarity import Similarity
    from .text import Contains, ExactMatch, Match, Regex, SetF1, SetMatch, TokenF1, instruction_induction

__all__ = [
    "Accuracy",
    "Aesthetic",
    "ClipSimilarity",
    "Code",
    "CompressedSize",
    "Contains",
    "ExactMatch",
    "FunctionMetric",
    "Hps",
    "JsonSchema",
    "LogProbability",
    "Margin",
    "Match",
    "MultipleChoice",
    "Numeric",
    "Palette",
    "PickScore",
    "Regex",
    "SetF1",
    "SetMatch",
    "Similarity",
    "TokenF1",
    "instruction_induction",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Accuracy": "classification",
        "Aesthetic": "pictures.trained",
        "ClipSimilarity": "pictures.clip",
        "Code": "code",
        "CompressedSize": "pictures.plain",
        "Contains": "text",
        "ExactMatch": "text",
        "FunctionMetric": "function",
        "Hps": "pictures.trained",
        "JsonSchema": "schema",
        "LogProbability": "classification",
        "Margin": "classification",
        "Match": "text",
        "MultipleChoice": "answers",
        "Numeric": "answers",
        "Palette": "pictures.plain",
        "PickScore": "pictures.trained",
        "Regex": "text",
        "SetF1": "text",
        "SetMatch": "text",
        "Similarity": "similarity",
        "TokenF1": "text",
        "instruction_induction": "text",
    },
)
