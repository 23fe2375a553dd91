"""What every target must hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core import BatchTarget, Begins, Example, Prompt, TakesDemonstrations, TakesParts, Target
from ...demonstrations import PART, Demonstration
from ...demonstrations import text_of as shown
from ...parts import text_of
from ..setup import FakeSetup

__all__ = ["TargetContract"]


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

    def test_takes_the_parts_that_it_names(self) -> None:
        target = self._begun()
        if isinstance(target, TakesParts) and target.takes_parts is not None:
            ids = {PART: ""} if self._takes_demonstrations(target) else {}
            every = [{name: self.prompts[0], **ids} for name in target.takes_parts if name not in ids]
            whole = {**dict.fromkeys(target.takes_parts, self.prompts[0]), **ids}
            prompts = [Prompt(text_of(parts)) for parts in [*every, whole]]
            taken = [prompt for prompt in prompts if target.problem_with(prompt) is None]
            assert taken, "it takes none of its parts, alone or together"
            for prompt in taken:
                assert len(target.run(prompt, self.examples())) == len(self.examples())

    def test_shows_the_training_examples_that_it_knows_and_no_others(self) -> None:
        target = self._begun()
        if self._takes_demonstrations(target) and isinstance(target, TakesParts):
            names = [name for name in target.takes_parts or [PART, "instruction"] if name != PART]
            texts = dict.fromkeys(names, self.prompts[0])
            ids = [Demonstration(example.id) for example in self.examples()]
            for wrong in ([*ids, Demonstration("no such example")], [ids[0], ids[0]]):
                assert target.problem_with(Prompt(text_of({**texts, PART: shown(wrong)})))
            if target.problem_with(prompt := Prompt(text_of({**texts, PART: shown(ids)}))) is None:
                assert len(target.run(prompt, self.examples())) == len(self.examples())

    def _takes_demonstrations(self, target: Target) -> bool:
        return isinstance(target, TakesDemonstrations) and bool(target.takes_demonstrations)

    def _begun(self) -> Target:
        target = self.make()
        if isinstance(target, Begins):
            target.begin(FakeSetup(start=self.prompts))
        return target


def _assert_close(one: Sequence[Any], other: Sequence[Any]) -> None:
    for a, b in zip(one, other, strict=True):
        if isinstance(a, np.ndarray):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        else:
            assert a == b
