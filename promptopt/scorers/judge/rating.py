"""An LLM that rates outputs with words."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...checks import at_least, check_argument
from ...core import (
    ChatModel,
    Choice,
    Completion,
    Example,
    FailedRule,
    Mark,
    Message,
    Rate,
    Rating,
    Reply,
    Setup,
    Target,
)
from ...fanout import fan_out
from ...replies import NoReply
from ..cases import LONGEST
from ..metric import MetricScorer
from ..parts import flaw_of
from . import CRITERIA, Judge, JudgeReport, Read
from .as_metric import AsMetric
from .sheet import QUOTING, listed, sheet

__all__ = ["JudgeRating"]

SCALE = ("very poor", "poor", "fair", "good", "excellent")
OWN_ANSWER = "own answer of the judge missing"
CHARACTERS = 200
"""Of a critique, as of every metric's feedback."""


class JudgeRating:
    """Rates prompts by what an LLM says of the target's outputs, in words on a Likert scale.

    A word is worth its place on the scale: the first 0, the last 1, the others evenly between; words are steadier than
    numbers [Chen2024]. The judge sees input and output, never the prompt or the label. With ``self_reference`` it first
    answers the input itself, in a call of its own in which it does not see the output, and then criticises the output
    against its own answer.

    What the prompt brings about counts: an output that was refused, is empty or was cut off is the worst of the scale,
    and the judge is not asked. What the judge itself fails at is an outside failure: a verdict that is unreadable,
    refused or cut off, or that its provider did not give, is counted and leaves its example unscored, and coverage says
    why.

    With ``read = "probabilities"`` the judge writes nothing. The probability that its reply begins with each word of
    the scale, its first letter large or small, is taken, as small models say more by it than by what they write. The
    rating is the expected worth of the word: unlike the likeliest word it tells outputs apart of which the judge is
    differently sure.

    Seeds of calls derive from the run's seed and what is judged, so equal outputs for an example are judged alike
    whichever prompt they come from. Pictures among inputs and outputs are shown as pictures, for models that see.

    Args:
        model: the judge; billed to the run as ``judge``.
        target: what the prompt is given to.
        examples: what the prompt is tried on.
        criteria: what a good output is.
        scale: words from worst to best, at least two.
        self_reference: have the judge answer each input first: one call more for each example.
        repeats: verdicts on each output; the mean of those that can be read counts.
        temperature: of the judge.
        workers: calls at a time.
        read: ``text`` has the judge write a critique and a word; ``probabilities`` takes those of the words, from a
            model that can say them (``local``).
        failed, case_length: as of :class:`promptopt.scorers.MetricScorer`; the run's.

    Raises:
        UserError: an option is out of range, the examples are empty or share ids, or the model says no probabilities.
    """

    question = Rate

    def __init__(
        self,
        *,
        model: ChatModel,
        target: Target,
        examples: Sequence[Example],
        criteria: str | Sequence[str] = CRITERIA,
        scale: Sequence[str] = SCALE,
        self_reference: bool = False,
        repeats: int = 1,
        temperature: float = 0.0,
        workers: int = 8,
        read: Read = "text",
        failed: FailedRule = "worst",
        case_length: int = LONGEST,
    ) -> None:
        at_least(1, workers=workers)
        different = {word.strip().casefold() for word in scale} - {""}
        holds = not isinstance(scale, str) and 2 <= len(scale) == len(different)
        check_argument("scale", scale, allowed="a list of two or more different words, the worst first", holds=holds)
        words = [word.strip() for word in scale]
        self._worth: Mapping[str, float] = {word: i / (len(words) - 1) for i, word in enumerate(words)}
        self._judge = Judge(model, key="rating", words=words, repeats=repeats, temperature=temperature, read=read)
        how: dict[str, Any] = {"failed": failed, "case_length": case_length}
        self._scorer = MetricScorer(target=target, metric=AsMetric(self._marks), examples=examples, **how)
        self._self_reference = self_reference
        self._workers = workers
        self._rules = Message(
            "system",
            _rules(listed(criteria), self_reference)
            + self._judge.how_to_reply("criticise the output", f"rate it with one of: {', '.join(words)}"),
        )
        self._task = Message("system", _task(listed(criteria)))
        self._own: dict[str, str | None] = {}

    def begin(self, setup: Setup, /) -> None:
        """Take the run's random streams, bill the judge to it and pass the setup on to the target."""
        self._judge.begin(setup)
        self._own.clear()
        if self._self_reference:
            self._judge.begin_answering()
        self._scorer.begin(setup)

    def answer(self, questions: Sequence[Rate], /) -> Iterator[Rating]:
        """Ratings in [0, 1], one by one; ``per_example`` has NaN where there was no output or no readable verdict.

        Raises:
            BudgetExhausted: the next call would exceed the budget.
            ModelError: the provider refuses whatever it is asked, or ten requests in a row got no answer.
            UserError: a question names an example that is not there, or a picture cannot be read.
        """
        yield from self._scorer.answer(questions)

    def report(self) -> JudgeReport:
        """How far the judge can be trusted, from what it said since the run began or was resumed."""
        return JudgeReport.of(self._judge.counts)

    # ── One prompt's outputs ──────────────────────────────────────────────────────────────────────────────────────

    def _marks(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Mark]:
        flaws = [flaw_of(output) for output in outputs]
        asked = [output is not None and flaw is None for output, flaw in zip(outputs, flaws, strict=True)]
        jobs = [pair for pair, whole in zip(zip(outputs, examples, strict=True), asked, strict=True) if whole]
        if self._self_reference:
            self._answer_oneself([example for _, example in jobs])
        said = fan_out(lambda job: self._ask(*job), jobs, workers=self._workers)
        return [
            self._mark(next(said)) if whole else Mark(None, flaw or "", failed=flaw is not None)
            for whole, flaw in zip(asked, flaws, strict=True)
        ]

    def _answer_oneself(self, examples: Sequence[Example]) -> None:
        """Answers of the judge's own to what it has not answered yet; None where it gives none.

        What got no answer for outside reasons is asked again for the next prompt.
        """
        new = [example for example in examples if example.id not in self._own]
        for example, reply in zip(new, fan_out(self._own_answer, new, workers=self._workers), strict=True):
            if reply is not None:
                self._own[example.id] = reply.text if reply.finish == "stop" and reply.text.strip() else None

    def _own_answer(self, example: Example) -> Reply | None:
        shown = sheet({"Input": example.input}, {})
        return self._judge.answer([self._task, shown.message], seed=(_key(example),))

    def _ask(self, output: Any, example: Example) -> Completion | Choice | NoReply | None:
        """What the judge says of one output; None where it had no answer of its own to compare it with."""
        own: dict[str, str] = {}
        if self._self_reference:
            if (answer := self._own.get(example.id)) is None:
                return None
            own = {"Your own answer": answer}
        shown = sheet({"Input": example.input}, {"Output": output, **own})
        return self._judge.ask([self._rules, shown.message], seed=(shown.key, _key(example)))

    def _mark(self, said: Completion | Choice | NoReply | None) -> Mark:
        if said is None:
            self._judge.count(OWN_ANSWER)
            return Mark(None, "no own answer of the judge")
        verdict = self._judge.read(said)
        if not verdict.shares:
            return Mark(None, verdict.problem)
        value = sum(share * self._worth[word] for word, share in verdict.shares.items())
        why = verdict.critique if isinstance(said, Completion) else f"{verdict.shares[verdict.word]:.0%} sure"
        return Mark(value, f"{verdict.word}: {why}"[:CHARACTERS])


def _rules(criteria: str, self_reference: bool) -> str:
    own = (
        "You have answered the same input yourself; your own answer is part of the material. Criticise the output "
        "against it: where the two differ, say which is right.\n\n"
    )
    return (
        f"You judge what another program made of an input, by these criteria:\n{criteria}\n\n{QUOTING}\n\n"
        f"{own if self_reference else ''}"
    )


def _task(criteria: str) -> str:
    return (
        f"Answer the input as well as you can. Your answer will be judged by these criteria:\n{criteria}\n\n"
        "The input stands between a line [begin MARK] and a line [end MARK], or is a picture. Reply with the answer."
    )


def _key(example: Example) -> int:
    return zlib.crc32(example.id.encode("utf-8", "surrogatepass"))
