"""Any callable as a target."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from promptopt.core import Example, Prompt
from promptopt.errors import UserError
from promptopt.parts import text_of
from promptopt.recipe.build import build
from promptopt.targets.function import Function
from promptopt.testing.contracts import TargetContract

EXAMPLES = [Example(f"e/{i}", f"input {i}", f"label {i}") for i in range(4)]
HERE = "promptopt.targets.function:Function"


def shout(prompt: str, example: Example) -> str:
    return f"{prompt} {example.input}".upper()


class TestFunction(TargetContract):
    prompts = ("echo", "say")

    def make(self) -> Function:
        return Function(function=shout)

    def examples(self) -> Sequence[Example]:
        return EXAMPLES


class TestFunctionWithThreads(TestFunction):
    def make(self) -> Function:
        return Function(function=shout, workers=3)


def test_a_prompt_of_parts_comes_as_a_mapping() -> None:
    seen: list[object] = []
    target = Function(function=lambda prompt, example: seen.append(prompt))
    target.run(Prompt(text_of({"system": "a", "rules": "=== b ==="})), EXAMPLES[:1])
    target.run(Prompt("=== system ==="), EXAMPLES[:1])
    assert seen == [{"system": "a", "rules": "=== b ==="}, "=== system ==="]


def test_an_output_may_be_anything() -> None:
    target = Function(function=lambda prompt, example: None if example.id == "e/1" else {"said": prompt})
    assert target.run(Prompt("p"), EXAMPLES[:3]) == [{"said": "p"}, None, {"said": "p"}]
    assert target.run(Prompt("p"), []) == []


def test_calls_for_all_prompts_run_side_by_side() -> None:
    barrier = threading.Barrier(4, timeout=5)
    target = Function(function=lambda prompt, example: barrier.wait() >= 0, workers=4)
    assert list(target.run_batch([Prompt("a"), Prompt("b")], EXAMPLES[:2])) == [[True, True], [True, True]]


def test_an_exception_is_not_turned_into_an_output() -> None:
    def fail(prompt: str, example: Example) -> str:
        raise ZeroDivisionError(example.id)

    with pytest.raises(ZeroDivisionError, match="e/0"):
        Function(function=fail).run(Prompt("p"), EXAMPLES)


def test_by_name_from_a_recipe() -> None:
    target = build("targets", {"name": HERE, "function": "operator:contains"}, where="target")
    with pytest.raises(TypeError):
        target.run(Prompt("p"), EXAMPLES)  # "p" contains no Example: the function was called
    assert build("targets", {"name": HERE, "function": shout, "workers": 2}, where="target")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("shout", "function is 'shout'; allowed is a function, or package.module:name of one"),
        ("operator:shout", "cannot load 'operator:shout'"),
        ("no_such_package:shout", "cannot load"),
        ("math:pi", "'pi' is 3.14"),
        (3, "target.function is 3"),
    ],
)
def test_no_such_function(function: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        build("targets", {"name": HERE, "function": function}, where="target")


def test_at_least_one_worker() -> None:
    with pytest.raises(UserError, match="workers is 0"):
        Function(function=shout, workers=0)
