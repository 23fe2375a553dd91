"""Ratings by the task loss, and whole searches against a tiny local LM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

from targets.tiny_lms import EXAMPLES, saved

from promptopt import optimize
from promptopt.core import Dataset, Duel, Example, Preference, Prompt, Rate
from promptopt.data.reasoning import reasoning
from promptopt.errors import UserError
from promptopt.metrics.text import ExactMatch
from promptopt.scorers import BradleyTerry
from promptopt.scorers.task_loss import TaskLoss
from promptopt.targets.local_lm import LocalLM, Reasoned
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import ScorerContract

PROMPTS = ("Think step by step.", "Answer.", "Use proper logic")
TARGET = "promptopt.targets.local_lm:LocalLM"
SCORER = "promptopt.scorers.task_loss:TaskLoss"


class Scripted:
    """Right for the examples that a prompt names; the loss is the prompt's length and the number of the example."""

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Reasoned]:
        outputs = []
        for example in examples:
            output = Reasoned(example.label if example.id in prompt.text else "?")
            output.loss, output.nll = len(prompt.text) + int(example.id), 10.0
            output.mistaken = example.id not in prompt.text
            outputs.append(output)
        return outputs


CASES = tuple(Example(str(i), f"case {i}", f"answer {i}") for i in range(4))


def rating(text: str, on: tuple[str, ...] = (), **options: Any) -> Any:
    scorer = TaskLoss(target=Scripted(), **{"examples": CASES, **options})
    return next(iter(scorer.answer([Rate(Prompt(text), on)])))


def lm(**options: Any) -> LocalLM:
    return LocalLM(model=saved("llama", "byte-level"), max_tokens=4, answer_tokens=3, **options)


class TestTaskLoss(ScorerContract):
    prompts = PROMPTS

    def make(self) -> TaskLoss:
        return TaskLoss(target=lm(), examples=EXAMPLES)


class TestTaskLossByLoss(ScorerContract):
    prompts = PROMPTS

    def make(self) -> TaskLoss:
        return TaskLoss(target=lm(), examples=EXAMPLES, select="loss")


def test_accuracy_first_and_the_loss_breaks_ties() -> None:
    assert rating("0 1").value == 0.5
    np.testing.assert_array_equal(rating("0 1").per_example, [1, 1, 0, 0])
    assert rating("0 1").tiebreak == pytest.approx(-(3 + 1.5 + 0.2 * 10))
    assert rating("0 1").rank > rating("0 or 1").rank > rating("0").rank


def test_by_loss_every_example_has_its_own() -> None:
    one = rating("0 1", select="loss", perplexity_weight=0.5)
    np.testing.assert_allclose(one.per_example, [-8, -9, -10, -11])
    assert (one.value, one.tiebreak) == (-9.5, 0.0)
    assert rating("0 1", select="loss", perplexity_weight=0.0).value == -4.5


def test_by_accuracy_alone() -> None:
    assert rating("0 1", select="accuracy").rank == rating("0 or 1", select="accuracy").rank == (0.5, 0.0)


def test_by_mistakes_as_released() -> None:
    one = rating("0 1", select="mistakes", perplexity_weight=0.02)
    np.testing.assert_allclose(one.per_example, [-0.2, -0.2, -1.2, -1.2])
    assert (one.value, one.tiebreak) == (pytest.approx(-0.7), 0.0)


def test_a_mistake_is_an_answer_that_the_model_would_not_have_written() -> None:
    examples = reasoning(task="arithmetic", train=24, dev=0, test=0).train
    target = LocalLM(model="embedded", max_tokens=80)
    outputs = target.run(Prompt("Please answer the question."), examples)
    mistaken = [output.text != example.label for output, example in zip(outputs, examples, strict=True)]
    assert 3 < sum(mistaken) < 21
    assert [output.mistaken for output in outputs] == mistaken


def test_part_of_the_examples() -> None:
    assert rating("0 1", on=("1", "3")).value == 0.5
    np.testing.assert_array_equal(rating("0 1", on=("3", "1")).per_example, [0, 1])


def test_on_held_out_examples_accuracy_counts_whatever_selects() -> None:
    data = Dataset("cases", train=CASES[:2], dev=CASES[2:3], test=CASES[2:])
    assert rating("2", examples=data.train, data=data, select="loss").value < 0
    for split in (data.dev, data.test):
        assert rating("2", examples=split, data=data, select="loss").value == 1 / len(split)


def test_what_is_right_the_metric_says() -> None:
    shouting = [Example(one.id, one.input, one.label.upper()) for one in CASES]

    class Lower(Scripted):
        def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Reasoned]:
            outputs = [Reasoned(example.label.lower()) for example in examples]
            for one in outputs:
                one.loss = one.nll = 0.0
            return outputs

    by_match, by_letter = (
        next(iter(TaskLoss(target=Lower(), examples=shouting, metric=metric).answer([Rate(Prompt("a"))])))
        for metric in (None, ExactMatch())
    )
    assert (by_match.value, by_letter.value) == (1.0, 0.0)


@pytest.mark.parametrize("select", ["mix", "loss", "mistakes"])
def test_a_target_without_a_loss(select: Any) -> None:
    class Plain(Scripted):
        def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
            return [example.label for example in examples]

    with pytest.raises(UserError, match="knows the loss"):
        list(TaskLoss(target=Plain(), examples=CASES, select=select).answer([Rate(Prompt("a"))]))


def test_labels_by_likelihood_have_no_such_loss() -> None:
    lm = LocalLM(model=saved("llama", "byte-level"), answers="likelihood", labels=["yes", "no"])
    examples = [Example("a", "Is the sky blue?", "yes")]
    with pytest.raises(UserError, match="by likelihood there is the metric"):
        list(TaskLoss(target=lm, examples=examples).answer([Rate(Prompt("Answer."))]))


def test_a_negative_weight() -> None:
    with pytest.raises(UserError, match="perplexity_weight is -1"):
        TaskLoss(target=Scripted(), examples=CASES, perplexity_weight=-1.0)


# ── Against a tiny local LM ───────────────────────────────────────────────────────────────────────────────────────


def test_ratings_are_those_of_the_target_s_outputs() -> None:
    outputs = lm().run(Prompt(PROMPTS[0]), EXAMPLES)
    scorer = TaskLoss(target=lm(), examples=EXAMPLES, select="loss", perplexity_weight=0.3)
    (one,) = scorer.answer([Rate(Prompt(PROMPTS[0]))])
    expected = [-(output.loss + 0.3 * output.nll) for output in outputs]
    np.testing.assert_allclose(one.per_example, expected, atol=2e-5)


def test_a_bandit_gets_duels_through_bradley_terry() -> None:
    judge = BradleyTerry(scorer=TaskLoss(target=lm(), examples=EXAMPLES, select="loss"), scale=float("inf"))
    judge.begin(FakeSetup())
    a, b = Prompt(PROMPTS[0]), Prompt(PROMPTS[1])
    losses = lm().losses([a.text, b.text], EXAMPLES).mean(axis=1) + 0.2 * np.array(
        [lm().nll(one.text, EXAMPLES).mean() for one in (a, b)]
    )
    assert judge.answer([Duel(a, b)]) == [Preference("a" if losses[0] < losses[1] else "b")]


POOL = {"name": "list", "prompts": ["Think.", "Think step by step.", "Answer yes.", "Use proper logic"]}
SEARCHES = {
    "hill-climb": {
        "name": "hill-climb",
        "proposer": {"name": "lexical", "phrases": ["step", "logic", "yes", "carefully"]},
    },
    "random-search": {"name": "random-search", "pool": POOL},
}


def task() -> Dataset:
    examples = tuple(Example(f"{i}{one.id}", one.input, one.label) for i in range(5) for one in EXAMPLES)
    return Dataset("tiny", train=examples[:6], dev=examples[6:12], test=examples[12:])


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_runs_against_a_local_model(name: str, tmp_path: Any) -> None:
    result = optimize(
        start="Think",
        optimizer=SEARCHES[name],
        target={"name": TARGET, "model": str(saved("llama", "byte-level")), "max_tokens": 3, "answer_tokens": 2},
        scorer={"name": SCORER, "select": "loss"},
        data=task(),
        budget=8,
        finalists=2,
        run=tmp_path / "run",
    )
    assert len(result.candidates) >= 4
    assert result.verdict is not None
    assert 0 <= result.verdict.start <= 1
    assert 0 <= result.verdict.best <= 1
    assert result.verdict.examples == 18
    search = [step.answer.value for step in result.steps if step.stage == "search"]
    assert search
    assert all(value < 0 for value in search)  # minus the loss; on held-out data accuracy counts
    assert all(step.answer.value >= 0 for step in result.steps if step.stage in ("dev", "test"))


def test_a_bandit_runs_against_a_local_model(tmp_path: Any) -> None:
    target = lm()
    data = task()
    result = optimize(
        start="Think",
        optimizer={"name": "promptopt.optimizers.random_duel:RandomDuels", "pool": POOL},
        scorer=BradleyTerry(scorer=TaskLoss(target=target, examples=data.train, select="loss")),
        target=target,
        data=data,
        budget=6,
        run=tmp_path / "run",
    )
    assert result.best in {"Think", *POOL["prompts"]}
    assert {step.answer.winner for step in result.steps if step.stage == "search"} <= {"a", "b", "tie"}
    assert result.verdict is not None
    assert result.verdict.examples == 18
