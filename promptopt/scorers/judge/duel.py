"""An LLM that says which of two prompts gives the better outputs."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from ...checks import at_least, not_empty
from ...core import (
    Begins,
    ChatModel,
    Choice,
    Completion,
    Duel,
    Example,
    Failed,
    FailedRule,
    Message,
    Missing,
    Picture,
    Preference,
    Setup,
    Target,
)
from ...fanout import fan_out
from ...replies import NoReply
from ...targets.outputs import outputs_of
from ..parts import flaw_of, is_picture
from . import (
    CRITERIA,
    FIRST,
    LONGER,
    ONE_LENGTH,
    PAIRS,
    PAIRS_AGREED,
    SECOND,
    SHORTER,
    STREAM,
    Judge,
    JudgeReport,
    Read,
    Verdict,
)
from .sheet import QUOTING, listed, sheet

__all__ = ["JudgeDuel"]

WORDS = ("first", "second", "tie")
POINTS = {"first": 1, "second": -1, "tie": 0}
ASKED = "compare them", "say which output is better: first, second, or tie if neither is"


@dataclass(frozen=True)
class Pair:
    """What two prompts made of one example."""

    example: Example
    a: Any
    b: Any

    @property
    def there(self) -> bool:
        """Whether there are two outputs, usable or not."""
        return self.missing is None

    @property
    def missing(self) -> str | None:
        """Why there are not two outputs, for outside reasons."""
        for output in (self.a, self.b):
            if output is None or isinstance(output, Missing):
                return output.reason if output else "no output"
        return None

    @cached_property
    def flaws(self) -> tuple[str | None, str | None]:
        """Why an output that came about cannot be used, for each of the two."""
        return _failure(self.a), _failure(self.b)

    @property
    def failures(self) -> list[str]:
        """Why outputs that came about cannot be used."""
        return [reason for reason in self.flaws if reason]

    @property
    def settled(self) -> int | None:
        """The points where the judge need not be asked: an output failed, or both are the same."""
        if self.failures:
            return bool(self.flaws[1]) - bool(self.flaws[0])
        return 0 if isinstance(self.a, str | Picture) and self.a == self.b else None

    @property
    def longer(self) -> int:
        """By how many characters the output of ``a`` is longer; 0 for what has no length or cannot be used."""
        if self.failures or is_picture(self.a) or is_picture(self.b):
            return 0
        return len(str(self.a)) - len(str(self.b))


class JudgeDuel:
    """Decides duels by what an LLM says of the two prompts' outputs, side by side, on a few examples.

    Each pair of outputs is shown in both orders, and an output wins if both say so; if they disagree it is a tie. The
    prompt whose outputs win more often wins the duel. Equal texts, and equal pictures, are a tie and are not shown. A
    pair counts only where both orders could be read: one order alone may show nothing but a liking for a position. If
    no pair counts, the answer is ``unknown``, and its details say why. The judge sees input and outputs, never prompts
    or labels; pictures are shown as pictures.

    What the prompts bring about counts: an output that was refused, is empty or was cut off loses against one that can
    be used, and two such tie; the judge is not asked. A pair with an output that is missing for outside reasons is left
    out.

    With ``read = "probabilities"`` the judge writes nothing. An output's points are the mean over both orders of the
    probability that it is better minus that of the other one, so that a liking for a position, which small models have
    a strong one of, cancels, and what is left decides.

    Judges like long outputs. With ``length_control`` the judge is told that length is no merit, and the verdict is
    standardised: the mean over the examples where ``a`` is the longer output and the mean over those where ``b`` is,
    each weigh half (equal lengths are in both), so neither prompt gains by being longer more often. Where one is always
    longer this cannot be told apart from quality; then all pairs weigh alike, and that is counted.

    Args:
        model: the judge; billed to the run as ``judge``.
        target: what the prompts are given to.
        examples: what the prompts are tried on.
        criteria: what a good output is.
        n_examples: examples of each duel, drawn anew for each; fewer if there are no more.
        repeats: verdicts in each order; those that can be read must agree, or the order says tie.
        length_control: do not let length decide.
        temperature: of the judge.
        workers: calls at a time.
        read: ``text`` has the judge write a critique and a word; ``probabilities`` takes those of the words, from a
            model that can say them (``local``).
        failed: ``worst``, or ``leave-out`` to leave pairs with a failed output out; the run's.

    Raises:
        UserError: an option is out of range, there are no examples, or the model says no probabilities.
    """

    question = Duel

    def __init__(
        self,
        *,
        model: ChatModel,
        target: Target,
        examples: Sequence[Example],
        criteria: str | Sequence[str] = CRITERIA,
        n_examples: int = 4,
        repeats: int = 1,
        length_control: bool = False,
        temperature: float = 0.0,
        workers: int = 8,
        read: Read = "text",
        failed: FailedRule = "worst",
    ) -> None:
        at_least(1, workers=workers, n_examples=n_examples)
        not_empty(examples=examples)
        self._judge = Judge(model, key="better", words=WORDS, repeats=repeats, temperature=temperature, read=read)
        self._leave_out = failed == "leave-out"
        self._target = target
        self._examples = tuple(examples)
        self._n_examples = min(n_examples, len(self._examples))
        self._length_control = length_control
        self._workers = workers
        self._rules = Message("system", _rules(listed(criteria), length_control) + self._judge.how_to_reply(*ASKED))

    def begin(self, setup: Setup, /) -> None:
        """Take the run's random streams, bill the judge to it and pass the setup on to the target."""
        self._setup = setup
        self._judge.begin(setup)
        if isinstance(self._target, Begins):
            self._target.begin(setup)

    def answer(self, questions: Sequence[Duel], /) -> Iterator[Preference]:
        """Preferences, one by one; what is drawn for a duel depends on its number.

        Raises:
            BudgetExhausted: the next call would exceed the budget.
            ModelError: the provider refuses whatever it is asked, or ten requests in a row got no answer.
            UserError: a picture cannot be read.
        """
        for duel in questions:
            yield Preference("tie") if duel.a == duel.b else self._decide(duel)

    def weight(self, question: Duel, answer: Preference, /) -> float:
        """How much of the target's work is in an answer, see :class:`promptopt.core.Weighs`."""
        return 2 * self._n_examples / len(self._examples)

    def report(self) -> JudgeReport:
        """How far the judge can be trusted, from what it said since the run began or was resumed."""
        return JudgeReport.of(self._judge.counts)

    # ── One duel ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _decide(self, duel: Duel) -> Preference:
        number = duel.number % 2**32  # -1 outside a run
        pairs = self._pairs(duel, number)
        failures = [reason for pair in pairs for reason in pair.failures]
        usable = [pair for pair in pairs if pair.there and not (self._leave_out and pair.failures)]
        asked = [(pair, swapped) for pair in usable if pair.settled is None for swapped in (0, 1)]
        said = fan_out(lambda job: self._ask(*job, number), asked, workers=self._workers)
        missing = [reason for pair in pairs if (reason := pair.missing)]
        counted: list[tuple[Pair, float]] = []
        for pair in usable:
            point = pair.settled if pair.settled is not None else self._settle(pair, next(said), next(said))
            if isinstance(point, str):
                missing.append(point)
            else:
                counted.append((pair, point))
        return self._preference(counted, Counter(_short(reason) for reason in (*failures, *missing)))

    def _preference(self, counted: Sequence[tuple[Pair, float]], reasons: Mapping[str, int]) -> Preference:
        details = {"pairs": self._n_examples, "counted": len(counted), "reasons": dict(reasons)} if reasons else {}
        if not counted:
            return Preference("unknown", details)
        balance = self._controlled(counted) if self._length_control else fmean(point for _, point in counted)
        return Preference("a" if balance > 1e-9 else "b" if balance < -1e-9 else "tie", details)

    def _pairs(self, duel: Duel, number: int) -> list[Pair]:
        drawn = self._setup.rng(STREAM, number).choice(len(self._examples), size=self._n_examples, replace=False)
        examples = [self._examples[i] for i in drawn]
        a, b = outputs_of(self._target, [duel.a, duel.b], examples)
        return [Pair(*one) for one in zip(examples, a, b, strict=True)]

    def _ask(self, pair: Pair, swapped: int, number: int) -> Completion | Choice | NoReply:
        """What the judge says of a pair; swapped, the output of ``b`` comes first."""
        first, second = (pair.b, pair.a) if swapped else (pair.a, pair.b)
        shown = sheet({"Input": pair.example.input}, {"First output": first, "Second output": second})
        seed = number, zlib.crc32(pair.example.id.encode("utf-8", "surrogatepass")), swapped
        return self._judge.ask([self._rules, shown.message], seed=seed)

    def _settle(
        self, pair: Pair, straight: Completion | Choice | NoReply, swapped: Completion | Choice | NoReply
    ) -> float | str:
        """The points of the output of ``a``, from -1 to 1, or why an order could not be read."""
        orders = [self._judge.read(said) for said in (straight, swapped)]
        if problem := next((order.problem for order in orders if not order.shares), None):
            return problem
        one, other = (_word(order, said) for order, said in zip(orders, (straight, swapped), strict=True))
        self._judge.count(PAIRS)
        self._judge.count(PAIRS_AGREED, one == -other)
        self._judge.count(FIRST, one == other == 1)
        self._judge.count(SECOND, one == other == -1)
        point: float = one if one == -other else 0
        if isinstance(straight, Choice):
            point = (_points(orders[0]) - _points(orders[1])) / 2
        self._judge.count(LONGER, point * pair.longer > 0)
        self._judge.count(SHORTER, point * pair.longer < 0)
        return point

    def _controlled(self, counted: Sequence[tuple[Pair, float]]) -> float:
        """The mean of the points, in [-1, 1], standardised over which output is longer."""
        a_longer = [point for pair, point in counted if pair.longer >= 0]
        b_longer = [point for pair, point in counted if pair.longer <= 0]
        if not (a_longer and b_longer):
            self._judge.count(ONE_LENGTH)
            return fmean(point for _, point in counted)
        return (fmean(a_longer) + fmean(b_longer)) / 2


def _failure(output: Any) -> str | None:
    """Why an output that came about cannot be used."""
    if isinstance(output, Failed):
        return output.reason
    return "empty" if isinstance(output, str) and not output.strip() else flaw_of(output)


def _word(order: Verdict, said: Completion | Choice | NoReply) -> int:
    """Who won in one order: 1 for the first, -1 for the second, 0 for neither, or where repeats do not agree."""
    return POINTS[order.word] if isinstance(said, Choice) or len(order.shares) == 1 else 0


def _points(order: Verdict) -> float:
    """By how much the first is likelier to be better than the second, from -1 to 1."""
    return sum(share * POINTS[word] for word, share in order.shares.items())


def _short(reason: str) -> str:
    return reason.partition(":")[0]


def _rules(criteria: str, length_control: bool) -> str:
    length = "Length is no merit: what a short output says as well as a long one, it says as well.\n\n"
    return (
        f"You compare what two programs made of the same input, by these criteria:\n{criteria}\n\n{QUOTING}\n\n"
        f"{length if length_control else ''}"
        "Their order means nothing. "
    )
