"""What a page is made of. The template knows how each block looks; what it says is made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, TypeAlias

from ..text import Change, visible
from .outcomes import HeldOutOutcome
from .ratings import Ancestor
from .tables import Table

Tone: TypeAlias = Literal["gain", "loss", "unsure"]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Headline:
    """The finding in a few words, and what it rests on."""

    kind: ClassVar[str] = "headline"
    text: str
    details: str
    tone: Tone


@dataclass(frozen=True)
class FactsBlock:
    """Short values with their names, and for scores what they rest on."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[tuple[str, str] | tuple[str, str, str]]


@dataclass(frozen=True)
class CodeBlock:
    """A text to copy; ``name`` says what it is."""

    kind: ClassVar[str] = "code"
    id: str
    name: str
    text: str

    @property
    def exact(self) -> str | None:
        """The text as JSON, where a page cannot hold it as it is: HTML has no control characters and no CR."""
        whole = visible(self.text) == self.text and not any(0xD800 <= ord(c) < 0xE000 for c in self.text)
        return None if whole else json.dumps(self.text)


@dataclass(frozen=True)
class Differences:
    """A text in pieces: words that stayed, new ones and lost ones."""

    kind: ClassVar[str] = "differences"
    name: str
    pieces: Sequence[tuple[Change, str]]


@dataclass(frozen=True)
class Figure:
    """A chart with its caption, its legend (class of a layer, words) and the numbers behind it."""

    kind: ClassVar[str] = "figure"
    svg: str
    caption: str
    table: Table
    legend: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Grid:
    """A table that can be sorted. ``start``: mark the words that this prompt lacks. ``folded``: shut at first."""

    kind: ClassVar[str] = "grid"
    table: Table
    start: str | None = None
    folded: bool = False


@dataclass(frozen=True)
class Descent:
    """The line of descent of a prompt."""

    kind: ClassVar[str] = "descent"
    line: Sequence[Ancestor]


@dataclass(frozen=True)
class Gallery:
    """Test images with what became of them; each with its ``data:`` URI."""

    kind: ClassVar[str] = "gallery"
    name: str
    images: Sequence[tuple[HeldOutOutcome, str]]


@dataclass(frozen=True)
class Replies:
    """Test examples with what each of the two prompts made of them."""

    kind: ClassVar[str] = "replies"
    name: str
    examples: Sequence[HeldOutOutcome]


@dataclass(frozen=True)
class Holder:
    """Who holds a cell of an archive.

    Attributes:
        id: of its place on the page.
        cell: what its kind is, in words.
        value: its rating.
        level: how that compares with the others', from 0 for the lowest to 8 for the highest.
        prompt: its text.
        line: its descent.
        verdict: what held-out data say of it against the start; empty where it was not measured.
    """

    id: str
    cell: str
    value: float
    level: int
    prompt: str
    line: Sequence[Ancestor]
    verdict: str = ""


@dataclass(frozen=True)
class Plane:
    """Cells of an archive, or some of them, as a grid: the names of its columns, and each row with its name."""

    title: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Holder | None]]]


@dataclass(frozen=True)
class Planes:
    """An archive: its cells in colour, and behind each the prompt that holds it."""

    kind: ClassVar[str] = "planes"
    planes: Sequence[Plane]

    @property
    def holders(self) -> list[Holder]:
        """All of them, in the order of the cells."""
        return [one for plane in self.planes for _, row in plane.rows for one in row if one]


Block: TypeAlias = (
    Text | Headline | FactsBlock | CodeBlock | Differences | Figure | Grid | Descent | Gallery | Replies | Planes
)


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: what it is about.
        facts: a line of short facts under the title.
        sections: in order, the verdict first.
        tables: every table in full, for files.
    """

    title: str
    facts: Sequence[str]
    sections: Sequence[Section]
    tables: Sequence[Table] = field(default=())


def ends(table: Table, rows: int) -> Table:
    """A long table's first and last rows, with a note that says so."""
    count = len(table.rows)
    if count <= 2 * rows:
        return table
    note = f"The first and the last {rows} of {count} rows; promptopt report --export writes all of them."
    return replace(
        table, rows=[*table.rows[:rows], *table.rows[-rows:]], note=" ".join(filter(None, [table.note, note]))
    )


def first(table: Table, rows: int) -> Table:
    """A long table's first rows, with a note that says so."""
    count = len(table.rows)
    if count <= rows:
        return table
    note = f"The first {rows} of {count} rows; promptopt report --export writes all of them."
    return replace(table, rows=table.rows[:rows], note=" ".join(filter(None, [table.note, note])))
