"""What LLM judges share: asking, reading, counting, and the report of how far to trust them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ..core import ChatModel, Completion, Message, Reply, Setup
from ..errors import UserError
from .judge_parse import Said, read, schema

__all__ = ["CRITERIA", "Judge", "JudgeReport", "check_numbers"]

CRITERIA = "The output does what the input asks for: it is correct, complete and to the point."
STREAM = int.from_bytes(b"judge")
"""Key of the random stream, so that other draws of the scorer are left alone."""

UNREADABLE, REFUSED, TRUNCATED = "unreadable verdicts", "refused verdicts", "truncated verdicts"
REPEATS, REPEATS_AGREED = "judge: pairs of repeats", "judge: pairs of repeats that agreed"
PAIRS, PAIRS_AGREED = "judge: outputs compared in both orders", "judge: outputs compared, both orders agreed"
FIRST, SECOND = "judge: first position won in both orders", "judge: second position won in both orders"
LONGER, SHORTER = "judge: longer output won", "judge: shorter output won"
ONE_LENGTH = "judge: one prompt always longer, length not controlled"


@dataclass(frozen=True)
class JudgeReport:
    """How far a judge can be trusted. A share is None where nothing was counted that it could be taken of.

    Attributes:
        compared: pairs of outputs that were read in both orders; 0 for a rater.
        consistent: of these, the share where both orders said the same.
        position_bias: of the pairs where the same position won in both orders, the share where it was the first; 0.5 is
            none.
        length_bias: of the pairs won by an output that is longer or shorter, the share won by the longer; 0.5 is none,
            if the better outputs are not the longer ones.
        self_agreement: of the pairs of repeats of one call, the share that said the same.
        unread: verdicts that were unreadable, refused or truncated.
    """

    compared: int
    consistent: float | None
    position_bias: float | None
    length_bias: float | None
    self_agreement: float | None
    unread: int

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> JudgeReport:
        """The report on a run, from its result's ``counts``; those hold what was judged before it was resumed, too."""

        def share(part: str, whole: int) -> float | None:
            return counts.get(part, 0) / whole if whole else None

        compared = counts.get(PAIRS, 0)
        return cls(
            compared=compared,
            consistent=share(PAIRS_AGREED, compared),
            position_bias=share(FIRST, counts.get(FIRST, 0) + counts.get(SECOND, 0)),
            length_bias=share(LONGER, counts.get(LONGER, 0) + counts.get(SHORTER, 0)),
            self_agreement=share(REPEATS_AGREED, counts.get(REPEATS, 0)),
            unread=sum(counts.get(what, 0) for what in (UNREADABLE, REFUSED, TRUNCATED)),
        )


class Judge:
    """A chat model that answers with a word of a list, so many times for each question.

    Args:
        model: billed to the run as ``judge``.
        key: the field of its JSON reply that holds the word.
        words: the list.
        repeats: replies to each question.
        temperature: of the model.

    Attributes:
        counts: what was counted since the run began; counted in the run as well.
    """

    def __init__(self, model: ChatModel, *, key: str, words: Sequence[str], repeats: int, temperature: float) -> None:
        self._model = self._billed = model
        self._key = key
        self._words = tuple(words)
        self._repeats = repeats
        self._temperature = temperature
        self._schema = schema(key, words)
        self.counts: Counter[str] = Counter()

    def begin(self, setup: Setup) -> None:
        """Take the run's random streams and bill the model to it."""
        self._setup = setup
        self._billed = setup.model(self._model, role="judge")
        self.counts.clear()

    def begin_answering(self) -> None:
        """Have the model answer inputs itself as well, each once a run."""
        self._answering = self._setup.model(self._model, role="reference")

    def verdict(self, messages: Sequence[Message], *, seed: Sequence[int]) -> Completion:
        """Ask for verdicts, which :meth:`read` reads. May be called from several threads."""
        return self._billed.complete(
            messages, n=self._repeats, temperature=self._temperature, seed=self._seed(seed), schema=self._schema
        )

    def answer(self, messages: Sequence[Message], *, seed: Sequence[int]) -> Reply:
        """Ask for a text instead. May be called from several threads."""
        replies = self._answering.complete(messages, temperature=self._temperature, seed=self._seed(seed)).replies
        return replies[0] if replies else Reply("")

    def read(self, completion: Completion) -> list[Said]:
        """The verdicts that can be read; the others are counted, and so is how far those that can be read agree."""
        found = [said for reply in completion.replies if (said := self._read(reply))]
        self.count(UNREADABLE, self._repeats - len(completion.replies))
        pairs = list(combinations((said.word for said in found), 2))
        self.count(REPEATS, len(pairs))
        self.count(REPEATS_AGREED, sum(one == other for one, other in pairs))
        return found

    def count(self, what: str, n: int = 1) -> None:
        """Count something in the run and for the report."""
        if n > 0:
            self._setup.count(what, n)
            self.counts[what] += n

    def _read(self, reply: Reply) -> Said | None:
        said = read(reply.text, key=self._key, words=self._words) if reply.finish == "stop" else None
        if said is None:
            self.count({"refusal": REFUSED, "length": TRUNCATED}.get(reply.finish, UNREADABLE))
        return said

    def _seed(self, key: Sequence[int]) -> int:
        return int(self._setup.rng(STREAM, *key).integers(2**31))


def check_numbers(*, repeats: int, temperature: float, **others: int) -> None:
    """Raises UserError if a judge's option is out of range."""
    for name, number in {"repeats": repeats, **others}.items():
        if number < 1:
            raise UserError(f"{name} is {number}; give at least 1.")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise UserError(f"temperature is {temperature}; allowed is 0 or more.")
    if repeats > 1 and temperature == 0:
        raise UserError(f"repeats is {repeats}, but at temperature 0 repeats say the same; set temperature = 1.0.")
