"""ProAPO: its fitness, which classes it looks at, and how lines are bred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from promptopt.core import Case, Example, Prompt, Rate, Rating
from promptopt.errors import UserError
from promptopt.optimizers import proapo
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.proapo import ProApo
from promptopt.testing import FakeSetup, ScriptedModel
from promptopt.testing.contracts import OptimizerContract
from promptopt.vocabulary.class_texts import ClassLines

CLASSES = ("a", "b", "c", "d")
TEMPLATES = [f"{word} {{}}" for word in "one two three four five six seven eight".split()]
GIVEN = {name: [f"{name}{i}" for i in range(5)] for name in CLASSES}
EXAMPLES = [Example(f"{name}{i}", None, name) for name in CLASSES for i in range(3)]


def problem(text: str) -> str | None:
    try:
        ClassLines(CLASSES).read(text)
    except UserError as error:
        return str(error)
    return None


def small(**options: Any) -> ProApo:
    given = {"classes": CLASSES, "examples": EXAMPLES, "pool": ListPool(prompts=TEMPLATES), "descriptors": GIVEN}
    return ProApo(**{**given, "sample": 6, "top": 2, "generations": 2, "starts": 3, **options})


class TestDescriptors(OptimizerContract):
    def make(self) -> ProApo:
        return small()

    def problem_with(self, text: str) -> str | None:
        return problem(text)


class TestTemplatesAlone(OptimizerContract):
    def make(self) -> ProApo:
        return small(descriptors=None)

    def problem_with(self, text: str) -> str | None:
        return problem(text)


class TestModel(OptimizerContract):
    def make(self) -> ProApo:
        return small(descriptors=None, model=ScriptedModel(lambda _: "- big\n- red"), rounds=1)

    def problem_with(self, text: str) -> str | None:
        return problem(text)


def searched(optimizer: ProApo, rate: Any, *, start: Sequence[str] = ("zero {}",), seed: int = 0) -> list[Rate]:
    """All that it asks."""
    optimizer.begin(FakeSetup(start=start, seed=seed, problem_with=problem))
    asked: list[Rate] = []
    while batch := optimizer.ask():
        asked += batch
        optimizer.tell([(question, rate(question)) for question in batch])
    return asked


def confused(question: Rate) -> Rating:
    """Class c is taken for a, until it has the text c3; "three" is the best template."""
    text = question.prompt.text
    right = "c: zero c, c3" in text.replace("three", "zero")
    value = (0.5 if "three {}" in text else 0.2) + 0.3 * right
    cases = [Case(e.id, "a" if e.label == "c" and not right else e.label, 1.0) for e in EXAMPLES]
    return Rating(value, -len(text) / 10_000, cases=tuple(cases) if question.cases else ())


def test_templates_come_first_and_then_texts_of_the_confused_classes() -> None:
    optimizer = small(groups=1, rounds=4, moves=3)
    asked = searched(optimizer, confused)
    steps = [str(question.prompt.origin.get("step", "start")) for question in asked]
    phases = list(dict.fromkeys(step.split()[0] for step in steps))
    assert phases == ["start", "library", "templates", "beginning", "classes"]
    grown = {
        name
        for question, step in zip(asked, steps, strict=True)
        if step.startswith("classes 0")
        for name, own in ClassLines(CLASSES).read(question.prompt.text).own.items()
        if own
    }
    assert "c" in grown
    assert "c3" in optimizer.best().text
    assert "three {}" in optimizer.best().text
    assert len({question.prompt for question in asked}) == len(asked) - sum(question.cases for question in asked)


def test_it_asks_once_a_round_which_classes_are_confused() -> None:
    asked = searched(small(rounds=3), lambda question: Rating(0.5, cases=confused(question).cases))
    assert [question.cases for question in asked].count(True) == 1  # the same prompt stays best, so once is enough
    asked = searched(small(rounds=3), lambda question: Rating(0.5))
    assert [question.cases for question in asked].count(True) == 3


def groups(rating: Rating) -> list[list[str]]:
    optimizer = small()
    optimizer.begin(FakeSetup(start=["zero {}"], problem_with=problem))
    optimizer.tell([(Rate(Prompt("zero {}")), rating)])
    return list(optimizer._groups())


def test_groups_are_a_class_and_what_it_is_taken_for() -> None:
    outputs = dict(zip([e.id for e in EXAMPLES], "aab bbb dda dda".replace(" ", ""), strict=True))
    cases = tuple(Case(example.id, outputs[example.id], 0.0) for example in EXAMPLES)
    assert groups(Rating(0.5, cases=cases)) == [["c", "d", "a"]]
    wrong = tuple(Case(example.id, "b", 0.0) for example in EXAMPLES)
    assert groups(Rating(0.5, cases=wrong)) == [["a", "b"], ["c", "b"], ["d", "b"]]


def test_without_cases_the_classes_with_the_lowest_values_come_first() -> None:
    values = np.repeat([0.5, 0.1, 0.9, 0.3], 3)
    assert groups(Rating(0.5, per_example=values)) == [["b", "d", "a", "c"]]
    assert sorted(groups(Rating(0.5))[0]) == ["a", "b", "c", "d"]


def test_the_fitness_weighs_accuracy_log_probability_and_redundancy() -> None:
    class Alike:
        def class_embeddings(self, prompt: Prompt, /) -> Any:
            return np.eye(4) if prompt.text == "one {}" else np.ones((4, 4)) / 2

        def problem_with(self, prompt: Prompt, /) -> str | None:
            return None

        def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
            return []

    optimizer = small(target=Alike(), accuracy=2, log_probability=0.5, redundancy=0.1)
    one = optimizer._fit(Prompt("one {}"), Rating(0.5, -1.0))
    other = optimizer._fit(Prompt("two {}"), Rating(0.5, -1.0))
    assert one.value == pytest.approx(2 * 0.5 - 0.5)
    assert other.value == pytest.approx(one.value + 0.1 * np.sqrt(6))
    assert small()._fit(Prompt("two {}"), Rating(0.5, -1.0)).value == -0.5
    assert np.isnan(small()._fit(Prompt("two {}"), Rating(float("nan"))).value)


def test_moves() -> None:
    rng = np.random.default_rng(0)
    one, other = [("", "x"), ("a", "1")], [("", "x"), ("b", "2"), ("b", "3")]
    library = [("", "x"), ("", "y"), ("a", "1"), ("a", "2")]
    new = [("", "y"), ("a", "2")]
    grown = {tuple(proapo.more([one], library, rng)) for _ in range(30)}
    assert grown == {(*one, new[0]), (*one, new[1]), (*one, *new)}
    assert {tuple(proapo.less([one], library, rng)) for _ in range(30)} == {(one[0],), (one[1],), ()}
    exchanged = {frozenset(proapo.exchanged([one], library, rng)) for _ in range(30)}
    assert exchanged == {frozenset({one[1], new[0]}), frozenset({one[0], new[1]}), frozenset(new)}
    assert {len(proapo.more([[]], [("", str(i)) for i in range(9)], rng)) for _ in range(60)} == {1, 2, 4, 8}
    children = [proapo.crossed([one, other], library, rng) for _ in range(60)]
    assert all(("", "x") in child for child in children)
    assert {len(child) for child in children} == {1, 2, 3, 4}
    assert all(len(proapo.redrawn([one], library, rng)) == 2 for _ in range(5))
    assert len(proapo.redrawn([[]], library, rng)) == 1
    assert proapo.less([[]], library, rng) == []


def test_without_descriptors_it_says_that_templates_are_all() -> None:
    optimizer, setup = small(descriptors=None), FakeSetup(start=["zero {}"], problem_with=problem)
    optimizer.begin(setup)
    assert setup.notes == ["No descriptors and no model: proapo searched templates alone."]


def test_it_is_for_clip_alone() -> None:
    with pytest.raises(UserError, match="proapo makes texts of single classes"):
        small().check(FakeSetup(start=["Be polite."]))
    small().check(FakeSetup(start=["zero {}"], problem_with=problem))


@pytest.mark.parametrize("options", [{"top": 0}, {"moves": -1}, {"redundancy": float("nan")}, {"sample": -1}])
def test_numbers_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        small(**options)
