"""What a prompt produces in the place of its text [Lin2024]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import at_least, not_empty
from ..core import Begins, Embedder, Example, Failed, Missing, OfPart, Prompt, Setup, Target
from ..errors import ModelError, UserError
from ..targets.outputs import outputs_of
from .ngrams import Ngrams

if TYPE_CHECKING:
    from ..core import Array

__all__ = ["Outputs"]

STREAM = int.from_bytes(b"outputs")  # key of the random stream


class Outputs:
    """Prompts are alike where the target's outputs for them are alike, on the same few examples.

    In the paper's third application a prompt is known by the picture that it makes, not by its wording. Here its
    outputs on ``n_examples`` training examples are embedded as texts, one vector for each example, and stand one behind
    the other in the prompt's vector: the cosine of two prompts is the mean over examples of the cosines of their
    outputs. An output that is None counts as an empty one. Pictures are not embedded yet.

    Every prompt of the pool costs ``n_examples`` runs of the target before the first question. LLM calls among them are
    billed to the run as ``target`` and recorded; they are no questions of the budget.

    Args:
        target: what the prompts are given to; by default the run's.
        examples: what the prompts are tried on; by default the run's training examples.
        embedder: embeds the outputs; hashed n-grams by default.
        n_examples: how many examples are drawn, once for the run.

    Raises:
        UserError: there are no examples, or ``n_examples`` is out of range.
    """

    def __init__(
        self,
        *,
        target: Target,
        examples: Sequence[Example],
        embedder: Embedder | None = None,
        n_examples: int = 4,
    ) -> None:
        at_least(1, n_examples=n_examples)
        not_empty(examples=examples)
        self._target = target
        self._examples = tuple(examples)
        self._shown = self._examples[:n_examples]
        self._embedder: Embedder = embedder or Ngrams()
        self._whole: Callable[[str], str] = str

    @property
    def name(self) -> str:
        """The embedder's, and the examples."""
        return f"outputs:{','.join(example.id for example in self._shown)}:{self._embedder.name}"

    def begin(self, setup: Setup, /) -> None:
        """Draw the examples, and bill the target's calls to the run."""
        self._whole = setup.whole if isinstance(setup, OfPart) else str
        drawn = setup.rng(STREAM).permutation(len(self._examples))[: len(self._shown)]
        self._shown = tuple(self._examples[i] for i in sorted(drawn))
        if isinstance(self._target, Begins):
            self._target = copy(self._target)  # the scorer's own is billed to the scorer
            self._target.begin(setup)

    def embed(self, texts: Sequence[str], /) -> Array:
        """``(n_texts, n_examples * d)`` float64, each row of length 1.

        Raises:
            BudgetExhausted: the next call would exceed the budget.
            ModelError: an output could not be had for outside reasons. What the optimizer knows of a prompt would not
                be the same when the run resumes.
            UserError: an output is neither text nor missing.
        """
        if not texts:
            return np.empty((0, 0))
        prompts = [Prompt(self._whole(text)) for text in texts]
        outputs = [_text(output) for row in outputs_of(self._target, prompts, self._shown) for output in row]
        distinct = list(dict.fromkeys(outputs))
        rows = dict(zip(distinct, self._embedder.embed(distinct), strict=True))
        vectors = np.stack([rows[output] for output in outputs]).reshape(len(texts), -1)
        scaled: Array = vectors / np.sqrt(len(self._shown))
        return scaled


def _text(output: Any) -> str:
    """An output as text; of a failed one what there is, and a missing one is empty."""
    if isinstance(output, Missing):
        raise ModelError(f"a prompt cannot be embedded without its output: {output.reason}")
    if isinstance(output, Failed):
        output = output.text
    if output is None or isinstance(output, str):
        return output or ""
    raise UserError(
        f"the embedder 'outputs' knows texts, and the target gave a {type(output).__name__}. Embed the prompts' own "
        "texts for this target, with 'sentence-transformers' or 'clip-text'."
    )
