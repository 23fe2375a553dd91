"""Hard prompts made easy: projected gradients on the text tower of a CLIP model [Wen2023].

Wen et al., *Hard Prompts Made Easy: Gradient-Based Discrete Optimization for Prompt Tuning and Discovery*, NeurIPS
2023, arXiv 2302.03668. It needs no generator: gradients bring a text nearer to the reference pictures. ::

    P <- embeddings of random tokens
    repeat steps times:
        P' <- for each row of P the embedding of the token nearest to it
        g <- gradient of 1 - cos(text of P', pictures) at P'
        P <- P - rate * AdamW(g)
    the answer is the text of the nearest P' of all

============ ================= ============ ======================================================================
parameter    released code     default here why it differs
============ ================= ============ ======================================================================
length       16                8            the embedded CLIP has room for 22
steps        3000              300          minutes on a large CLIP without a GPU
rate         0.1               0.1
weight_decay 0.1               0.1
restarts     1                 4            as many texts side by side; a single one is often stuck
batch        1 picture a step  all          with few pictures nothing is gained by leaving some out
tokens       all               words        a text of whole words is read as the tokens that it was made of; other
                                            tokens may be read as others once they are a text
projection   cosine            the same
rated        nothing is        8            the texts nearest to the pictures are rated, and the best rated is the
                                            answer; with 1, CLIP alone has the say
============ ================= ============ ======================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import above_zero, at_least, check_argument, not_empty
from ..core import Example, Prompt, Setup
from ..errors import require
from .steps import Ratings, RatingSearch, Search

if TYPE_CHECKING:
    from ..core import Array, Indices

__all__ = ["AdamW", "Pez"]


class Pez(RatingSearch):
    """Finds texts near to the reference pictures by projected gradients, and has the nearest rated.

    References are the labels of the run's examples: pictures, as of the data set ``drawings``, or texts. Gradients are
    counted as ``gradient steps``, one for all restarts.

    Args:
        examples: the run's.
        length: tokens of a text.
        steps: how often the gradient is taken.
        rate: AdamW's step size.
        weight_decay: AdamW's.
        restarts: texts that are improved side by side, from random tokens each.
        rated: how many of the texts, the nearest to the references, are rated beside the starting prompts.
        model: the CLIP model, as of the target ``clip``; it needs a causal text tower and CLIP's tokenizer.
        pretrained: likewise.
        like: likewise.
        device: likewise.
        cache: folder for the features of pictures; True is the user's cache folder, False or None keeps none.

    Raises:
        UserError: there are no references, the model has no such tower, or an argument cannot be used.
        MissingExtra: the extra ``clip`` is not installed.
    """

    def __init__(
        self,
        *,
        examples: Sequence[Example],
        length: int = 8,
        steps: int = 300,
        rate: float = 0.1,
        weight_decay: float = 0.1,
        restarts: int = 4,
        rated: int = 8,
        model: str = "embedded",
        pretrained: str | None = None,
        like: str | None = None,
        device: str = "auto",
        cache: str | Path | bool | None = True,
    ) -> None:
        at_least(1, length=length, steps=steps, restarts=restarts, rated=rated)
        at_least(0, weight_decay=weight_decay)
        above_zero(rate=rate)
        not_empty(examples=examples)
        for package in ("torch", "open_clip", "PIL"):
            require(package, extra="clip")
        from ..targets.clip.references import SoftTexts, loaded_references

        self.length, self.steps, self.restarts, self.rated = length, steps, restarts, rated
        self.rate, self.weight_decay = rate, weight_decay
        how: dict[str, Any] = {"model": model, "pretrained": pretrained, "like": like, "device": device, "cache": cache}
        self._soft: SoftTexts | None = None
        if found := loaded_references(examples, needed_by="pez", **how):  # else it only helps to check a recipe
            self._soft = SoftTexts(*found)
            room = self._soft.context
            check_argument("length", length, allowed=f"1 to {room} with this model", holds=length <= room)

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        setup.note("Prompts were found by gradients on CLIP's text tower; no LLM was used.")
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._search = self._ask()

    def _ask(self) -> Search:
        """The starting prompts, and the nearest texts that the target can take."""
        found = self._descend()
        nearest = sorted(found, key=lambda text: -found[text])
        prompts = [Prompt(text, {"step": "pez", "similarity": found[text]}) for text in nearest]
        usable = [prompt for prompt in prompts if self._setup.problem_with(prompt) is None]
        yield from self._rate([*self._setup.start, *usable[: self.rated]])

    # ── The method ────────────────────────────────────────────────────────────────────────────────────────────────

    def _descend(self) -> dict[str, float]:
        """Every text that came about, and how near it is to the references."""
        assert self._soft is not None
        soft, rng = self._soft, self._setup.rng()
        words, table = list(soft.words.values()), soft.table.astype(np.float64)
        directions = table / np.linalg.norm(table, axis=1, keepdims=True)
        rows = table[rng.integers(len(table), size=(self.restarts, self.length))]
        adam = AdamW(rate=self.rate, weight_decay=self.weight_decay)
        found: dict[str, float] = {}
        for _ in range(self.steps):
            tokens = projected(rows, directions)
            near, gradient = soft.gradient(table[tokens])
            texts = [" ".join(words[token] for token in row) for row in tokens]
            found |= zip(texts, np.round(near, 6).tolist(), strict=True)
            rows = adam.step(rows, -gradient)  # of 1 - cos
        self._setup.count("gradient steps", self.steps)
        return found


def projected(rows: Array, directions: Array) -> Indices:
    """For each row ``(..., width)`` the place of the direction ``(n, width)`` that is nearest by cosine."""
    tokens: Indices = (rows @ directions.T).argmax(axis=-1)  # a row's own length changes nothing
    return tokens


class AdamW:
    """Adam with decoupled weight decay, as torch's defaults have it: betas 0.9 and 0.999, epsilon 1e-8."""

    def __init__(self, *, rate: float, weight_decay: float) -> None:
        self._rate, self._decay = rate, weight_decay
        self._steps = 0
        self._first: Array | float = 0.0
        self._second: Array | float = 0.0

    def step(self, rows: Array, gradient: Array) -> Array:
        """The rows after one step against a gradient of their shape."""
        self._steps += 1
        self._first = 0.9 * self._first + 0.1 * gradient
        self._second = 0.999 * self._second + 0.001 * gradient**2
        first, second = self._first / (1 - 0.9**self._steps), self._second / (1 - 0.999**self._steps)
        after: Array = rows * (1 - self._rate * self._decay) - self._rate * first / (np.sqrt(second) + 1e-8)
        return after
