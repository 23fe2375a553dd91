"""The contract suite of targets holds for ours; a part that breaks it fails in the test meant for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from promptopt.core import Example, Prompt
from promptopt.demonstrations import of_prompt, problem_with
from promptopt.parts import parts_of
from promptopt.testing.contracts import TargetContract


def one_hole(text: str) -> str | None:
    return None if text.count("{}") == 1 else "it needs one {}"


class Upper:
    """Outputs the prompt, filled in and in capitals."""

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return one_hole(prompt.text)

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        return [prompt.text.replace("{}", str(e.input)).upper() for e in examples]


class BatchUpper(Upper):
    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[list[str]]:
        return (self.run(prompt, examples) for prompt in prompts)


EXAMPLES = [Example(f"e{i}", f"cat {i}", i) for i in range(5)]


class TestTarget(TargetContract):
    bad_prompts = ("no hole", "{}{}")

    def make(self) -> Upper:
        return BatchUpper()

    def examples(self) -> list[Example]:
        return EXAMPLES


# ── Broken targets ────────────────────────────────────────────────────────────────────────────────────────────────


class TakesAll(Upper):
    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None


class Formats(Upper):
    def problem_with(self, prompt: Prompt, /) -> str | None:
        prompt.text.format("cat")
        return one_hole(prompt.text)


class OneOutput(Upper):
    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        return super().run(prompt, examples)[:1]


class SeesNeighbours(Upper):
    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        return [f"{output} {len(examples)}" for output in super().run(prompt, examples)]


class OtherInBatches(BatchUpper):
    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[list[str]]:
        return ([output.lower() for output in self.run(prompt, examples)] for prompt in prompts)


class Arrays(BatchUpper):
    """Outputs arrays, a little off in batches."""

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        return [np.ones(3) for _ in examples]

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[list[Any]]:
        return ([np.ones(3) * 1.01 for _ in examples] for _ in prompts)


class TakesNoneOfItsParts(BatchUpper):
    takes_parts = ("frame", "suffix")

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return "it has parts" if "===" in prompt.text else one_hole(prompt.text)


class SaysNothingOfParts(BatchUpper):
    takes_parts = ("frame", "suffix")

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        return [] if "===" in prompt.text else super().run(prompt, examples)


class ShowsAnything(BatchUpper):
    takes_parts = ("frame", "demonstrations")
    takes_demonstrations = True


class ShowsUnknownOnes(ShowsAnything):
    def problem_with(self, prompt: Prompt, /) -> str | None:
        ids = of_prompt(prompt.text)
        return "named twice" if len({*ids}) < len(ids) else None


class LeavesOutWhatItShows(ShowsAnything):
    def problem_with(self, prompt: Prompt, /) -> str | None:
        known = [example.id for example in EXAMPLES]
        return problem_with(parts_of(prompt.text).get("demonstrations", ""), known)

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str]:
        shown = [one.example for one in of_prompt(prompt.text)]
        return super().run(prompt, [e for e in examples if e.id not in shown])


def _rate(test: str, part: Any) -> Any:
    return pytest.param(test, part, id=f"{test.removeprefix('test_')}-{part.__name__}")


BROKEN_TARGETS = [
    _rate("test_takes_good_prompts_and_says_what_is_wrong_with_bad_ones", TakesAll),
    _rate("test_prompts_are_data", Formats),
    _rate("test_one_output_per_example", OneOutput),
    _rate("test_an_output_does_not_depend_on_its_neighbours", SeesNeighbours),
    _rate("test_batches_of_prompts_equal_single_prompts", OtherInBatches),
    _rate("test_batches_of_prompts_equal_single_prompts", Arrays),
    _rate("test_takes_the_parts_that_it_names", TakesNoneOfItsParts),
    _rate("test_takes_the_parts_that_it_names", SaysNothingOfParts),
    _rate("test_shows_the_training_examples_that_it_knows_and_no_others", ShowsAnything),
    _rate("test_shows_the_training_examples_that_it_knows_and_no_others", ShowsUnknownOnes),
    _rate("test_shows_the_training_examples_that_it_knows_and_no_others", LeavesOutWhatItShows),
]


@pytest.mark.parametrize(("test", "part"), BROKEN_TARGETS)
def test_a_broken_target_fails_the_test_meant_for_it(test: str, part: Any) -> None:
    suite = TestTarget()
    getattr(suite, test)()
    suite.make = part  # type: ignore[method-assign]
    with pytest.raises((AssertionError, KeyError, ValueError, AttributeError, IndexError)):
        getattr(suite, test)()


def test_every_target_test_has_a_part_that_fails_it() -> None:
    tests = {name for name in dir(TargetContract) if name.startswith("test_")}
    assert tests == {param.values[0] for param in BROKEN_TARGETS}
