"""A search whose answers come when they come, as people's do.

A run with such a scorer (:class:`promptopt.core.Streams`) goes in turns: tell the optimizer what was answered since the
last turn, ask it for questions until enough are open again, hand the new ones to the scorer, wait for an answer. A
question is open from when it was asked until its answer is recorded. An answer is in the ledger before the person who
gave it is told that it was taken. Each turn is written down too, with how many answers the optimizer was told and how
many questions it was asked for. These two numbers are all that chance decides, so a resumed run takes the same turns.

For example, where two questions are to be open (``ahead = 2``)::

    turn 1    0 answers, 2 questions asked    questions 0 and 1 are open
    turn 2    1 answer (to 1), 1 asked        0 and 2 are open
    turn 3    2 answers (to 0 and 2), 2 asked 3 and 4 are open
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


IDLE_BATCHES = 1_000  # an optimizer that asks only what is known or refused, this often in a row, has converged


class Stream:
    """The turns of one run.

    Args:
        run: its scorer and optimizer have begun.
    """

    def __init__(self, run: Recorder, scorer: Streams) -> None:
        self.run = run
        self.scorer = scorer
        self._asked: list[Question] = []  # by number
        self._spare: deque[Question] = deque()  # those of the optimizer's last batch that nobody was asked yet
        self._open: set[int] = set()  # asked and not recorded
        self._arrived: deque[tuple[Question, Answer]] = deque()  # recorded, and the optimizer not told yet
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
                    return self.run.converged()
                self.run.meter.check_seconds()
                if not self._arrived and not self.scorer.wait():
                    return "stopped"
        finally:
            self.run.close()

    def record(self, question: Question, answer: Answer) -> None:
        """Write an answer into the ledger and keep it for the next turn; called from any thread.

        An answer to a question that is not open any more stands in the place of the one before.
        """
        with self._lock:
            answer = self.run.record_one(question, answer, again=question.number not in self._open)
            self._open.discard(question.number)
            self._arrived.append((question, answer))

    def _replay(self) -> None:
        """Take the turns that the ledger holds again, then hand the unanswered questions to the scorer."""
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
        """Take an answer from the ledger, as :meth:`record` takes one from a person."""
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
        """How many questions to ask for, so that as many are open as the scorer wants and the budget pays for."""
        with self._lock:
            room = self.run.room()
            wanted = self.scorer.ahead if room is None else min(self.scorer.ahead, room)
            return wanted - len(self._open)

    def _ask(self, wanted: int) -> list[Question]:
        """So many new questions, numbered; fewer where the optimizer has no more before it is told more answers."""
        new: list[Question] = []
        while len(new) < wanted:
            idle = 0
            while not self._spare and idle < IDLE_BATCHES and (batch := self.run.optimizer.ask()):
                self._spare, idle = deque(self.run.allowed(batch)), idle + 1
            if not self._spare:
                break
            new.append(replace(self._spare.popleft(), number=len(self._asked) + len(new)))
        self._asked += new
        with self._lock:
            self._open |= {question.number for question in new}
        return new
