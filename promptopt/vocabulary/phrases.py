"""Templates as sequences of phrases from a vocabulary.

Of a prompt that begins with a template and has further lines, such as texts of single classes, the first line is taken
apart. The others are parts that begin with a line break; they stay where they are and as they are.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError

PLACEHOLDER = "{}"
SLOTS = ("frames", "adjectives", "nouns", "suffixes")
EMBEDDED = Path(__file__).parent.parent / "embedded" / "phrases.toml"


def join(phrases: Sequence[str]) -> str:
    """The prompt that a sequence of phrases spells."""
    return "".join(phrase if _is_line(phrase) else f" {phrase}" for phrase in phrases).removeprefix(" ")


def _is_line(part: str) -> bool:
    return part.startswith("\n")


def _end(phrases: Sequence[str]) -> int:
    """The end of the first line."""
    return next((place for place, part in enumerate(phrases) if _is_line(part)), len(phrases))


def read_slots(source: str | Path | Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...]]:
    """Phrases by slot from a TOML file, a mapping, or the embedded vocabulary.

    Raises:
        UserError: the file is missing or not TOML, or a slot is none of ``frames, adjectives, nouns, suffixes``.
    """
    if not isinstance(source, Mapping):
        path = Path(source or EMBEDDED)
        try:
            source = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"cannot read phrases from {str(path)!r}: {error}") from None
    if unknown := sorted(set(source) - set(SLOTS)):
        raise UserError(f"unknown slot {', '.join(unknown)} of phrases; allowed: {', '.join(SLOTS)}.")
    return {slot: tuple(dict.fromkeys(source.get(slot, ()))) for slot in SLOTS}


class Phrases:
    """A vocabulary: phrases that have a place in a template, or, in a flat one, none.

    Args:
        slots: phrases by slot; in a template they stand in the order frames, adjectives, nouns, ``{}``, suffixes.
        anywhere: phrases without a slot.
    """

    def __init__(self, slots: Mapping[str, Sequence[str]], anywhere: Sequence[str] = ()) -> None:
        self._rank = {phrase: rank for rank, slot in enumerate(SLOTS) for phrase in slots.get(slot, ())}
        self.all = list(dict.fromkeys([*self._rank, *anywhere]))
        self._vocabulary = {tuple(phrase.split()) for phrase in self.all}
        self._longest = max((len(words) for words in self._vocabulary), default=1)

    @classmethod
    def load(
        cls,
        source: str | Path | Sequence[str] | Mapping[str, Sequence[str]] | None,
        *,
        exclude: Sequence[str] = (),
    ) -> Phrases:
        """A vocabulary from a flat list, phrases by slot, a TOML file or (None) the embedded one for CLIP.

        ``exclude`` leaves out phrases that contain one of these words.
        """
        barred = set(exclude)

        def allowed(phrases: Sequence[str]) -> list[str]:
            return [phrase for phrase in phrases if phrase.strip() and not barred.intersection(phrase.split())]

        if source is None or isinstance(source, str | Path | Mapping):
            return cls({slot: allowed(phrases) for slot, phrases in read_slots(source).items()})
        return cls({}, allowed(source))

    def split(self, text: str) -> list[str]:
        """The phrases of a prompt, longest match first; a word outside the vocabulary is a phrase of its own."""
        first, *others = [line for line in text.splitlines() if line.strip()] or [""]
        if PLACEHOLDER in first:
            return [*self._phrases(first), *(f"\n{line}" for line in others)]
        return self._phrases(text)

    def _phrases(self, line: str) -> list[str]:
        words = line.split()
        phrases = []
        while words:
            length = next(
                (n for n in range(min(self._longest, len(words)), 1, -1) if tuple(words[:n]) in self._vocabulary), 1
            )
            phrases.append(join(words[:length]))
            words = words[length:]
        return phrases

    def join(self, phrases: Sequence[str]) -> str:
        """The prompt that phrases spell."""
        return join(phrases)

    def content(self, part: str) -> str:
        """The phrase itself."""
        return part

    def contents(self, text: str) -> list[str]:
        """The phrases of a prompt's first line but for the placeholder, each once."""
        parts = self.split(text)
        return list(dict.fromkeys(parts[place] for place in self.free(parts)))

    def free(self, phrases: Sequence[str]) -> list[int]:
        """The places of what may go: everything in the first line but the placeholder."""
        return [place for place, phrase in enumerate(phrases) if phrase != PLACEHOLDER and not _is_line(phrase)]

    def drop(self, phrases: list[str], place: int) -> None:
        """Take a phrase out, in place."""
        del phrases[place]

    def move(self, phrases: list[str], rng: np.random.Generator) -> None:
        """Nothing: a phrase's slot says where it stands."""

    def insert(self, phrases: list[str], new: str, rng: np.random.Generator) -> None:
        """Put a phrase in its place, in place: a frame replaces a frame, the rest goes where its slot stands."""
        if PLACEHOLDER not in phrases or new not in self._rank:
            phrases.insert(int(rng.integers(_end(phrases) + 1)), new)
            return
        rank, hole = self._rank[new], phrases.index(PLACEHOLDER)
        if rank == SLOTS.index("suffixes"):
            phrases.insert(_end(phrases), new)
        elif rank == SLOTS.index("frames"):
            phrases[:hole] = [new, *(p for p in phrases[:hole] if self._rank.get(p, rank) > rank)]
        else:
            place = next((i for i, p in enumerate(phrases[:hole]) if self._rank.get(p, 0) > rank), hole)
            phrases.insert(place, new)

    def cross(self, one: Sequence[str], other: Sequence[str], rng: np.random.Generator) -> list[str]:
        """The beginning of one prompt and the end of another; templates are cut at ``{}``."""
        if PLACEHOLDER in one and PLACEHOLDER in other:
            cuts = one.index(PLACEHOLDER), other.index(PLACEHOLDER)
        else:
            cuts = int(rng.integers(len(one) + 1)), int(rng.integers(len(other) + 1))
        return [*one[: cuts[0]], *other[cuts[1] :]]
