"""Contract suites: what every optimizer, scorer and target must hold. Subclass one, say how to make yours, run pytest.

::

    class TestMyOptimizer(OptimizerContract):
        def make(self):
            return MyOptimizer(k=3)

pytest collects the subclass and runs every test of the suite on it. ``make`` must build a new object each time.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core import BatchTarget, Begins, Duel, Example, Optimizer, Preference, Prompt, Rate, Rating, Scorer, Target
from ..record.codec import Answer, Question, encode_question
from ..record.ledger import Ledger
from ..run.budget import Budget
from ..run.loop import Run
from .setup import FakeSetup

__all__ = ["OptimizerContract", "ScorerContract", "TargetContract"]

FRESH_PROCESS = """
import json, runpy, sys
suite = runpy.run_path(sys.argv[1], run_name="contract")[sys.argv[2]]()
print(json.dumps(suite.trajectory(suite.make())))
"""


class OptimizerContract:
    """What a run relies on in an optimizer.

    Attributes:
        start: the texts that the tests start from.
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
        file = inspect.getfile(type(self))
        done = subprocess.run(
            [sys.executable, "-c", FRESH_PROCESS, file, type(self).__name__],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "4711"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == self.trajectory(self.make())

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
            start=[Prompt(text) for text in self.start],
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


class ScorerContract:
    """What a run relies on in a scorer.

    Attributes:
        prompts: at least two texts that the scorer can answer for.
    """

    prompts: Sequence[str] = ("a photo of a {}", "a drawing of a {}", "{}")

    def make(self) -> Scorer[Any, Any]:
        """A new scorer, with whatever models it needs scripted."""
        raise AssertionError("say how to make the scorer: override make()")

    def test_says_which_question_it_answers(self) -> None:
        assert self.make().question in (Rate, Duel)

    def test_answers_every_question_in_kind(self) -> None:
        questions = self._questions()
        answers = self._answer(questions)
        assert len(answers) == len(questions)
        kind = Rating if isinstance(questions[0], Rate) else Preference
        assert all(isinstance(answer, kind) for answer in answers)

    def test_answers_nothing_with_nothing(self) -> None:
        assert self._answer([]) == []

    def test_a_batch_equals_one_by_one(self) -> None:
        questions = self._questions()
        scorer = self._begun()
        single = [answer for question in questions for answer in scorer.answer([question])]
        _assert_same(self._answer(questions), single)

    def test_the_order_of_a_batch_does_not_matter(self) -> None:
        questions = self._questions()
        _assert_same(self._answer(questions[::-1])[::-1], self._answer(questions))

    def test_a_new_scorer_gives_the_same_answers(self) -> None:
        questions = self._questions()
        _assert_same(self._answer(questions), self._answer(questions))

    def test_values_are_finite_or_unscored(self) -> None:
        for answer in self._answer(self._questions()):
            if isinstance(answer, Rating):
                assert math.isfinite(answer.value) or math.isnan(answer.value)
                assert math.isfinite(answer.tiebreak)

    def _begun(self) -> Scorer[Any, Any]:
        scorer = self.make()
        if isinstance(scorer, Begins):
            scorer.begin(FakeSetup(start=self.prompts))
        return scorer

    def _answer(self, questions: Sequence[Question]) -> list[Any]:
        return list(self._begun().answer(questions))

    def _questions(self) -> list[Question]:
        prompts = [Prompt(text) for text in self.prompts]
        if self.make().question is Rate:
            return [Rate(prompt, number=n) for n, prompt in enumerate(prompts)]
        pairs = [(a, b) for a in prompts for b in prompts if a != b]
        return [Duel(a, b, number=n) for n, (a, b) in enumerate(pairs)]


class TargetContract:
    """What scorers rely on in a target.

    Attributes:
        prompts: at least two texts that the target can run.
        bad_prompts: texts that it cannot.
    """

    prompts: Sequence[str] = ("a photo of a {}", "a drawing of a {}")
    bad_prompts: Sequence[str] = ()

    def make(self) -> Target:
        """A new target, with whatever models it needs scripted."""
        raise AssertionError("say how to make the target: override make()")

    def examples(self) -> Sequence[Example]:
        """At least two examples that it can be run on."""
        raise AssertionError("say what to run the target on: override examples()")

    def test_takes_good_prompts_and_says_what_is_wrong_with_bad_ones(self) -> None:
        target = self.make()
        assert [target.problem_with(Prompt(text)) for text in self.prompts] == [None] * len(self.prompts)
        assert all(target.problem_with(Prompt(text)) for text in self.bad_prompts)

    def test_prompts_are_data(self) -> None:
        target = self.make()
        for text in ("{0.__class__}", "%s %d", "{", "}", "${x}", "{}{}", "", "\x00"):
            problem = target.problem_with(Prompt(text))
            assert problem is None or isinstance(problem, str)

    def test_one_output_per_example(self) -> None:
        target = self._begun()
        examples = self.examples()
        for text in self.prompts:
            assert len(target.run(Prompt(text), examples)) == len(examples)

    def test_an_output_does_not_depend_on_its_neighbours(self) -> None:
        target = self._begun()
        examples = self.examples()
        together = target.run(Prompt(self.prompts[0]), examples)
        alone = [target.run(Prompt(self.prompts[0]), [example])[0] for example in examples]
        _assert_close(list(together), alone)

    def test_batches_of_prompts_equal_single_prompts(self) -> None:
        target = self._begun()
        if isinstance(target, BatchTarget):
            prompts, examples = [Prompt(text) for text in self.prompts], self.examples()
            for prompt, outputs in zip(prompts, target.run_batch(prompts, examples), strict=True):
                _assert_close(list(outputs), list(target.run(prompt, examples)))

    def _begun(self) -> Target:
        target = self.make()
        if isinstance(target, Begins):
            target.begin(FakeSetup(start=self.prompts))
        return target


def _prompts(question: Question) -> list[Prompt]:
    return [question.prompt] if isinstance(question, Rate) else [question.a, question.b]


def _unscored(question: Question) -> Answer:
    return Rating(math.nan) if isinstance(question, Rate) else Preference("unknown")


def _assert_same(one: Sequence[Any], other: Sequence[Any]) -> None:
    for a, b in zip(one, other, strict=True):
        if isinstance(a, Rating):
            np.testing.assert_allclose([a.value, a.tiebreak], [b.value, b.tiebreak], rtol=1e-4, atol=1e-5)
            if a.per_example is not None:
                np.testing.assert_allclose(a.per_example, b.per_example, rtol=1e-4, atol=1e-5)
        else:
            assert a == b


def _assert_close(one: Sequence[Any], other: Sequence[Any]) -> None:
    for a, b in zip(one, other, strict=True):
        if isinstance(a, np.ndarray):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        else:
            assert a == b
