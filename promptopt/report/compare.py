"""The best prompts of several runs against each other, on the test values that stand in their ledgers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from ..errors import UserError
from ..record.story import Story
from ..stats import FEWEST, holm, interval, mean, sign_flip
from ..text import plain
from .outcomes import tested
from .ratings import band
from .tables import Column, Table

if TYPE_CHECKING:
    from rich.console import Console

    from ..core import Array

LEVEL = 0.05
SAME = 1e-12  # means that differ by less differ by rounding errors
OTHERS = "their test examples are not the same"
MISSING = "the test split was not opened by each"


@dataclass(frozen=True)
class Entry:
    """A run in a comparison.

    Attributes:
        name: what it is called in the tables.
        best: its best prompt.
        train: that prompt's rating on its training split.
        tested: ``(n_examples,)`` values on its test split; None where the ledger has none.
        ids: of these examples.
    """

    name: str
    best: str
    train: float | None
    tested: Array | None
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Run ``b`` minus run ``a``.

    Attributes:
        difference: of their mean test scores; paired: over the examples that both could be scored on.
        low, high: its 95% bootstrap interval; None for fewer than ten examples.
        p: two-sided p-value of the sign-flip permutation test over paired examples; None where nothing is paired.
        p_holm: the same, corrected for the number of pairs (Holm).
        examples: how many were compared; None where nothing is paired.
        why: why the examples could not be paired; empty where they were.
    """

    a: str
    b: str
    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    examples: int | None = None
    why: str = ""

    @property
    def significant(self) -> bool:
        """Whether the two differ after the correction, at 0.05."""
        return self.p_holm is not None and self.p_holm < LEVEL


@dataclass(frozen=True)
class Comparison:
    """Several runs and every pair of them."""

    entries: tuple[Entry, ...]
    pairs: tuple[Pair, ...]

    def tables(self) -> list[Table]:
        """The runs, and their pairs."""
        return [_runs(self.entries), _pairs(self.pairs)]

    def sentences(self) -> list[str]:
        """What was found, a pair a line."""
        return [_sentence(pair) for pair in self.pairs]


def compare(*folders: str | Path) -> Comparison:
    """Compare the best prompts of runs, each pair of runs example by example.

    What counts are the values on the test split, which each run measured once. Two runs are paired if they were tested
    on the same examples; in other cases their means stand side by side, without a test.

    Raises:
        UserError: there are fewer than two runs, or a folder holds none.
    """
    if len(folders) < 2:
        raise UserError("give at least two run folders to compare.")
    entries = [_entry(Path(folder), name) for folder, name in zip(folders, _names(folders), strict=True)]
    return Comparison(tuple(entries), tuple(_corrected([_pair(a, b) for a, b in combinations(entries, 2)])))


def _names(folders: Sequence[str | Path]) -> list[str]:
    """The folders' own names, or as they were given where two have the same."""
    names = [Path(folder).resolve().name for folder in folders]
    return [str(folder) if names.count(name) > 1 else name for name, folder in zip(names, folders, strict=True)]


def _entry(folder: Path, name: str) -> Entry:
    story = Story.read(folder)
    train = {one.prompt: one.rating.value for one in story.rated if one.whole}.get(story.best)
    ids = story.manifest["examples"].get("test", [])
    values = tested(story, story.best)
    return Entry(
        name, story.best, train, values if values is not None and len(values) == len(ids) else None, tuple(ids)
    )


def _pair(a: Entry, b: Entry) -> Pair:
    if a.tested is None or b.tested is None:
        return Pair(a.name, b.name, None, why=MISSING)
    if {*a.ids} != {*b.ids}:
        common = len({*a.ids} & {*b.ids})
        why = f"{OTHERS}: {common} in common of {len(a.ids)} and {len(b.ids)}"
        return Pair(a.name, b.name, mean(b.tested) - mean(a.tested), why=why)
    theirs = dict(zip(a.ids, a.tested, strict=True))
    differences = b.tested - np.array([theirs[i] for i in b.ids])
    differences = differences[np.isfinite(differences)]
    low, high = interval(differences, rng=np.random.default_rng(0))
    p = sign_flip(differences) if len(differences) >= FEWEST else None
    return Pair(a.name, b.name, mean(differences), low, high, p, examples=len(differences))


def _corrected(pairs: Sequence[Pair]) -> list[Pair]:
    tested = {i: pair.p for i, pair in enumerate(pairs) if pair.p is not None}
    corrected = dict(zip(tested, holm([*tested.values()]), strict=True))
    return [replace(pair, p_holm=corrected.get(i)) for i, pair in enumerate(pairs)]


# ── In words and tables ───────────────────────────────────────────────────────────────────────────────────────────


def show(comparison: Comparison, console: Console) -> None:
    """Print a comparison: the runs, then each pair in a sentence."""
    from rich.table import Table as Grid

    runs = comparison.tables()[0]
    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for column in runs.columns:
        grid.add_column(column.title, justify="right" if column.numeric else "left", no_wrap=column.numeric)
    for row in runs.rows:
        grid.add_row(*(Text(plain(column.show(row.get(column.key)))) for column in runs.columns))
    console.print(grid)
    for sentence in comparison.sentences():
        console.print(Text(plain(sentence)))


def _sentence(pair: Pair) -> str:
    if pair.difference is None:
        return f"{pair.a} and {pair.b} cannot be compared: {pair.why}."
    if pair.why:
        return f"{pair.b} minus {pair.a}: {pair.difference:+.3f}, not paired and not tested; {pair.why}."
    if abs(pair.difference) < SAME:
        return f"{pair.a} and {pair.b} tie: the same mean score on {pair.examples} held-out examples."
    if pair.p_holm is None or pair.low is None:
        return (
            f"{pair.b} minus {pair.a}: {pair.difference:+.3f} on {pair.examples} examples, too few to tell from chance."
        )
    found = "differ significantly" if pair.significant else "do not differ significantly"
    return (
        f"{pair.a} and {pair.b} {found}: {pair.difference:+.3f} on {pair.examples} held-out examples, "
        f"95% interval {pair.low:+.3f} to {pair.high:+.3f}, p = {pair.p_holm:.4f} (Holm)."
    )


def _runs(entries: Sequence[Entry]) -> Table:
    columns = [Column("run", "run"), Column("train", "train", "score"), Column("test", "test", "score")]
    columns += [Column("low", "low", "score"), Column("high", "high", "score"), Column("examples", "examples", "count")]
    if any(one.tested is not None and np.isnan(one.tested).any() for one in entries):
        columns.append(Column("unscored", "unscored", "count"))
    rows: list[dict[str, Any]] = []
    for one in entries:
        test: dict[str, Any] = {}
        if one.tested is not None:
            low, high = band(one.tested)
            scored = int(np.isfinite(one.tested).sum())
            test = {"test": mean(one.tested), "low": low, "high": high, "examples": scored}
            test |= {"unscored": len(one.tested) - scored} if scored < len(one.tested) else {}
        rows.append({"run": one.name, "train": one.train, **test, "prompt": one.best})
    title = "The best prompt of each run, with the 95% interval of its test score"
    return Table("runs", title, (*columns, Column("prompt", "prompt", "prompt")), rows)


def _pairs(pairs: Sequence[Pair]) -> Table:
    columns = (
        Column("a", "run a"),
        Column("b", "run b"),
        Column("difference", "b − a", "change"),
        Column("low", "low", "change"),
        Column("high", "high", "change"),
        Column("p", "p", "number"),
        Column("p_holm", "p (Holm)", "number"),
        Column("examples", "examples", "count"),
        Column("significant", "significant"),
        Column("why", "not paired because"),
    )
    rows = [{**vars(pair), "significant": pair.significant if pair.p is not None else None} for pair in pairs]
    return Table("pairs", "Differences on held-out examples", columns, rows)
