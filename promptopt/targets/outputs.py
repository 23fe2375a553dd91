"""What a target makes of prompts, counted before anybody relies on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..core import BatchTarget, Example, Prompt, Target
from ..errors import PromptoptError

__all__ = ["outputs_of"]


def outputs_of(target: Target, prompts: Sequence[Prompt], examples: Sequence[Example]) -> Iterator[Sequence[Any]]:
    """The outputs of each prompt on all examples, prompt by prompt; made side by side where the target can.

    Raises:
        PromptoptError: the target gave another number of outputs than it was asked for; and its own errors.
    """
    given: Iterable[Sequence[Any]] = (
        target.run_batch(prompts, examples)
        if isinstance(target, BatchTarget)
        else (target.run(prompt, examples) for prompt in prompts)
    )
    count = 0
    for count, outputs in enumerate(given, start=1):
        if len(outputs) != len(examples):
            raise PromptoptError(f"{type(target).__name__} gave {len(outputs)} outputs for {len(examples)} examples")
        if count > len(prompts):
            break
        yield outputs
    if count != len(prompts):
        more = "more" if count > len(prompts) else str(count)
        raise PromptoptError(
            f"{type(target).__name__} gave outputs for {more} prompts and was asked for {len(prompts)}"
        )
