"""promptopt inside ``mlflow.genai.optimize_prompts``: prompts come from MLflow's registry and go back to it.

::

    from promptopt.mlflow import PromptOpt

    result = mlflow.genai.optimize_prompts(
        predict_fn=predict_fn, train_data=data, prompt_uris=[prompt.uri], scorers=[accuracy],
        optimizer=PromptOpt(optimizer={"name": "protegi", "model": {"name": "openai", "model": "gpt-4.1"}}, budget=200),
    )

MLflow evaluates; promptopt searches, keeps a record of every question, and holds examples out. The scores that MLflow
reports are those on the held-out examples, before and after; the interval of the difference stands beside them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .api import optimize
from .checks import check_argument
from .core import Example, Mark, Missing, Prompt
from .data.listed import listed
from .errors import UserError, require
from .parts import NAME, parts_of, text_of
from .run.result import Result

try:
    from mlflow.genai.optimize import BasePromptOptimizer, PromptOptimizerOutput
except ImportError:
    require("mlflow", extra="mlflow")
    raise

__all__ = ["PromptOpt"]

VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
FAILED = "Failed to invoke the predict_fn with "  # how MLflow says that the user's function raised


class PromptOpt(BasePromptOptimizer):  # type: ignore[misc]
    """A search of promptopt as an optimizer of MLflow.

    Several prompts are parts of one, each with its name. A variable such as ``{{question}}`` is never lost, and none is
    added. An example on which the user's function raises is unscored; MLflow would score its own error message.

    Args:
        optimizer: a name, a table or an object, as of :func:`promptopt.optimize`.
        budget: likewise. A question is a prompt on the training examples; what the user's function spends is its own.
        held_out: the share of MLflow's training data that the search does not see; the verdict is on it.
        seed: of the split and the search.
        run: the folder of the record, ``auto``, or None for none; what is there is taken up again.
        frozen: names of prompts that are not changed.
        options: further arguments of :func:`promptopt.optimize`.

    Attributes:
        result: of the last search, with verdict and costs.

    Raises:
        MissingExtra: MLflow is not installed.
        UserError: the share is not between 0 and 1.
    """

    def __init__(
        self,
        *,
        optimizer: Any = "hill-climb",
        budget: Any = None,
        held_out: float = 1 / 3,
        seed: int = 0,
        run: str | Path | None = "auto",
        frozen: Sequence[str] = (),
        **options: Any,
    ) -> None:
        check_argument("held_out", held_out, allowed="a share above 0 and below 1", holds=0 < held_out < 1)
        self._held_out = held_out
        self._options = {"optimizer": optimizer, "budget": budget, "seed": seed, "run": run, **options}
        self._frozen = list(frozen)
        self.result: Result | None = None

    def optimize(
        self,
        eval_fn: Any,
        train_data: list[dict[str, Any]],
        target_prompts: dict[str, str],
        enable_tracking: bool = True,
    ) -> PromptOptimizerOutput:
        """Search; called by MLflow.

        Raises:
            UserError: there is nothing to evaluate on, or a prompt's name cannot be that of a part.
        """
        if eval_fn is None or len(train_data) < 3:
            raise UserError(f"{len(train_data)} training examples are too few: give 3 or more, and scorers.")
        target = Evaluated(eval_fn, train_data, target_prompts)
        start = target.written(target_prompts)
        examples = [{"input": n, "label": record, "id": str(n)} for n, record in enumerate(train_data)]
        test = max(1, round(self._held_out * len(examples)))
        data = listed(examples=examples, test=test, seed=self._options["seed"])
        self.result = optimize(
            start=parts_of(start) or start,
            target=target,
            metric=marks,
            data=data,
            frozen=self._frozen,
            **self._options,
        )
        if enable_tracking:
            _log(self.result)
        verdict = self.result.verdict
        held_out = {example.id for example in data.test}
        before, after = (target.by_scorer(text, held_out) for text in (self.result.start, self.result.best))
        return PromptOptimizerOutput(
            optimized_prompts=target.read(self.result.best),
            initial_eval_score=verdict and verdict.start,
            final_eval_score=verdict and verdict.best,
            initial_eval_score_per_scorer=before,
            final_eval_score_per_scorer=after,
        )


class Evaluated:
    """The target: MLflow's evaluation of prompts on records, one call at a time, since it must not run twice at once.

    An output is MLflow's record of one evaluation.
    """

    takes_demonstrations = False

    def __init__(self, evaluate: Any, records: Sequence[dict[str, Any]], prompts: Mapping[str, str]) -> None:
        self._evaluate, self._records, self._names = evaluate, records, list(prompts)
        self._variables = {name: set(VARIABLE.findall(text)) for name, text in prompts.items()}
        self._seen: dict[tuple[str, str], Any] = {}
        self._alone = threading.Lock()
        self.takes_parts: Sequence[str] | None = self._names if len(prompts) > 1 else None
        for name in prompts if len(prompts) > 1 else ():
            if not re.fullmatch(NAME, name):
                raise UserError(
                    f"the prompt {name!r} is to be a part beside others, and parts are called by one word of letters, "
                    "digits, _ and -, which begins with a letter. Register it under such a name, or optimize it alone."
                )

    def written(self, prompts: Mapping[str, str]) -> str:
        """MLflow's prompts as one text."""
        return text_of(prompts) if len(prompts) > 1 else next(iter(prompts.values()))

    def read(self, text: str) -> dict[str, str]:
        """The prompts of a text, by MLflow's names."""
        return parts_of(text) if len(self._names) > 1 else {self._names[0]: text}

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """A variable is lost, or one is there that MLflow would not fill in."""
        for name, text in self.read(prompt.text).items():
            wanted, found = self._variables[name], set(VARIABLE.findall(text))
            if wanted != found:
                named = ", ".join(f"{{{{{one}}}}}" for one in sorted(wanted)) or "none"
                return f"the variables of {name} are {named}, and all of them must stay; write them as they are."
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        """A record for each example; Missing where the user's function raised."""
        with self._alone:
            records = self._evaluate(self.read(prompt.text), [self._records[example.input] for example in examples])
        return [self._output(prompt, *pair) for pair in zip(examples, records, strict=True)]

    def _output(self, prompt: Prompt, example: Example, record: Any) -> Any:
        said = record.outputs
        if isinstance(said, str) and said.startswith(FAILED):
            return Missing(f"the function to predict with raised: {said.rpartition(': ')[2]}")
        self._seen[prompt.text, example.id] = record
        return record

    def by_scorer(self, text: str, ids: set[str]) -> dict[str, float]:
        """The mean of every scorer over examples, as far as they were evaluated in this process."""
        found = [record.individual_scores for (t, i), record in self._seen.items() if t == text and i in ids]
        return {name: sum(one[name] for one in found) / len(found) for name in (found[0] if found else {})}


def marks(outputs: Sequence[Any], examples: Sequence[Example], /) -> list[Mark | None]:
    """What MLflow's scorers gave, with their reasons."""
    return [None if one is None else Mark(one.score, "; ".join(one.rationales.values())) for one in outputs]


def _log(result: Result) -> None:
    """The held-out comparison beside MLflow's own scores, and the record."""
    mlflow = require("mlflow", extra="mlflow")
    if (verdict := result.verdict) is not None:
        named = {"difference": verdict.difference, "low": verdict.low, "high": verdict.high}
        mlflow.log_metrics({f"held_out_{name}": value for name, value in named.items() if value is not None})
    if result.run:
        mlflow.log_artifacts(str(result.run), "promptopt")
