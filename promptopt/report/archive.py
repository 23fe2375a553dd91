"""An archive as a person sees it: its cells as a grid, the prompts that hold them, and how it grew."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ..core import Archive, Elite
from ..errors import UserError
from ..record.archive import Cell, cells_of, elites, growth, read_archive
from ..record.story import Story
from ..text import plain
from .figures import Axis, Chart
from .page import Holder, Plane
from .ratings import lineages
from .tables import Column, Table
from .terminal import beginning

__all__ = ["elites_table", "grown", "growth_table", "measured", "planes", "show_archive", "summary"]

LEVELS = 8
FEW = 8  # lines of a prompt that are shown on a terminal
MOST = 12  # grids that are shown
HELD_OUT = {"difference": "against the start", "low": "low", "high": "high"}  # of a verdict, and what it is called


def summary(archive: Archive) -> str:
    """How far it is filled, in a sentence."""
    held, (_, coverage, score) = elites(archive), growth(archive)[-1]
    filled = f"{len(held)} of {cells_of(archive)} cells hold a prompt (coverage {coverage:.3f})"
    return f"{filled}; the QD score is {score:.3f}."


def measured(archive: Archive, story: Story) -> str:
    """How many of those who hold a cell were measured on held-out data, and what to make of it; empty for none."""
    found = [story.cells[one.prompt.text] for one in elites(archive).values() if one.prompt.text in story.cells]
    if not found:
        return ""
    better = sum(one.significant for one in found)
    return (
        f"{len(found)} of those who hold a cell were compared with the start on held-out examples; {better} gained "
        "significantly. Each 95% interval holds for itself: of 20 prompts that are no better than the start, one may "
        "look so by chance."
    )


# ── On a page ─────────────────────────────────────────────────────────────────────────────────────────────────────


def planes(archive: Archive, story: Story) -> list[Plane]:
    """The archive as grids: the first measure across, the second one down, and a grid for each kind by the others."""
    held = elites(archive)
    lines = lineages(story, story.rated, [one.prompt.text for one in held.values()])
    values = [one.value for one in held.values()]
    holders = {
        cell: Holder(
            f"elite-{'-'.join(map(str, cell))}",
            _named(archive, cell),
            one.value,
            _level(one.value, values),
            one.prompt.text,
            line,
            verdict.sentence() if (verdict := story.cells.get(one.prompt.text)) else "",
        )
        for (cell, one), line in zip(held.items(), lines, strict=True)
    }
    across, down = _axes(archive)
    return [
        Plane(
            title,
            down[0],
            across,
            [(name, [holders.get(cell) for cell in row]) for name, row in zip(down[1], rows, strict=True)],
        )
        for title, rows in _slices(archive)
    ]


def _axes(archive: Archive) -> tuple[Sequence[str], tuple[str, Sequence[str]]]:
    """What the columns are called; what the rows are called together, and each of them."""
    names = [*archive.ranges]
    if len(names) == 1:
        return archive.ranges[names[0]], ("", ("",))
    return archive.ranges[names[0]], (f"{names[1]} ↓  {names[0]} →", archive.ranges[names[1]])


def _slices(archive: Archive) -> list[tuple[str, list[list[Cell]]]]:
    """The cells row by row with a title, for each kind by the measures from the third on; the first twelve of these."""
    names, sizes = [*archive.ranges], [range(len(one)) for one in archive.ranges.values()]
    found: list[tuple[str, list[list[Cell]]]] = []
    for rest in list(product(*sizes[2:]))[:MOST]:
        kinds = [f"{name} {archive.ranges[name][place]}" for name, place in zip(names[2:], rest, strict=True)]
        title = f"The best prompt by {' and '.join(names[:2])}" + (f", where it is {', '.join(kinds)}" if kinds else "")
        below = [(j, *rest) for j in sizes[1]] if len(sizes) > 1 else [()]
        rows: list[list[Cell]] = [[(i, *others) for i in sizes[0]] for others in below]
        found.append((title, rows))
    return found


def _level(value: float, values: Sequence[float]) -> int:
    low, high = min(values), max(values)
    return round((value - low) / (high - low) * LEVELS) if high > low else LEVELS // 2


def _named(archive: Archive, cell: Cell) -> str:
    """A cell in words."""
    return ", ".join(f"{name} {ranges[i]}" for (name, ranges), i in zip(archive.ranges.items(), cell, strict=True))


def grown(archive: Archive, *, last: float) -> list[tuple[str, str]]:
    """A chart of the coverage and one of the QD score over questions, each with its caption.

    Args:
        last: the last question of the search.
    """
    found, steps = [], growth(archive)
    for which, label in ((1, "coverage"), (2, "QD score")):
        points = [(float(step[0]), step[which]) for step in steps]
        caption = f"The {label} went from {points[0][1]:.3f} to {points[-1][1]:.3f}."
        chart = Chart(caption, Axis("question", -0.5, last + 0.5), Axis.over(label, [y for _, y in points]))
        chart.line([*points, (max(last, points[-1][0]), points[-1][1])], "best", steps=True)
        found.append((chart.svg(), caption))
    return found


# ── As tables ─────────────────────────────────────────────────────────────────────────────────────────────────────


def elites_table(archive: Archive | None, story: Story) -> Table:
    """Who holds each cell, best first, and what was measured of them on held-out data."""
    names = [*archive.ranges] if archive else []
    columns = [
        *(Column(f"kind_{name}", name) for name in names),
        *(Column(f"measured_{name}", "measured") for name in names),
    ]
    columns += [
        Column("score", "score", "score"),
        Column("question", "question", "count"),
        Column("prompt", "prompt", "prompt"),
    ]
    if story.cells:
        columns += [Column("held_out", "held out", "score")]
        columns += [Column(name, title, "change") for name, title in HELD_OUT.items()]
    held = sorted(elites(archive).values(), key=lambda one: -one.value) if archive else []
    return Table(
        "archive",
        "The best prompt of each kind",
        tuple(columns),
        [_row(archive, one, story) for one in held if archive],
    )


def _row(archive: Archive, one: Elite, story: Story) -> dict[str, Any]:
    kinds = {f"kind_{name}": ranges[i] for (name, ranges), i in zip(archive.ranges.items(), one.cell, strict=True)}
    measured = {f"measured_{name}": str(value) for name, value in one.measured.items()}
    row = {**kinds, **measured, "score": one.value, "question": one.question, "prompt": one.prompt.text}
    found = verdict.to_json() if (verdict := story.cells.get(one.prompt.text)) else {}
    return {**row, "held_out": found.get("best"), **{name: found.get(name) for name in HELD_OUT}}


def growth_table(archive: Archive | None) -> Table:
    """Coverage and QD score over questions."""
    columns = (
        Column("question", "question", "count"),
        Column("coverage", "coverage", "score"),
        Column("qd_score", "QD score", "score"),
    )
    steps = growth(archive) if archive else []
    rows = [{"question": n, "coverage": coverage, "qd_score": score} for n, coverage, score in steps]
    return Table("archive_growth", "Coverage and QD score, from which question on", columns, rows)


# ── On a terminal ─────────────────────────────────────────────────────────────────────────────────────────────────


def show_archive(folder: Path, console: Console) -> None:
    """Print the archive in a run's folder: its cells as grids, and the prompts that hold them.

    Raises:
        UserError: there is no run, or no archive, or it holds no prompt.
    """
    story = Story.read(folder)
    archive = read_archive(folder)
    if archive is None:
        raise UserError(
            f"{folder} holds no archive: its run has not ended, or its optimizer keeps none; map-elites keeps one."
        )
    held = elites(archive)
    if not held:
        raise UserError(f"the archive of {folder} holds no prompt: none was rated and measured.")
    console.print(Text(plain(summary(archive)), "bold"))
    if told := measured(archive, story):
        console.print(Text(told))
    for title, rows in _slices(archive):
        if any(cell in held for row in rows for cell in row):
            console.print(_grid(archive, title, rows))
    for cell, one in held.items():
        console.print(Text(plain(f"{_named(archive, cell)}: {one.value:.3f}"), "bold"))
        text, more = beginning(plain(one.prompt.text), FEW)
        console.print(Text(text + (f"\n({more} more lines)" if more else "")))
        if verdict := story.cells.get(one.prompt.text):
            console.print(Text(plain(f"Held out: {verdict.sentence()}"), "dim"))


def _grid(archive: Archive, title: str, rows: Sequence[Sequence[Cell]]) -> Text:
    held, (across, (corner, down)) = elites(archive), _axes(archive)
    lines = [[corner.replace("↓", "down,").replace("→", "across"), *across]]
    for name, row in zip(down, rows, strict=True):
        lines.append([name, *(f"{held[cell].value:.3f}" if cell in held else "-" for cell in row)])
    lines = [[plain(cell) for cell in line] for line in lines]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    text = Text(plain(title))
    for first, *others in lines:
        space = [" " * (width - cell_len(cell)) for width, cell in zip(widths, [first, *others], strict=True)]
        text.append(
            "\n" + first + space[0] + "".join(f"  {s}{cell}" for s, cell in zip(space[1:], others, strict=True))
        )
    return text
