"""A target that gives another number of outputs is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from promptopt.core import Duel, Example, Prompt, Rate
from promptopt.errors import PromptoptError
from promptopt.scorers import MetricScorer
from promptopt.scorers.human.view import Outputs
from promptopt.scorers.judge.duel import JudgeDuel
from promptopt.targets.outputs import outputs_of
from promptopt.testing import FakeSetup, ScriptedModel

EXAMPLES = tuple(Example(f"e{i}", i, i) for i in range(3))
A, B = Prompt("a"), Prompt("b")


class Short:
    """Gives so many outputs for each prompt."""

    def __init__(self, outputs: int = 2) -> None:
        self.outputs = outputs

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        return ["output"] * self.outputs


class Batch(Short):
    """Gives outputs for so many prompts."""

    def __init__(self, prompts: int) -> None:
        super().__init__(len(EXAMPLES))
        self.prompts = prompts

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> list[list[Any]]:
        return [["output"] * len(examples)] * self.prompts


def rated(target: Short) -> Any:
    return MetricScorer(target=target, metric=lambda o, _: [1.0] * len(o), examples=EXAMPLES).answer([Rate(A), Rate(B)])


def judged(target: Short) -> Any:
    scorer = JudgeDuel(model=ScriptedModel([]), target=target, examples=EXAMPLES, n_examples=3)
    scorer.begin(FakeSetup())
    return scorer.answer([Duel(A, B)])


def viewed(target: Short) -> Any:
    return [Outputs(target, ()).view(Duel(A, B), EXAMPLES)]


@pytest.mark.parametrize("scorer", [rated, judged, viewed])
@pytest.mark.parametrize("outputs", [0, 2, 4])
def test_a_target_with_another_number_of_outputs_is_named(scorer: Any, outputs: int) -> None:
    with pytest.raises(PromptoptError, match=f"Short gave {outputs} outputs for 3 examples"):
        list(scorer(Short(outputs)))


@pytest.mark.parametrize("scorer", [rated, judged])
@pytest.mark.parametrize(("prompts", "said"), [(0, "0"), (1, "1"), (3, "more")])
def test_a_target_with_outputs_for_another_number_of_prompts_is_named(scorer: Any, prompts: int, said: str) -> None:
    with pytest.raises(PromptoptError, match=f"Batch gave outputs for {said} prompts and was asked for 2"):
        list(scorer(Batch(prompts)))


def test_outputs_come_one_prompt_at_a_time() -> None:
    made = []

    class Slow(Short):
        def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
            made.append(prompt)
            return super().run(prompt, examples)

    outputs = outputs_of(Slow(3), [A, B], EXAMPLES)
    assert next(outputs) == ["output"] * 3
    assert made == [A]
