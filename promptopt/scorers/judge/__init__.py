"""What LLM judges share: asking, reading, counting, and the report of how far to trust them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias

from ...checks import at_least
from ...core import ChatModel, Choice, Chooses, Completion, Message, Reply, Request, Setup
from ...errors import UserError
from ...metrics.text import shown
from ...replies import NoReply, flaw, reply_to
from .parse import Said, read, schema

__all__ = ["CRITERIA", "Judge", "JudgeReport", "Read", "Verdict"]

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


Read: TypeAlias = Literal["text", "probabilities"]


@dataclass(frozen=True)
class Verdict:
    """What a judge said of one thing.

    Attributes:
        shares: of each word, in [0, 1], together 1: its probability, or the share of the repeats that said it. Empty
            where nothing could be read.
        critique: why, where the judge said so.
        problem: why nothing could be read; coverage counts by what stands before the first colon.
    """

    shares: Mapping[str, float]
    critique: str = ""
    problem: str = ""

    @property
    def word(self) -> str:
        """The likeliest word; the first of equally likely ones."""
        return max(self.shares, key=lambda word: self.shares[word])


class Judge:
    """A chat model that answers with a word of a list, so many times for each question, or by its probabilities.

    Args:
        model: billed to the run as ``judge``.
        key: the field of its JSON reply that holds the word.
        words: the list.
        repeats: replies to each question.
        temperature: of the model.
        read: ``text`` has the model write its verdict; ``probabilities`` takes those of the words as its whole reply.

    Attributes:
        counts: what was counted since the run began; counted in the run as well.

    Raises:
        UserError: an option is out of range, or the model cannot say how likely words are.
    """

    def __init__(
        self, model: ChatModel, *, key: str, words: Sequence[str], repeats: int, temperature: float, read: Read
    ) -> None:
        at_least(1, repeats=repeats)
        at_least(0, temperature=temperature)
        if repeats > 1 and temperature == 0:
            raise UserError(f"repeats is {repeats}, but at temperature 0 repeats say the same; set temperature = 1.0.")
        if read == "probabilities":
            _check_chooses(model, words, repeats=repeats, temperature=temperature)
        self._model = self._billed = model
        self._key = key
        self._words = tuple(words)
        self._repeats = repeats
        self._temperature = temperature
        self._by_probabilities = read == "probabilities"
        self._forms = [form for word in words for form in _forms(word)]
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

    def how_to_reply(self, first: str, then: str) -> str:
        """The end of the judge's instructions: what to say of the material, and in which form.

        Args:
            first: what to do before the verdict, for example ``criticise the output``.
            then: the verdict, for example ``rate it with one of: poor, good``.
        """
        if self._by_probabilities:
            return f"{then[0].upper()}{then[1:]}. Reply with the word alone."
        return (
            f"First {first} in one or two sentences, then {then}.\n"
            f'Reply with a JSON object: {{"critique": "...", "{self._key}": "one of: {", ".join(self._words)}"}}'
        )

    def ask(self, messages: Sequence[Message], *, seed: Sequence[int]) -> Completion | Choice | NoReply:
        """Ask for a verdict, which :meth:`read` reads. May be called from several threads.

        Raises:
            ModelError: the provider refuses whatever it is asked, or nothing was answered for long; the run says when.
        """
        billed, forms = self._billed, self._forms
        if self._by_probabilities:
            assert isinstance(billed, Chooses)
            return reply_to(lambda: billed.choose(messages, forms))
        request = Request(
            messages, n=self._repeats, temperature=self._temperature, seed=self._seed(seed), schema=self._schema
        )
        return reply_to(lambda: billed.complete(request))

    def answer(self, messages: Sequence[Message], *, seed: Sequence[int]) -> Reply | None:
        """Ask for a text instead; None where the provider gave none, after all retries. As :meth:`ask` otherwise."""
        request = Request(messages, temperature=self._temperature, seed=self._seed(seed))
        said = reply_to(lambda: self._answering.complete(request).replies)
        if isinstance(said, NoReply):
            return None if said.lost else Reply("")
        return said[0] if said else Reply("")

    def read(self, said: Completion | Choice | NoReply) -> Verdict:
        """The verdict. Replies that cannot be read are counted, and so is how far those that can be read agree."""
        if isinstance(said, NoReply):
            self.count(said.counted("verdicts"))
            return Verdict({}, problem=said.reason("verdicts"))
        if isinstance(said, Choice):
            return self._weighed(said)
        read = [self._read(reply) for reply in said.replies]
        missing = self._repeats - len(read)
        self.count(UNREADABLE, missing)
        found = [one for one in read if isinstance(one, Said)]
        pairs = list(combinations((one.word for one in found), 2))
        self.count(REPEATS, len(pairs))
        self.count(REPEATS_AGREED, sum(one == other for one, other in pairs))
        if not found:
            return Verdict({}, problem=next((one for one in read if isinstance(one, str)), "verdicts unreadable"))
        shares = {word: n / len(found) for word, n in Counter(one.word for one in found).items()}
        return Verdict(shares, found[0].critique)

    def count(self, what: str, n: int = 1) -> None:
        """Count something in the run and for the report."""
        if n > 0:
            self._setup.count(what, n)
            self.counts[what] += n

    def _weighed(self, choice: Choice) -> Verdict:
        """The probabilities of the words among themselves, a word's being that of all its forms."""
        logs = choice.log_probabilities
        highest = max(logs)
        if not math.isfinite(highest) or any(math.isnan(one) for one in logs):
            self.count(UNREADABLE)
            return Verdict({}, problem="verdicts unreadable: no word of the scale has a probability")
        weights = dict(zip(self._forms, (math.exp(one - highest) for one in logs), strict=True))
        whole = sum(weights.values())
        return Verdict({word: sum(weights[form] for form in _forms(word)) / whole for word in self._words})

    def _read(self, reply: Reply) -> Said | str:
        """What a reply says, or why it cannot be read."""
        wrong = flaw(reply)
        if wrong == "refused":
            self.count(REFUSED)
            return "verdicts refused"
        if wrong == "truncated":
            self.count(TRUNCATED)
            return "verdicts cut at max_tokens"
        said = read(reply.text, key=self._key, words=self._words)
        if said is None:
            self.count(UNREADABLE)
        return said or f"verdicts unreadable: {shown(reply.text)}"

    def _seed(self, key: Sequence[int]) -> int:
        return int(self._setup.rng(STREAM, *key).integers(2**31))


def _forms(word: str) -> list[str]:
    """A word as a reply may begin with it: as it is, and with its first letter in the other case.

    Of SmolLM2-135M's replies "Good" is twenty times likelier than "good", whatever the scale says.
    """
    return list(dict.fromkeys([word, word[:1].swapcase() + word[1:]]))


def _check_chooses(model: ChatModel, words: Sequence[str], *, repeats: int, temperature: float) -> None:
    if not isinstance(model, Chooses):
        raise UserError(
            f'read is "probabilities", but {model.name} does not say how likely words are. Take a model of kind '
            '"local", or read = "text".'
        )
    if repeats > 1 or temperature > 0:
        raise UserError(
            'read is "probabilities", so nothing is drawn: leave repeats at 1 and temperature at 0, or read = "text".'
        )
    for word in words:
        for other in words:
            if word != other and any(one.startswith(form) for form in _forms(word) for one in _forms(other)):
                raise UserError(
                    f"{word!r} begins {other!r}, so their probabilities cannot be told apart; take words that do not "
                    'begin each other, or read = "text".'
                )
