"""The one place that calls a scorer. Budget, ledger, cache and progress live here; algorithms and scorers know nothing
of them. The test split is out of its reach: it is opened after the search, by :mod:`promptopt.run.finish`.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, TypeAlias

import numpy as np

from ..attachments import PictureStore
from ..core import (
    NO_START,
    Begins,
    Belief,
    ChatModel,
    Closes,
    Duel,
    Optimizer,
    Preference,
    Prompt,
    Rate,
    Rating,
    Remembers,
    Scorer,
    Usage,
    Weighs,
)
from ..errors import ModelError, PromptoptError, UserError
from ..record.codec import Answer, Question, encode
from ..record.ledger import Ledger
from ..record.replay import Replay
from ..record.stages import CALIBRATION, SEARCH, held_out, skipped, unpaid
from .budget import Budget, Costs, Meter, dearer
from .objectives import Spending
from .setup import RunSetup
from .usable import Harvest

MARGIN = 1.5  # the prompts that the verdict compares may be longer than those rated so far


@dataclass(frozen=True)
class Step:
    """One answered question; ``n`` counts within its stage.

    ``stage`` is ``calibration``, ``search``, ``dev``, ``final``, ``shorten``, ``test``, or ``transfer:`` and the
    name of another target.
    """

    n: int
    stage: str
    question: Question
    answer: Answer


@dataclass(frozen=True)
class Progress:
    """Where a run stands, as given to its watchers after every answer."""

    best: Prompt
    rating: Rating | None
    costs: Costs
    budget: Budget
    notes: tuple[str, ...]
    belief: Belief | None = None


Watch: TypeAlias = Callable[[Progress], None]


class Recorder:
    """Has questions answered, pays for the answers, writes them down, and knows where the run stands.

    Args:
        optimizer: asks.
        scorer: answers the same kind of question.
        start: the prompts to start from; the first is what the verdict compares with.
        seed: every random draw of the run derives from it.
        budget: limits, see :class:`Budget`.
        reserved: questions kept back for what comes after the search.
        aftermath: how much is rated after the search, for the final choice and the verdict, counted in ratings of one
            prompt on the whole training split. With 20 training examples and a verdict that rates 2 prompts on 80 test
            examples it is 8. As many times the calls, tokens and dollars that one such rating has cost so far are kept
            back.
        aftermath_roles: the roles (``target``, ``judge`` and so on) whose calls make up that cost; all by default. It
            is the target's alone where a judge answers the search, but a metric the verdict.
        examples: how many the training split has.
        patience: stop after this many questions without a new best prompt.
        goal: stop when a prompt is rated this high.
        problem_with: why the target cannot take a prompt; free.
        refuses: why a prompt is not even asked about, whatever the optimizer does; free.
        cache: answer a ``Rate`` that was answered before from memory, at no cost. Turn it off for noisy scorers whose
            repeats should count.
        per_example: keep per-example values; without them the ledger of large data sets stays small.
        cases: have all ratings tell what happened on each example.
        objectives: by name, the costs that are kept of ratings.
        ledger: where everything is written down; what it holds already is replayed.
        watch: called after every answer.
        wrap: puts around a chat model what every model of the run has, such as its cache and its limit.

    Raises:
        UserError: there is no prompt to start from.
    """

    def __init__(
        self,
        optimizer: Optimizer[Any, Any],
        scorer: Scorer[Any, Any],
        *,
        start: Sequence[Prompt],
        seed: int = 0,
        budget: Budget = Budget(),  # noqa: B008 - frozen
        reserved: int = 0,
        aftermath: float = 0.0,
        aftermath_roles: Collection[str] | None = None,
        examples: int = 0,
        patience: int | None = None,
        goal: float | None = None,
        problem_with: Callable[[Prompt], str | None] = lambda prompt: None,
        refuses: Callable[[Prompt], str | None] = lambda prompt: None,
        cache: bool = True,
        per_example: bool = True,
        cases: bool = False,
        objectives: Collection[str] = (),
        ledger: Ledger | None = None,
        watch: Watch = lambda progress: None,
        wrap: Callable[[ChatModel], ChatModel] = lambda model: model,
    ) -> None:
        if not start:
            raise UserError("there is no prompt to start from. Give a starting prompt.")
        self.optimizer = optimizer
        self.scorer = scorer
        self._weighs = scorer if isinstance(scorer, Weighs) else None  # seen once: it takes longer than a line to read
        self.start = tuple(start)
        self.seed = seed
        self.patience = patience
        self.goal = goal
        self.problem_with = problem_with
        self.refuses = refuses
        self.cache = cache
        self.per_example = per_example
        self.cases = cases
        self.objectives = objectives
        self.spending = Spending(objectives)
        self.prompted: list[ChatModel] = []  # the chat models of targets
        self.ledger = ledger or Ledger(None)
        self.pictures = PictureStore(self.ledger.folder)
        self.replay = Replay(self.ledger.past, self.ledger.folder)
        self.meter = Meter(budget, reserved=reserved)
        self.aftermath = aftermath
        self.aftermath_roles = aftermath_roles
        self._examples = examples
        self.scorer_usage, self._unanswered = self.replay.scorer_usage(aftermath_roles)
        self._whole_ratings = 0.0  # the sum of the answers' weights so far, see _weight
        self._dearest: dict[tuple[str, int], Usage] = {}  # by stage and size: the most that a question has cost
        self.meter.questions = self.replay.questions
        self.meter.charge(self.replay.usage)
        self.meter.resume_at(self.replay.seconds)
        self.watch = watch
        self.wrap = wrap
        self.steps: list[Step] = []
        self.ratings: dict[Prompt, Rating] = {}  # on the whole training split
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self.counts.update(self.replay.counts)
        self.heard = set(self.replay.heard)  # the roles and names of the models that have answered
        self.lost: ModelError | None = None  # why the optimizer's last call failed, if nothing was answered since
        self.waited_for_in_vain: set[tuple[str, str]] = set()  # until the time was up, and never heard
        self.guard = threading.Lock()  # scorers may count from several threads
        self._uncounted: Counter[str] = Counter()  # what scorers have counted that is not in the ledger yet
        self._known: dict[Rate, Rating] = {}
        self._numbers: Counter[str] = Counter()
        self._places: dict[int, int] = {}  # by a search question's number: its index in steps
        self.belief: Belief | None = None
        self.harvest = Harvest()
        self._skips = set(self.replay.skips)  # numbers of the duels that cost nothing, since people could not tell
        self._begun: list[Scorer[Any, Any]] = []  # scorers that have begun and are not closed
        self._incumbent: Prompt  # the best prompt; set when the search begins
        self._improved_at = 0  # how many questions the search had asked when it became the best

    def done(self) -> str | None:
        """Why the search is over, or None."""
        self.renew()
        asked, rating = self._numbers[SEARCH], self.ratings.get(self._incumbent)
        if self.goal is not None and rating is not None and rating.value >= self.goal:
            return f"goal: {self.goal:g} reached"
        if self.patience is not None and asked - self._improved_at >= self.patience:
            return f"patience: no better prompt in {self.patience} questions"
        if self.room() == 0:
            return "budget: questions"
        return None

    def converged(self) -> str:
        """That the optimizer asks nothing any more.

        Raises:
            ModelError: its last call failed, so that it may have ended for want of an answer.
        """
        if self.lost:
            raise self.lost
        return "converged"

    def renew(self) -> None:
        """Take what the optimizer holds best now as the incumbent."""
        best = self.best()
        if best != self._incumbent:
            self._incumbent, self._improved_at = best, self._numbers[SEARCH]

    @property
    def compared_with(self) -> Prompt:
        """What the best is compared with: the first prompt to start from, or without one the first that was tried."""
        tried = (s.question.prompt for s in self.steps if s.stage == SEARCH and isinstance(s.question, Rate))
        return next(tried, NO_START) if self.start[0] is NO_START else self.start[0]

    def best(self) -> Prompt:
        """What the optimizer holds best; where the run refuses that, the highest rated prompt, or else the first."""
        best = self.optimizer.best()
        if self.refuses(best) is None:
            return best
        rated = [prompt for prompt, rating in self.ratings.items() if rating.value == rating.value]
        return max(rated, key=lambda prompt: self.ratings[prompt].rank, default=self.start[0])

    def allowed(self, questions: Sequence[Question]) -> list[Question]:
        """The questions about prompts that the run does not refuse; the others are counted, and stay unanswered."""
        kept = []
        for question in questions:
            prompts = [question.prompt] if isinstance(question, Rate) else [question.a, question.b]
            if problem := next(filter(None, map(self.refuses, prompts)), None):
                self.count(f"prompts not asked about: {problem.rstrip('.')}", 1, recorded=False)
            else:
                kept.append(question)
        return kept

    def room(self) -> int | None:
        """How many questions the search may still ask; None means no limit.

        Answers that a resumed run still has to take from the ledger are included: they are paid for.
        """
        room = self.meter.room()
        return None if room is None else room + self.replay.waiting

    def answer(
        self, questions: Sequence[Question], scorer: Scorer[Any, Any], *, stage: str
    ) -> Iterator[tuple[Question, Answer]]:
        """Answer questions from the ledger where it holds them and from the scorer elsewhere, and write them down.

        Raises:
            BudgetExhausted: the time is up, or an LLM call would exceed the budget.
            NothingUsable: in the search, prompt after prompt, not one output could be used.
        """
        self.replay.next_batch()
        questions = [replace(q, number=self._numbers[stage] + i) for i, q in enumerate(questions)]
        recorded = {i: answer for i, q in enumerate(questions) if (answer := self.replay.answer(stage, q)) is not None}
        if stage == SEARCH and isinstance(scorer, Remembers):
            for i, answer in recorded.items():
                scorer.remember(questions[i], answer)
        live = [q for i, q in enumerate(questions) if i not in recorded]
        given = (answer for part in self._affordable(live, stage) for answer in self._ask(scorer, part, stage))
        with closing(given) as answers:  # calls under way are written down before whatever ends the run
            for i, question in enumerate(questions):
                answer = self.keep(stage, question, recorded[i] if i in recorded else next(answers))
                if stage == SEARCH:
                    self.harvest.take(question, answer, live=i not in recorded)
                yield question, answer
            next(answers, None)  # the last part is over as well
        self.keep_back(stage)

    def _affordable(self, questions: Sequence[Question], stage: str) -> Iterator[Sequence[Question]]:
        """The questions in parts, none of which costs more than half of what is left of the budget.

        What a part costs is taken from what questions of its size have cost at the most so far.

        A scorer runs ahead: it has the target answer for later questions while its judge is at the first. At the end of
        a budget that would leave several questions half answered and paid for in vain, the more of them the more
        threads.
        """
        rest = list(questions)
        while rest:
            self.keep_back(stage)
            fit = 1 if self.spending.on else self._fit(stage, rest) if self.meter.limited else len(rest)
            part, before = rest[:fit], self.meter.usage
            yield part
            each = (self.meter.usage + -before).times(1 / len(part))
            self._dearest[stage, _size(part[0])] = dearer(each, self._dearest.get((stage, _size(part[0])), each))
            self._unanswered = Usage()
            del rest[:fit]

    def _fit(self, stage: str, questions: Sequence[Question]) -> int:
        """How many of the first of these questions make the next part, see :meth:`_affordable`; all have the same size.

        At least one, so that it is seen whether that can be paid for, and one where no cost is known yet.
        """
        size = _size(questions[0])
        alike = next((i for i, question in enumerate(questions) if _size(question) != size), len(questions))
        known = self._dearest.get((stage, size))
        fit = self.meter.fit(known) if known else 1
        return alike if fit is None else max(1, min(alike, fit))

    def keep_back(self, stage: str) -> None:
        """Keep calls, tokens and dollars back for what comes after the search, see ``aftermath``.

        ``MARGIN * aftermath`` times the mean cost of a rating on the whole training split so far.
        """
        if stage == SEARCH and self._whole_ratings:
            spent = self.scorer_usage + -self._unanswered
            self.meter.kept = spent.times(MARGIN * self.aftermath / self._whole_ratings)

    def _weight(self, stage: str, question: Question, answer: Answer) -> float:
        """What an answer cost to give, counted in ratings of one prompt on the whole training split.

        A rating on 5 of 20 training examples is 0.25, a duel is 2 unless its scorer says otherwise.
        """
        if stage == SEARCH and self._weighs:
            return self._weighs.weight(question, answer)
        if isinstance(question, Duel):
            return 2.0
        return len(question.on) / self._examples if question.on and self._examples else 1.0

    def _ask(self, scorer: Scorer[Any, Any], questions: Sequence[Question], stage: str) -> Iterator[Answer]:
        """Answers from the scorer, not from the ledger; each is written into the ledger before it is passed on."""
        self.meter.check_seconds()
        self.spending.begin()
        given = scorer.answer([_with_cases(q) for q in questions] if self.cases else questions)
        if isinstance(given, Sequence):
            pairs = _pair(questions, given, scorer)
            answers = [self._settle(answer, scorer, question, stage) for question, answer in pairs]
            self._record(stage, list(zip(questions, answers, strict=True)))
            yield from answers
            return
        for question, given_one in _pair(questions, given, scorer):
            answer = self._settle(given_one, scorer, question, stage)
            self._record(stage, [(question, answer)])
            yield answer
            if question is not questions[-1]:
                self.meter.check_seconds()

    def _settle(self, answer: Any, scorer: Scorer[Any, Any], question: Question, stage: str) -> Answer:
        """The answer as it would be read back from the ledger, so that a live run and a resumed one see the same.

        A value that is not finite becomes NaN; per-example values are left out where they are not kept.

        Raises:
            PromptoptError: the scorer answered with something else than the question asks for.
        """
        kind = Rating if isinstance(question, Rate) else Preference
        if not isinstance(answer, kind):
            raise PromptoptError(
                f"{type(scorer).__name__} answered {type(question).__name__} with {answer!r}, not a {kind.__name__}. "
                f"Give {'Rating(value)' if kind is Rating else 'Preference(winner)'} for each question."
            )
        if isinstance(answer, Preference):
            return answer
        values = answer.per_example if self.per_example or held_out(stage) else None
        if values is not None:
            values = np.asarray(values, dtype=np.float64)
            values = np.where(np.isfinite(values), values, np.nan)
        return Rating(
            float(answer.value) if math.isfinite(answer.value) else math.nan,
            float(answer.tiebreak) if math.isfinite(answer.tiebreak) else 0.0,
            values,
            answer.feedback,
            answer.coverage,
            answer.cases,
            self._costs(question, answer) if self.objectives else {},
        )

    def _costs(self, question: Question, answer: Rating) -> dict[str, float]:
        """The objectives that are kept: those that were measured here, and the scorer's own."""
        measured = self.spending.each(self.examples_of(question, answer))
        every = {name: float(cost) for name, cost in {**answer.objectives, **measured}.items()}
        return {name: cost for name, cost in every.items() if name in self.objectives and math.isfinite(cost)}

    def examples_of(self, question: Question, answer: Rating) -> int:
        """On how many examples a rating was made; at least 1."""
        on = len(question.on) if isinstance(question, Rate) else 0
        return (answer.coverage.examples if answer.coverage else on or self._examples) or 1

    def record_one(self, question: Question, answer: Answer, *, again: bool) -> Answer:
        """Write down one answer that somebody gave in the search, and settle what its question costs.

        A question costs 1 of the budget's questions, or 0 if its latest answer is "cannot tell": were that not free,
        people who are honest would have fewer duels than those who guess.

        Args:
            again: whether the question was answered before; the new answer replaces the old one.
        """
        answer = self._settle(answer, self.scorer, question, SEARCH)
        paid_before, number = again and question.number not in self._skips, question.number
        if free := isinstance(answer, Preference) and skipped(answer.winner):
            self._skips.add(number)
        else:
            self._skips.discard(number)
        self.meter.questions += (not free) - paid_before
        self._write(SEARCH, [(question, answer)], **({"again": True} if again else {}))
        return answer

    def _record(self, stage: str, answers: Sequence[tuple[Question, Answer]]) -> None:
        self.meter.questions += 0 if unpaid(stage) else len(answers)
        self._write(stage, answers)

    def _write(self, stage: str, answers: Sequence[tuple[Question, Answer]], **more: Any) -> None:
        seconds = round(self.meter.seconds, 3)
        events: list[dict[str, Any]] = [
            {"event": "answer", "stage": stage, "n": question.number, **more, **encode(question, answer), "t": seconds}
            for question, answer in answers
        ]
        if events:
            events[-1] |= self.counted()
        self.ledger.append(*events)

    def keep(self, stage: str, question: Question, answer: Answer) -> Answer:
        """Take an answer, live or replayed, into ``steps`` and what is known of prompts; tell the watcher.

        A second answer to a question of the search replaces the first in ``steps``, and counts for nothing else.
        """
        self.lost = None
        step = Step(question.number, stage, question, answer)
        if stage == SEARCH and (place := self._places.get(question.number)) is not None:
            self.steps[place] = step
            return answer
        self._numbers[stage] += 1
        if stage in (SEARCH, CALIBRATION):
            self._whole_ratings += self._weight(stage, question, answer)
        if stage == SEARCH:
            self._places[question.number] = len(self.steps)
        self.steps.append(step)
        if stage == SEARCH and isinstance(question, Rate) and isinstance(answer, Rating):
            self._known[question] = answer
            if not question.on:
                self.ratings[question.prompt] = answer
        if isinstance(answer, Rating) and math.isnan(answer.value):
            self.count("answers without a score", 1, recorded=False)
        self.watch(self.progress())
        return answer

    def progress(self) -> Progress:
        """Where the run stands."""
        rating = self.ratings.get(self._incumbent)
        return Progress(self._incumbent, rating, self.meter.costs, self.meter.budget, tuple(self.notes), self.belief)

    # ── What parts are given ──────────────────────────────────────────────────────────────────────────────────────

    def setup(self, part: str) -> RunSetup:
        """The setup of one part: ``optimizer``, ``scorer``, ``dev`` or ``test``."""
        return RunSetup(self, part)

    def _begin(self, scorer: Scorer[Any, Any], part: str) -> None:
        if isinstance(scorer, Begins):
            scorer.begin(self.setup(part))
        self._begun.append(scorer)

    def close(self) -> None:
        """Close the scorers that have begun and have something to close, each once; nobody is asked any more."""
        while self._begun:
            if isinstance(scorer := self._begun.pop(), Closes):
                scorer.close()

    def count(self, what: str, n: int, *, recorded: bool) -> None:
        """Count something; what an optimizer counts is not recorded, since it is counted again when a run resumes."""
        with self.guard:
            self.counts[what] += n
            if recorded:
                self._uncounted[what] += n

    def counted(self) -> dict[str, dict[str, int]]:
        """What scorers have counted since the last event, as a field ``counts`` for the next; empty if nothing."""
        with self.guard:
            counts, self._uncounted = dict(self._uncounted), Counter()
        return {"counts": counts} if counts else {}

    def open(self, scorer: Scorer[Any, Any], part: str) -> None:
        """Begin a scorer that answers after the search."""
        self.meter.end_search()
        self._begin(scorer, part)


def _with_cases(question: Question) -> Question:
    return replace(question, cases=True) if isinstance(question, Rate) else question


def _pair(questions: Sequence[Question], answers: Any, scorer: Scorer[Any, Any]) -> Iterator[tuple[Question, Any]]:
    """Questions with their answers.

    They are counted here, since ``zip(strict=True)`` raises a ValueError that could not be told from the scorer's own.

    Raises:
        PromptoptError: there are more answers than questions, or fewer.
    """
    missing: Any = object()
    for question, answer in zip_longest(questions, answers, fillvalue=missing):
        if question is missing or answer is missing:
            raise PromptoptError(
                f"{type(scorer).__name__} gave another number of answers than the {len(questions)} questions it was "
                "asked"
            )
        yield question, answer


def _size(question: Question) -> int:
    """On how many examples a question wants its prompt rated; 0 for all of them, and for a duel."""
    return len(question.on) if isinstance(question, Rate) else 0
