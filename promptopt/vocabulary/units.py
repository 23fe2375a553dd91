"""Texts as sequences of whole units, so that a search rearranges sentences and never cuts one.

A unit is a sentence, a line, an item of a list, a block (code, a table, what stands between two tags) or a phrase that
the user gave. It is the slice of the text that it takes up, the white space before it included, so the units of a text,
joined, are the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np

from .blocks import BLOCK, HOLE_LAST, ITEM, bare, blocks, gap, introduces, is_block, is_hard, is_item
from .sentences import closed, sentence_ends

__all__ = ["Keep", "Units", "bare"]

Keep: TypeAlias = Literal["all", "rules", "structure"]


class Units:
    """Texts in which whole units are inserted, dropped, moved and recombined.

    Never touched are headings, code, tables, quotations, tagged and indented lines, whatever holds a placeholder such
    as ``{input}``, and a line that ends in a colon with what it introduces. ``keep`` says what else of the start stays.
    A given phrase may always go, so a rule that may go is one that the user lists among the phrases.

    A phrase that comes in between items becomes an item, and numbers are counted anew. Elsewhere it goes on in the line
    where that reads well (a sentence behind a sentence, a fragment in small letters behind a fragment), and stands on a
    line of its own where it does not.

    Args:
        phrases: whole sentences, lines or fragments that may come in; white space around them is dropped.
        start: the texts that the search starts from. Their sentences are known from then on, also where no full stop
            ends them, except for those that given phrases put together spell.
        keep: ``rules`` keeps the items of lists, ``all`` all sentences of the start too, ``structure`` neither.

    Attributes:
        all: the phrases.
    """

    def __init__(self, phrases: Sequence[str], *, start: Sequence[str] = (), keep: Keep = "rules") -> None:
        self.all = list(dict.fromkeys(phrase.strip() for phrase in phrases if phrase.strip()))
        self._given = dict.fromkeys(bare(phrase) for phrase in self.all)
        self._known = dict(self._given)
        self._keep = keep
        own = {bare(unit): is_item(unit) for text in start for unit in self._slices(text)}
        self._start = {unit: listed for unit, listed in own.items() if unit not in self._given}
        self._known |= dict.fromkeys(own)
        self._split = lru_cache(maxsize=10_000)(self._slices)

    # ── From a text to its units and back ─────────────────────────────────────────────────────────────────────────

    def split(self, text: str) -> list[str]:
        """The units of a text; joined, they are the text."""
        return list(self._split(text))

    def join(self, units: Sequence[str]) -> str:
        """The text that units spell."""
        return "".join(units)

    def content(self, part: str) -> str:
        """A unit or a phrase, bare: without white space around it and the mark of a list before it."""
        return bare(part)

    def contents(self, text: str) -> list[str]:
        """What of a text may go, bare, each once."""
        units = self.split(text)
        return list(dict.fromkeys(bare(units[place]) for place in self.free(units)))

    def free(self, units: Sequence[str]) -> list[int]:
        """The places of the units that may be dropped or moved."""
        return [place for place in range(len(units)) if not self._is_fixed(units, place)]

    def _is_fixed(self, units: Sequence[str], place: int) -> bool:
        unit = units[place]
        if is_hard(unit) or (place and introduces(units[place - 1]) and not is_item(unit)):
            return True
        if bare(unit) in self._given:
            return False
        return (self._keep == "all" and bare(unit) in self._start) or (self._keep != "structure" and is_item(unit))

    # ── Changes, in place ─────────────────────────────────────────────────────────────────────────────────────────

    def drop(self, units: list[str], place: int) -> None:
        """Take a unit out; the line break before it stays."""
        gone = units.pop(place)
        if place < len(units):
            after = gap(units[place])
            if place == 0 or gap(gone).count("\n") > after.count("\n"):
                after = gap(gone)
            elif "\n" not in after:
                after = _between(units[place - 1], units[place])
            units[place] = after + units[place].lstrip()
            if _number(gone) >= 0:
                _recount(units, place, number=_number(gone) + 1, by=-1)

    def insert(self, units: list[str], new: str, rng: np.random.Generator) -> None:
        """Put a phrase in a random place where it reads well; nothing happens where there is none.

        A sentence of the start does not become an item of a list, nor the other way round.
        """
        listed = self._start.get(bare(new))
        places = [place for place in range(len(units) + 1) if _fits(units, place, new)]
        if listed is not None:
            places = [place for place in places if _in_list(units, place, new) == listed]
        if places:
            _put(units, places[int(rng.integers(len(places)))], new)

    def move(self, units: list[str], rng: np.random.Generator) -> None:
        """Put a random free unit in another place."""
        if free := [place for place in self.free(units) if "\n" not in bare(units[place])]:
            place = free[int(rng.integers(len(free)))]
            content = bare(units[place])
            self.drop(units, place)
            self.insert(units, content, rng)

    def cross(self, one: Sequence[str], other: Sequence[str], rng: np.random.Generator) -> list[str]:
        """The first text with about half of what it does not share with the other: free units go, the other's come."""
        child = list(one)
        here, there = ({bare(unit) for unit in units} for units in (one, other))
        for place in reversed(self.free(child)):
            if bare(child[place]) not in there and rng.integers(2):
                self.drop(child, place)
        for place in self.free(other):
            if bare(other[place]) not in here and rng.integers(2):
                self.insert(child, bare(other[place]), rng)
        return child

    # ── Reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _slices(self, text: str) -> tuple[str, ...]:
        """The text cut behind each unit; white space at its end goes with the last."""
        several = [known for known in self._known if "\n" in known]
        ends = [at + end for at, block, prose in blocks(text, known=several) for end in self._ends(block, prose)]
        cuts = [0, *ends[:-1], len(text)]
        return tuple(text[begin:end] for begin, end in pairwise(cuts)) if text else ()

    def _ends(self, block: str, prose: bool) -> tuple[int, ...]:
        """Where the units of a block end: prose has sentences and phrases, anything else is whole.

        Of all ways to cover the prose with known units and sentences, the one with the fewest unknown sentences, then
        with the fewest units. So a phrase that happens to be the beginning of a sentence cuts nothing.
        """
        if not prose:
            return (len(block),)
        stops = sentence_ends(block)
        best: dict[int, tuple[int, int, tuple[int, ...]]] = {len(gap(block)): (0, 0, ())}
        for at in range(len(block)):
            if at in best:
                unknown, units, ends = best.pop(at)
                for end, new in self._steps(block, at, stops):
                    after = end + len(gap(block[end:]))
                    way = (unknown + new, units + 1, (*ends, end))
                    best[after] = min(best.get(after, way), way)
        return best[len(block)][2]

    def _steps(self, text: str, at: int, stops: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Where a unit that begins here may end, and whether (1 or 0) it is an unknown one."""
        for known in self._known:
            end = at + len(known)
            if text.startswith(known, at) and (end in stops or text[end].isspace()):
                yield end, 0
        yield next(stop for stop in stops if stop > at), 1


# ── Where a phrase fits, and how it is put there ──────────────────────────────────────────────────────────────────


def _around(units: Sequence[str], place: int) -> tuple[str, str]:
    """What stands before and behind a place; nothing is ''."""
    return units[place - 1] if place else "", units[place] if place < len(units) else ""


def _fits(units: Sequence[str], place: int, new: str) -> bool:
    """Whether a phrase may come in here: not behind an input, behind a colon, within a block, or before a heading."""
    left, right = _around(units, place)
    if introduces(left):
        return is_item(right) and "\n" not in new
    if HOLE_LAST.search(left):
        return False
    if not left:
        return not BLOCK.match(right.strip())
    if is_item(left) and is_item(right):
        return "\n" not in new
    return not (right and is_hard(left) and is_hard(right) and gap(right).count("\n") == 1)


def _in_list(units: Sequence[str], place: int, new: str) -> bool:
    """Whether a phrase becomes an item here."""
    left, right = _around(units, place)
    begins = is_item(right) and (not left or is_block(left) or introduces(left))
    return "\n" not in new and (is_item(left) or begins)


def _put(units: list[str], place: int, new: str) -> None:
    if _in_list(units, place, new):
        _put_item(units, place, bare(new))
    else:
        _put_prose(units, place, new)


def _put_item(units: list[str], place: int, new: str) -> None:
    """As an item with the mark of its list."""
    left, right = _around(units, place)
    like = left if is_item(left) else right
    mark = ITEM.match(like.lstrip())
    inside = [unit for unit, before in zip(units[1:], units, strict=False) if is_item(unit) and is_item(before)]
    line = gap(inside[0]) if inside else "\n" + gap(like).rpartition("\n")[2]
    assert mark
    if like is left:
        units.insert(place, line + mark[0] + new + _tail(units, place))
        _recount(units, place, number=_number(left), by=1)
    else:
        units[place] = line + right.lstrip()
        units.insert(place, gap(right) + mark[0] + new)
        _recount(units, place + 1, number=_number(right), by=1)


def _put_prose(units: list[str], place: int, new: str) -> None:
    """In the line where it reads well there, else on a line of its own."""
    left, right = _around(units, place)
    before = "\n" if left and _by_lines(units, place) else _between(left, new)
    after = gap(right)
    if left and is_block(left) and right and not is_hard(right):
        before, after = after, ""
    if right and "\n" not in after:
        between = _between(new, right)
        if not left and (is_hard(right) or _by_lines(units, place)):
            between = "\n\n" if is_hard(right) else "\n"
        units[place] = between + right.lstrip()
    units.insert(place, before + new + _tail(units, place))


def _by_lines(units: Sequence[str], place: int) -> bool:
    """Whether every unit around a place has a line of its own, without blank ones between them."""
    near = units[max(1, place - 1) : max(1, place) + 1]
    return bool(near) and all(gap(unit).count("\n") == 1 for unit in near)


def _tail(units: list[str], place: int) -> str:
    """The white space at the end of the text, taken from its last unit, for a unit that comes behind it."""
    if not 0 < place == len(units):
        return ""
    last = units[-1]
    units[-1] = last.rstrip()
    return last[len(units[-1]) :]


def _between(left: str, right: str) -> str:
    """The white space between two units that have come together."""
    left, right = left.strip(), right.strip()
    if not left:
        return ""
    if any(is_item(unit) or is_block(unit) or "\n" in unit for unit in (left, right)):
        return "\n"
    small = right[:1].islower()
    if not closed(left):
        return " " if small else "\n"
    if small or not closed(right):
        return "\n"
    return " " if right[:1].isascii() or left.isascii() else ""


def _recount(units: list[str], place: int, *, number: int, by: int) -> None:
    """Raise the numbers from here to the end of the list; ``number`` is the one that stands here."""
    while place < len(units) and (mark := ITEM.match(units[place].lstrip())) and mark[2] == str(number):
        rest = units[place].lstrip()[mark.end(2) :]
        units[place] = f"{gap(units[place])}{mark[1]}{number + by}{rest}"
        place, number = place + 1, number + 1


def _number(unit: str) -> int:
    """The number of an item; -1 for none."""
    mark = ITEM.match(unit.lstrip())
    return int(mark[2]) if mark and mark[2] else -1
