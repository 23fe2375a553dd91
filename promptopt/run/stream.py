"""A search whose answers come when they come, as people's do.

A run with such a scorer (:class:`promptopt.core.Streams`) goes in turns: tell the optimizer what was answered since the
last turn, ask until enough questions are open again, open them, wait for an answer. Answers are in the ledger before
whoever gave them is told so; each turn is written down too, with how many answers it told and how many questions it
asked. These two numbers are all that chance decides, so a resumed run takes the same turns again.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core import HasBelief, Streams
from ..record.stages import SEARCH

if TYPE_CHECKING:
    from ..record.codec import Answer, Question
    from .recorder import Recorder


class Stream:
    """The turns of one run.

    Args:
        run: its scorer and optimizer have begun.
    """

    def __init__(self, run: Recorder, scorer: Streams) -> None:
        self.run = run
        self.scorer = scorer
        self._asked: list[Question] = []  # by number
        self._spare: deque[Question] = deque()  # of the optimizer's last batch, not asked yet
        self._open: set[int] = set()  # asked and not recorded
        self._arrived: deque[tuple[Question, Answer]] = deque()  # recorded and not told
        self._lock = threading.Lock()

    def search(self) -> str:
        """Take turns until something says stop.

        Returns:
            Why it stopped: ``stopped`` if nobody answers any more; otherwise as the run's ``search`` says.

        Raises:
            BudgetExhausted: an output that people were to compare would exceed the budget.
        """
        self._replay()
        try:
            while True:
                told = self._tell()
                reason = self.run.done()
                new = [] if reason else self._ask(self._wanted())
                if told or new:
                    self.run.ledger.append({"event": "turn", "answers": told, "asked": len(new)})
                if reason:
                    return reason
                if new:
                    self.scorer.open(new, self.record)
                if not self._open and not self._arrived:
                    return "converged"
                self.run.meter.check_seconds()
                if not self._arrived and not self.scorer.wait():
                    return "stopped"
        finally:
            self.run.close()

    def record(self, question: Question, answer: Answer) -> None:
        """Put an answer on the disk and keep it for the next turn; called from any thread."""
        with self._lock:
            answer = self.run.record_one(question, answer, again=question.number not in self._open)
            self._open.discard(question.number)
            self._arrived.append((question, answer))

    def _replay(self) -> None:
        """Take the turns that the ledger holds, then open what is still unanswered."""
        replay = self.run.replay
        for turn in replay.turns:
            for _ in range(turn["answers"]):
                self._arrive(*replay.streamed(self._asked))
            self._tell(live=False)
            self._ask(turn["asked"])
        while replay.waiting:
            self._arrive(*replay.streamed(self._asked))
        if self._open:
            self.scorer.open([self._asked[n] for n in sorted(self._open)], self.record)

    def _arrive(self, question: Question, answer: Answer) -> None:
        self._open.discard(question.number)
        self._arrived.append((question, answer))
        self.scorer.remember(question, answer)

    def _tell(self, *, live: bool = True) -> int:
        """Tell the optimizer everything that has arrived, and return how many answers that was."""
        with self._lock:
            told = list(self._arrived)
            self._arrived.clear()
        if told:
            for question, answer in told:
                self.run.keep(SEARCH, question, answer)
            self.run.keep_back(SEARCH)
            self.run.optimizer.tell(told)
            self.run.renew()
        if live:
            if isinstance(self.run.optimizer, HasBelief):
                self.run.belief = self.run.optimizer.belief()
            self.scorer.watch(self.run.progress())
        return len(told)

    def _wanted(self) -> int:
        """How many questions to ask, so that enough are open and none too many for the budget."""
        with self._lock:
            room = self.run.room()
            wanted = self.scorer.ahead if room is None else min(self.scorer.ahead, room)
            return wanted - len(self._open)

    def _ask(self, wanted: int) -> list[Question]:
        """About so many new questions, numbered; fewer if the optimizer has none before it knows more."""
        new: list[Question] = []
        while len(new) < wanted:
            self._spare = self._spare or deque(self.run.optimizer.ask())
            if not self._spare:
                break
            new.append(replace(self._spare.popleft(), number=len(self._asked) + len(new)))
        self._asked += new
        with self._lock:
            self._open |= {question.number for question in new}
        return new
