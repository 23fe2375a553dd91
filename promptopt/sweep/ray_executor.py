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
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from ..core import BatchTarget, Completion, Example, HasIdentity, HasNotes, Prompt, Request, Usage
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
    for name in ("metric", "tiebreak", "takes_parts", "takes_demonstrations"):
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
        held = self._cluster.hold(examples)
        parts = split(held, min(len(held), max(1, actors // max(1, len(groups))))) or [()]
        turn = itertools.count()
        shards = [[self._cluster.send(next(turn), "run", self._key, group, part) for part in parts] for group in groups]
        for row in shards:
            outputs = [answer() for answer in row]
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
    """What an actor is: parts and examples, by the keys that they go by."""

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}
        self._examples: dict[int, Example] = {}

    def build(self, key: str, kind: str, spec: Any, where: str, offered: Mapping[str, Any]) -> None:
        if key in self._parts:  # asked in place of an actor that is lost
            return
        try:
            self._parts[key] = build(kind, spec, where=where, offered=offered)
        except UserError as error:  # those with arguments of their own do not survive the journey
            raise UserError(str(error)) from None

    def hold(self, examples: Mapping[int, Example]) -> None:
        self._examples.update(examples)

    def run(self, key: str, prompts: Sequence[Prompt], held: Sequence[int]) -> list[Any]:
        target, examples = self._parts[key], [self._examples[one] for one in held]
        if isinstance(target, BatchTarget):
            return list(target.run_batch(prompts, examples))
        return [target.run(prompt, examples) for prompt in prompts]

    def ask(self, key: str, name: str, *arguments: Any) -> Any:
        found = getattr(self._parts[key], name, None)
        return found(*arguments) if callable(found) else found

    def facts(self, key: str) -> dict[str, Any]:
        model = self._parts[key]
        return {
            "name": model.name,
            "identity": model.identity if isinstance(model, HasIdentity) else None,
            "notes": tuple(model.notes) if isinstance(model, HasNotes) else (),
        }

    def at_most(self, key: str, request: Request) -> Usage:
        found: Usage = self._parts[key].at_most(request)
        return found

    def complete(self, key: str, request: Request) -> Completion:
        found: Completion = self._parts[key].complete(request)
        return found


class Cluster:
    """The actors of this process on the Ray cluster that it is part of.

    Ray's own means do not fit. Its ``ActorPool`` gives an actor one call at a time, is meant for one thread, and loses
    the call that a lost actor was given. With ``max_restarts`` an actor whose node is lost would wait for a free CPU or
    GPU, and its calls with it, while the other actors hold them all.

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
        self._actors = [made.remote() for _ in range(count)]
        self._examples: dict[int, Example] = {}  # by identity; holding the example keeps its id taken
        self._keys = itertools.count()
        self._guard = threading.RLock()

    @property
    def size(self) -> int:
        """How many actors there are."""
        return len(self._actors)

    def build(self, kind: str, spec: Any, *, where: str, offered: Mapping[str, Any]) -> str:
        """Build a part in every actor; the key that it goes by."""
        key, given = f"{kind} {next(self._keys)}", self._ray.put(dict(offered))
        for built in [self.send(place, "build", key, kind, spec, where, given) for place in range(self.size)]:
            built()
        return key

    def hold(self, examples: Sequence[Example]) -> list[int]:
        """The keys that examples go by. Those that are new go to every actor, which does what it is sent in order."""
        with self._guard:
            if new := {id(example): example for example in examples if id(example) not in self._examples}:
                self._examples |= new
                given = self._ray.put(new)
                for actor in self._actors:
                    actor.hold.remote(given)
        return [id(example) for example in examples]

    def get(self, place: int, method: str, *arguments: Any) -> Any:
        """What the actor at a place answers."""
        return self.send(place, method, *arguments)()

    def send(self, place: int, method: str, *arguments: Any) -> Callable[[], Any]:
        """Ask the actor at a place, counted round; what is returned waits for the answer.

        An actor that is found lost is dropped, and another one asked.

        Raises:
            PromptoptError: every actor is lost.
        """
        with self._guard:
            if not self._actors:
                raise PromptoptError("every actor on the Ray cluster is lost; see its logs, and go on with a new one.")
            actor = self._actors[place % len(self._actors)]
            group = "models" if method == "complete" else None
            future = getattr(actor, method).options(concurrency_group=group).remote(*arguments)

        def answer() -> Any:
            try:
                return self._ray.get(future)
            except self._exceptions.RayActorError:
                with self._guard, contextlib.suppress(ValueError):
                    self._actors.remove(actor)
            except self._exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, Exception) else error) from None
            return self.get(place, method, *arguments)

        return answer


@cache
def cluster() -> Cluster:
    """The one cluster of this process."""
    return Cluster()
