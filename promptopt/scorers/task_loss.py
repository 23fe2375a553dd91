"""Ratings from the task loss of a local LM [Das2025]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from ..checks import at_least
from ..core import Dataset, Example, FailedRule, Metric, Target
from ..errors import UserError
from ..metrics.text import Match
from .metric import DECIMALS, MetricScorer

__all__ = ["TaskLoss"]


class TaskLoss(MetricScorer):
    """Rates a prompt by what a local LM makes of it: how often its answers are right, and how likely the true ones are.

    The loss of an example is the cross-entropy of its true answer behind the reasoning that the prompt leads to, plus
    ``perplexity_weight`` times the mean negative log-likelihood of the prompt's tokens, both in mean nats a token.
    What counts as a right answer, the metric says; an answer in which it finds nothing has failed and counts as wrong.
    The loss is there all the same: it is that of the true answer. A loss over 100 counts as 100.

    We differ from [Das2025] in the default. The paper selects by the loss, which on a badly calibrated model can fall
    while mistakes become more. Its released code selects by mistakes, to which it adds 0.02 times the prompt's negative
    log-likelihood: ``mistakes`` with ``perplexity_weight = 0.02``. On examples other than the training ones (``data``
    given), so for the final choice and the verdict, prompts are always rated by accuracy, the loss deciding between
    equals.

    Args:
        target: gives outputs with ``loss``, ``mistaken`` and ``nll``, as ``local-lm`` does.
        examples: what the prompt is tried on; at least one, with true answers as labels.
        metric: what a right answer is; by default ``match``.
        select: ``mix`` rates by accuracy, and minus the loss decides between equal ratings; ``accuracy`` by accuracy
            alone; ``loss`` by minus the loss; ``mistakes`` by minus the share of examples in which some token of the
            true answer is not the likeliest behind those before it, the prompt's unlikeliness added.
        perplexity_weight: what the prompt's own unlikeliness adds to the loss.
        data: the task that the examples are from; the run's.
        failed: as of :class:`promptopt.scorers.MetricScorer`; the run's.

    Raises:
        UserError: the weight is negative, there are no examples, or two of them share an id.
    """

    def __init__(
        self,
        *,
        target: Target,
        examples: Sequence[Example],
        metric: Metric | None = None,
        select: Literal["mix", "accuracy", "loss", "mistakes"] = "mix",
        perplexity_weight: float = 0.2,
        data: Dataset | None = None,
        failed: FailedRule = "worst",
    ) -> None:
        at_least(0, perplexity_weight=perplexity_weight)
        loss, mistakes = _MinusLoss(perplexity_weight), _MinusMistakes(perplexity_weight)
        held_out = data is not None and tuple(examples) != tuple(data.train)
        self.select = "mix" if held_out else select
        right = metric or Match()
        super().__init__(
            target=target,
            examples=examples,
            metric={"loss": loss, "mistakes": mistakes}.get(self.select, right),
            tiebreak=loss if self.select == "mix" else None,
            failed=failed,
        )


class _MinusLoss:
    """Minus the loss of each output; None where there is no output."""

    worst = -100.0

    def __init__(self, perplexity_weight: float) -> None:
        self._weight = perplexity_weight

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | None]:
        try:
            return [None if output is None else self._marked(output) for output in outputs]
        except AttributeError:
            raise UserError(
                "task-loss needs a target that knows the loss of the true answer. Give local-lm, whose answers are "
                "written; or another scorer. For labels by likelihood there is the metric log-probability."
            ) from None

    def _marked(self, output: Any) -> float:
        loss: float = self._of(output) + self._weight * output.nll
        return loss if math.isnan(loss) else round(max(-loss, self.worst), DECIMALS)

    @staticmethod
    def _of(output: Any) -> float:
        return float(output.loss)


class _MinusMistakes(_MinusLoss):
    """Minus whether each output's true answer would have been missed, teacher-forced."""

    @staticmethod
    def _of(output: Any) -> float:
        return float(output.mistaken)
