"""map-elites holds what a run relies on."""

from __future__ import annotations

from collections.abc import Sequence

from promptopt.core import Message
from promptopt.optimizers import MapElites
from promptopt.testing import ScriptedModel
from promptopt.testing.contracts import OptimizerContract


def varied(messages: Sequence[Message]) -> str:
    """A few prompts of different lengths that depend on what is shown."""
    number = sum(map(ord, messages[-1].text)) % 89
    return "\n".join(f"- {' '.join(['so'] * (number % 30 + 9 * i))} {number + i} {{}}" for i in range(3))


class TestMapElites(OptimizerContract):
    def make(self) -> MapElites:
        return MapElites(model=ScriptedModel(varied), measures=["words", "lines", "politeness"], rounds=8)


class TestScale(OptimizerContract):
    """One of the measures is asked of the LLM."""

    def make(self) -> MapElites:
        tone = {"name": "tone", "question": "How formal is it?", "scale": ["casual", "formal"]}
        judge = ScriptedModel(lambda messages: "formal" if "7" in messages[-1].text else "casual")
        return MapElites(model=ScriptedModel(varied), judge=judge, measures=["words", tone], rounds=6)
