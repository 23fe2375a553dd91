"""Ratings from a target, a metric and labelled examples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import BatchTarget, Begins, Example, Mark, Metric, Prompt, Rate, Rating, Setup, Target
from ..errors import UserError

if TYPE_CHECKING:
    from ..core import Array


DECIMALS = 6  # of a tiebreak; beyond them shows only how prompts happened to be batched
REASONS = 5  # so many different reasons of a metric are passed on as feedback


class MetricScorer:
    """Rates a prompt by the mean of a metric over examples.

    Args:
        target: what the prompt is given to.
        metric: one number per output, higher is better.
        examples: what the prompt is tried on; at least one.
        tiebreak: a second metric on the same outputs, whose mean decides between equal ratings. For few-shot accuracy
            the mean log-probability of the true class tells prompts apart where accuracy cannot.

    Raises:
        UserError: there are no examples, or two of them share an id.
    """

    question = Rate

    def __init__(
        self, *, target: Target, metric: Metric, examples: Sequence[Example], tiebreak: Metric | None = None
    ) -> None:
        self.target = target
        self.metric = metric
        self.tiebreak = tiebreak
        self.examples = tuple(examples)
        self._by_id = {example.id: example for example in self.examples}
        if not self.examples:
            raise UserError("there are no examples to rate prompts on; give at least one.")
        if len(self._by_id) < len(self.examples):
            raise UserError("two examples have the same id; ids must be unique within a data set.")

    def begin(self, setup: Setup, /) -> None:
        """Pass the run's setup on to the target."""
        if isinstance(self.target, Begins):
            self.target.begin(setup)

    def answer(self, questions: Sequence[Rate], /) -> Iterator[Rating]:
        """Ratings, each as soon as its outputs are there.

        Raises:
            UserError: a question names an example that is not there.
        """
        for on, group in groupby(questions, key=lambda question: question.on):
            yield from self._rate(on, group)

    def _rate(self, on: tuple[str, ...], questions: Iterable[Rate]) -> Iterator[Rating]:
        examples = self._examples(on)
        for outputs in self._outputs([question.prompt for question in questions], examples):
            marks = self.metric(outputs, examples)
            values = _numbers(marks)
            tiebreak = _mean(_numbers(self.tiebreak(outputs, examples))) if self.tiebreak else 0.0
            yield Rating(_mean(values), round(tiebreak, DECIMALS), values, _feedback(marks))

    def _outputs(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> Iterable[Sequence[Any]]:
        if isinstance(self.target, BatchTarget):
            return self.target.run_batch(prompts, examples)
        return (self.target.run(prompt, examples) for prompt in prompts)

    def _examples(self, on: tuple[str, ...]) -> tuple[Example, ...]:
        if not on:
            return self.examples
        try:
            return tuple(self._by_id[one] for one in on)
        except KeyError as error:
            raise UserError(
                f"there is no example {error.args[0]!r} among the {len(self.examples)} to rate on."
            ) from None


def _numbers(marks: Sequence[float | Mark | None]) -> Array:
    """(n,) with NaN for None."""
    values = [mark.value if isinstance(mark, Mark) else mark for mark in marks]
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _feedback(marks: Sequence[float | Mark | None]) -> str:
    """The first few different reasons, one a line."""
    reasons = (mark.feedback for mark in marks if isinstance(mark, Mark) and mark.feedback)
    return "\n".join(list(dict.fromkeys(reasons))[:REASONS])


def _mean(values: Array) -> float:
    """Mean over what could be scored; NaN if nothing could."""
    scored = values[~np.isnan(values)]
    return float(scored.mean()) if len(scored) else math.nan
