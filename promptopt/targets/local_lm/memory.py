"""Reasoning that was written earlier: drafts for new prompts, and what the gradient is taken with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from .documents import Ids
from .stop import Written

__all__ = ["Memory"]


class Memory:
    """Keeps the latest pieces of reasoning.

    Args:
        size: so many of them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[str, str], tuple[Ids, Written]] = OrderedDict()  # by prompt and example
        self._latest: dict[str, str] = {}  # by example: the prompt of its latest reasoning

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, prompt: str, example: str, head: Ids, written: Written) -> None:
        """Keep what was written behind the head of a prompt's document for an example, and forget the oldest."""
        self._kept[prompt, example] = head, written
        self._kept.move_to_end((prompt, example))
        self._latest[example] = prompt
        while len(self._kept) > self._size:
            (old, of), _ = self._kept.popitem(last=False)
            if self._latest.get(of) == old:
                del self._latest[of]

    def of(self, prompt: str, example: str, head: Ids) -> Written | None:
        """What was written behind this head, if it is still known."""
        found = self._kept.get((prompt, example))
        if found is None or found[0] != head:
            return None
        self._kept.move_to_end((prompt, example))
        return found[1]

    def draft(self, prompts: Iterable[str], example: str) -> Ids:
        """All that was written for an example under the first of some prompts that is known, or else the last one."""
        for prompt in (*prompts, self._latest.get(example, "")):
            if found := self._kept.get((prompt, example)):
                self._kept.move_to_end((prompt, example))
                return found[1].ids
        return ()
