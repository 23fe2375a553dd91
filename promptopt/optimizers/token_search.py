"""What searches by token gradients share: a target that can be looked into, the tokens allowed, gradients added up."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

import numpy as np

from ..core import Example, Prompt, Setup, Target
from ..errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..core import Array

Average: TypeAlias = Literal["summed", "unit"]
"""How the examples' gradients are put together: as they are, or each at length 1."""

ALLOWED = "[A-Za-z ,.]+"
"""What a token may say, as in [Das2025]: plain letters, space, comma and full stop."""


class Insight(Protocol):
    """What a white box shows of one position of a prompt.

    Attributes:
        loss: ``(n_examples,)``; NaN for an example that has no such position, as in all of the following.
    """

    loss: Array

    def top(self, k: int, /) -> NDArray[np.int64]:
        """``(n_examples, k)`` the model's own likeliest tokens there, likeliest first; -1 instead of NaN."""

    def gradient(self, tokens: Sequence[int], /) -> Array:
        """``(n_examples, n_tokens)`` d loss / d weight of each token."""


class WhiteBox(Protocol):
    """A target that can be looked into, as :class:`promptopt.targets.local_lm.LocalLM`."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """``(n_vocabulary,)`` what each token adds to a text; empty for those that a prompt cannot hold."""

    def tokens(self, text: str, /) -> list[int]:
        """The tokens of a prompt; a position is an index into them."""

    def replaced(self, text: str, position: int, tokens: Sequence[int], /) -> list[str | None]:
        """The prompt with one token replaced (or, behind the last, appended); None where that does not survive."""

    def step(
        self,
        text: str,
        position: int,
        examples: Sequence[Example],
        /,
        *,
        with_reasoning: bool,
        perplexity_weight: float,
        answer_temperature: float,
        with_gradient: bool = True,
    ) -> Insight:
        """Proposals and gradient for one position.

        Args:
            answer_temperature: what the logits are divided by in the differentiated loss of the answer.
            with_gradient: False where the proposals alone are wanted.
        """

    def losses(self, texts: Sequence[str], examples: Sequence[Example], /) -> Array:
        """``(n_prompts, n_examples)`` the loss of each true answer."""


def white_box(target: Target, *, needed_by: str, also: Sequence[str] = ()) -> WhiteBox:
    """The target, if it can be looked into.

    Args:
        also: what it has to have beside what all such searches need.

    Raises:
        UserError: it cannot.
    """
    needs = ("vocabulary", "tokens", "replaced", "step", *also)
    if any(inspect.getattr_static(target, name, None) is None for name in needs):
        raise UserError(
            f"{needed_by} follows the gradient of a local model's loss, and {type(target).__name__} shows none. "
            'Give a target that does, for example [target] name = "local-lm", or another optimizer.'
        )
    return cast(WhiteBox, target)


def pattern(allowed: str) -> re.Pattern[str]:
    """The compiled pattern.

    Raises:
        UserError: it is no regular expression.
    """
    try:
        return re.compile(allowed)
    except re.error as error:
        raise UserError(f"allowed is {allowed!r}, which is no regular expression: {error}.") from None


def usable_tokens(vocabulary: Sequence[str], allowed: re.Pattern[str]) -> NDArray[np.bool_]:
    """``(n_vocabulary,)`` whether a token says something, and only what is allowed."""
    return np.array([bool(text.strip()) and allowed.fullmatch(text) is not None for text in vocabulary])


def drawn(examples: Sequence[Example], size: int | None, rng: np.random.Generator) -> list[Example]:
    """So many of the examples, in their order; all of them by default."""
    if size is None or size >= len(examples):
        return list(examples)
    return [examples[i] for i in sorted(rng.choice(len(examples), size, replace=False))]


def likeliest(seen: Insight, usable: NDArray[np.bool_], k: int) -> list[list[int]]:
    """Of each example that has the position, its k likeliest usable tokens; fewer where there are not so many."""
    there = ~np.isnan(seen.loss)
    width = 2 * k
    while True:
        rows = [[int(token) for token in row[usable[row]][:k]] for row in seen.top(width)[there]]
        if width >= len(usable) or all(len(row) == k for row in rows):
            return rows
        width = min(2 * width, len(usable))


def directions(seen: Insight, tokens: Sequence[int], *, average: Average = "summed") -> Array:
    """``(n_tokens,)`` the gradient for each token, averaged over examples. Of no tokens if no example has the position.

    ``summed`` is the gradient of the mean loss: an example whose loss hangs on the token counts for more, as in the
    released code of [Das2025], which scales only the sum. ``unit`` gives each example's gradient length 1 first.
    """
    rows = seen.gradient(tokens)[~np.isnan(seen.loss)]
    if not rows.size:
        return np.empty(0)
    if average == "unit":
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.where(lengths > 0, lengths, 1)
    mean: Array = rows.mean(axis=0)
    return mean


def takeable(target: WhiteBox, setup: Setup, text: str, position: int, tokens: Sequence[int]) -> Mapping[int, str]:
    """The prompts with the token at a position replaced, for the tokens that survive it and that the target takes."""
    new = zip(tokens, target.replaced(text, position, tokens), strict=True) if tokens else ()
    return {token: one for token, one in new if one is not None and setup.problem_with(Prompt(one)) is None}
