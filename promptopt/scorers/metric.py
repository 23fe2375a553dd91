"""Ratings from a target, a metric and labelled examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from ..attachments import picture_file
from ..checks import at_least, not_empty
from ..core import (
    Begins,
    Case,
    Example,
    Failed,
    FailedRule,
    HasClasses,
    HasViews,
    KeepsPictures,
    Measures,
    Metric,
    Missing,
    Picture,
    Rate,
    Rating,
    Setup,
    Target,
)
from ..errors import UserError
from ..targets.outputs import outputs_of
from .cases import LONGEST, cases
from .marking import Marking, worst_of

DECIMALS = 6  # of a tiebreak; beyond them shows only how prompts happened to be batched


class MetricScorer:
    """Rates a prompt by the mean of a metric over examples.

    What the prompt brings about counts: a failed output (refused, empty, cut off, unreadable) has the metric's worst
    value, which is its attribute ``worst``, or 0. Of a cut-off output the metric is given the text; it has failed only
    if the metric cannot read its answer there. What fails for outside reasons has no value and is left out.

    Args:
        target: what the prompt is given to.
        metric: one number per output, higher is better.
        examples: what the prompt is tried on; at least one.
        tiebreak: a second metric on the same outputs, whose mean decides between equal ratings. For few-shot accuracy
            the mean log-probability of the true class tells prompts apart where accuracy cannot.
        failed: ``worst``, or ``leave-out`` to leave failed outputs out of the mean, unless the metric has a number for
            them; a prompt may then win by breaking the replies that it gets wrong.
        views: in how many copies each example is tried, itself and changed ones, where the target knows such; the
            value of an example is the mean over its copies.
        objectives: the names of what is to be measured of outputs besides; of these it gives what the metric measures.
        case_length: characters of an output, and of a reason, in ``Rating.cases``.

    Raises:
        UserError: there are no examples, two of them share an id, or the target has no views.
    """

    question = Rate

    def __init__(
        self,
        *,
        target: Target,
        metric: Metric,
        examples: Sequence[Example],
        tiebreak: Metric | None = None,
        failed: FailedRule = "worst",
        views: int = 1,
        objectives: Sequence[str] = (),
        case_length: int = LONGEST,
    ) -> None:
        at_least(1, case_length=case_length)
        self.target = target
        self.metric = metric
        self.tiebreak = tiebreak
        self.failed = failed
        self.examples = tuple(examples)
        self._by_id = {example.id: example for example in self.examples}
        not_empty(examples=self.examples)
        if len(self._by_id) < len(self.examples):
            raise UserError("two examples have the same id; ids must be unique within a data set.")
        self.views = views
        self.case_length = case_length
        self.objectives = [one for one in objectives if isinstance(metric, Measures) and one in metric.objectives]
        self._keep: Callable[[Picture], str] = picture_file
        self._copies = {example.id: [example, *self._changed(example)] for example in self.examples}

    def begin(self, setup: Setup, /) -> None:
        """Pass the run's setup on to the target and the metric, and keep pictures there."""
        if isinstance(setup, KeepsPictures):
            self._keep = setup.keep
        for part in (self.target, self.metric):
            if isinstance(part, Begins):
                part.begin(setup)

    def answer(self, questions: Sequence[Rate], /) -> Iterator[Rating]:
        """Ratings, each as soon as its outputs are there.

        Raises:
            UserError: a question names an example that is not there, or the metric gives less than its worst value.
            PromptoptError: the target gives another number of outputs than it was asked for.
        """
        for on, group in groupby(questions, key=lambda question: question.on):
            yield from self._rate(on, group)

    def _rate(self, on: tuple[str, ...], questions: Iterable[Rate]) -> Iterator[Rating]:
        asked, examples = list(questions), self._examples(on)
        copies = [copy for example in examples for copy in self._copies[example.id]]
        for question, outputs in zip(asked, outputs_of(self.target, [q.prompt for q in asked], copies), strict=True):
            marking = Marking.of(self.metric, outputs, copies, failed=self.failed).over_copies(self.views)
            yield Rating(
                marking.mean,
                self._tiebreak(outputs, copies),
                marking.values,
                marking.told,
                marking.coverage,
                self._cases(outputs[:: self.views], examples, marking) if question.cases else (),
                self._costs(outputs, copies) if self.objectives else {},
            )

    def _tiebreak(self, outputs: Sequence[Any], examples: Sequence[Example]) -> float:
        """The mean of the second metric; one that names no worst value leaves failed outputs out."""
        if self.tiebreak is None:
            return 0.0
        rule: FailedRule = "leave-out" if worst_of(self.tiebreak) is None else self.failed
        return round(Marking.of(self.tiebreak, outputs, examples, failed=rule).mean, DECIMALS)

    def _costs(self, outputs: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """The mean of each objective over the outputs that came about; none where there is nothing to measure."""
        assert isinstance(self.metric, Measures)
        given = [one.text if isinstance(one, Failed) else one for one in outputs]
        there = [i for i, one in enumerate(given) if not (one is None or isinstance(one, Missing))]
        measured = self.metric.measure([given[i] for i in there], [examples[i] for i in there]) if there else {}
        known = {name: [c for c in measured.get(name, ()) if c is not None] for name in self.objectives}
        return {name: sum(costs) / len(costs) for name, costs in known.items() if costs}

    def _cases(self, outputs: Sequence[Any], examples: Sequence[Example], marking: Marking) -> tuple[Case, ...]:
        classes = self.metric.classes if isinstance(self.metric, HasClasses) else ()
        return cases(outputs, examples, marking, classes=classes, longest=self.case_length, keep=self._keep)

    def _changed(self, example: Example) -> list[Example]:
        if self.views == 1:
            return []
        if not isinstance(self.target, HasViews) or not self.views >= 1:
            raise UserError(
                f"views is {self.views}; give 1, or more than that for a target with views of examples, as clip."
            )
        return [self.target.view(example, number) for number in range(1, self.views)]

    def _examples(self, on: tuple[str, ...]) -> tuple[Example, ...]:
        if not on:
            return self.examples
        try:
            return tuple(self._by_id[one] for one in on)
        except KeyError as error:
            raise UserError(
                f"there is no example {error.args[0]!r} among the {len(self.examples)} to rate on."
            ) from None
