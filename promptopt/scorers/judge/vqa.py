"""VQAScore: how likely a model that sees says yes, asked whether a picture shows what was wished for [Lin2024b]."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...checks import check_argument
from ...core import ChatModel, Choice, Example, FailedRule, Mark, Picture, Target
from ...fanout import fan_out
from ..cases import LONGEST
from . import Read
from .seeing import YES, Answer, Seeing

__all__ = ["VqaScore"]

ASKS = 'Does this figure show "{}"? Please answer yes or no.'
CHARACTERS = 200  # of a reason
PUBLISHED = 1  # the place of "Yes" among what a judge of yes and no asks about: yes, Yes, no, No


class VqaScore(Seeing):
    """Rates prompts by the probability of "Yes" to *Does this figure show "wish"? Please answer yes or no.*

    With ``read = "probabilities"`` this is the published definition, P("Yes" | picture, question), from the logits of a
    local model; with ``normalized`` it is P(yes) / (P(yes) + P(no)), each in either case, which tells pictures apart by
    a small model that would rather say something else. With ``read = "text"``, for providers that tell no
    probabilities, it is the share of yes among ``repeats`` written answers: take five or more, at temperature 1.

    What the prompt brings about counts: an output that was moderated, is no picture or cannot be used is worth 0, and
    nobody is asked. An answer that cannot be read, or did not come, is counted and leaves its example unscored.

    Args:
        model: takes pictures; billed to the run as ``judge``.
        target: gives a picture for each example.
        examples: what the prompt is tried on; the wish is the label, or the input where the label is no text.
        text: what is wished for, the same for all examples.
        asks: the question; ``{}`` is where the wish goes.
        normalized: see above; where answers are written it plays no part.
        read: ``text`` has the model write its answer; ``probabilities`` takes that of yes, from a model that can say it
            (``local``).
        repeats: answers to a question, where they are written.
        temperature: of the model.
        max_side: pixels of a picture's longer side at most, as the model is shown it.
        workers: calls at a time.
        failed, case_length: as of :class:`promptopt.scorers.MetricScorer`; the run's.

    Raises:
        UserError: an option is out of range, an example has no wish, or the model says no probabilities.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        target: Target,
        examples: Sequence[Example],
        text: str | None = None,
        asks: str = ASKS,
        normalized: bool = False,
        read: Read = "text",
        repeats: int = 1,
        temperature: float = 0.0,
        max_side: int = 768,
        workers: int = 8,
        failed: FailedRule = "worst",
        case_length: int = LONGEST,
    ) -> None:
        check_argument("asks", asks, allowed="a question with one {} where the wish goes", holds=asks.count("{}") == 1)
        self._asks, self._normalized = asks, normalized
        super().__init__(
            model,
            read=read,
            repeats=repeats,
            temperature=temperature,
            max_side=max_side,
            workers=workers,
            text=text,
            rated={"target": target, "examples": examples, "failed": failed, "case_length": case_length},
        )

    def _judged(self, pictures: Sequence[Picture], examples: Sequence[Example]) -> list[Mark]:
        questions = [self._asks.replace("{}", self._wish(example)) for example in examples]
        jobs = list(zip(pictures, questions, strict=True))
        return [self._mark(said) for said in fan_out(lambda job: self._ask(*job), jobs, workers=self._workers)]

    def _mark(self, said: Answer) -> Mark:
        verdict = self._judge.read(said)
        if not verdict.shares:
            return Mark(None, verdict.problem)
        value = verdict.shares.get(YES, 0.0)
        if isinstance(said, Choice) and not self._normalized:
            value = min(1.0, math.exp(said.log_probabilities[PUBLISHED]))
        return Mark(value, verdict.critique[:CHARACTERS])
