"""What a run is made of: its parts, built and checked before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .. import demonstrations as demos
from .. import parts
from ..core import (
    Checks,
    ChecksKey,
    Dataset,
    FailedRule,
    HasArchive,
    HasTarget,
    Optimizer,
    Prompt,
    Rate,
    Rating,
    Scorer,
    Target,
)
from ..errors import UserError
from .budget import Budget
from .objectives import check as check_objectives
from .shorten import questions


@dataclass(frozen=True)
class Plan:
    """A run's parts. ``scorer`` answers the search; ``dev`` and ``test`` rate on the other splits, where there are any,
    and ``transfer`` with other targets on the test split.

    ``frozen`` names the parts of the start that no prompt changes.
    ``recipe`` holds the arguments as they were given, ``models`` the chat models that were built for it.
    ``verdict_by`` names the scorer or metric that gives the verdict, where the recipe names one for it; ``own_verdict``
    says that what gives it is what the search maximises.
    ``aftermath_roles`` are the roles whose calls are made again after the search, None for all: the target's alone
    where the verdict is by a metric, which needs no judge. ``objectives`` are None where the user names none, and empty
    for no front; with ``cheapest`` the front's cheapest prompt is measured on the test split too, and the prompts of so
    many cells of an archive as ``cells`` says.
    """

    start: tuple[Prompt, ...]
    frozen: tuple[str, ...]
    optimizer: Optimizer[Any, Any]
    scorer: Scorer[Any, Any]
    dev: Scorer[Rate, Rating] | None
    test: Scorer[Rate, Rating] | None
    transfer: Mapping[str, Scorer[Rate, Rating]]
    target: Target | None
    data: Dataset | None
    budget: Budget
    patience: int | None
    goal: float | None
    finalists: int
    ensemble: int
    shorten: int | None
    seed: int
    cache: bool
    per_example: bool
    cases: bool
    objectives: tuple[str, ...] | None
    margin: float | None
    cheapest: bool
    cells: int
    failed: FailedRule
    reply_cache: bool
    in_flight: int
    views: int
    recipe: Mapping[str, Any]
    models: Sequence[Any] = ()
    aftermath_roles: tuple[str, ...] | None = None
    verdict_by: str = ""
    own_verdict: bool = True

    @property
    def searcher(self) -> str:
        """The name of the class that searches; what a run puts around it for parts is left out."""
        return type(getattr(self.optimizer, "searches", self.optimizer)).__name__

    @property
    def reserved(self) -> int:
        """Questions kept back for the final choice, for shortening the answer and for the front on the dev split."""
        finalists = (self.finalists if self.dev else 0) + self.on_front
        return finalists + (1 if self.ensemble > 1 else 0) + self.shortening

    @property
    def on_front(self) -> int:
        """How many prompts of the front are rated on the dev split too, where the user names objectives."""
        return self.finalists if self.dev and self.objectives else 0

    @property
    def shortening(self) -> int:
        """Questions kept back for shortening the answer."""
        return (
            0
            if self.scorer.question is not Rate and not self.dev
            else questions(self.shorten, optimizer=self.optimizer, budget=self.budget.questions)
        )

    @property
    def aftermath(self) -> float:
        """How much is rated after the search, counted in ratings of one prompt on the whole training split.

        Examples are what is counted: 2 prompts on the test split for the verdict and for each transfer, and 1 for the
        cheapest prompt and for each cell, where these are asked for; on the dev split the finalists, and as many of the
        front where objectives are named; the ensemble and shortened prompts on the dev split, or the training split
        where there is none. With 20 training examples, 80 test examples and no more than the verdict that is
        2 * 80 / 20 = 8.
        """
        if self.data is None or not self.data.train:
            return 0.0
        verdicts = bool(self.test) + len(self.transfer)
        examples = (2 * verdicts + (self.cheapest + self.cells) * bool(self.test)) * len(self.data.test)
        examples += (self.finalists * bool(self.dev) + self.on_front) * len(self.data.dev)
        examples += ((self.ensemble > 1) + self.shortening) * len(self.data.dev or self.data.train)
        return examples / len(self.data.train)

    def problem_with(self, prompt: Prompt) -> str | None:
        """Why a prompt has not the start's parts, or the target cannot take it; None if neither."""
        problem = self.problem_with_parts(prompt)
        return self.target.problem_with(prompt) if problem is None and self.target is not None else problem

    def problem_with_parts(self, prompt: Prompt) -> str | None:
        """Why a prompt has not the same parts as the start, or another text in a frozen one; None if it has.

        Nor may it name a held-out example as a demonstration, whatever the target makes of that.
        """
        if problem := parts.problem_with(prompt.text, start=self.start[0].text, frozen=self.frozen):
            return problem
        held_out = [one.example for one in demos.of_prompt(prompt.text) if one.example in self._held_out]
        return f"it shows {held_out[0]!r}, an example that is kept for after the search." if held_out else None

    @cached_property
    def _held_out(self) -> frozenset[str]:
        """The ids of the examples that no prompt may show."""
        if self.data is None:
            return frozenset()
        return frozenset(e.id for e in (*self.data.dev, *self.data.test)) - {e.id for e in self.data.train}

    def check_keys(self) -> None:
        """Raises UserError if a model of the recipe lacks the key that its first call will need."""
        others = [one.target for one in self.transfer.values() if isinstance(one, HasTarget)]
        for model in (*self.models, self.target, *others):
            if isinstance(model, ChecksKey):
                model.check_key()

    def check(self) -> None:
        """Raises UserError if the parts do not go together."""
        if problem := next(filter(None, map(self.problem_with_parts, self.start)), None):
            raise UserError(f"start cannot be used: {problem}")
        if isinstance(self.optimizer, Checks):
            self.optimizer.check(self)
        check_objectives(self)
        if self.cells and not isinstance(self.optimizer, HasArchive):
            raise UserError(f"cells is {self.cells}, and {self.searcher} keeps no archive; map-elites does.")
        together = Prompt("\n".join([self.start[0].text] * 2))
        if self.ensemble > 1 and (problem := self.problem_with(together)):
            raise UserError(f"ensemble needs a target that takes several lines as one prompt: {problem.rstrip('.')}.")
        if self.budget.questions is not None and self.budget.questions <= self.reserved:
            raise UserError(
                f"a budget of {self.budget.questions} questions leaves none for the search: the final choice takes "
                f"{self.reserved}. Raise the budget, or lower finalists, ensemble and shorten."
            )
