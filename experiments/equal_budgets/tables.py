"""The tables of README.md, of the lines of results.jsonl."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from promptopt.stats import FEWEST, interval, t_interval

PAGE = Path(__file__).resolve().parent / "README.md"
ORIGINALS = ("gepa.optimize", "DSPy MIPROv2", "DSPy COPRO", "promptolution CAPO")
ALONE = ("demonstrations",)  # no LLM proposes; it stands beside either proposer
BASELINE = "random-search"
PAIRS = (
    ("gepa", "gepa.optimize"), ("gepa", "protegi"), ("reflect", "gepa"), ("reflect", "protegi"), ("racing", BASELINE),
    ("behaviour", "protegi"), ("demonstrations", "gepa"), ("demonstrations", "DSPy MIPROv2"), ("gepa", "DSPy MIPROv2"),
)  # fmt: skip
TARGETS = {"SmolLM2": ("category", "language", "continent"), "the embedded LM": ("arithmetic", "navigation")}
TITLES = {"scripted": "Scripted proposer (a ceiling)", "smollm2": "SmolLM2 proposes"}

Line: TypeAlias = Mapping[str, Any]
Draw: TypeAlias = tuple[str, int]  # task and seed


def report(lines: Sequence[Line]) -> str:
    """All tables, proposer by proposer."""
    parts = []
    for proposer in [one for one in TITLES if any(line["proposer"] == one for line in lines)]:
        own, title = by_search(lines, proposer), TITLES[proposer]
        for target, tasks in TARGETS.items():
            if some := on(own, tasks):
                parts += [f"{title}, {target}: accuracy on held-out examples", overview(some)]
        parts += [f"{title}: accuracy on held-out examples by task", by_task(own)]
        parts += [f"{title}: one search against another, in points", differences(own)]
        parts += [f"{title}: mean calls, and how many searches ended how", endings(own)]
    return "\n\n".join(parts)


def by_search(lines: Sequence[Line], proposer: str) -> dict[str, dict[Draw, Line]]:
    """The lines of a proposer, and on the same draws those of searches without one, by search and draw."""
    draws = {(line["task"], line["seed"]) for line in lines if line["proposer"] == proposer}
    found: dict[str, dict[Draw, Line]] = {}
    for line in lines:
        draw = line["task"], line["seed"]
        if line["proposer"] == proposer or (line["search"] in ALONE and draw in draws):
            found.setdefault(line["search"], {})[draw] = line
    return found


def on(own: Mapping[str, Mapping[Draw, Line]], tasks: Sequence[str]) -> dict[str, dict[Draw, Line]]:
    """The draws of some tasks."""
    some = {name: {draw: line for draw, line in found.items() if draw[0] in tasks} for name, found in own.items()}
    return {name: found for name, found in some.items() if found}


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────


def overview(own: Mapping[str, Mapping[Draw, Line]]) -> str:
    """A row a search, the highest above the baseline first: searches may have been run on different draws."""
    head = ["search", "draws", "held out", "above the start", f"above {BASELINE}", "tokens of the prompt"]
    rows = []
    for name, found in own.items():
        gains = [line["test"] - line["start"] for line in found.values()]
        over = paired(own, name, BASELINE)
        cells = [points([line["test"] for line in found.values()]), shown(gains), shown(over) if over else ""]
        cells[2] = "0" if name == BASELINE else cells[2]
        tokens = f"{np.mean([line['tokens'] for line in found.values()]):.0f}"
        rows.append((np.mean(over) if over else -1, [name, str(len(found)), *cells, tokens]))
    return table([head, *(row for _, row in sorted(rows, key=lambda one: -one[0]))])


def by_task(own: Mapping[str, Mapping[Draw, Line]]) -> str:
    """Means over seeds."""
    tasks = list(dict.fromkeys(task for found in own.values() for task, _ in found))
    rows = [["search", *tasks]]
    start = {draw: line["start"] for found in own.values() for draw, line in found.items()}
    rows.append(["(start)", *(points([x for (of, _), x in start.items() if of == task]) for task in tasks)])
    for name, found in own.items():
        values = [[line["test"] for (of, _), line in found.items() if of == task] for task in tasks]
        rows.append([name, *(points(one) if one else "" for one in values)])
    return table(rows)


def differences(own: Mapping[str, Mapping[Draw, Line]]) -> str:
    """Paired by task and seed."""
    rows = [["comparison", *(f"{target}: {what}" for target in TARGETS for what in ("draws", "difference"))]]
    for one, other in PAIRS:
        gaps = [paired(on(own, tasks), one, other) for tasks in TARGETS.values()]
        if any(gaps):
            cells = [text for some in gaps for text in ((str(len(some)), shown(some)) if some else ("", ""))]
            rows.append([f"{one} against {other}", *cells])
    return table(rows)


def endings(own: Mapping[str, Mapping[Draw, Line]]) -> str:
    """Mean calls, how often each ending came, and seconds of the processor."""
    rows = [["search", "of the target", "of the proposer", "ended"]]
    for name, found in own.items():
        calls = [f"{np.mean([line[key] for line in found.values()]):.0f}" for key in ("target_calls", "proposer_calls")]
        ended = Counter(line["ended"] for line in found.values())
        rows.append([name, *calls, "; ".join(f"{how} ({n})" for how, n in ended.most_common(3))])
    return table(rows)


# ── Numbers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def paired(own: Mapping[str, Mapping[Draw, Line]], one: str, other: str) -> list[float]:
    """Differences on the draws that both have."""
    mine, theirs = own.get(one, {}), own.get(other, {})
    return [line["test"] - theirs[draw]["test"] for draw, line in mine.items() if draw in theirs]


def points(values: Sequence[float]) -> str:
    """The mean in points."""
    return f"{100 * np.mean(values):.1f}"


def shown(values: Sequence[float]) -> str:
    """Mean in points with its 95% interval: the bootstrap's for ten values and more, Student's for five to nine."""
    found = 100 * np.array(values, dtype=float)
    if len(found) < 5:
        return f"{found.mean():.1f}"
    if len(found) < FEWEST:
        low, high = t_interval(found)
        return f"{found.mean():.1f} ({low:.1f} to {high:.1f}, t)"
    bounds = interval(found, rng=np.random.default_rng(0))
    return f"{found.mean():.1f} ({bounds[0]:.1f} to {bounds[1]:.1f})"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown, the first being the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def write_page(tables: str) -> None:
    """Put the tables between the marks of README.md."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- tables -->\n")
    _, _, after = rest.partition("<!-- end of tables -->")
    PAGE.write_text(f"{before}<!-- tables -->\n{tables}\n<!-- end of tables -->{after}", encoding="utf-8")
