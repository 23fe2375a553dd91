"""Duels in the terminal: two outputs side by side, one key each."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ...core import Picture
from ...text import plain
from .desk import Choice, Desk, Shown
from .view import ExampleRow, Part

__all__ = ["Terminal"]

NAME = "terminal"
NARROW = 72  # columns; below it outputs stand one below the other
HELP = "1 or ← left   2 or → right   t tie   s cannot tell   u undo   q stop"
CHOICES: dict[str, Choice] = {
    "1": "left",
    "l": "left",
    "\x1b[D": "left",
    "\x1bOD": "left",
    "2": "right",
    "r": "right",
    "\x1b[C": "right",
    "\x1bOC": "right",
    "t": "tie",
    "s": "unknown",
}
STOPS = ("q", "\x04", "")


class Terminal:
    """Asks whoever sits at the terminal, in the thread that waits for answers.

    Where standard input is no terminal, a line of it is an answer: so answers can be piped in. What is shown goes to
    standard error, so that standard output holds the run's result alone.

    Args:
        desk: where the duels lie.
        question: what is asked.
        context: shown above every duel.
        progress: where the run stands; its budget is shown, never its best prompt.
        read: gives the next key; ``""`` is the end.
    """

    def __init__(
        self,
        desk: Desk,
        question: str,
        context: str,
        progress: Callable[[], Any],
        *,
        read: Callable[[], str] | None = None,
        console: Console | None = None,
    ) -> None:
        self._desk = desk
        self._question = question
        self._context = context
        self._progress = progress
        self._read = read or read_key
        self._console = console or Console(stderr=True)
        self._files: Path | None = None

    def start(self) -> None:
        """Nothing: the terminal is there."""

    def attend(self) -> bool:
        """Ask for one answer, or wait until a duel is ready."""
        shown = self._desk.deal(NAME)
        if shown is None:
            with self._console.status("The next duel is being prepared …"):
                self._desk.changed.wait()
            return True
        self._show(shown)
        while (key := self._read()) not in STOPS:
            if key in CHOICES:
                self._desk.answer(NAME, shown.key, CHOICES[key], again=shown.again)
                return True
            if key == "u" and self._desk.undoable(NAME) is not None:
                self._desk.undo(NAME)
                return True
            self._console.print("There is nothing to undo." if key == "u" else HELP, highlight=False)
        return False

    def close(self) -> None:
        """Remove the pictures."""
        if self._files:
            shutil.rmtree(self._files, ignore_errors=True)
            self._files = None

    # ── What is shown ─────────────────────────────────────────────────────────────────────────────────────────────

    def _show(self, shown: Shown) -> None:
        lines = [Text(self._standing(), "dim"), Text(plain(self._question), "bold")]
        if self._context:
            lines.append(Text(plain(self._context)))
        if self._console.is_terminal:
            self._console.clear()
        self._console.print(Group(*lines), *(self._row(row, shown.swapped) for row in shown.view.rows), sep="\n")
        self._console.print(Text(HELP, "dim"))

    def _standing(self) -> str:
        """How far the annotator is, and nothing of what the search thinks: it would lead them."""
        now = self._progress()
        limit = now.budget.questions if now else None
        return f"{self._desk.standing().answered} answered" + (f" of {limit}" if limit else "")

    def _row(self, row: ExampleRow, swapped: bool) -> RenderableType:
        given = [Text(line, "italic") for line in self._lines(row.given, titles=True)]
        left, right = (row.b, row.a) if swapped else (row.a, row.b)
        panels = [
            Panel(Text("\n".join(self._lines(parts, titles=len(parts) > 1))), title=title, title_align="left")
            for title, parts in (("1 left", left), ("2 right", right))
        ]
        if self._console.width < NARROW:
            return Group(*given, *panels)
        table = Table.grid(expand=True)
        table.add_column(ratio=1)
        table.add_column(ratio=1)
        table.add_row(*panels)
        return Group(*given, table)

    def _lines(self, parts: Sequence[Part], *, titles: bool) -> Iterator[str]:
        for title, part in parts:
            text = self._saved(part) if isinstance(part, Picture) else plain(part)
            yield f"{plain(title)}: {text}" if titles else text

    def _saved(self, picture: Picture) -> str:
        """Where a picture can be looked at: a terminal shows none."""
        if self._files is None:
            self._files = Path(tempfile.mkdtemp(prefix="promptopt-duels-"))
        number = len(list(self._files.iterdir())) + 1
        file = self._files / f"{number}.{picture.type.partition('/')[2]}"
        file.write_bytes(picture.data)
        return f"picture {file}"


def read_key() -> str:
    """One key, without Enter; off a terminal the first letter of a line. ``""`` is the end of the input.

    Raises:
        KeyboardInterrupt: Ctrl-C; the terminal is as it was.
    """
    if not sys.stdin.isatty():
        while line := sys.stdin.readline():
            if word := line.split():
                return word[0][0].lower()
        return ""
    import typer

    try:
        return _lower(typer.getchar())
    except EOFError:
        return ""


def _lower(key: str) -> str:
    """A letter in lower case; escape sequences as they are."""
    return key.lower() if len(key) == 1 else key
