"""The run: one optimizer against one scorer, with a seed, a budget and a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import Calibrates, Closes, Duel, HasPrompts, HasRatings, Optimizer, Rate, Rating, Scorer, Streams
from ..errors import BudgetExhausted, UserError
from ..record.codec import Answer, Question
from ..record.stages import CALIBRATION, SEARCH
from .recorder import Recorder
from .stream import IDLE_BATCHES, Stream


class Run(Recorder):
    """Searches. What it is made of, see :class:`promptopt.run.recorder.Recorder`."""

    def search(self) -> str:
        """Ask and tell until something says stop.

        Returns:
            Why it stopped: ``converged``, ``budget: ...``, ``patience: ...``, ``goal: ...``, ``interrupted``, or
            ``stopped`` where the people who answered said so.

        Raises:
            NothingUsable: prompt after prompt, not one output could be used.
        """
        self._incumbent = self.start[0]
        try:
            self._begin(self.scorer, "scorer")
            self.optimizer.begin(self.setup("optimizer"))
            self._calibrate()
            self._incumbent = self.best()
            return Stream(self, self.scorer).search() if isinstance(self.scorer, Streams) else self._batches()
        except BudgetExhausted as error:
            return f"budget: {error.limit}"
        except KeyboardInterrupt:
            return "interrupted"
        finally:
            _close(self.optimizer)

    def _calibrate(self) -> None:
        """Have the ratings made that the scorer wants to know before the first question."""
        if isinstance(self.scorer, Calibrates):
            known = self.optimizer.prompts() if isinstance(self.optimizer, HasPrompts) else ()
            questions = self.scorer.calibration(known)
            answers = self.answer(questions, self.scorer.scorer, stage=CALIBRATION)
            self.scorer.calibrate([pair for pair in answers if isinstance(pair[1], Rating)])  # type: ignore[misc]

    def _batches(self) -> str:
        """Ask, have all answered, tell, until something says stop."""
        idle = 0
        while (reason := self.done()) is None:
            if idle == IDLE_BATCHES or not (batch := self.optimizer.ask()):
                return self.converged()
            before = len(self.steps)
            answered, refused = self._answer_batch(batch)
            self.optimizer.tell(answered)
            if isinstance(self.optimizer, HasRatings):
                self.ratings.update(self.optimizer.ratings())
            idle = idle + 1 if len(self.steps) == before else 0
            if refused:
                return refused
        return reason

    def _answer_batch(self, batch: Sequence[Question]) -> tuple[list[tuple[Question, Answer]], str | None]:
        """Answers to a batch, and why some stayed unanswered."""
        fresh, repeats = self._split_repeats(self.allowed(batch))
        room = self.room()
        payable = fresh if room is None else fresh[:room]
        refused = "budget: questions" if len(payable) < len(fresh) else None
        answered: list[tuple[Question, Answer]] = []
        try:
            for pair in self.answer(payable, self.scorer, stage=SEARCH):
                answered.append(pair)
        except BudgetExhausted as error:
            refused = f"budget: {error.limit}"
        return answered + [(q, self._known[q]) for q in repeats if q in self._known], refused

    def _split_repeats(self, batch: Sequence[Question]) -> tuple[list[Question], list[Rate]]:
        """Questions that have to be bought, and ratings that are known or stand in the batch already."""
        fresh: dict[Question, None] = {}
        repeats: list[Rate] = []
        if not self.cache:
            return list(batch), repeats
        duels = [q for q in batch if isinstance(q, Duel)]  # asking twice is asking for a second opinion
        for question in batch:
            if isinstance(question, Rate):
                if question in self._known or question in fresh:
                    repeats.append(question)
                else:
                    fresh[question] = None
        return [*fresh, *duels], repeats


def _close(optimizer: object) -> None:
    """Close an optimizer and, where it is around another, as racing is, that one too."""
    while optimizer is not None:
        if isinstance(optimizer, Closes):
            optimizer.close()
        optimizer = getattr(optimizer, "optimizer", None)


def check_match(optimizer: Optimizer[Any, Any], scorer: Scorer[Any, Any]) -> None:
    """Raises UserError if the scorer does not answer what the optimizer asks."""
    asks, answers = optimizer.question, scorer.question
    if asks is answers:
        return
    adapter = "BradleyTerry(scorer)" if asks is Duel else "WinRate(scorer, reference=...)"
    raise UserError(
        f"{type(optimizer).__name__} asks {asks.__name__} and {type(scorer).__name__} answers {answers.__name__}. "
        f"Wrap the scorer: {adapter}, in a recipe [scorer] name = "
        f'"{"bradley-terry" if asks is Duel else "win-rate"}" with the scorer inside.'
    )
