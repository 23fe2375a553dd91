"""A plain function as a scorer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..core import HasObjectives, Rate, Rating, ScoreFunction
from ..errors import PromptoptError
from ..parts import given


class FunctionScorer:
    """Rates prompts with a function of the prompt's text, or of its parts by name where it has parts.

    A function whose ratings hold objectives tells their names in an attribute ``objectives``.

    Args:
        function: text (or mapping) to a number (higher is better) or to a whole Rating. NaN means could not be scored.
    """

    question = Rate

    def __init__(self, function: ScoreFunction) -> None:
        self.function = function
        self.objectives = tuple(function.objectives) if isinstance(function, HasObjectives) else ()

    def answer(self, questions: Sequence[Rate], /) -> Iterator[Rating]:
        """Ratings one by one; an exception of the function ends the run as failed."""
        for question in questions:
            score = self.function(given(question.prompt.text))
            if score is None:
                raise PromptoptError("the score function returned None; return a number (nan: not scored) or a Rating.")
            yield score if isinstance(score, Rating) else Rating(float(score))
