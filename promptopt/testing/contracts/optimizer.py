"""What every optimizer must hold."""

from __future__ import annotations

import json
import math
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core import NO_START, Duel, KnowsParts, Optimizer, Preference, Prompt, Rate, Rating
from ...parts import parts_of, text_of
from ...parts import problem_with as parts_problem
from ...record.codec import Answer, Question, encode_question
from ...record.ledger import Ledger
from ...run.budget import Budget
from ...run.loop import Run
from ..setup import FakeSetup
from .fresh import in_a_fresh_process

__all__ = ["OptimizerContract"]


class OptimizerContract:
    """What a run relies on in an optimizer.

    Attributes:
        start: the texts that the tests start from; none for an optimizer that begins alone.
        questions: how many questions the tests answer at the most.
    """

    start: Sequence[str] = ("a photo of a {}",)
    questions: int = 60

    def make(self) -> Optimizer[Any, Any]:
        """A new optimizer, with whatever models it needs scripted."""
        raise AssertionError("say how to make the optimizer: override make()")

    def problem_with(self, text: str) -> str | None:
        """What the tests' target says of a prompt; by default every text is fine."""
        return None

    def quality(self, prompt: Prompt) -> float:
        """The tests' made-up score of a prompt: any function of its text without randomness."""
        return (sum(map(ord, prompt.text)) % 97) / 97

    # ── Tests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def test_says_which_question_it_asks(self) -> None:
        assert self.make().question in (Rate, Duel)

    def test_has_a_best_prompt_before_any_answer(self) -> None:
        assert isinstance(self._begun().best(), Prompt)

    def test_asks_its_kind_of_question_about_usable_prompts(self) -> None:
        optimizer = self._begun()
        asked = self._search(optimizer)
        assert asked, "it asked nothing"
        for question in asked:
            assert isinstance(question, optimizer.question)
            for prompt in _prompts(question):
                assert self.problem_with(prompt.text) is None
                json.dumps(dict(prompt.origin))

    def test_same_seed_same_questions(self) -> None:
        assert self.trajectory(self.make()) == self.trajectory(self.make())

    def test_seed_zero_is_a_seed(self) -> None:
        first = self.trajectory(self.make(), seed=0)
        states = random.getstate(), np.random.get_state()
        random.random()
        np.random.random()
        assert self.trajectory(self.make(), seed=0) == first
        random.setstate(states[0])
        np.random.set_state(states[1])

    def test_leaves_the_global_generators_alone(self) -> None:
        before = (random.getstate(), repr(np.random.get_state()))
        self.trajectory(self.make())
        assert (random.getstate(), repr(np.random.get_state())) == before

    def test_same_questions_in_a_fresh_process_with_another_hash_seed(self) -> None:
        assert in_a_fresh_process(self, "_new_trajectory") == self._new_trajectory()

    def test_begin_starts_afresh(self) -> None:
        optimizer = self.make()
        assert self.trajectory(optimizer) == self.trajectory(optimizer)

    def test_takes_fewer_answers_than_it_asked_for(self) -> None:
        optimizer = self._begun()
        self._search(optimizer, answer=lambda batch: self._answers(batch)[: len(batch) // 2])
        assert isinstance(optimizer.best(), Prompt)

    def test_takes_no_answers_at_all(self) -> None:
        optimizer = self._begun()
        for _ in range(5):
            if not optimizer.ask():
                break
            optimizer.tell([])
        assert isinstance(optimizer.best(), Prompt)

    def test_takes_answers_in_any_order(self) -> None:
        optimizer = self._begun()
        asked = self._search(optimizer, answer=lambda batch: self._answers(batch)[::-1])
        if optimizer.question is Rate:
            best = max(self.quality(question.prompt) for question in asked if isinstance(question, Rate))
            assert self.quality(optimizer.best()) == best

    def test_survives_answers_that_could_not_be_scored(self) -> None:
        optimizer = self._begun()
        self._search(optimizer, answer=lambda batch: [(q, _unscored(q)) for q in batch])
        assert isinstance(optimizer.best(), Prompt)

    def test_prefers_a_scored_prompt_to_an_unscored_one(self) -> None:
        optimizer = self._begun()
        scored: list[Prompt] = []

        def answer(batch: Sequence[Question]) -> list[tuple[Question, Answer]]:
            answers = self._answers(batch)
            odd = [(q, a if i % 2 else _unscored(q)) for i, (q, a) in enumerate(answers)]
            scored.extend(p for i, (q, _) in enumerate(answers) if i % 2 for p in _prompts(q))
            return odd

        self._search(optimizer, answer=answer)
        if scored and optimizer.question is Rate:
            assert optimizer.best() in scored

    def test_a_tie_does_not_displace_the_incumbent(self) -> None:
        optimizer = self._begun()
        if optimizer.question is Rate:
            first = self._search(optimizer, answer=lambda batch: [(q, Rating(0.5)) for q in batch])[0]
            assert isinstance(first, Rate)
            assert optimizer.best() == first.prompt

    def test_keeps_the_parts_of_prompts(self) -> None:
        optimizer = self.make()
        if isinstance(optimizer, KnowsParts) and optimizer.knows_parts:
            parts = parts_of(self.start[0]) or {"instruction": self.start[0]}
            start = text_of({"rules": "a\n=== b ===", **parts})
            optimizer.begin(FakeSetup(start=[start], problem_with=lambda text: parts_problem(text, start=start)))
            for question in self._search(optimizer):
                assert all(parts_problem(prompt.text, start=start) is None for prompt in _prompts(question))

    def test_stays_converged(self) -> None:
        optimizer = self._begun()
        for _ in range(self.questions):
            if not (batch := optimizer.ask()):
                assert not optimizer.ask()
                return
            optimizer.tell(self._answers(batch))

    def test_resumes_by_replay(self) -> None:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            whole = self._run(Path(one), questions=self.questions)
            self._run(Path(other), questions=self.questions // 2)
            resumed = self._run(Path(other), questions=self.questions)
        assert resumed == whole

    # ── How they do it ────────────────────────────────────────────────────────────────────────────────────────────

    def trajectory(self, optimizer: Optimizer[Any, Any], *, seed: int = 0) -> list[Any]:
        """Every question that the optimizer asks, as JSON values."""
        optimizer.begin(FakeSetup(start=self.start, seed=seed, problem_with=self.problem_with))
        asked = [encode_question(question) for question in self._search(optimizer)]
        decoded: list[Any] = json.loads(json.dumps(asked))
        return decoded

    def _new_trajectory(self) -> list[Any]:
        return self.trajectory(self.make())

    def _begun(self) -> Optimizer[Any, Any]:
        optimizer = self.make()
        optimizer.begin(FakeSetup(start=self.start, problem_with=self.problem_with))
        return optimizer

    def _search(self, optimizer: Optimizer[Any, Any], *, answer: Any = None) -> list[Question]:
        asked: list[Question] = []
        while len(asked) < self.questions and (batch := optimizer.ask()):
            asked += batch
            optimizer.tell((answer or self._answers)(batch))
        return asked

    def _answers(self, batch: Sequence[Question]) -> list[tuple[Question, Answer]]:
        return [(question, self._answer(question)) for question in batch]

    def _answer(self, question: Question) -> Answer:
        if isinstance(question, Rate):
            return Rating(self.quality(question.prompt))
        return Preference("a" if self.quality(question.a) > self.quality(question.b) else "b")

    def _run(self, folder: Path, *, questions: int) -> list[Any]:
        optimizer = self.make()
        ledger = Ledger(folder)
        run = Run(
            optimizer,
            _Answers(self, optimizer.question),
            start=[Prompt(text) for text in self.start] or [NO_START],
            budget=Budget(questions=questions),
            problem_with=lambda prompt: self.problem_with(prompt.text),
            ledger=ledger,
        )
        if not ledger.past:
            ledger.append({"event": "start"})
        run.search()
        ledger.close()
        return [encode_question(step.question) for step in run.steps] + [optimizer.best().text]


class _Answers:
    def __init__(self, suite: OptimizerContract, question: type) -> None:
        self.question = question
        self._suite = suite

    def answer(self, questions: Sequence[Question], /) -> list[Answer]:
        return [self._suite._answer(question) for question in questions]


def _prompts(question: Question) -> list[Prompt]:
    return [question.prompt] if isinstance(question, Rate) else [question.a, question.b]


def _unscored(question: Question) -> Answer:
    return Rating(math.nan) if isinstance(question, Rate) else Preference("unknown")
