"""Reasoning that was written earlier: drafts for new prompts, and what the gradient is taken with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from .documents import Ids
from .stop import GeneratedText

__all__ = ["Memory"]


class Memory:
    """The reasonings written last, each found by its prompt and example.

    Args:
        size: how many are kept; of those beyond it, the one that was not used for longest is forgotten.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[str, str], tuple[Ids, GeneratedText]] = OrderedDict()  # by prompt and example
        self._latest: dict[str, str] = {}  # by example: the prompt of its latest reasoning

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, prompt: str, example: str, head: Ids, written: GeneratedText) -> None:
        """Keep the reasoning that was written for a prompt and an example.

        Args:
            head: the tokens of the document that the reasoning stands behind.
        """
        self._kept[prompt, example] = head, written
        self._kept.move_to_end((prompt, example))
        self._latest[example] = prompt
        while len(self._kept) > self._size:
            (old, of), _ = self._kept.popitem(last=False)
            if self._latest.get(of) == old:
                del self._latest[of]

    def of(self, prompt: str, example: str, head: Ids) -> GeneratedText | None:
        """The reasoning for a prompt and an example, if it is kept and was written behind this very head."""
        found = self._kept.get((prompt, example))
        if found is None or found[0] != head:
            return None
        self._kept.move_to_end((prompt, example))
        return found[1]

    def draft(self, prompts: Iterable[str], example: str) -> Ids:
        """An earlier reasoning for an example, as a draft for a new one: all its tokens, what ended it included.

        It is the reasoning under the first of ``prompts`` that there is one for, else the example's latest under
        whatever prompt; empty if there is none.
        """
        for prompt in (*prompts, self._latest.get(example, "")):
            if found := self._kept.get((prompt, example)):
                self._kept.move_to_end((prompt, example))
                return found[1].ids
        return ()
