"""Searches over texts take turns at the parts of a prompt, and are told nothing that does not compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from promptopt.core import Belief, Duel, OfPart, Preference, Prompt, Rate, Rating, Setup
from promptopt.errors import UserError
from promptopt.optimizers import HillClimb, LexicalProposer
from promptopt.optimizers.part_by_part import PartByPart
from promptopt.parts import parts_of, text_of
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import OptimizerContract

WORDS = ["small", "large", "blurry", "clean"]
TWO = text_of({"system": "You help.", "instruction": "Answer."})


def climber() -> HillClimb:
    proposer = LexicalProposer(phrases=[f"Be {word}." for word in WORDS], conversation="continued")
    return HillClimb(proposer=proposer, k=3, per_call=3, iterations=2, restarts=1)


class TestContract(OptimizerContract):
    start = (TWO, text_of({"system": "You are.", "instruction": "Go."}))

    def make(self) -> PartByPart:
        return PartByPart(optimizer=climber(), turn=4)

    def problem_with(self, text: str) -> str | None:
        return None if list(parts_of(text)) == ["system", "instruction"] else "it has other parts"


class TestContractWithOneText(OptimizerContract):
    start = ("Answer.",)

    def make(self) -> PartByPart:
        return PartByPart(optimizer=climber())


class Tells:
    """Asks for given texts, in batches of two, and writes down what it is given and told."""

    question: Any = Rate

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.begun: list[tuple[str, dict[str, str], list[str], int]] = []

    def begin(self, setup: Setup, /) -> None:
        assert isinstance(setup, OfPart)
        drawn = int(setup.rng(1).integers(10**6))
        self.begun.append((setup.part, dict(setup.others), [prompt.text for prompt in setup.start], drawn))
        self.left = [setup.start[0].text, *(f"{text} {setup.part[:1]}" for text in self.texts)]
        self.told: dict[str, float] = {}
        self._start = setup.start[0]

    def ask(self) -> list[Rate]:
        batch, self.left = self.left[:2], self.left[2:]
        return [Rate(Prompt(text, {"step": "told", "parents": [self._start.text]}), number=7) for text in batch]

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        self.told |= {question.prompt.text: rating.value for question, rating in answered}

    def best(self) -> Prompt:
        return Prompt(max(self.told, key=lambda text: self.told[text], default=self._start.text))


def value(text: str) -> float:
    return sum(map(ord, text)) % 89 / 89


def run(optimizer: PartByPart, setup: FakeSetup, *, most: int = 100) -> list[str]:
    optimizer.begin(setup)
    asked: list[str] = []
    while len(asked) < most and (batch := optimizer.ask()):
        asked += [question.prompt.text for question in batch]
        optimizer.tell([(question, Rating(value(question.prompt.text))) for question in batch])
    return asked


def test_a_turn_keeps_the_other_parts_of_the_best_prompt_so_far() -> None:
    inner, setup = Tells("a", "b", "c", "d", "e"), FakeSetup(start=[TWO])
    optimizer = PartByPart(optimizer=inner, turn=2)
    asked = run(optimizer, setup)
    names = [part for part, *_ in inner.begun]
    assert names[:4] == ["system", "instruction", "system", "instruction"]
    best = parts_of(max(asked[:4], key=value))
    assert inner.begun[1][1] == {"system": best["system"]}
    assert inner.begun[1][2][0] == "Answer."
    assert value(optimizer.best().text) == max(map(value, asked))
    assert len({drawn for *_, drawn in inner.begun}) == len(inner.begun)
    assert setup.notes == ["One part of the prompt is changed at a time, in turn: system, instruction."]


def test_turns_grow_and_begin_with_the_best_texts() -> None:
    inner = Tells(*"abcdefghijklm")
    asked = run(PartByPart(optimizer=inner, turn=2), FakeSetup(start=[TWO]), most=20)
    turns = [len(starts) for _, _, starts, _ in inner.begun]
    assert turns[:2] == [1, 1]
    assert turns[2] > 1
    assert inner.begun[2][2][0] == parts_of(max(asked[:8], key=value))["system"]
    # in the first turn the start and three more, two batches, since the first holds a single new prompt
    changed = [parts_of(text)["instruction"] != "Answer." for text in asked]
    assert changed.index(True) == 5


def test_where_a_prompt_came_from_is_told_in_whole_prompts() -> None:
    optimizer = PartByPart(optimizer=Tells("a", "b"), frozen=["system"])
    optimizer.begin(FakeSetup(start=[TWO]))
    first, second = optimizer.ask()
    assert first.prompt == Prompt(TWO)
    assert second.prompt.text == text_of({"system": "You help.", "instruction": "a i"})
    assert second.prompt.origin == {"step": "told", "part": "instruction", "parents": [TWO]}


def test_it_ends_when_no_part_brings_anything_better() -> None:
    optimizer = PartByPart(optimizer=Tells("a"), turn=50)
    asked = run(optimizer, FakeSetup(start=[TWO]))
    assert len(asked) < 20
    assert optimizer.ask() == []


def test_open_questions_are_waited_for() -> None:
    """Where people answer, it is asked again while questions are open."""
    inner = Tells("a", "b", "c")
    optimizer = PartByPart(optimizer=inner, turn=1)
    optimizer.begin(FakeSetup(start=[TWO]))
    batch = list(optimizer.ask())
    assert optimizer.ask() == []
    optimizer.tell([(batch[0], Rating(0.5))])
    assert optimizer.ask() == []
    assert len(inner.begun) == 1
    optimizer.tell([(batch[1], Rating(0.9))])
    assert optimizer.ask()
    assert len(inner.begun) == 2
    assert inner.begun[1][1] == {"system": "a s"}
    optimizer.tell([(batch[0], Rating(1.0))])  # a second thought on a turn that is over
    assert "a s" not in inner.told


def test_what_cannot_be_scored_is_survived() -> None:
    optimizer = PartByPart(optimizer=climber(), turn=3)
    optimizer.begin(FakeSetup(start=[TWO]))
    for _ in range(6):
        optimizer.tell([(question, Rating(math.nan)) for question in optimizer.ask()])
    assert parts_of(optimizer.best().text)


class Duels(Tells):
    question = Duel

    def ask(self) -> list[Any]:
        return [Duel(Prompt("Answer."), Prompt(text)) for text in self.texts]

    def tell(self, answered: Sequence[Any], /) -> None:
        self.told = {question.b.text: float(answer.winner == "b") for question, answer in answered}

    def prompts(self) -> list[Prompt]:
        return [Prompt(text) for text in self.texts]

    def belief(self) -> Belief:
        return Belief(0.5)


def test_duels_are_about_one_part() -> None:
    optimizer = PartByPart(optimizer=Duels("a", "b"), frozen=["system"])
    setup = FakeSetup(start=[TWO])
    optimizer.check(setup)
    optimizer.begin(setup)
    duels = list(optimizer.ask())
    assert [parts_of(duel.b.text)["instruction"] for duel in duels] == ["a", "b"]
    optimizer.tell([(duel, Preference("b" if "b" in parts_of(duel.b.text)["instruction"] else "a")) for duel in duels])
    assert parts_of(optimizer.best().text) == {"system": "You help.", "instruction": "b"}
    assert [parts_of(prompt.text)["instruction"] for prompt in optimizer.prompts()] == ["a", "b"]
    assert optimizer.belief() == Belief(0.5)
    assert PartByPart(optimizer=climber()).belief() is None


def test_duels_about_several_parts_are_refused() -> None:
    with pytest.raises(
        UserError, match="Duels asks duels and searches one text; the start has the parts system, instr"
    ):
        PartByPart(optimizer=Duels("a")).check(FakeSetup(start=[TWO]))


def test_the_inner_optimizer_is_checked_for_each_part() -> None:
    with pytest.raises(UserError, match="the prompts are texts, and the phrases"):
        PartByPart(optimizer=HillClimb()).check(FakeSetup(start=[TWO]))


def test_a_turn_has_a_length() -> None:
    with pytest.raises(UserError, match="turn is 0; allowed is 1 or more"):
        PartByPart(optimizer=climber(), turn=0)
