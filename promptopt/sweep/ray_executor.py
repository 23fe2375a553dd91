"""Scoring on a Ray cluster: shards of prompts x examples go to actors, one per free GPU or, without any, per free CPU.

What runs there depends on the target. One that prompts a chat model stays here, so that its calls are billed and
recorded as ever, and only the model runs in the actors. Any other target, CLIP above all, runs in the actors whole.
The answers are the same and in the same order as without Ray. An actor that is lost gets no more work, and its shard
is done by another.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..core import Completion, Example, Prompt, Request, Usage
from ..errors import PromptoptError, UserError, require
from ..recipe.build import build, factory_of, hints_of, kind_of
from .parts import wants

METHODS = ("view", "embed")  # of a target beside the required ones, which it has in its actors as well
AT_ONCE = 64  # calls to a chat model that an actor takes at a time


def shard(spec: Any, *, where: str, offered: Mapping[str, Any]) -> Any:
    """A target whose work is done on the Ray cluster; arguments as of :func:`promptopt.recipe.build.build`.

    Raises:
        MissingExtra: Ray is not installed.
        UserError: there is no cluster, nothing is free there, or the target cannot be built.
    """
    table: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    factory = factory_of("targets", table["name"], where=where)
    hints = hints_of(factory)
    models = [key for key in table if kind_of(hints.get(key, Any)) == "models"]
    if models:
        remote = {key: RayModel(table[key], where=f"{where}.{key}") for key in models}
        return build("targets", {**table, **remote}, where=where, offered=offered)
    needed = {name: offered[name] for name in wants("targets", table, offered, where=where)}
    target = RayTarget(table, where=where, offered=needed)
    for name in ("metric", "tiebreak"):
        if hasattr(factory, name):
            setattr(target, name, getattr(factory, name))
    for name in METHODS:
        if hasattr(factory, name):
            setattr(target, name, partial(target.ask, name))
    return target


class RayTarget:
    """A target in actors.

    Args:
        spec: the target as a recipe has it.
        where: where it stands, for errors.
        offered: values for the parameters that the recipe leaves out.
    """

    def __init__(self, spec: Mapping[str, Any], *, where: str, offered: Mapping[str, Any]) -> None:
        self._cluster = cluster()
        self._key = self._cluster.build("targets", spec, where=where, offered=offered)
        self.record: Mapping[str, Any] = self.ask("record") or {}

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """As the target says."""
        found: str | None = self.ask("problem_with", prompt)
        return found

    def ask(self, name: str, *arguments: Any) -> Any:
        """What a method of the target in the first actor returns, or the value of an attribute; None without it."""
        return self._cluster.get(0, "ask", self._key, name, *arguments)

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> Sequence[Any]:
        """As the target does, with the examples shared out among the actors."""
        return next(self.run_batch([prompt], examples))

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[Sequence[Any]]:
        """What the target returns, prompt by prompt. Few prompts are shared out by their examples as well."""
        actors = self._cluster.size
        groups = split(prompts, min(len(prompts), actors))
        parts = split(examples, min(len(examples), max(1, actors // max(1, len(groups))))) or [()]
        places = itertools.count()
        shards = [[self._cluster.run(next(places), self._key, group, part) for part in parts] for group in groups]
        for row in shards:
            outputs = [one.get() for one in row]
            yield from map(_joined, zip(*outputs, strict=True))


class RayModel:
    """A chat model in actors, which take calls in turns.

    Args:
        spec: the model as a recipe has it.
        where: where it stands, for errors.
    """

    def __init__(self, spec: Any, *, where: str) -> None:
        self._cluster = cluster()
        self._key = self._cluster.build("models", spec, where=where, offered={})
        self._turns = itertools.count()
        facts = self._cluster.get(0, "facts", self._key)
        self.name: str = facts["name"]
        self.identity: Mapping[str, Any] | None = facts["identity"]
        self.notes: tuple[str, ...] = facts["notes"]

    def complete(self, request: Request, /) -> Completion:
        """As the model does, on the actor whose turn it is."""
        found: Completion = self._cluster.get(next(self._turns), "complete", self._key, request)
        return found

    def at_most(self, request: Request, /) -> Usage:
        """As the model says."""
        found: Usage = self._cluster.get(0, "at_most", self._key, request)
        return found


def split(items: Sequence[Any], n: int) -> list[Sequence[Any]]:
    """Items in ``n`` runs of nearly equal length, in order."""
    ends = [len(items) * i // max(1, n) for i in range(n + 1)]
    return [items[a:b] for a, b in itertools.pairwise(ends)]


def _joined(parts: Sequence[Any]) -> Any:
    """One prompt's outputs on all examples."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [output for part in parts for output in part]


# ── The actors ────────────────────────────────────────────────────────────────────────────────────────────────────


class Holder:
    """What an actor is: parts by key, and examples by number, which are sent once."""

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}
        self._examples: dict[int, Example] = {}

    def build(self, key: str, kind: str, spec: Any, where: str, offered: Mapping[str, Any]) -> None:
        try:
            self._parts[key] = build(kind, spec, where=where, offered=offered)
        except UserError as error:  # those with arguments of their own do not survive the journey
            raise UserError(str(error)) from None

    def hold(self, examples: Mapping[int, Example]) -> None:
        self._examples.update(examples)

    def run(self, key: str, prompts: Sequence[Prompt], numbers: Sequence[int]) -> list[Any]:
        from ..core import BatchTarget

        target, examples = self._parts[key], [self._examples[number] for number in numbers]
        if isinstance(target, BatchTarget):
            return list(target.run_batch(prompts, examples))
        return [target.run(prompt, examples) for prompt in prompts]

    def ask(self, key: str, name: str, *arguments: Any) -> Any:
        found = getattr(self._parts[key], name, None)
        return found(*arguments) if callable(found) else found

    def facts(self, key: str) -> dict[str, Any]:
        model = self._parts[key]
        notes = tuple(getattr(model, "notes", ()))
        return {"name": model.name, "identity": getattr(model, "identity", None), "notes": notes}

    def at_most(self, key: str, request: Request) -> Usage:
        found: Usage = self._parts[key].at_most(request)
        return found

    def complete(self, key: str, request: Request) -> Completion:
        found: Completion = self._parts[key].complete(request)
        return found


class Slot:
    """One actor and the numbers of the examples that it holds."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.held: set[int] = set()


class Shard:
    """Some prompts on some examples, under way on one actor.

    Args:
        place: which actor; counted round.
    """

    def __init__(self, owner: Cluster, place: int, key: str, prompts: Sequence[Prompt], numbers: Sequence[int]) -> None:
        self._owner = owner
        self._place = place
        self._arguments = (key, prompts, numbers)
        self._slot, self._future = owner.submit(place, "run", *self._arguments)

    def get(self) -> list[Any]:
        """The outputs, prompt by prompt, from another actor if this one is lost."""
        while True:
            try:
                found: list[Any] = self._owner.wait(self._slot, self._future)
                return found
            except Lost:
                self._slot, self._future = self._owner.submit(self._place, "run", *self._arguments)


class Lost(Exception):
    """An actor is gone; it has been dropped."""


class Cluster:
    """The actors of this process on the Ray cluster that it is part of.

    Raises:
        UserError: there is no cluster, or nothing is free there.
    """

    def __init__(self) -> None:
        self._ray: Any = require("ray", extra="ray")
        self._exceptions: Any = require("ray.exceptions", extra="ray")
        if not self._ray.is_initialized():
            try:
                self._ray.init(address="auto", log_to_driver=False, logging_level="error")
            except ConnectionError:
                raise UserError("there is no Ray cluster here. Start one with: ray start --head") from None
        free = self._ray.available_resources()
        device = "GPU" if free.get("GPU", 0) >= 1 else "CPU"
        count = int(free.get(device, 0))
        if not count:
            raise UserError("the Ray cluster has no free CPU or GPU; wait, or add a node with: ray start --address=...")
        options = {"num_gpus": 1, "num_cpus": 0} if device == "GPU" else {"num_cpus": 1}
        groups = {"models": AT_ONCE}
        made = self._ray.remote(**options, scheduling_strategy="SPREAD", concurrency_groups=groups)(Holder)
        self._slots = [Slot(made.remote()) for _ in range(count)]
        self._numbers: dict[int, tuple[int, Example]] = {}  # by identity; holding the example keeps its id taken
        self._keys = itertools.count()
        self._guard = threading.RLock()

    @property
    def size(self) -> int:
        """How many actors there are."""
        return len(self._slots)

    def build(self, kind: str, spec: Any, *, where: str, offered: Mapping[str, Any]) -> str:
        """Build a part in every actor; the key that it goes by."""
        key = f"{kind} {next(self._keys)}"
        arguments = (key, kind, spec, where, dict(offered))
        futures = [(slot, slot.actor.build.remote(*arguments)) for slot in list(self._slots)]
        for slot, future in futures:
            with contextlib.suppress(Lost):
                self.wait(slot, future)
        return key

    def run(self, place: int, key: str, prompts: Sequence[Prompt], examples: Sequence[Example]) -> Shard:
        """Send a shard on its way."""
        numbers = [self._number(example) for example in examples]
        return Shard(self, place, key, list(prompts), numbers)

    def get(self, place: int, method: str, *arguments: Any) -> Any:
        """What an actor answers; another one if it is lost."""
        while True:
            with contextlib.suppress(Lost):
                return self.wait(*self.submit(place, method, *arguments))

    def submit(self, place: int, method: str, *arguments: Any) -> tuple[Slot, Any]:
        """The actor at a place, counted round, and the future of its answer.

        Raises:
            PromptoptError: every actor is lost.
        """
        with self._guard:
            if not self._slots:
                raise PromptoptError("every actor on the Ray cluster is lost; see its logs, and go on with a new one.")
            slot = self._slots[place % len(self._slots)]
            if method == "run":
                self._send(slot, arguments[2])
        call = getattr(slot.actor, method)
        if method == "complete":
            call = call.options(concurrency_group="models")
        return slot, call.remote(*arguments)

    def wait(self, slot: Slot, future: Any) -> Any:
        """The answer.

        Raises:
            Lost: the actor is gone.
        """
        try:
            return self._ray.get(future)
        except self._exceptions.RayActorError:
            with self._guard, contextlib.suppress(ValueError):
                self._slots.remove(slot)
            raise Lost from None
        except self._exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None

    def _send(self, slot: Slot, numbers: Sequence[int]) -> None:
        """Send an actor the examples that it lacks; calls are answered in the order they are sent."""
        missing = set(numbers) - slot.held
        if missing:
            slot.actor.hold.remote({n: example for n, example in self._numbers.values() if n in missing})
            slot.held |= missing

    def _number(self, example: Example) -> int:
        with self._guard:
            return self._numbers.setdefault(id(example), (len(self._numbers), example))[0]


_cluster: Cluster | None = None


def cluster() -> Cluster:
    """The one cluster of this process."""
    global _cluster
    if _cluster is None:
        _cluster = Cluster()
    return _cluster
