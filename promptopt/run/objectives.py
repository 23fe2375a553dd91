"""What prompts cost besides their value: which objectives a run has, and how it comes by them.

Prompt tokens are counted once, at the end. Dollars and seconds are those of the target's work on a prompt's training
(and dev) examples; to tell them apart, prompts are then rated one at a time. All others are the scorer's own.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..core import (
    Begins,
    ChatModel,
    CountsTokens,
    Duel,
    HasObjectives,
    Message,
    Optimizer,
    Prompt,
    Prompted,
    Rating,
    Request,
    Scorer,
    Streams,
    Target,
    Usage,
)
from ..errors import UserError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DEFAULT", "METERED", "Planned", "Spending", "Tokens", "check", "costs_of", "together"]

TOKENS, DOLLARS, SECONDS = "prompt-tokens", "dollars", "seconds"
DEFAULT = (TOKENS,)  # where the user names none
METERED = frozenset({DOLLARS, SECONDS})
BYTES_PER_TOKEN = 4
NO_PRICE = " (no model of the target says what its calls cost; give it prices)"


class Planned(Prompted, Protocol):
    """What is looked at of a plan."""

    @property
    def objectives(self) -> tuple[str, ...] | None: ...
    @property
    def margin(self) -> float | None: ...
    @property
    def cheapest(self) -> bool: ...
    @property
    def optimizer(self) -> Optimizer[Any, Any]: ...
    @property
    def scorer(self) -> Scorer[Any, Any]: ...
    @property
    def target(self) -> Target | None: ...


def check(plan: Planned) -> None:
    """Check that somebody provides each of the objectives that the user named. Free.

    Raises:
        UserError: nobody provides one, one is named twice, or nothing in this run is rated.
    """
    names = plan.objectives or ()
    wanted = {"objectives": bool(names), "margin": plan.margin is not None, 'verdict = "cheapest"': plan.cheapest}
    asked = ", ".join(name for name, given in wanted.items() if given)
    if not asked:
        return
    if plan.objectives == ():
        raise UserError(f"{asked}: there is no cheapest prompt where objectives is empty. Name some, or leave it out.")
    if plan.optimizer.question is Duel:
        raise UserError(
            f"{asked}: {type(plan.optimizer).__name__} asks for duels, so prompts have no value to weigh against their "
            "costs. Leave it out, or take an optimizer that asks for ratings."
        )
    if len({*names}) < len(names):
        raise UserError(f"objectives is {[*names]!r}; name each once.")
    provided = _provided(plan, names)
    if missing := [name for name in names if name not in provided]:
        why = NO_PRICE if missing[0] == DOLLARS else ""
        raise UserError(
            f"objectives: nobody provides {missing[0]!r}{why}. There are {', '.join(provided)}; a metric with "
            "`measure`, or a scorer with `objectives`, brings its own (docs/python.md)."
        )


def _provided(plan: Planned, names: Collection[str]) -> list[str]:
    found = [TOKENS]
    if not isinstance(plan.scorer, Streams):  # people answer when they like
        found.append(SECONDS)
        if DOLLARS in names and any(_priced(model) for model in _models(plan)):
            found.append(DOLLARS)
    return [*found, *(plan.scorer.objectives if isinstance(plan.scorer, HasObjectives) else ())]


def _models(plan: Planned) -> list[ChatModel]:
    """The chat models that the target will have billed to the run."""
    listening = _Listening(plan)
    if isinstance(plan.target, Begins):
        plan.target.begin(listening)
    return listening.models


def _priced(model: ChatModel) -> bool:
    return model.at_most(Request([Message("user", "?")])).dollars > 0


class _Listening:
    """A setup that only hears which chat models a target has."""

    def __init__(self, plan: Planned) -> None:
        self._plan = plan
        self.models: list[ChatModel] = []

    @property
    def start(self) -> Sequence[Prompt]:
        return self._plan.start

    def rng(self, *key: int) -> np.random.Generator:
        import numpy

        return numpy.random.default_rng(key)

    def problem_with(self, prompt: Prompt) -> str | None:
        return self._plan.problem_with(prompt)

    def model(self, model: ChatModel, *, role: str) -> ChatModel:
        self.models += [model] if role == "target" else []
        return model

    def count(self, what: str, n: int = 1) -> None: ...

    def note(self, text: str) -> None: ...


# ── Measured while prompts are rated ──────────────────────────────────────────────────────────────────────────────


class Spending:
    """What the target's work on the question under way costs. Safe to use from several threads.

    Args:
        names: the objectives that are wanted; of these it knows dollars and seconds.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = METERED.intersection(names)
        self._lock = threading.Lock()
        self.begin()

    @property
    def on(self) -> bool:
        """Whether anything is measured, so that questions have to come one at a time."""
        return bool(self._names)

    def begin(self) -> None:
        """A question is asked."""
        self._dollars, self._paid, self._waited, self._began = 0.0, True, True, time.monotonic()

    def add(self, usage: Usage, *, live: bool) -> None:
        """Take what a call of the target cost.

        Args:
            usage: no calls where the reply was on disk, so that nobody knows what it would have cost.
            live: whether it was waited for.
        """
        with self._lock:
            self._dollars += usage.dollars
            self._paid &= usage.calls > 0
            self._waited &= live and usage.calls > 0

    def each(self, examples: int) -> dict[str, float]:
        """What the question cost an example, as far as that is known."""
        found = {}
        if DOLLARS in self._names and self._paid:
            found[DOLLARS] = self._dollars / examples
        if SECONDS in self._names and self._waited:
            found[SECONDS] = round((time.monotonic() - self._began) / examples, 6)
        return found


def together(ratings: Iterable[tuple[Prompt, Rating, int]]) -> dict[str, dict[str, float]]:
    """The costs of prompts over all their ratings, each weighed by its number of examples; by prompt and objective."""
    sums: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for prompt, rating, n in ratings:
        for name, cost in rating.objectives.items():
            sums[prompt.text][name][0] += cost * n
            sums[prompt.text][name][1] += n
    return {text: {name: total / n for name, (total, n) in costs.items()} for text, costs in sums.items()}


# ── Counted at the end ────────────────────────────────────────────────────────────────────────────────────────────


class Tokens:
    """Counts the tokens of prompts, with the target's tokenizer where it has one.

    Without one, a token is taken for four bytes of UTF-8, rounded up: near enough for English, and the same for all
    prompts of a run.

    Attributes:
        said: how they are counted, in words.
    """

    def __init__(self, parts: Iterable[object]) -> None:
        self._counter = next((part for part in parts if isinstance(part, CountsTokens)), None)
        rough = f"{BYTES_PER_TOKEN} bytes as a token: the target names no tokenizer"
        self.said = rough if self._counter is None else "with the target's tokenizer"

    def of(self, text: str) -> int:
        """The tokens of a prompt."""
        if self._counter is not None:
            return self._counter.count_tokens(text)
        return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def costs_of(
    prompts: Iterable[Prompt], names: Collection[str], *, measured: Mapping[str, Mapping[str, float]], tokens: Tokens
) -> dict[str, dict[str, float]]:
    """The objectives of prompts, as far as they are known, by prompt and objective."""
    found = {}
    for prompt in prompts:
        counted: dict[str, float] = {TOKENS: tokens.of(prompt.text)} if TOKENS in names else {}
        every = {**measured.get(prompt.text, {}), **counted}
        found[prompt.text] = {name: every[name] for name in names if name in every}
    return found
