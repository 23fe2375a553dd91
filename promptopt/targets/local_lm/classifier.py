"""Labels by likelihood behind the documents of a local LM."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ...core import Example
from ...errors import UserError
from ..labels import Labels, Likeliest, content_free
from ..oom_backoff import even, in_batches
from ..placeholders import names
from .backbone import Backbone
from .documents import Ids, Pages
from .kv_cache import common
from .likelihood import Document, Likelihoods
from .speedups import Speedups

__all__ = ["Classifier"]


class Classifier:
    """Reads how likely each label's words are behind prompt and input. For one thread at a time.

    Args:
        backbone: the model.
        pages: its tokenizer's side; the extractor stands before the words.
        labels: what is chosen among.
        template: how prompt and input are put together. Where the input comes first, documents share what stands before
            the prompt with those of other prompts, else the prompt with those of other inputs.
        batch_size: documents at a time; halved for good where memory does not suffice.
        context: the most tokens that the model can hold, if it says.
    """

    def __init__(
        self,
        backbone: Backbone,
        pages: Pages,
        labels: Labels,
        *,
        template: str,
        batch_size: int,
        speedups: Speedups,
        context: int | None,
    ) -> None:
        self._pages, self._labels, self._context = pages, labels, context
        self._input_first = bool(names(template.partition("{prompt}")[0]))
        self._batch_size = batch_size
        tails = [pages.tail(word) for word in labels.words]
        cut = min(common([tail.ids for tail in tails]), *(tail.first for tail in tails))
        self._asks = tails[0].ids[:cut]
        self._options = [tail.ids[cut:] for tail in tails]
        if len(set(self._options)) < len(self._options):
            raise UserError(f"labels: of {list(labels.words)} two are the same to this model's tokenizer; take others.")
        self._read = Likelihoods(backbone, self._options, speedups=speedups, batch_size=batch_size)

    def outputs(self, prompts: Sequence[str], examples: Sequence[Example]) -> list[list[Likeliest]]:
        """The likeliest label of each example, prompt by prompt.

        Raises:
            UserError: a document may grow longer than the model can hold, or an input is no text.
            ModelError: the chat template refuses a document.
        """
        empty = content_free(examples[0]) if self._labels.calibrated and examples else []
        every = [*empty, *examples]
        words = self.words([(prompt, example) for prompt in prompts for example in every])
        rows = iter([self._labels.log_probabilities(row, self.lengths) for row in words.tolist()])
        found = []
        for _ in prompts:
            priors = [next(rows) for _ in empty]
            prior = self._labels.prior(priors) if priors else None
            found.append([self._labels.likeliest(next(rows), prior) for _ in examples])
        return found

    @property
    def lengths(self) -> list[int]:
        """How many tokens each word has."""
        return [len(option) for option in self._options]

    def losses(self, pairs: Sequence[tuple[str, Example]]) -> NDArray[np.float64]:
        """``(n_pairs,)`` the cross-entropy of the first word of each example's label, mean nats a token."""
        words = self.words(pairs)
        places = [self._labels.words.index(self._labels.word(example.label)) for _, example in pairs]
        losses: NDArray[np.float64] = -words[np.arange(len(pairs)), places] / np.array(self.lengths)[places]
        return losses

    def words(self, pairs: Sequence[tuple[str, Example]]) -> NDArray[np.float64]:
        """``(n_pairs, n_words)`` the log-probability of each word behind prompt and input, nats."""
        documents = self._documents(pairs)
        order = self._order(documents)
        found = np.empty((len(documents), len(self._options)))
        self._read.beginnings.opened()
        done, asked = 0, even(len(order), self._batch_size)
        batches = in_batches(order, lambda part: self._read.read([documents[i] for i in part]), batch_size=asked)
        for part, size in batches:
            self._batch_size = size if size < asked else self._batch_size
            found[order[done : done + len(part)]] = part
            done += len(part)
        return found

    @staticmethod
    def _order(documents: Sequence[Document]) -> list[int]:
        """Documents of about the same length behind their beginnings are neighbours, as a batch is padded."""
        rests = [len(one.ids) - one.shared for one in documents]
        return sorted(range(len(documents)), key=lambda i: (rests[i], documents[i].ids))

    def _documents(self, pairs: Sequence[tuple[str, Example]]) -> list[Document]:
        heads = self._pages.heads(pairs)
        rows: list[Ids] = [(*head.ids, *self._asks) for head in heads]
        for (_, example), ids in zip(pairs, rows, strict=True):
            self._fits(example, len(ids) + max(self.lengths))
        if self._input_first:
            return [Document(ids, min(head.first, len(ids) - 1)) for ids, head in zip(rows, heads, strict=True)]
        documents = []
        for _, group in groupby(zip(pairs, rows, strict=True), key=lambda one: one[0][0]):
            same = [ids for _, ids in group]
            shared = min(common(same), min(map(len, same)) - 1)
            documents += [Document(ids, shared) for ids in same]
        return documents

    def _fits(self, example: Example, length: int) -> None:
        if self._context is not None and length > self._context:
            raise UserError(
                f"example {example.id!r}: a document of {length} tokens with its label is longer than the "
                f"{self._context} tokens that the model can hold."
            )
