"""Judges are shown the pictures that targets draw, and not those that cannot be shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from picture_parts import UNUSABLE, picture

from promptopt.core import Duel, Example, Message, Picture, Prompt, Rate
from promptopt.scorers.judge.duel import JudgeDuel
from promptopt.scorers.judge.rating import JudgeRating
from promptopt.testing import FakeSetup, ScriptedModel

EXAMPLES = [Example(f"drawings/{n}", "a red circle", "a red circle") for n in range(3)]


class Drawn:
    """Gives what a table says for a prompt, for every example."""

    def __init__(self, **outputs: Any) -> None:
        self._outputs = outputs

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        return [self._outputs[prompt.text]] * len(examples)


def by_size(messages: Sequence[Message]) -> str:
    """Prefers the picture with the larger sum of bytes."""
    first, second = (sum(one.data) for one in messages[-1].pictures)
    return json.dumps({"critique": "so", "better": "first" if first > second else "second"})


def test_a_rater_sees_each_picture_and_the_wish() -> None:
    model = ScriptedModel(lambda messages: json.dumps({"critique": "so", "rating": "good"}))
    scorer = JudgeRating(model=model, target=Drawn(a=picture(0)), examples=EXAMPLES, workers=1)
    scorer.begin(FakeSetup())
    (rating,) = scorer.answer([Rate(Prompt("a"), cases=True)])
    assert rating.value == 0.75
    assert [case.output and case.output[:9] for case in rating.cases] == ["pictures/"] * 3
    for call in model.calls:
        assert call.messages[-1].pictures == (picture(0),)
        assert "a red circle" in call.messages[-1].text


def test_a_duel_shows_both_in_both_orders() -> None:
    model = ScriptedModel(by_size)
    one, other = sorted([picture(0), picture(1)], key=lambda shown: sum(shown.data))
    scorer = JudgeDuel(model=model, target=Drawn(a=one, b=other), examples=EXAMPLES, n_examples=2, workers=1)
    scorer.begin(FakeSetup())
    (answer,) = scorer.answer([Duel(Prompt("a"), Prompt("b"), number=0)])
    assert answer.winner == "b"
    assert [call.messages[-1].pictures for call in model.calls] == [(one, other), (other, one)] * 2


@pytest.mark.parametrize("reason", [reason for reason, one in UNUSABLE.items() if isinstance(one, Picture)])
def test_what_cannot_be_shown_is_the_worst_and_is_not_sent(reason: str) -> None:
    target = Drawn(a=UNUSABLE[reason], b=picture(0))
    rater = JudgeRating(model=ScriptedModel([]), target=target, examples=EXAMPLES)
    rater.begin(FakeSetup())
    (rating,) = rater.answer([Rate(Prompt("a"), cases=True)])
    assert (rating.value, rating.coverage and rating.coverage.failed) == (0, 3)
    assert rating.cases[0].reason.startswith(reason)
    duels = JudgeDuel(model=ScriptedModel([]), target=target, examples=EXAMPLES)
    duels.begin(FakeSetup())
    (answer,) = duels.answer([Duel(Prompt("a"), Prompt("b"), number=0)])
    assert answer.winner == "b"
    assert answer.details["reasons"] == {reason.partition(":")[0]: 3}


def test_the_same_picture_is_a_tie_and_nobody_is_asked() -> None:
    scorer = JudgeDuel(model=ScriptedModel([]), target=Drawn(a=picture(0), b=picture(0)), examples=EXAMPLES)
    scorer.begin(FakeSetup())
    (answer,) = scorer.answer([Duel(Prompt("a"), Prompt("b"), number=0)])
    assert answer.winner == "tie"
