"""promptopt as an optimizer of DSPy's: ``PromptOpt(metric=...).compile(student, trainset=...)``.

Importing this imports DSPy; ``import promptopt`` alone does not.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .api import optimize
from .core import ChatModel, Dataset, Example, Prompt
from .errors import UserError, require
from .models.dspy import DSPy
from .recipe.build import factory_of
from .run.budget import Budget
from .run.result import Result
from .targets.dspy import DSPyProgram
from .targets.dspy.sent import sent

__all__ = ["PromptOpt", "messages"]

Teleprompter: Any = require("dspy.teleprompt", extra="dspy").Teleprompter
NEED_DEMONSTRATIONS = ("demonstrations", "mipro")


class PromptOpt(Teleprompter):  # type: ignore[misc]
    """Searches the instructions of a program's predictors, and what they demonstrate, with any optimizer of ours.

    Args:
        optimizer: what searches: a name, a table with options, or an object, as in :func:`promptopt.optimize`. One that
            has an LLM write prompts, and names none, is given ``prompt_model``.
        metric: a metric of DSPy's, with two, three or five arguments, which returns a number, a bool, or a prediction
            with ``score`` and ``feedback``.
        budget: questions, each a prompt on all or some of the training examples; or a table or
            :class:`promptopt.Budget` of calls, tokens, dollars, seconds.
        prompt_model: writes prompts: a ``dspy.LM`` or a chat model; by default the LM that DSPy is configured with.
        task_model: answers in place of the student's own LMs: a ``dspy.LM`` or a chat model.
        demonstrations: whether training examples may be shown as demonstrations; by default where the optimizer
            searches them (``demonstrations``, ``mipro``).
        workers: examples at a time.
        worst: the metric's worst value; 0 by default.
        seed: all randomness derives from it.
        run: the folder to record the run in; one that holds this run already is taken up where it stopped. ``auto``
            makes one under ``runs/``, None records nothing.
        options: further arguments of :func:`promptopt.optimize`, for example ``finalists`` or ``cases``.

    Raises:
        MissingExtra: DSPy is not installed.
    """

    def __init__(
        self,
        *,
        metric: Callable[..., Any] | str,
        optimizer: Any = "hill-climb",
        budget: int | Mapping[str, Any] | Budget = 100,
        prompt_model: Any = None,
        task_model: Any = None,
        demonstrations: bool | None = None,
        workers: int = 8,
        worst: float | None = None,
        seed: int = 0,
        run: str | Path | None = "auto",
        **options: Any,
    ) -> None:
        super().__init__()
        self.metric, self.optimizer, self.budget = metric, optimizer, budget
        self.prompt_model, self.task_model = prompt_model, task_model
        self.demonstrations = demonstrations
        self.workers, self.worst, self.seed, self.run = workers, worst, seed, run
        self.options = options

    def compile(
        self,
        student: Any,
        *,
        trainset: Sequence[Any],
        teacher: Any = None,
        valset: Sequence[Any] | None = None,
        devset: Sequence[Any] | None = None,
    ) -> Any:
        """A deep copy of the program with the best instructions and demonstrations found; the student is left as it is.

        The copy is marked as compiled. Its ``promptopt_result`` is the :class:`promptopt.Result`: verdict, costs,
        everything tried, the run's folder. It has the student's own LMs, and DSPy saves it as any other program.

        Args:
            student: the program.
            trainset: what the search sees; every example has said which fields are inputs (``with_inputs``).
            teacher: not used.
            valset: what the verdict is measured on, once, when the search is over.
            devset: what the best few prompts are compared on before, to choose the answer.

        Raises:
            UserError: something in the call cannot work; nothing has been spent.
            ModelError: a model refused for good. The run is kept, and goes on when the same is compiled again.
            NothingUsable: nothing that came back could be rated.
        """
        if teacher is not None:
            raise UserError(
                "PromptOpt takes no teacher: demonstrations are the training examples' own, or the student's."
            )
        shows = self._name in NEED_DEMONSTRATIONS if self.demonstrations is None else self.demonstrations
        data = dataset(trainset, devset or (), valset or ())
        model = None if self.task_model is None else _chat(self.task_model)
        target = DSPyProgram(
            program=student, model=model, demonstrations=shows, examples=data.train, workers=self.workers
        )
        result: Result = optimize(
            target=target,
            data=data,
            metric={"name": "dspy", "function": self.metric, "worst": self.worst, "workers": self.workers},
            optimizer=self._searcher(self.optimizer),
            budget=self.budget,
            seed=self.seed,
            run=self.run,
            **self.options,
        )
        found = target.applied(Prompt(result.best))
        found._compiled = True
        found.promptopt_result = result
        return found

    @property
    def _name(self) -> str:
        given = self.optimizer
        return str(given.get("name", "")) if isinstance(given, Mapping) else str(given)

    def _searcher(self, given: Any) -> Any:
        """The optimizer, with a model that writes prompts where it needs one and names none."""
        if not isinstance(given, str | Mapping):
            return given
        table = {"name": given} if isinstance(given, str) else dict(given)
        takes = inspect.signature(factory_of("optimizers", str(table.get("name")), where="optimizer")).parameters
        if "optimizer" in takes and "optimizer" in table:
            return {**table, "optimizer": self._searcher(table["optimizer"])}
        lm = require("dspy", extra="dspy").settings.lm if self.prompt_model is None else self.prompt_model
        if lm is not None and "model" in takes:
            table.setdefault("model", _chat(lm))
        elif lm is not None and "proposer" in takes and "pool" not in table:
            table.setdefault("proposer", {"name": "chat", "model": _chat(lm)})
        return table


def dataset(train: Sequence[Any], dev: Sequence[Any], test: Sequence[Any]) -> Dataset:
    """Splits of ``dspy.Example`` as a data set; the ids are of what the examples hold.

    Raises:
        UserError: an example stands in two splits, or has not said which fields are its inputs.
    """
    seen: Counter[str] = Counter()
    splits = [tuple(_example(one, seen) for one in split) for split in (train, dev, test)]
    if not splits[0]:
        raise UserError("trainset is empty; give the examples that the search may see.")
    ids = [{one.id.partition(".")[0] for one in split} for split in splits]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        if ids[one] & ids[other]:
            names = ("trainset", "devset", "valset")
            raise UserError(
                f"{names[one]} and {names[other]} have {len(ids[one] & ids[other])} examples in common; the search "
                "must not see what it is judged by."
            )
    return Dataset("dspy", train=splits[0], dev=splits[1], test=splits[2])


def _example(one: Any, seen: Counter[str]) -> Example:
    if getattr(one, "_input_keys", None) is None:
        raise UserError(f"{one!r} does not say which of its fields are inputs; write .with_inputs(...) behind it.")
    inputs, labels = dict(one.inputs().items()), dict(one.labels().items())
    said = json.dumps([inputs, labels], sort_keys=True, ensure_ascii=False, default=str)
    name = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    seen[name] += 1
    return Example(name if seen[name] == 1 else f"{name}.{seen[name]}", inputs, labels)


def _chat(model: Any) -> ChatModel:
    """A chat model; a ``dspy.LM`` becomes one."""
    chat: ChatModel = model if hasattr(model, "complete") and hasattr(model, "at_most") else DSPy(model=model)
    return chat


def messages(program: Any, /, **inputs: Any) -> dict[str, list[dict[str, Any]]]:
    """What each predictor of a program sends to its LM, so that it can be sent without DSPy.

    See :func:`promptopt.targets.dspy.sent.sent`.
    """
    return sent(program, inputs)
