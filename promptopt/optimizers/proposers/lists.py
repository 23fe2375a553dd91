"""A proposer without an LLM for prompts that hold one phrase of each of several lists, as those of pictures do."""

from __future__ import annotations

from collections.abc import Sequence

from ...core import Prompt, Prompted, Setup
from ...vocabulary.lists import Lists, phrase_lists
from . import Scored

__all__ = ["ListsProposer"]


class ListsProposer:
    """Exchanges the best prompt's phrase of one list for each other one, or none: a list at a time, in turn.

    A stand-in where no LLM proposes: coordinate ascent, with the lists as coordinates. A prompt is the start of the
    search, and behind it one phrase of some lists, in the order of the lists.

    Args:
        phrases: lists of phrases by name, or a TOML file of such lists; by default what the embedded painter
            understands, and some more. Lists that matter most come first: they are tried first.
        join: what stands between two phrases.

    Raises:
        UserError: the lists cannot be read, or one is empty.
    """

    def __init__(self, *, phrases: Lists | None = None, join: str = ", ") -> None:
        self.lists = phrase_lists(phrases)
        self.join = join

    def check(self, run: Prompted, /) -> None:
        """Any text may be the beginning."""

    def begin(self, setup: Setup, /) -> None:
        """Say that no LLM is used."""
        setup.note("Prompts were put together from lists of phrases, list by list; no LLM was used.")
        self._setup = setup
        self._parts: dict[str, tuple[str, dict[int, str]]] = {p.text: (p.text, {}) for p in setup.start}
        self.reset()

    def reset(self) -> None:
        """Begin with the first list again."""
        self._turn = -1
        self._open: list[str] = []

    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> list[str]:
        """The next ``n`` exchanges in the best prompt; the next list is begun once those of one are through."""
        for _ in range(len(self.lists) + 1):
            if self._open:
                break
            self._turn = (self._turn + 1) % len(self.lists)
            self._open = self._exchanged(good[0].text if good else self._setup.start[0].text, self._turn)
        new, self._open = self._open[:n], self._open[n:]
        return new

    def _exchanged(self, best: str, turn: int) -> list[str]:
        """The prompts that differ from the best in its phrase of one list, those that were proposed before left out."""
        begins, said = self._parts.get(best, (best, {}))
        found = []
        for phrase in [*self.lists[turn], None]:
            parts = {place: text for place, text in {**said, turn: phrase}.items() if text is not None}
            text = self.join.join([*filter(None, [begins]), *(parts[place] for place in sorted(parts))])
            if text not in self._parts and self._setup.problem_with(Prompt(text)) is None:
                self._parts[text] = (begins, parts)
                found.append(text)
        return found
