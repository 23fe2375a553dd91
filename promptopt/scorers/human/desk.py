"""The desk at which people answer duels: who is shown what, and what their answers come to.

No page and no terminal in here, and nothing of a run but the function that records an answer. Safe to use from several
threads.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from ...core import Duel, Preference, Winner
from ...stats import fleiss_kappa
from .opinions import Opinion, opinions_of, together
from .view import View

__all__ = ["Choice", "Desk", "Shown", "Standing"]

Choice: TypeAlias = Literal["left", "right", "tie", "unknown"]
LEASE = 30.0  # seconds without a sign of life after which an annotator's duel is given to another


@dataclass(frozen=True)
class Shown:
    """A duel as one annotator sees it. ``again`` counts how often this annotator has answered it before."""

    key: int
    again: int
    swapped: bool
    view: View
    duel: Duel


@dataclass(frozen=True)
class Standing:
    """How far the annotators are.

    Attributes:
        answered: duels with an answer; "cannot tell" is none.
        by: how many answers each annotator gave, likewise.
        present: annotators that gave a sign of life lately.
        doubled: duels with two opinions, neither of them "cannot tell".
        agreed: the share of those where both are the same.
        kappa: Fleiss' kappa of those, which is agreement beyond chance; None where it is not defined.
    """

    answered: int
    by: Mapping[str, int]
    present: int
    doubled: int
    agreed: float | None
    kappa: float | None


@dataclass(eq=False)
class Entry:
    """A duel on the desk. ``opinions`` are in the order given, the latest last."""

    key: int
    duel: Duel
    swapped: bool  # for whoever sees it first; the second sees it the other way round
    second: bool  # whether a second opinion is wanted
    view: View | None = None
    preparing: bool = False
    answered: bool = False  # by somebody who could tell, or without anybody
    settled: bool = False  # answered without anybody
    opinions: dict[str, Opinion] = field(default_factory=dict)
    given: Counter[str] = field(default_factory=Counter)
    holders: set[str] = field(default_factory=set)
    shown: dict[str, float] = field(default_factory=dict)
    dealt: dict[str, bool] = field(default_factory=dict)  # to whom, and whether with the sides swapped
    turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def wanting(self) -> bool:
        """Whether it should be shown to somebody now."""
        return not (self.settled or self.holders) and len(self.opinions) < (2 if self.second else 1)

    def sides(self, name: str) -> bool:
        """Whether an annotator sees it swapped: always as the first time, whatever others have said since."""
        if name in self.dealt:
            return self.dealt[name]
        if name in self.opinions:
            return self.opinions[name].swapped
        return self.swapped != bool(self.opinions)


class Desk:
    """Hands out duels and takes opinions.

    Args:
        rng: a random stream for each duel's number.
        second_opinions: the share of duels that a second annotator is shown as well.
        prepare: called with the key and the duel of an entry that has to be shown and has no view.
        lease: seconds without a sign of life after which a duel goes back to the others.
        clock: seconds.

    Attributes:
        record: where answers go; returns when they are kept.
        changed: set whenever something happened that others may wait for.
    """

    def __init__(
        self,
        *,
        rng: Callable[[int], np.random.Generator],
        second_opinions: float = 0.0,
        prepare: Callable[[int, Duel], None] = lambda key, duel: None,
        lease: float = LEASE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.record: Callable[[Duel, Preference], None] = lambda duel, preference: None
        self.changed = threading.Event()
        self._rng = rng
        self._second_opinions = second_opinions
        self._prepare = prepare
        self._lease = lease
        self._clock = clock
        self._lock = threading.RLock()
        self._entries: dict[int, Entry] = {}
        self._queue: list[int] = []  # wanted and held by nobody
        self._held: dict[str, int] = {}
        self._seen: dict[str, float] = {}
        self._history: dict[str, list[int]] = {}  # what each annotator answered, the latest last
        self._news = self._closed = False
        self._answered = 0
        self._by: Counter[str] = Counter()
        self._doubled: dict[int, tuple[Winner, Winner]] = {}

    # ── The run's side ────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, duel: Duel) -> int:
        """Take a duel to be answered, and have it prepared.

        Returns:
            Its key: the duel's number, or another one where that is taken.
        """
        with self._lock:
            key = duel.number if duel.number not in self._entries else max(self._entries) + 1
            entry = self._enter(key, replace(duel, number=key))
            self._queue.append(key)
            self._have_ready(entry)
        return key

    def remember(self, duel: Duel, answer: Preference) -> None:
        """Take an answer from the record of this run."""
        with self._lock:
            entry = self._entries.get(duel.number) or self._enter(duel.number, duel)
            opinions = opinions_of(answer)
            giver = next(reversed(opinions), None)
            self._keep(entry, opinions, giver)
            self._news = False

    def resume(self) -> None:
        """Have prepared what stands in the record and waits for a second opinion."""
        with self._lock:
            for key in self._queue:
                self._have_ready(self._entries[key])

    def ready(self, key: int, view: View) -> bool:
        """Take what is shown of a duel.

        Returns:
            Whether there is nothing to choose between; then it is recorded as a tie without asking anybody.
        """
        with self._lock:
            entry = self._entries[key]
            settled = view.same and not entry.opinions
            if settled and key in self._queue:
                self._queue.remove(key)
            entry.view, entry.settled = view, settled
        if settled:
            self.record(entry.duel, Preference("tie", {"by": {}}))
            with self._lock:
                self._keep(entry, {}, None)
        self.changed.set()
        return settled

    def news(self) -> bool:
        """Whether an answer was recorded since the last call. What happens from now on sets ``changed``."""
        with self._lock:
            self.changed.clear()
            news, self._news = self._news, False
            return news

    @property
    def present(self) -> int:
        """How many annotators gave a sign of life lately."""
        with self._lock:
            late = self._clock() - self._lease
            return sum(seen > late for seen in self._seen.values())

    @property
    def closed(self) -> bool:
        """Whether no more answers are taken."""
        return self._closed

    def close(self) -> None:
        """Take no more answers."""
        self._closed = True
        self.changed.set()

    # ── The annotators' side ──────────────────────────────────────────────────────────────────────────────────────

    def deal(self, name: str) -> Shown | None:
        """The duel that an annotator is to answer now, the same until it is answered; None if none is ready."""
        with self._lock:
            self._touch(name)
            if self._closed:
                return None
            key = self._held.get(name)
            if key is None:
                ready = (k for k in self._queue if self._entries[k].view and name not in self._entries[k].opinions)
                if (key := next(ready, None)) is None:
                    return None
                self._hold(name, key)
            entry = self._entries[key]
            if entry.view is None:
                return None
            entry.shown.setdefault(name, self._clock())
            swapped = entry.dealt.setdefault(name, entry.sides(name))
            return Shown(key, entry.given[name], swapped, entry.view, entry.duel)

    def duel(self, key: int) -> Duel | None:
        """The duel with this key."""
        with self._lock:
            return self._entries[key].duel if key in self._entries else None

    def vouch(self, name: str, key: int, *, swapped: bool) -> None:
        """Say that a duel was dealt to an annotator, with these sides, before the run was taken up."""
        with self._lock:
            self._entries[key].dealt.setdefault(name, swapped)

    def answer(self, name: str, key: int, choice: Choice, *, again: int = 0) -> bool:
        """Take an opinion; it is recorded when this returns.

        The same opinion sent twice counts once: ``again`` is what :class:`Shown` said.

        Returns:
            Whether it is kept; False where there is no such duel or it was not dealt to them, or the desk is closed.
        """
        with self._lock:
            self._touch(name)
            entry = self._entries.get(key)
        if entry is None or entry.settled or self._closed:
            return False
        with entry.turn:  # one opinion of a duel at a time; the desk itself stays free while the disk works
            if entry.given[name] != again:
                return 0 <= again < entry.given[name]
            if name not in entry.dealt:
                return False
            opinions = {who: one for who, one in entry.opinions.items() if who != name}
            opinions[name] = self._opinion(entry, name, choice)
            self.record(entry.duel, together(opinions))
            with self._lock:
                self._keep(entry, opinions, name)
        self.changed.set()
        return True

    def undoable(self, name: str) -> int | None:
        """The key of the duel that :meth:`undo` would show again."""
        with self._lock:
            history, held = self._history.get(name, []), self._held.get(name)
            place = history.index(held) if held in history else len(history)
            return history[place - 1] if place else None

    def undo(self, name: str, key: int | None = None) -> None:
        """Show an annotator the last duel again, or the one named. Its answer stands until a new one is given."""
        with self._lock:
            self._touch(name)
            key = self.undoable(name) if key is None else key
            if self._closed or key is None or key == self._held.get(name) or key not in self._history.get(name, []):
                return
            self._release(name)
            self._hold(name, key)
            entry = self._entries[key]
            entry.shown.pop(name, None)
            self._have_ready(entry)
        self.changed.set()

    def leave(self, name: str) -> None:
        """Give an annotator's duel to the others."""
        with self._lock:
            self._release(name)
            self._seen.pop(name, None)
        self.changed.set()

    def standing(self) -> Standing:
        """How far everybody is."""
        with self._lock:
            pairs = list(self._doubled.values())
            return Standing(
                answered=self._answered,
                by=dict(self._by),
                present=self.present,
                doubled=len(pairs),
                agreed=sum(one == other for one, other in pairs) / len(pairs) if pairs else None,
                kappa=fleiss_kappa(pairs),
            )

    # ── Inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _enter(self, key: int, duel: Duel) -> Entry:
        swapped, second = self._rng(key).random(2)
        entry = self._entries[key] = Entry(key, duel, bool(swapped < 0.5), bool(second < self._second_opinions))
        return entry

    def _have_ready(self, entry: Entry) -> None:
        if entry.view is None and not entry.preparing:
            entry.preparing = True
            self._prepare(entry.key, entry.duel)

    def _keep(self, entry: Entry, opinions: dict[str, Opinion], giver: str | None) -> None:
        """Put a recorded answer on the books; ``giver`` gave the latest opinion, None where nobody was asked."""
        told = [one.winner for one in opinions.values() if one.tells]
        before, entry.answered, entry.settled = entry.answered, bool(told) or giver is None, giver is None
        self._answered += entry.answered - before
        self._news = True
        if giver is None:
            return
        self._by[giver] += opinions[giver].tells - (giver in entry.opinions and entry.opinions[giver].tells)
        entry.given[giver] += 1
        history = self._history.setdefault(giver, [])
        if entry.key in history:
            history.remove(entry.key)
        history.append(entry.key)
        entry.opinions = opinions
        if len(told) > 1:
            self._doubled[entry.key] = (told[0], told[1])
        else:
            self._doubled.pop(entry.key, None)
        if self._held.get(giver) == entry.key:
            self._release(giver)
        self._requeue(entry)

    def _opinion(self, entry: Entry, name: str, choice: Choice) -> Opinion:
        swapped = entry.sides(name)
        winners: dict[Choice, Winner] = {"left": "b" if swapped else "a", "right": "a" if swapped else "b"}
        since = entry.shown.get(name)
        seconds = None if since is None else round(self._clock() - since, 1)
        return Opinion(winners.get(choice) or ("tie" if choice == "tie" else "unknown"), swapped, seconds)

    def _touch(self, name: str) -> None:
        now = self._clock()
        if name not in self._seen:
            self.changed.set()
        self._seen[name] = now
        for other in [who for who in self._held if now - self._seen.get(who, 0.0) > self._lease]:
            self._release(other)

    def _hold(self, name: str, key: int) -> None:
        if key in self._queue:
            self._queue.remove(key)
        self._held[name] = key
        self._entries[key].holders.add(name)

    def _release(self, name: str) -> None:
        key = self._held.pop(name, None)
        if key is None:
            return
        entry = self._entries[key]
        entry.holders.discard(name)
        self._requeue(entry)

    def _requeue(self, entry: Entry) -> None:
        """To the front of the queue if it should be shown to somebody, out of the queue if not."""
        if entry.key in self._queue:
            self._queue.remove(entry.key)
        if entry.wanting:
            self._queue.insert(0, entry.key)
