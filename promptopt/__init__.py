"""promptopt searches for better prompts: for CLIP, chat LLMs, VLMs and local models.

>>> import promptopt
>>> from promptopt.optimizers import HillClimb, LexicalProposer
>>> words = {"clear", "short", "polite"}
>>> result = promptopt.optimize(
...     start="answer the question",
...     score=lambda prompt: len(words & set(prompt.split())),
...     optimizer=HillClimb(proposer=LexicalProposer(phrases=["clear", "short", "polite", "green"])),
...     budget=50,
...     run=None,
... )
>>> result.score(result.best) > result.score(result.start)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import optimize, resume
    from .core import Dataset, Duel, Example, Preference, Prompt, Rate, Rating
    from .errors import PromptoptError, UserError
    from .record.verdict import Verdict
    from .run.budget import Budget
    from .run.result import Result

_HOME = {
    "Budget": "run.budget",
    "Dataset": "core",
    "Duel": "core",
    "Example": "core",
    "Preference": "core",
    "Prompt": "core",
    "PromptoptError": "errors",
    "Rate": "core",
    "Rating": "core",
    "Result": "run.result",
    "UserError": "errors",
    "Verdict": "record.verdict",
    "optimize": "api",
    "resume": "api",
}

__all__ = [
    "Budget",
    "Dataset",
    "Duel",
    "Example",
    "Preference",
    "Prompt",
    "PromptoptError",
    "Rate",
    "Rating",
    "Result",
    "UserError",
    "Verdict",
    "optimize",
    "resume",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing promptopt costs nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("promptopt-toolkit")
    if name not in _HOME:
        raise AttributeError(f"module 'promptopt' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
