"""People answer duels, in the terminal or in the browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

from ...checks import at_least, check_argument, not_empty
from ...core import Begins, Duel, Example, Preference, Setup, Target
from ...errors import require
from .desk import Desk
from .view import Outputs, View

__all__ = ["Front", "Human"]

STREAM = int.from_bytes(b"human")
SAME = "duels with the same outputs, taken for ties"


class Front(Protocol):
    """Where people answer."""

    def start(self) -> None:
        """Be there for people; called before every wait."""

    def attend(self) -> bool:
        """Return once something has happened at the desk; False if nobody will answer any more."""

    def close(self) -> None:
        """Let people know that the run is over, and go."""


class Human:
    """People decide duels: which of two prompts gives the better outputs?

    A duel shows what both prompts make of the same few examples, or without a target the two prompts themselves, as
    where they are responses to one query. Who stands on the left is drawn. Outputs are made in the background, each
    once. Two prompts whose outputs look the same are a tie without asking anybody, and counted.

    An answer's ``details`` hold what each annotator said (``by``), whether ``b`` stood on the left (``swapped``) and
    after how many ``seconds``. A share of the duels is shown to a second annotator, the sides exchanged; where the two
    differ the answer becomes a tie.

    As a :class:`promptopt.core.Streams` it takes answers when they come. ``answer`` is for those who need a batch.

    Args:
        where: ``terminal`` asks whoever started the run; ``browser`` serves a page for any number of annotators.
        target: what the prompts are given to.
        examples: what the prompts are tried on.
        classes: class names; scores of a classifier are shown as the class it predicts.
        n_examples: examples of each duel, drawn anew for each; fewer if there are no more.
        question_text: what annotators are asked.
        context: shown above every duel, for example the query that the responses answer.
        second_opinions: the share of duels that a second annotator is shown.
        ahead: duels to keep open; by default 2 in the terminal, in the browser 2 for each annotator, and 4 at least.
        workers: duels that are prepared at a time; more than 1 only for a target that several threads can use.
        host: the address that the page is served at.
        port: likewise; 0 is any free one.
        public: allow an address that other machines can reach.
        token: what the link to the page ends with, drawn by default. Give one, and a port, to have open pages go on by
            themselves after a restart; it stands in the run's record.
        invite: names that get a link of their own each, and then nobody else gets in. By default all have one link, and
            a name belongs to the browser that takes it first.

    Raises:
        UserError: an option is out of range, there are no examples, or the address is open to others.
        MissingExtra: the page needs a package of the extra ``web`` that is not installed.
    """

    question = Duel
    # what may change when the run is taken up
    presentation = frozenset({"where", "ahead", "workers", "host", "port", "public", "token", "invite"})

    def __init__(
        self,
        *,
        where: Literal["terminal", "browser"] = "terminal",
        target: Target | None = None,
        examples: Sequence[Example] = (),
        classes: Sequence[str] = (),
        n_examples: int = 3,
        question_text: str = "Which is better?",
        context: str = "",
        second_opinions: float = 0.1,
        ahead: int | None = None,
        workers: int = 1,
        host: str = "127.0.0.1",
        port: int = 0,
        public: bool = False,
        token: str | None = None,
        invite: Sequence[str] = (),
    ) -> None:
        at_least(1, n_examples=n_examples, workers=workers, ahead=ahead)
        holds = 0 <= second_opinions <= 1
        check_argument("second_opinions", second_opinions, allowed="a share from 0 to 1", holds=holds)
        if target is not None:
            not_empty(examples=examples)
        self._where = where
        self._target = target
        self._examples = tuple(examples)
        self._classes = tuple(classes)
        self._n_examples = min(n_examples, len(self._examples))
        self._second_opinions = second_opinions
        self._ahead = ahead
        self._workers = workers
        self._progress: Any = None
        self.question_text = question_text
        self.context = context
        if where == "browser":
            require("starlette", extra="web")
            require("uvicorn", extra="web")
            from .page.address import Address

            self._address = Address(host, port, public=public, token=token, invite=invite)
        self._front: Front | None = None

    def begin(self, setup: Setup, /) -> None:
        """Take the run's random streams and pass the setup on to the target, which bills its models to the run."""
        self._setup = setup
        if isinstance(self._target, Begins):
            self._target.begin(setup)
        self._outputs = Outputs(self._target, self._classes) if self._target else None
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="promptopt-duels")
        self._error: BaseException | None = None
        self._desk = Desk(
            rng=lambda number: setup.rng(STREAM, number % 2**32),
            second_opinions=self._second_opinions,
            prepare=self._in_background,
        )
        self._wanted = self.ahead

    def weight(self, question: Duel, answer: Preference, /) -> float:
        """How much of the target's work is in an answer, see :class:`promptopt.core.Weighs`."""
        return 2 * self._n_examples / max(1, len(self._examples))

    # ── As a stream ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def ahead(self) -> int:
        """Duels to keep open."""
        if self._ahead is not None:
            return self._ahead
        return 2 if self._where == "terminal" else max(4, 2 * self._desk.present)

    def open(self, questions: Sequence[Duel], record: Callable[[Duel, Preference], None], /) -> None:
        """Put duels on the desk; their outputs are made in the background."""
        self._desk.record = record
        for duel in questions:
            self._desk.put(duel)

    def wait(self) -> bool:
        """Return True once an answer was recorded or more duels are wanted; False if whoever is asked has stopped.

        Raises:
            BudgetExhausted: the outputs of a duel would exceed the budget.
            ModelError: the provider refused for good.
            UserError: the page cannot be served, or a picture cannot be read.
        """
        if self._front is None:
            self._front = self._new_front()
            self._desk.resume()
        self._front.start()
        while not self._desk.news():
            if self._error:
                raise self._error
            before, self._wanted = self._wanted, self.ahead
            if self._wanted > before:
                return True
            if not self._front.attend():
                return False
        return True

    def remember(self, question: Duel, answer: Preference, /) -> None:
        """Take an answer of this run from before it was resumed."""
        self._desk.remember(question, answer)

    def watch(self, progress: Any, /) -> None:
        """Take where the run stands, to be shown beside the duels."""
        self._progress = progress

    def close(self) -> None:
        """Take no more answers, and tell everybody that the run is over."""
        self._desk.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._front:
            self._front.close()

    # ── As a batch ────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, questions: Sequence[Duel], /) -> Iterator[Preference]:
        """Preferences, one by one, each as soon as it and those before it are there.

        Raises:
            KeyboardInterrupt: the person has stopped, which ends the run as interrupted.
            BudgetExhausted, ModelError, UserError: as :meth:`wait`.
        """
        given: dict[int, Preference] = {}
        lock = threading.Lock()

        def record(duel: Duel, preference: Preference) -> None:
            with lock:
                given[duel.number] = preference

        self._desk.record = record
        for number in [self._desk.put(duel) for duel in questions]:
            while number not in given:
                if not self.wait():
                    raise KeyboardInterrupt
            yield given[number]

    # ── Inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _new_front(self) -> Front:
        if self._where == "terminal":
            from .terminal import Terminal

            return Terminal(self._desk, self.question_text, self.context, lambda: self._progress)
        from .page.server import Page

        return Page(self._desk, self._address, self.question_text, self.context, lambda: self._progress)

    def _in_background(self, key: int, duel: Duel) -> None:
        self._pool.submit(self._prepare, key, duel)

    def _prepare(self, key: int, duel: Duel) -> None:
        try:
            view = self._view(key, duel)
            if self._desk.ready(key, view):
                self._setup.count(SAME)
        except BaseException as error:
            self._error = error
            self._desk.changed.set()

    def _view(self, key: int, duel: Duel) -> View:
        if self._outputs is None:
            return View.of_texts(duel)
        rng = self._setup.rng(STREAM, key % 2**32, 1)
        drawn = rng.choice(len(self._examples), size=self._n_examples, replace=False)
        return self._outputs.view(duel, [self._examples[i] for i in drawn])
