"""What scorers share that ask a model that sees about each picture."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from ...checks import at_least
from ...core import (
    ChatModel,
    Choice,
    Completion,
    Example,
    Mark,
    Message,
    Picture,
    Rate,
    Rating,
    Setup,
)
from ...errors import BrokenFile, UserError
from ...metrics.pictures import pictured, wish_of
from ...replies import NoReply
from ...targets.vlm import encode
from ..metric import MetricScorer
from . import Judge, JudgeReport, Read
from .as_metric import AsMetric

__all__ = ["NO", "YES", "Answer", "Seeing"]

YES, NO = "yes", "no"
Answer: TypeAlias = Completion | Choice | NoReply


class Seeing(ABC):
    """Rates prompts by what a model that sees answers, yes or no, of the target's pictures.

    Args:
        model: takes pictures; billed to the run as ``judge``.
        read, repeats, temperature: as of :class:`~promptopt.scorers.judge.Judge`.
        max_side: pixels of a picture's longer side at most, as the model is shown it.
        workers: calls at a time.
        text: what is wished for; None for what the examples say.
        rated: further arguments of :class:`promptopt.scorers.MetricScorer`, target and examples among them.

    Raises:
        UserError: an option is out of range, an example has no wish, or the model says no probabilities.
    """

    question = Rate

    def __init__(
        self,
        model: ChatModel,
        *,
        read: Read,
        repeats: int,
        temperature: float,
        max_side: int,
        workers: int,
        text: str | None,
        rated: Mapping[str, Any],
    ) -> None:
        at_least(1, workers=workers, max_side=max_side)
        self._judge = Judge(model, key="answer", words=(YES, NO), repeats=repeats, temperature=temperature, read=read)
        self._scorer = MetricScorer(metric=AsMetric(self._marks), **rated)
        self._text, self._max_side, self._workers = text, max_side, workers
        for example in self._scorer.examples:
            self._wish(example)

    def begin(self, setup: Setup, /) -> None:
        """Take the run's random streams, bill the model to it and pass the setup on to the target."""
        self._judge.begin(setup)
        self._scorer.begin(setup)

    def answer(self, questions: Sequence[Rate], /) -> Iterator[Rating]:
        """Ratings in [0, 1], one by one; ``per_example`` has NaN where there was no picture or no readable answer.

        Raises:
            BudgetExhausted: the next call would exceed the budget.
            ModelError: the provider refuses whatever it is asked, or ten requests in a row got no answer.
            UserError: a question names an example that is not there.
        """
        yield from self._scorer.answer(questions)

    def report(self) -> JudgeReport:
        """How far the model can be trusted, from what it said since the run began or was resumed."""
        return JudgeReport.of(self._judge.counts)

    # ── What a subclass says, and has ─────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def _judged(self, pictures: Sequence[Picture], examples: Sequence[Example]) -> list[Mark]:
        """A mark for each picture that can be shown, with its example."""

    def _wish(self, example: Example) -> str:
        return wish_of(example) if self._text is None else self._text

    def _ask(self, picture: Picture, question: str) -> Answer:
        """What the model says to a question about a picture, for the judge to read. Equal ones have equal seeds."""
        seed = zlib.crc32(picture.data), zlib.crc32(question.encode("utf-8", "surrogatepass"))
        return self._judge.ask([Message("user", question, (picture,))], seed=seed)

    def _marks(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Mark]:
        shown = [self._shown(output) for output in outputs]
        places = [i for i, one in enumerate(shown) if isinstance(one, Picture)]
        pictures = [one for one in shown if isinstance(one, Picture)]
        judged = self._judged(pictures, [examples[i] for i in places]) if places else []
        marks = dict(zip(places, judged, strict=True))
        return [marks.get(i, one) for i, one in enumerate(shown)]

    def _shown(self, output: Any) -> Any:
        """An output as the model is shown it; a Mark where it is none to show."""
        if (given := pictured(output)) is None or isinstance(given, Mark):
            return given or Mark(None)
        try:
            return encode(Example("output", given, None), max_side=self._max_side)
        except (BrokenFile, UserError) as error:
            return Mark(None, str(error), failed=True)
