"""A live line about a run, on a terminal; silence elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .loop import Progress as Standing
from .loop import Watch
from .show import plain


@contextmanager
def live(console: Console, *, show: bool = True) -> Iterator[Watch]:
    """A watcher that keeps one line up to date: best so far, questions and spend against the budget, time left.

    Args:
        show: False where something else draws on the terminal.
    """
    bar = Progress(
        TextColumn("{task.fields[best]}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[spent]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (show and console.is_terminal),
    )
    task = bar.add_task("search", total=None, best="", spent="")

    def watch(now: Standing) -> None:
        done, total = _share(now)
        bar.update(task, completed=done, total=total, best=_best(now), spent=_spent(now))

    with bar:
        yield watch


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
    text = plain(now.best.text).replace("\n", " / ")
    return score + (text if len(text) <= 48 else text[:47] + "…")


def _spent(now: Standing) -> str:
    limit = f"/{now.budget.questions}" if now.budget.questions else ""
    spent = f"{now.costs.questions}{limit} questions"
    if now.costs.calls:
        spent += f", {now.costs.calls} LLM calls"
    if now.costs.dollars:
        spent += f", ${now.costs.dollars:.4f}"
    return spent
