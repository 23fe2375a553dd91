"""Pools that an LLM writes: from examples, or from the user's own prompts [Lin2024]. The wording is ours.

Prompts are asked for as they are drawn, so a search pays for as many calls as it needs. After five calls in a row
without a new prompt the pool is used up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from ...checks import at_least, not_empty
from ...core import ChatModel, Example, Message, Prompt, Setup
from ...errors import UserError
from ...text import shortened
from ...vocabulary import PLACEHOLDER_RULE
from ..proposers.asking import Asker
from ..proposers.quoting import LONGEST, RULE, list_format, pairs, quoted
from .fresh import CALLS, new_texts

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Paraphrases", "Written", "inducing", "paraphrased"]


class Written:
    """Instructions that an LLM induces from input-output pairs [Lin2024].

    Each call shows a random subset of the examples and asks for instructions under which the inputs would lead to the
    outputs. The paper takes one instruction from a call; we ask for a few in one call, which costs less.

    Args:
        model: writes the instructions; billed to the run as ``proposer``.
        examples: the pairs; a run offers its training examples. Of several acceptable outputs the first is shown.
        subset: pairs shown in a call; all of them where there are fewer.
        per_call: instructions asked for in a call.
        temperature: of the model.
        task: what the instructions are for, in the user's words; told to the model.

    Raises:
        UserError: there are no examples, or a number is out of range.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        examples: Sequence[Example],
        subset: int = 5,
        per_call: int = 4,
        temperature: float = 1.0,
        task: str = "",
    ) -> None:
        at_least(1, subset=subset, per_call=per_call)
        not_empty(examples=examples)
        self._asker = Asker(model, temperature=temperature)
        self._examples = tuple(examples)
        self._subset = min(subset, len(self._examples))
        self._per_call = per_call
        self._task = task.strip()

    def begin(self, setup: Setup, /) -> None:
        """Bill the model to this run."""
        self._asker.begin(setup)

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """Distinct instructions as the LLM writes them; ends when it repeats itself.

        Raises:
            ModelError: the provider refused for good.
            BudgetExhausted: the next call would exceed the budget.
        """
        return new_texts(self._written(rng), seen=set())

    def _written(self, rng: np.random.Generator) -> Iterator[list[str]]:
        while True:
            shown = [self._examples[i] for i in rng.choice(len(self._examples), self._subset, replace=False)]
            yield self._asker.prompts([Message("user", inducing(shown, n=self._per_call, task=self._task))], rng)[1]


class Paraphrases:
    """Other wordings of the prompts that the user starts from, written by an LLM [Lin2024].

    The starting prompts are paraphrased in turn; they are no part of the pool themselves.

    Args:
        model: writes the paraphrases; billed to the run as ``proposer``.
        per_call: paraphrases asked for in a call.
        temperature: of the model.
        task: what the prompts are for, in the user's words; told to the model.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(self, *, model: ChatModel, per_call: int = 10, temperature: float = 1.0, task: str = "") -> None:
        at_least(1, per_call=per_call)
        self._asker = Asker(model, temperature=temperature)
        self._per_call = per_call
        self._task = task.strip()

    def begin(self, setup: Setup, /) -> None:
        """Take the starting prompts and bill the model to this run.

        Raises:
            UserError: there is no prompt to start from.
        """
        if not setup.start:
            raise UserError("there is nothing to paraphrase; give a prompt to start from.")
        self._start = [prompt.text for prompt in setup.start]
        self._asker.begin(setup)

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """Distinct paraphrases as the LLM writes them; ends when it repeats itself.

        Raises:
            ModelError: the provider refused for good.
            BudgetExhausted: the next call would exceed the budget.
        """
        return new_texts(self._written(rng), seen=set(self._start))

    def _written(self, rng: np.random.Generator) -> Iterator[list[str]]:
        while True:
            for text in self._start:
                message = paraphrasing(text, n=self._per_call, task=self._task)
                yield self._asker.prompts([Message("user", message)], rng)[1]


def inducing(shown: Sequence[Example], *, n: int, task: str = "", most: int | None = None) -> str:
    """The message that asks for ``n`` instructions which lead from inputs to outputs.

    Args:
        shown: examples of both.
        task: what the instructions are for, in the user's words.
        most: characters of an input or output that are shown; None for no limit.
    """
    parts = [
        "Somebody was given an instruction and followed it: for each input below they wrote the output beside it. "
        "The instruction is lost.",
        f"What it is for: {task}" if task else "",
        RULE,
        quoted(pairs(shown, most=most)),
        f"Write {f'{n} instructions' if n > 1 else 'one instruction'} under which just these inputs would lead to just "
        "these outputs"
        + (", each worded differently from the others. " if n > 1 else ". ")
        + "An instruction must work for inputs that were not seen, so name none of these.",
        list_format("instruction"),
    ]
    return "\n\n".join(filter(None, parts))


def paraphrasing(text: str, *, n: int, task: str = "", most: int | None = None) -> str:
    """The message that asks for ``n`` other wordings of a prompt.

    Args:
        task: what the prompt is for, in the user's words.
        most: characters of the prompt that are shown; None for no limit.
    """
    kind = "template" if "{}" in text else "instruction"
    parts = [
        f"What the {kind} below is for: {task}" if task else "",
        RULE,
        quoted([(kind.capitalize(), text if most is None else shortened(text, most=most))]),
        f"Write {f'{n} {kind}s' if n > 1 else f'one {kind}'} that mean the same and are worded differently: other "
        "words, another order, longer or shorter. Leave out nothing that it asks for.",
        PLACEHOLDER_RULE if kind == "template" else "",
        list_format(kind),
    ]
    return "\n\n".join(filter(None, parts))


def paraphrased(
    prompts: Sequence[Prompt],
    *,
    wanted: int,
    known: Collection[Prompt],
    asker: Asker,
    rng: np.random.Generator,
    task: str = "",
    step: str = "paraphrase",
) -> Iterator[list[Prompt]]:
    """New paraphrases of prompts, call by call, in turn until there are enough or the LLM repeats itself.

    Args:
        wanted: how many are enough.
        known: prompts that are not new.
        asker: has begun.
        rng: of the calls.
        task: as of :class:`Paraphrases`.
        step: what is written down as their origin.
    """
    seen, idle, few = set(known), 0, -(-wanted // max(1, len(prompts)))
    for prompt in cycle(prompts):
        if wanted < 1 or idle == CALLS:
            return
        message = paraphrasing(prompt.text, n=few, task=task, most=LONGEST)
        texts = asker.prompts([Message("user", message)], rng)[1]
        origin = {"step": step, "parents": [prompt.text]}
        new = [one for text in texts if (one := Prompt(text, origin)) not in seen][: min(few, wanted)]
        seen.update(new)
        wanted, idle = wanted - len(new), 0 if new else idle + 1
        yield new
