"""Any Python callable as a target."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from ..checks import at_least
from ..core import Example, Prompt
from ..fanout import fan_out
from ..parts import given
from ..registry import load_function


class Function:
    """Asks a function of the prompt and an example.

    Args:
        function: ``(prompt, example) -> output``, where the prompt is its text or, of a prompt of several parts, the
            parts by name; or where to import it from, as ``package.module:name``. None means
            that there is no output, and stays unscored; an exception ends the run as failed.
        workers: threads; a function that is not safe to call from several needs 1.

    Raises:
        UserError: there is no such function, or ``workers`` is out of range.
    """

    metric = "exact-match"
    takes_parts: Collection[str] | None = None  # any

    def __init__(self, *, function: str | Callable[[Any, Example], Any], workers: int = 1) -> None:
        at_least(1, workers=workers)
        self._function: Callable[[Any, Example], Any] = load_function(function)
        self._workers = workers

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """None: what a prompt may be, only the function knows."""
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        """One output per example, in order."""
        (outputs,) = self.run_batch([prompt], examples)
        return outputs

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[list[Any]]:
        """What ``run`` returns, prompt by prompt; with several workers the calls for all prompts run side by side."""
        jobs = [(given(prompt.text), example) for prompt in prompts for example in examples]
        outputs = fan_out(lambda job: self._function(*job), jobs, workers=self._workers)
        for _ in prompts:
            yield [next(outputs) for _ in examples]
