"""What people are shown of a duel: the outputs of two prompts on the same examples, or the two texts themselves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ...core import Duel, Example, Failed, Missing, Picture, Prompt, Target
from ...targets.outputs import outputs_of
from ..parts import parts

__all__ = ["ExampleRow", "Outputs", "View"]

Part: TypeAlias = tuple[str, str | Picture]  # a title and what stands below it
NO_OUTPUT = "(no output)"


@dataclass(frozen=True)
class ExampleRow:
    """One example: what was given to both prompts, and what each made of it."""

    given: tuple[Part, ...]
    a: tuple[Part, ...]
    b: tuple[Part, ...]


@dataclass(frozen=True)
class View:
    """All that is shown of a duel."""

    rows: tuple[ExampleRow, ...]

    @property
    def same(self) -> bool:
        """Whether there is nothing to choose between."""
        return all(row.a == row.b for row in self.rows)

    @classmethod
    def of_texts(cls, duel: Duel) -> View:
        """The two prompts themselves; where both are replies to one query, that above and the replies below."""
        query = duel.a.origin.get("query")
        if query is None or query != duel.b.origin.get("query"):
            return cls((ExampleRow((), (("Text", duel.a.text),), (("Text", duel.b.text),)),))
        a, b = (prompt.text.removeprefix(query).strip() for prompt in (duel.a, duel.b))
        return cls((ExampleRow((("Query", query),), (("Reply", a),), (("Reply", b),)),))


class Outputs:
    """Runs prompts, each on each example once, and keeps what came out.

    Args:
        target: what is prompted; used from as many threads as :meth:`view` is.
        classes: class names; an output that is a vector of as many scores is shown as the class it predicts.
    """

    def __init__(self, target: Target, classes: Sequence[str]) -> None:
        self._target = target
        self._classes = tuple(classes)
        self._kept: dict[tuple[str, str], Future[Any]] = {}
        self._lock = threading.Lock()

    def view(self, duel: Duel, examples: Sequence[Example]) -> View:
        """Both prompts' outputs on the examples; bought now where they are not kept already.

        An example on which an output is lost for outside reasons is left out, unless nothing else is left to show.
        """
        made = [*zip(examples, *(self._run(prompt, examples) for prompt in (duel.a, duel.b)), strict=True)]
        told = [row for row in made if not any(isinstance(output, Missing) for output in row[1:])]
        return View(
            tuple(
                ExampleRow(tuple(parts({"Input": example.input}, trusted=True)), self._shown(a), self._shown(b))
                for example, a, b in told or made
            )
        )

    def _run(self, prompt: Prompt, examples: Sequence[Example]) -> list[Any]:
        keys = [(prompt.text, example.id) for example in examples]
        with self._lock:
            missing = {key: example for key, example in zip(keys, examples, strict=True) if key not in self._kept}
            self._kept.update({key: Future() for key in missing})
            futures = [self._kept[key] for key in keys]
        if missing:
            try:
                (outputs,) = outputs_of(self._target, [prompt], list(missing.values()))
            except BaseException as error:
                for key in missing:
                    self._kept[key].set_exception(error)
                raise
            for key, output in zip(missing, outputs, strict=True):
                future = self._kept.pop(key) if isinstance(output, Missing) else self._kept[key]  # try that one again
                future.set_result(output)
        return [future.result() for future in futures]

    def _shown(self, output: Any) -> tuple[Part, ...]:
        if isinstance(output, Failed):
            output = output.text
        if output is None or isinstance(output, Missing):
            return (("Output", NO_OUTPUT),)
        if (scores := self._scores(output)) is not None:
            return (("Output", _predicted(scores, self._classes)),)
        return tuple(parts({"Output": output}, trusted=False))

    def _scores(self, output: Any) -> Any:
        """The output as an array ``(n_classes,)``, if it is one."""
        if not self._classes or isinstance(output, str | bytes | Picture):
            return None
        try:
            scores = np.asarray(output, dtype=np.float64)
        except (TypeError, ValueError):
            return None
        return scores if scores.shape == (len(self._classes),) else None


def _predicted(scores: Any, classes: Sequence[str]) -> str:
    """The predicted class and its softmax probability in whole percent; scores are logits or log-probabilities."""
    likelihood = np.exp(scores - scores.max())
    best = int(scores.argmax())
    return f"{classes[best]} ({likelihood[best] / likelihood.sum():.0%})"
