"""What a run gives to its parts: random streams, counters, and chat models that it pays for and writes down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from ..core import (
    NO_START,
    ChatModel,
    Choice,
    Chooses,
    Completion,
    HasNotes,
    Message,
    Picture,
    Prompt,
    Request,
    Usage,
)
from ..errors import BudgetExhausted, ModelError, Rejected, Unanswered
from ..models.keys import call_key, choice_key
from ..record.codec import encode_choice, encode_completion, is_lost
from ..record.replay import counts_as_scorers
from ..retries import until

if TYPE_CHECKING:
    from .recorder import Recorder

T = TypeVar("T")
STREAMS = {"optimizer": 0, "scorer": 1, "dev": 2, "test": 3}
MOST_LOST = 10  # when this many calls of one model fail in a row, it is taken to answer nothing any more
MOST_PROPOSALS_LOST = 3  # likewise of a proposer, without which a search comes to nothing new


class RunSetup:
    """What :class:`promptopt.core.Setup` promises, for one part of a run."""

    def __init__(self, run: Recorder, part: str) -> None:
        self._run = run
        self._part = part

    @property
    def start(self) -> Sequence[Prompt]:
        return () if self._run.start[0] is NO_START else self._run.start

    def rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._run.seed, spawn_key=(STREAMS[self._part], *key)))

    def problem_with(self, prompt: Prompt) -> str | None:
        return self._run.problem_with(prompt)

    def model(self, model: ChatModel, *, role: str) -> ChatModel:
        self.note_what_it_says(model)
        self._run.prompted += [model] if role == "target" else []
        return BilledModel(self._run.wrap(model), self._run, part=self._part, role=role)

    def note_what_it_says(self, model: ChatModel) -> None:
        """Note what the user should hear before the model's first call."""
        for note in model.notes if isinstance(model, HasNotes) else ():
            self.note(note)

    def count(self, what: str, n: int = 1) -> None:
        self._run.count(what, n, recorded=self._part != "optimizer")

    def note(self, text: str) -> None:
        if text not in self._run.notes:
            self._run.notes.append(text)

    def keep(self, picture: Picture, /) -> str:
        return self._run.pictures.keep(picture)

    def picture(self, name: str | None, /) -> Picture | None:
        return self._run.pictures.find(name)


@runtime_checkable
class Recalls(Protocol):
    """A chat model that can answer some calls for free from a cache: see :mod:`promptopt.models.wrappers.cache`."""

    def recall(self, request: Request, /) -> Completion | None: ...

    def skip(self, request: Request, /) -> None: ...


class BilledModel:
    """A chat model whose calls a run pays for, writes down and, when it resumes, does not make again.

    A call that fails for good, after its retries, is for its caller to survive. The tenth in a row ends the run, since
    the model won't answer any more; of a proposer the third does. Calls that the provider rejects for their content
    count among these only until the model has answered once: before that the settings are at fault, afterwards a
    prompt.

    To an optimizer such a call of its proposer or judge comes as a completion without replies, and is written down as
    one, so that a resumed run goes the same way.
    """

    def __init__(self, model: ChatModel, run: Recorder, *, part: str, role: str) -> None:
        self._model = model
        self._run = run
        self._tags: Mapping[str, str] = {"part": part, "role": role, "model": model.name}
        self._lock = threading.Lock()
        self._lost_in_a_row = 0
        self._most_lost = MOST_PROPOSALS_LOST if role == "proposer" else MOST_LOST

    @property
    def name(self) -> str:
        return self._model.name

    def at_most(self, request: Request, /) -> Usage:
        return self._model.at_most(request)

    def complete(self, request: Request, /) -> Completion:
        key = call_key(self.name, request)
        cache = self._model if isinstance(self._model, Recalls) else None
        recorded = self._recorded(request)
        if recorded is not None:
            if cache:
                cache.skip(request)
            self._tell(recorded.usage, live=False)
            return recorded
        completion = cache.recall(request) if cache else None
        live = completion is None
        if completion is None:
            self._run.meter.check_seconds()
            with self._run.meter.hold(self._model.at_most(request)) as bill, self._in_time():
                completion = self._completed(request)
                bill(completion.usage)
        self._tell(completion.usage, live=live)
        self._write(key, encode_completion(completion, self._run.ledger.folder), completion.usage)
        return completion

    def _recorded(self, request: Request) -> Completion | None:
        """What an earlier start of this run was answered, or None. Proposers used to be asked without a schema."""
        asked = [request, replace(request, schema=None)] if request.schema is not None else [request]
        with self._lock:
            found = (self._run.replay.call(self._tags["part"], call_key(self.name, one)) for one in asked)
            return next((one for one in found if one is not None), None)

    def choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Choice:
        key, model = choice_key(self.name, messages, options), self._model
        assert isinstance(model, Chooses)
        with self._lock:
            recorded = self._run.replay.choice(self._tags["part"], key)
        if recorded is not None:
            self._tell(recorded.usage, live=False)
            return recorded
        self._run.meter.check_seconds()
        most = model.at_most_to_choose(messages, options)
        with self._run.meter.hold(most) as bill, self._in_time():
            choice = self._answered(lambda: model.choose(messages, options))
            bill(choice.usage)
        self._tell(choice.usage, live=True)
        self._write(key, encode_choice(choice), choice.usage)
        return choice

    def at_most_to_choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Usage:
        assert isinstance(self._model, Chooses)
        return self._model.at_most_to_choose(messages, options)

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Calls made while it lasts end with the budget of seconds.

        Raises:
            BudgetExhausted: they do, or the time was up before without any answer of this model: the final choice and
                the verdict do not wait for it again.
        """
        if self._name in self._run.waited_for_in_vain:
            raise BudgetExhausted("seconds")
        try:
            with until(self._run.meter.ends):
                yield
        except BudgetExhausted as error:
            if error.limit == "seconds" and self._name not in self._run.heard:
                self._run.waited_for_in_vain.add(self._name)
            raise

    def _completed(self, request: Request) -> Completion:
        """The model's completion; of an optimizer's proposer or judge one without replies where the call failed.

        Raises:
            Unanswered, Rejected: another call failed.
            ModelError: too many in a row did.
        """
        try:
            return self._answered(lambda: self._model.complete(request))
        except (Unanswered, Rejected) as error:
            if self._tags["part"] != "optimizer" or self._tags["role"] == "target":
                raise
            self._run.lost = error
            said = f"A call of the {self._tags['role']} failed, and the search went on without its replies: {error}"
            self._run.notes += [said] if said not in self._run.notes else []
            return Completion((), Usage())

    def _answered(self, ask: Callable[[], T]) -> T:
        """The model's answer to one call.

        Raises:
            Unanswered, Rejected: this call failed.
            ModelError: too many in a row did.
        """
        try:
            said = ask()
        except (Unanswered, Rejected) as error:
            with self._lock:
                self._lost_in_a_row += isinstance(error, Unanswered) or self._name not in self._run.heard
                if self._lost_in_a_row < self._most_lost:
                    raise
            raise ModelError(f"{error} ({self._most_lost} calls in a row failed)") from None
        self._lost_in_a_row = 0
        self._run.lost = None
        return said

    @property
    def _name(self) -> tuple[str, str]:
        return self._tags["role"], self._tags["model"]

    def _tell(self, usage: Usage, *, live: bool) -> None:
        """Have what a call of the target cost count as its prompt's."""
        if self._run.spending.on and self._tags["role"] == "target":
            self._run.spending.add(usage, live=live)

    def _write(self, key: str, given: Mapping[str, Any], usage: Usage) -> None:
        if counts_as_scorers(self._tags, self._run.aftermath_roles):
            with self._run.guard:
                self._run.scorer_usage += usage
        if not is_lost(given):
            self._run.heard.add(self._name)
        seconds = round(self._run.meter.seconds, 3)
        self._run.ledger.append({"event": "call", **self._tags, "key": key, **given, "t": seconds})
