"""How a run is going: one live line on a terminal or in a notebook, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from ..core import Streams
from ..loading import heard
from ..parts import parts_of
from ..text import plain
from .recorder import Progress as Standing
from .recorder import Watch

EVERY = 20.0  # seconds between two lines where there is no terminal
WIDE = 100  # columns from which on there is room for a bar


@contextmanager
def live(console: Console, *, show: bool = True, lines: bool = True) -> Iterator[Watch]:
    """A watcher that tells what is loaded, the best so far, questions and spend against the budget, and the time left.

    Args:
        show: False where something else draws on the terminal.
        lines: whether to print a line every 20 seconds where the console is no terminal.
    """
    if not show or not (console.is_terminal or lines):
        yield _nobody
    elif console.is_terminal:
        with _bar(console) as watch:
            yield watch
    else:
        with _lines(console, every=EVERY) as watch:
            yield watch


def watching(watch: Watch | bool | None, *, people: bool = False) -> AbstractContextManager[Watch]:
    """The watcher of a run that was started from Python.

    Args:
        watch: the caller's own; True and False turn progress on and off; None shows it on a terminal and in a notebook.
        people: whether people answer, who need the terminal themselves.
    """
    if callable(watch):
        return nullcontext(watch)
    if watch is False or people:
        return nullcontext(_nobody)
    if _in_notebook():
        return _notebook()
    return live(Console(stderr=True), lines=watch is True)


def asks_people(scorer: Any) -> bool:
    """Whether a recipe's scorer asks people, who may need the terminal themselves."""
    named = scorer.get("name") if isinstance(scorer, Mapping) else scorer
    return named == "human" or isinstance(scorer, Streams)


def _nobody(now: Standing) -> None:
    """Watches and says nothing."""


# ── On a terminal ─────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _bar(console: Console) -> Iterator[Watch]:
    """What is needed most stands first, and the prompt takes the room that is left."""
    columns: list[ProgressColumn] = [BarColumn(bar_width=16)] if console.width >= WIDE else []
    columns += [TextColumn("{task.fields[spent]}", markup=False, table_column=Column(no_wrap=True))]
    columns += [TimeElapsedColumn(), TimeRemainingColumn()]
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns += [TextColumn("{task.fields[best]}", markup=False, table_column=rest)]
    bar = Progress(*columns, console=console, transient=True, expand=True)
    task = bar.add_task("search", total=None, best="", spent="starting")

    def watch(now: Standing) -> None:
        done, total = _share(now)
        bar.update(task, completed=done, total=total, best=_best(now), spent=_spent(now))

    with bar, heard(lambda what: bar.update(task, best=plain(what))):
        yield watch


# ── Elsewhere ─────────────────────────────────────────────────────────────────────────────────────────────────────


class _Latest:
    """The latest that there is to say, from any thread."""

    def __init__(self) -> None:
        self.line = "starting"

    def watch(self, now: Standing) -> None:
        self.line = f"{_spent(now)}, {now.costs.seconds:.0f} s, best {_best(now)}"

    def hear(self, what: str) -> None:
        self.line = plain(what)


@contextmanager
def _lines(console: Console, *, every: float) -> Iterator[Watch]:
    """A line every so many seconds, also while one question takes long."""
    latest, over, began = _Latest(), threading.Event(), time.monotonic()

    def tell() -> None:
        while not over.wait(every):
            since = time.monotonic() - began
            console.print(f"[{since:.0f} s] {latest.line}", markup=False, highlight=False, soft_wrap=True)

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    with ExitStack() as stack:
        stack.enter_context(heard(latest.hear))
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)
        yield latest.watch


@contextmanager
def _notebook(write: Callable[[str], object] | None = None, *, every: float = 0.5) -> Iterator[Watch]:
    """One line below the cell, written over."""
    latest, last = _Latest(), 0.0
    write = write or sys.stdout.write

    def draw() -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            write("\r" + latest.line[:WIDE].ljust(WIDE))

    def watch(now: Standing) -> None:
        latest.watch(now)
        draw()

    def hear(what: str) -> None:
        latest.hear(what)
        draw()

    with heard(hear):
        try:
            yield watch
        finally:
            write("\r" + " " * WIDE + "\r")


def _in_notebook() -> bool:
    """Whether this is a kernel of Jupyter, whose output is no terminal and yet watched by a person."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


# ── What is said ──────────────────────────────────────────────────────────────────────────────────────────────────


def _share(now: Standing) -> tuple[float, float | None]:
    """How much of the budget that runs out first is used."""
    tokens = now.costs.input_tokens + now.costs.output_tokens
    limits = [
        (now.costs.questions, now.budget.questions),
        (now.costs.calls, now.budget.calls),
        (tokens, now.budget.tokens),
        (now.costs.dollars, now.budget.dollars),
        (now.costs.seconds, now.budget.seconds),
    ]
    known = [(used, limit) for used, limit in limits if limit is not None]
    return max(known, key=lambda pair: pair[0] / pair[1], default=(now.costs.questions, None))


def _best(now: Standing) -> str:
    score = f"{now.rating.value:.3f} " if now.rating else ""
    part = now.best.origin.get("part")
    latest = parts_of(now.best.text).get(part) if part else None
    text = plain(now.best.text if latest is None else f"{part}: {latest}").replace("\n", " / ")
    return score + (text if len(text) <= 48 else text[:47] + "…")


def _spent(now: Standing) -> str:
    limit = f"/{now.budget.questions}" if now.budget.questions else ""
    spent = f"{now.costs.questions}{limit} questions"
    if now.costs.calls:
        spent += f", {now.costs.calls} LLM calls"
    if now.costs.dollars:
        spent += f", ${now.costs.dollars:.4f}"
    return spent
