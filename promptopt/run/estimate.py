"""What a run's LLM calls will cost, before anything is spent.

The run is rehearsed: the real optimizer searches, with made-up ratings, and the real scorers answer one question each,
with chat models that send nothing and make up their replies. What is counted and what is guessed:

========= ==============================================================================================
calls     counted; the run makes others where replies cannot be read or the search ends sooner
tokens in guessed from the texts that would be sent: four characters a token
tokens out guessed: 100 a reply, or the model's limit if that is lower
dollars   the guessed tokens at the model's own prices
at most   the sum of the models' own upper bounds over the calls counted; the budget is a bound on any run
========= ==============================================================================================
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..core import (
    Calibrates,
    Case,
    ChatModel,
    Choice,
    Chooses,
    Completion,
    Duel,
    Expects,
    Message,
    Preference,
    Prompt,
    Rate,
    Rating,
    Reply,
    Request,
    Scorer,
    Streams,
    Usage,
    Weighs,
)
from ..errors import PromptoptError
from ..record.codec import Answer, Question
from .budget import Budget
from .filled import filled
from .loop import Run
from .plan import Plan
from .setup import RunSetup

__all__ = ["Estimate", "Share", "estimate"]

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 8
TOKENS_PER_PICTURE = 1_000
TOKENS_PER_REPLY = 100
MOST_QUESTIONS = 10_000
"""Where the budget does not limit them."""
NOTHING = Usage()
PROPOSALS = 10
"""Made-up prompts in a made-up reply."""
TABLES = 8
"""Made-up tables in one that is to hold such, for example the questions about a wish."""


@dataclass(frozen=True)
class Share:
    """What the calls of one role come to: ``expected`` is a guess, ``at_most`` the most that as many calls can cost."""

    expected: Usage = NOTHING
    at_most: Usage = NOTHING

    def __add__(self, other: Share) -> Share:
        return Share(self.expected + other.expected, self.at_most + other.at_most)

    def times(self, factor: float) -> Share:
        """The same, so many times over."""
        return Share(_times(self.expected, factor), _times(self.at_most, factor))


@dataclass(frozen=True)
class Estimate:
    """What is expected of a run.

    Attributes:
        questions: ratings or duels in the search.
        shares: by role: proposer, target, judge, reference.
        budget: what the run may not exceed whatever it does.
        notes: what the figures leave out.
    """

    questions: int
    shares: Mapping[str, Share]
    budget: Budget
    notes: tuple[str, ...]

    @property
    def total(self) -> Share:
        """All roles together."""
        return sum(self.shares.values(), Share())

    def lines(self) -> Iterator[str]:
        """The estimate as a table and remarks, line by line."""
        if not self.shares:
            yield f"No chat model: {self.questions:,} questions, no LLM calls, no dollars."
            return
        yield f"Expected, for {self.questions:,} questions in the search and the verdict (nothing was sent or spent):"
        yield f"{'':<10}{'calls':>10}{'tokens in':>14}{'tokens out':>14}{'dollars':>11}{'at most':>11}"
        for role, share in {**self.shares, "together": self.total}.items():
            usage = share.expected
            yield (
                f"{role:<10}{usage.calls:>10,}{usage.input_tokens:>14,}{usage.output_tokens:>14,}"
                f"{usage.dollars:>11.2f}{share.at_most.dollars:>11.2f}"
            )
        yield "Calls are counted in a rehearsal with made-up replies and ratings. Tokens and dollars are guesses, at"
        yield f"{CHARACTERS_PER_TOKEN} characters a token and {TOKENS_PER_REPLY} tokens a reply; the last column bounds"
        yield "the dollars of these calls, but not their number. No reply is assumed to be in the cache."
        limits = ", ".join(f"{name} {limit:,}" for name, limit in asdict(self.budget).items() if limit is not None)
        yield f"A run stops before it exceeds its budget: {limits or 'none is set'}."
        yield from self.notes


def estimate(plan: Plan, *, seconds: float = 10.0) -> Estimate:
    """Rehearse a run. Nothing is sent; parts that compute on this machine do compute.

    Args:
        plan: the run, as :func:`promptopt.api.prepare` gives it; not to be run afterwards.
        seconds: for the rehearsal of the search; if it takes longer, the rest is extrapolated.

    Raises:
        UserError: a part cannot begin, as in the run itself.
    """
    rehearsal = _Rehearsal(plan, seconds=seconds)
    search, questions, weight = rehearsal.search()
    shares = _add(search, _scale(rehearsal.one_answer(plan.scorer), weight))
    if isinstance(plan.scorer, Calibrates):
        rated = plan.scorer.calibration([Prompt(str(number)) for number in range(MOST_QUESTIONS)])
        shares = _add(shares, _scale(rehearsal.one_answer(plan.scorer.scorer), len(rated)))
    if plan.reserved:
        shares = _add(shares, _scale(rehearsal.one_answer(plan.dev or plan.scorer), plan.reserved))
    if plan.test:
        shares = _add(shares, _scale(rehearsal.one_answer(plan.test), 2 + plan.cheapest + plan.cells))
    for scorer in plan.transfer.values():
        shares = _add(shares, _scale(rehearsal.one_answer(scorer), 2))
    return Estimate(questions, shares, plan.budget, tuple(dict.fromkeys(rehearsal.notes)))


class _Rehearsal:
    """Tries out the parts of a plan one by one: the search with made-up ratings, each scorer with one question."""

    def __init__(self, plan: Plan, *, seconds: float) -> None:
        self._plan = plan
        self._seconds = seconds
        self.notes: list[str] = []

    def search(self) -> tuple[dict[str, Share], int, float]:
        """What the optimizer's own calls come to, the questions it asks, and how many whole ratings they make.

        A whole rating is one on all training examples; see :class:`_MadeUp`. Under a budget of questions, an optimizer
        that asks for no chat model is not rehearsed: it is taken to use the budget up.
        """
        limit = self._plan.budget.questions
        trial = self._run(_MadeUp(self._plan), MOST_QUESTIONS)
        self._plan.optimizer.begin(trial.setup("optimizer"))
        if limit is not None and not trial.tally.asked_for:
            self.notes += trial.notes
            return {}, limit - self._plan.reserved, float(limit - self._plan.reserved)
        scorer = _MadeUp(self._plan)
        run = self._run(scorer, limit or MOST_QUESTIONS)
        try:
            reason = run.search()
        except PromptoptError as error:
            reason = f"error: {error}"
            self.notes.append(f"The rehearsal of the search broke off, so its share is a guess at best: {error}")
        asked, factor = len(run.steps), 1.0
        if reason == "budget: seconds" and limit is not None and asked:
            factor = (limit - self._plan.reserved) / asked
            self.notes.append(f"The search was rehearsed for {asked:,} questions only, and extrapolated from there.")
        if limit is None:
            self.notes.append(f"The budget does not limit questions; {asked:,} were asked in the rehearsal.")
        self.notes += run.notes
        return _scale(run.tally.shares, factor), round(asked * factor), scorer.ratings * factor

    def one_answer(self, scorer: Scorer[Any, Any]) -> dict[str, Share]:
        """What one answer of a scorer costs, by role: nothing, and it is not asked, where it uses no chat model."""
        run = self._run(scorer, 1)
        try:
            run.open(scorer, "scorer")
            if run.tally.asked_for and not isinstance(scorer, Streams):  # people are not asked about stand-ins
                start = self._plan.start[0]
                other = Prompt(f"{start.text} 2")
                asked = Rate(start, number=0) if scorer.question is Rate else Duel(start, other, number=0)
                list(scorer.answer([asked]))
        finally:
            run.close()
        self.notes += run.notes
        if run.tally.shares and isinstance(scorer, Weighs):
            self.notes.append("Duels by ratings are counted as two ratings each: the most that they can come to.")
        return run.tally.shares

    def _run(self, scorer: Scorer[Any, Any], questions: int) -> _DryRun:
        plan = self._plan
        return _DryRun(
            plan.optimizer,
            scorer,
            start=plan.start,
            seed=plan.seed,
            budget=Budget(questions=questions, seconds=self._seconds),
            reserved=plan.reserved if questions > plan.reserved else 0,
            problem_with=plan.problem_with,
            cache=plan.cache,
        )


class _DryRun(Run):
    """A run whose chat models are stand-ins."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.tally = _Tally()

    def setup(self, part: str) -> RunSetup:
        return _DrySetup(self, part)


class _DrySetup(RunSetup):
    _run: _DryRun

    def model(self, model: ChatModel, *, role: str) -> ChatModel:
        self.note_what_it_says(model)
        self._run.tally.asked_for = True
        return _StandIn(model, role, self._run.tally, self._run.start[0].text)


class _Tally:
    """What the calls of a rehearsal come to."""

    def __init__(self) -> None:
        self.asked_for = False
        self.shares: dict[str, Share] = {}
        self.replies = 0
        self._lock = threading.Lock()

    def add(self, role: str, share: Share, *, replies: int) -> int:
        """Count a call; the number of replies before it."""
        with self._lock:
            self.shares[role] = self.shares.get(role, Share()) + share
            self.replies += replies
            return self.replies - replies


class _StandIn:
    """A chat model that sends nothing. Its replies are variants of the first start, words of a scale, or fields."""

    def __init__(self, model: ChatModel, role: str, tally: _Tally, start: str) -> None:
        self._model, self._role, self._tally = model, role, tally
        self._start = " ".join(start.split())
        self._price = _price(model)

    @property
    def name(self) -> str:
        return self._model.name

    def at_most(self, request: Request, /) -> Usage:
        return self._model.at_most(request)

    def complete(self, request: Request, /) -> Completion:
        messages, n = request.messages, request.n
        at_most = self._model.at_most(request)
        if isinstance(self._model, Expects):
            return self._counted(self._model.expected(request), at_most, request)
        read = sum(TOKENS_PER_MESSAGE + len(m.text) // CHARACTERS_PER_TOKEN for m in messages)
        read += TOKENS_PER_PICTURE * sum(len(m.pictures) for m in messages)
        written = min(n * TOKENS_PER_REPLY, at_most.output_tokens)
        expected = Usage(1, read, written, read * self._price[0] + written * self._price[1])
        return self._counted(expected, at_most, request)

    def _counted(self, expected: Usage, at_most: Usage, request: Request) -> Completion:
        first = self._tally.add(self._role, Share(expected, at_most), replies=request.n)
        replies = (Reply(self._made_up(number, request)) for number in range(first, first + request.n))
        return Completion(tuple(replies), Usage())

    def choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Choice:
        at_most = self.at_most_to_choose(messages, options)
        self._tally.add(self._role, Share(at_most, at_most), replies=0)
        return Choice((0.0,) * len(options), Usage())

    def at_most_to_choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Usage:
        assert isinstance(self._model, Chooses)
        return self._model.at_most_to_choose(messages, options)

    def _made_up(self, number: int, request: Request) -> str:
        """A list of prompts, or what a program can read; where the reply is to be a word, each word in its turn, and
        where it is to be a list of tables, some of these."""
        if self._role == "target" and (text := filled(request, number, length=CHARACTERS_PER_TOKEN * TOKENS_PER_REPLY)):
            return text
        properties = (request.schema or {}).get("properties", {})
        if tables := {name: field["items"] for name, field in properties.items() if _holds_tables(field)}:
            return json.dumps({name: [_filled(table, n) for n in range(TABLES)] for name, table in tables.items()})
        fields = properties.values()
        if words := [word for field in fields for word in field.get("enum", ())]:
            return str(words[number % len(words)])
        first = PROPOSALS * number
        return "\n".join(f"- {self._start} {i}" for i in range(first, first + PROPOSALS))


def _holds_tables(field: Mapping[str, Any]) -> bool:
    items = field.get("items")
    return isinstance(items, Mapping) and items.get("type") == "object"


def _filled(table: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Something that fits a schema of a table: the number as a number, as a text, or no entries."""
    made: dict[str, Any] = {"integer": number, "number": number, "array": []}
    return {name: made.get(field.get("type"), f"{name} {number}") for name, field in table["properties"].items()}


class _MadeUp:
    """A scorer that answers at random.

    Attributes:
        ratings: how many whole ratings its answers come to: one on 5 of 20 training examples is a quarter; a duel is 1.
    """

    def __init__(self, plan: Plan) -> None:
        self.question = plan.scorer.question
        self.ratings = 0.0
        self._ids = tuple(example.id for example in plan.data.train) if plan.data else ()
        self._rng = np.random.default_rng(plan.seed)

    def answer(self, questions: Sequence[Question], /) -> Iterator[Answer]:
        for question in questions:
            draw = float(self._rng.random())
            if isinstance(question, Rate):
                self.ratings += len(question.on) / len(self._ids) if question.on and self._ids else 1.0
                yield self._with_cases(question.on or self._ids) if question.cases and self._ids else Rating(draw)
            else:
                self.ratings += 1.0
                yield Preference("a" if draw < 0.5 else "b")

    def _with_cases(self, ids: Sequence[str]) -> Rating:
        """A rating that tells what happened on each example: a made-up reply, and a value at random."""
        values = self._rng.random(len(ids))
        said = "x" * (CHARACTERS_PER_TOKEN * TOKENS_PER_REPLY)
        cases = tuple(Case(name, said, value) for name, value in zip(ids, values.tolist(), strict=True))
        return Rating(float(values.mean()), per_example=values, cases=cases)


def _price(model: ChatModel) -> tuple[float, float]:
    """US dollars a token, in and out, read off the bounds that the model gives for a short and a long text."""
    short, long = (model.at_most(Request([Message("user", "x" * length)])) for length in (1, 1_000))
    tokens = long.input_tokens - short.input_tokens
    price_in = (long.dollars - short.dollars) / tokens if tokens else 0.0
    rest = short.dollars - short.input_tokens * price_in
    return price_in, max(0.0, rest) / short.output_tokens if short.output_tokens else 0.0


def _scale(shares: Mapping[str, Share], factor: float) -> dict[str, Share]:
    return {role: share.times(factor) for role, share in shares.items()}


def _add(one: Mapping[str, Share], other: Mapping[str, Share]) -> dict[str, Share]:
    return {role: one.get(role, Share()) + other.get(role, Share()) for role in [*one, *other]}


def _times(usage: Usage, factor: float) -> Usage:
    """So many times as much, rounded: 4 calls times 2.0000001 are 8, where :meth:`Usage.times` would say 9."""
    return replace(
        usage,
        calls=round(usage.calls * factor),
        input_tokens=round(usage.input_tokens * factor),
        output_tokens=round(usage.output_tokens * factor),
        dollars=usage.dollars * factor,
    )
