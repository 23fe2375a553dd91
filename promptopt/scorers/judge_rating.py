"""An LLM that rates outputs with words."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from ..core import ChatModel, Completion, Example, Mark, Message, Rate, Rating, Reply, Setup, Target
from ..errors import UserError
from ..fanout import fan_out
from .judge import CRITERIA, Judge, JudgeReport, check_numbers
from .judge_sheet import QUOTING, listed, sheet
from .metric import MetricScorer

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

    A verdict that is unreadable, refused or truncated is counted and leaves its example unscored. Seeds of calls derive
    from the run's seed and what is judged, so equal outputs for an example are judged alike whichever prompt they come
    from. Pictures among inputs and outputs are shown as pictures, for models that see.

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

    Raises:
        UserError: an option is out of range, or the examples are empty or share ids.
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
    ) -> None:
        check_numbers(repeats=repeats, temperature=temperature, workers=workers)
        if isinstance(scale, str) or len({word.strip().casefold() for word in scale} - {""}) < max(2, len(scale)):
            raise UserError(f"scale is {scale!r}; give at least two different words, the worst first.")
        words = [word.strip() for word in scale]
        self._worth: Mapping[str, float] = {word: i / (len(words) - 1) for i, word in enumerate(words)}
        self._judge = Judge(model, key="rating", words=words, repeats=repeats, temperature=temperature)
        self._scorer = MetricScorer(target=target, metric=self._marks, examples=examples)
        self._self_reference = self_reference
        self._workers = workers
        self._rules = Message("system", _rules(listed(criteria), words, self_reference))
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
            ModelError: the provider refused for good.
            UserError: a question names an example that is not there, or a picture cannot be read.
        """
        yield from self._scorer.answer(questions)

    def report(self) -> JudgeReport:
        """How far the judge can be trusted, from what it said since the run began or was resumed."""
        return JudgeReport.of(self._judge.counts)

    # ── One prompt's outputs ──────────────────────────────────────────────────────────────────────────────────────

    def _marks(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Mark]:
        jobs = [(output, example) for output, example in zip(outputs, examples, strict=True) if output is not None]
        if self._self_reference:
            self._answer_oneself([example for _, example in jobs])
        verdicts = fan_out(lambda job: self._ask(*job), jobs, workers=self._workers)
        return [Mark(None) if output is None else self._mark(next(verdicts)) for output in outputs]

    def _answer_oneself(self, examples: Sequence[Example]) -> None:
        """Answers of the judge's own to what it has not answered yet; None where it gives none."""
        new = [example for example in examples if example.id not in self._own]
        for example, reply in zip(new, fan_out(self._own_answer, new, workers=self._workers), strict=True):
            self._own[example.id] = reply.text if reply.finish == "stop" and reply.text.strip() else None

    def _own_answer(self, example: Example) -> Reply:
        shown = sheet({"Input": example.input}, {})
        return self._judge.answer([self._task, shown.message], seed=(_key(example),))

    def _ask(self, output: Any, example: Example) -> Completion | None:
        """What the judge says of one output; None where it had no answer of its own to compare it with."""
        own: dict[str, str] = {}
        if self._self_reference:
            if (answer := self._own[example.id]) is None:
                return None
            own = {"Your own answer": answer}
        shown = sheet({"Input": example.input}, {"Output": output, **own})
        return self._judge.verdict([self._rules, shown.message], seed=(shown.key, _key(example)))

    def _mark(self, completion: Completion | None) -> Mark:
        if completion is None:
            self._judge.count(OWN_ANSWER)
            return Mark(None)
        said = self._judge.read(completion)
        if not said:
            return Mark(None)
        return Mark(fmean(self._worth[one.word] for one in said), f"{said[0].word}: {said[0].critique}"[:CHARACTERS])


def _rules(criteria: str, words: Sequence[str], self_reference: bool) -> str:
    own = (
        "You have answered the same input yourself; your own answer is part of the material. Criticise the output "
        "against it: where the two differ, say which is right.\n\n"
    )
    return (
        f"You judge what another program made of an input, by these criteria:\n{criteria}\n\n{QUOTING}\n\n"
        f"{own if self_reference else ''}"
        f"First criticise the output in one or two sentences, then rate it with one of: {', '.join(words)}.\n"
        f'Reply with a JSON object: {{"critique": "...", "rating": "one of: {", ".join(words)}"}}'
    )


def _task(criteria: str) -> str:
    return (
        f"Answer the input as well as you can. Your answer will be judged by these criteria:\n{criteria}\n\n"
        "The input stands between a line [begin MARK] and a line [end MARK], or is a picture. Reply with the answer."
    )


def _key(example: Example) -> int:
    return zlib.crc32(example.id.encode("utf-8", "surrogatepass"))
