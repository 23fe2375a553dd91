"""Prompts of several parts, one part at a time: coordinate descent around any search over texts.

The search sees the text of one part, while the others stay as they are in the best prompt so far::

    repeat:
        part <- the next one that is not frozen
        the search begins anew, from that part of the best prompt and from the part's best texts so far
        it goes on until it ends by itself, or has asked about so many prompts: twice as many in each round of the parts

What it is told was all rated beside the same other parts, so that ratings can be compared. Where only one part is not
frozen there are no turns: the search asks what it would ask about a prompt that is that text alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..attachments import picture_file
from ..checks import at_least
from ..core import (
    Belief,
    ChatModel,
    HasBelief,
    HasPrompts,
    HasRatings,
    KeepsPictures,
    Optimizer,
    Picture,
    Prompt,
    Prompted,
    Rate,
    Rating,
)
from ..errors import UserError
from ..parts import listed, parts_of, text_of
from ..vocabulary import check

if TYPE_CHECKING:
    import numpy as np

    from ..core import Setup

__all__ = ["PartByPart"]

STREAM = int.from_bytes(b"part")
"""Key of the random streams of all turns but the first, which has those that the search has without parts."""

CARRIED = 5  # texts of a part that a new turn begins with


class PartByPart:
    """Lets an optimizer of texts search prompts of several parts, one part at a time, in turn.

    A run puts it around every optimizer that does not know parts, so it is named only to set ``turn``.

    Args:
        optimizer: what searches. If it asks duels, all parts but one have to be frozen: what it knows of duels beside
            the old parts says nothing beside the new ones, and it has no ratings.
        frozen: parts that are not changed; the run's.
        turn: how many prompts are asked about before the next part's turn, in the first round over the parts; twice as
            many in each further round.

    Raises:
        UserError: ``turn`` is smaller than 1.
    """

    knows_parts = True

    def __init__(self, *, optimizer: Optimizer[Any, Any], frozen: Sequence[str] = (), turn: int = 20) -> None:
        at_least(1, turn=turn)
        self.optimizer = optimizer
        self.question = optimizer.question
        self.frozen = tuple(frozen)
        self.turn = turn

    @property
    def searches(self) -> Optimizer[Any, Any]:
        """What searches, for people: the inner optimizer."""
        return self.optimizer

    @property
    def shortens(self) -> bool:
        """As the inner optimizer says."""
        return bool(getattr(self.optimizer, "shortens", False))

    @property
    def vocabulary(self) -> Sequence[str]:
        """As the inner optimizer says."""
        known: Sequence[str] = getattr(self.optimizer, "vocabulary", ())
        return known

    def check(self, run: Prompted, /) -> None:
        """Whether the inner optimizer suits each part that it is to change.

        Raises:
            UserError: it does not, or it asks duels and there are several, or there is none.
        """
        free = self._free(run)
        if not free:
            raise UserError(
                f"{type(self.optimizer).__name__} searches texts, and there is none that it may change: the start has "
                f"{listed(parts_of(run.start[0].text))}. For the part demonstrations take the optimizer demonstrations."
            )
        if len(free) > 1 and self.question is not Rate:
            raise UserError(
                f"{type(self.optimizer).__name__} asks duels and searches one text; the start has {listed(free)} to "
                f"change. Keep all but one of them as they are: frozen = [...]."
            )
        for part in free:
            check(self.optimizer, PartOf(run, part, base=run.start[0].text))

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        self._setup = setup
        self._parts = self._free(setup)
        self._incumbent = setup.start[0]
        self._prompts = {prompt.text: prompt for prompt in setup.start}
        self._ranks: dict[str, dict[str, tuple[float, float]]] = {part: {} for part in self._parts}
        self._ratings: dict[Prompt, Rating] = {}
        self._turns = self._settled = 0
        self._over = False
        self._several = len(self._parts) > 1
        self._part: PartSetup | None = None
        self._asked: dict[Any, Any] = {}
        self._open: set[Any] = set()
        self._first: dict[Prompt, tuple[float, float]] = {}
        if self._several:
            setup.note(f"One part of the prompt is changed at a time, in turn: {', '.join(self._parts)}.")
        if not (self._several and len(setup.start) > 1):
            self._take_turn()

    def ask(self) -> Sequence[Any]:
        """The inner optimizer's next batch, about whole prompts; the starting prompts first where there are several."""
        if self._part is None and not self._asked:
            starts = [Rate(prompt) for prompt in self._setup.start]
            self._asked, self._open = dict(zip(starts, starts, strict=True)), {*starts}
            return starts
        if self._part is None or (self._several and len(self._prompts) - self._known >= self._length):
            if self._open or self._over:  # open, where answers come when they come
                return []
            self._settled = 0
            self._take_turn()
        while not self._over:
            if batch := self.optimizer.ask():
                return self._outwards(batch)
            if self._open:
                return []
            self._settled = self._settled + 1 if self.best() == self._incumbent else 1
            self._over = self._settled >= len(self._parts)
            if not self._over:
                self._take_turn()
        return []

    def tell(self, answered: Sequence[tuple[Any, Any]], /) -> None:
        """Take answers; the inner optimizer hears of those to its questions."""
        known = [(question, answer) for question, answer in answered if question in self._asked]
        self._open.difference_update(question for question, _ in known)
        for question, answer in known:
            if isinstance(question, Rate) and not question.on:
                self._rank(question.prompt, answer)
        if self._part is None:
            return
        self.optimizer.tell([(replace(self._asked[q], number=q.number), answer) for q, answer in known])
        if isinstance(self.optimizer, HasRatings):
            self._ratings |= {self._whole(prompt): rating for prompt, rating in self.optimizer.ratings().items()}

    def best(self) -> Prompt:
        """The inner optimizer's incumbent, beside the other parts."""
        if self._part is not None:
            return self._whole(self.optimizer.best())
        return max(self._setup.start, key=lambda prompt: self._first.get(prompt, (-math.inf, -math.inf)))

    def ratings(self) -> Mapping[Prompt, Rating]:
        """Ratings that the inner optimizer put together from parts of the training split, if it does."""
        return self._ratings

    def prompts(self) -> Sequence[Prompt]:
        """The prompts that the inner optimizer chooses among, if it knows them."""
        known = self.optimizer.prompts() if isinstance(self.optimizer, HasPrompts) else ()
        return [self._whole(prompt) for prompt in known]

    def belief(self) -> Belief | None:
        """How sure the inner optimizer is, if it can say."""
        return self.optimizer.belief() if isinstance(self.optimizer, HasBelief) else None

    # ── Turns ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _free(self, run: Prompted) -> list[str]:
        """The names of the parts that may change; a prompt that is one text has the single part ''."""
        return [name for name in parts_of(run.start[0].text) or [""] if name not in self.frozen]

    def _take_turn(self) -> None:
        """Begin anew with the next part."""
        self._incumbent = self.best()
        part = self._parts[self._turns % len(self._parts)]
        self._length = self.turn * 2 ** (self._turns // len(self._parts))
        key = (STREAM, self._turns) if self._turns else ()
        self._part = PartSetup(self._setup, part, base=self._incumbent.text, start=self._starts(part), key=key)
        self._turns += 1
        self._known = len(self._prompts)
        self._asked, self._open = {}, set()
        self.optimizer.begin(self._part)

    def _starts(self, part: str) -> list[str]:
        """The texts of a part that a turn begins with: that of the best prompt, and the best others so far."""
        if self._turns and self._several:
            ranked = sorted(self._ranks[part], key=lambda text: self._ranks[part][text], reverse=True)[:CARRIED]
        else:
            ranked = [_text(prompt.text, part) for prompt in self._setup.start]
        return list(dict.fromkeys([_text(self._incumbent.text, part), *ranked]))

    def _rank(self, prompt: Prompt, rating: Rating) -> None:
        """Remember how well each part of a rated prompt did, beside whatever others."""
        if self._part is None:
            self._first[prompt] = rating.rank
        for part, ranks in self._ranks.items():
            text = _text(prompt.text, part)
            ranks[text] = max(ranks.get(text, rating.rank), rating.rank)

    # ── Between a part and the prompt ─────────────────────────────────────────────────────────────────────────────

    def _outwards(self, batch: Sequence[Any]) -> list[Any]:
        """The inner optimizer's questions, about whole prompts."""
        questions = [self._outer(question) for question in batch]
        self._asked |= zip(questions, batch, strict=True)
        self._open.update(questions)
        return questions

    def _outer(self, question: Any) -> Any:
        if isinstance(question, Rate):
            return replace(question, prompt=self._whole(question.prompt))
        return replace(question, a=self._whole(question.a), b=self._whole(question.b))

    def _whole(self, prompt: Prompt) -> Prompt:
        """The prompt with a text of the part whose turn it is; where it came from is told in whole prompts."""
        part = self._part
        if part is None or not part.part:
            return prompt
        text = part.whole(prompt.text)
        if text not in self._prompts:
            parents = [part.whole(one) for one in prompt.origin.get("parents", ())] or [part.base]
            self._prompts[text] = Prompt(text, {"step": "part", **prompt.origin, "part": part.part, "parents": parents})
        return self._prompts[text]


def _text(text: str, part: str) -> str:
    return parts_of(text)[part] if part else text


class PartOf:
    """What is known of one part of a run's prompts (:class:`promptopt.core.OfPart`).

    Args:
        run: knows the whole prompts.
        part: the part's name; '' for prompts that are one text.
        base: the prompt whose other parts are kept.
        start: the part's texts to start from; by default that of ``base``.
    """

    def __init__(self, run: Prompted, part: str, *, base: str, start: Sequence[str] = ()) -> None:
        self._run = run
        self._parts = parts_of(base)
        self.part = part
        self.base = base
        self.start = tuple(Prompt(text) for text in start or [_text(base, part)])

    @property
    def others(self) -> Mapping[str, str]:
        """The other parts."""
        return {name: text for name, text in self._parts.items() if name != self.part}

    def whole(self, text: str, /) -> str:
        """The prompt with this text as the part."""
        return text_of({**self._parts, self.part: text}) if self.part else text

    def problem_with(self, prompt: Prompt) -> str | None:
        """Why the target cannot take the prompt with this part, or None."""
        return self._run.problem_with(Prompt(self.whole(prompt.text)))


class PartSetup(PartOf):
    """The setup of a search over one part.

    Args:
        setup: the run's.
        part, base, start: as of :class:`PartOf`.
        key: before the keys of all random streams.
    """

    def __init__(self, setup: Setup, part: str, *, base: str, start: Sequence[str], key: Sequence[int]) -> None:
        super().__init__(setup, part, base=base, start=start)
        self._setup = setup
        self._key = tuple(key)

    def rng(self, *key: int) -> np.random.Generator:
        """As of the run, but other streams in every turn but the first."""
        return self._setup.rng(*self._key, *key)

    def model(self, model: ChatModel, *, role: str) -> ChatModel:
        """As of the run."""
        return self._setup.model(model, role=role)

    def count(self, what: str, n: int = 1) -> None:
        """As of the run."""
        self._setup.count(what, n)

    def note(self, text: str) -> None:
        """As of the run."""
        self._setup.note(text)

    def keep(self, picture: Picture, /) -> str:
        """As of the run; a setup that keeps none names it."""
        return self._setup.keep(picture) if isinstance(self._setup, KeepsPictures) else picture_file(picture)

    def picture(self, name: str | None, /) -> Picture | None:
        """As of the run; None of one that keeps none."""
        return self._setup.picture(name) if isinstance(self._setup, KeepsPictures) else None
