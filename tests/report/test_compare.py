"""Runs against each other: paired where they were tested on the same examples, and said so where not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from promptopt.errors import UserError
from promptopt.record.ledger import Ledger
from promptopt.report import compare
from promptopt.report.compare import show


def run(folder: Path, values: list[float | None] | None, ids: list[str] | None = None) -> Path:
    """The ledger of a run whose best prompt is called like its folder."""
    ids = ids if ids is not None else [f"test-{i}" for i in range(len(values or []))]
    best = f"prompt {folder.name}"
    start: dict[str, Any] = {"event": "start", "format": 1, "start": ["start"], "recipe": {}, "seed": 0, "time": "2026"}
    start["examples"] = {"train": [], "test": ids}
    rating = {"event": "answer", "ask": "rate", "prompt": best, "origin": {}, "tiebreak": 0, "n": 0, "t": 0}
    events: list[dict[str, Any]] = [start, {**rating, "stage": "search", "value": 0.5}]
    if values is not None:
        events.append({**rating, "stage": "test", "value": 0.5, "per_example": values})
    ledger = Ledger(folder)
    ledger.append(*events, {"event": "stop", "reason": "converged", "best": best})
    ledger.close()
    return folder


def noisy(mean: float, seed: int, count: int = 60) -> list[float | None]:
    rng = np.random.default_rng(seed)
    return [float(v) for v in np.clip(rng.normal(mean, 0.05, count), 0, 1)]


def test_the_table_says_how_many_examples_a_score_rests_on(tmp_path: Path) -> None:
    values = noisy(0.5, 0)
    found = compare(run(tmp_path / "a", [None, *values[1:]]), run(tmp_path / "b", values))
    [runs, _] = found.tables()
    assert [(row["examples"], row.get("unscored")) for row in runs.rows] == [(59, 1), (60, None)]
    assert "unscored" in [column.key for column in runs.columns]


def test_a_clear_difference_and_none(tmp_path: Path) -> None:
    folders = [
        run(tmp_path / name, noisy(mean, i)) for i, (name, mean) in enumerate({"a": 0.5, "b": 0.5, "c": 0.7}.items())
    ]
    found = compare(*folders)
    assert [(pair.a, pair.b, pair.significant) for pair in found.pairs] == [
        ("a", "b", False),
        ("a", "c", True),
        ("b", "c", True),
    ]
    for pair in found.pairs:
        assert pair.low is not None
        assert pair.high is not None
        assert pair.p is not None
        assert pair.p_holm is not None
        assert pair.low <= (pair.difference or 0) <= pair.high
        assert pair.examples == 60
        assert pair.p <= pair.p_holm <= 3 * pair.p
    assert found.pairs[1].difference == pytest.approx(0.2, abs=0.03)
    assert found.pairs[1].p_holm == pytest.approx(3 * 2 / 10_000, rel=0.01)  # the least of three, of 9,999 exchanges
    assert "differ significantly: +0.2" in found.sentences()[1]


def test_examples_are_paired_by_id_in_any_order_and_unscored_ones_left_out(tmp_path: Path) -> None:
    ids = [f"e{i}" for i in range(20)]
    values: list[float | None] = [i / 20 for i in range(20)]
    same = [values[::-1][i] for i in range(20)]
    same[0] = None
    [pair] = compare(run(tmp_path / "a", values, ids), run(tmp_path / "b", same, ids[::-1])).pairs
    assert (pair.difference, pair.low, pair.high, pair.p, pair.examples) == (0, 0, 0, 1, 19)


def test_a_tie_is_called_one(tmp_path: Path) -> None:
    values = [float(i % 2) for i in range(20)]
    found = compare(run(tmp_path / "a", values), run(tmp_path / "b", values[1:] + values[:1]))
    assert found.pairs[0].difference == 0
    assert found.pairs[0].low
    assert found.sentences() == ["a and b tie: the same mean score on 20 held-out examples."]


def test_other_examples_are_not_paired(tmp_path: Path) -> None:
    a = run(tmp_path / "a", [0.0] * 20)
    b = run(tmp_path / "b", [1.0] * 20, [f"test-{i}" for i in range(5, 25)])
    [pair] = compare(a, b).pairs
    assert (pair.difference, pair.p, pair.low, pair.significant) == (1, None, None, False)
    assert "15 in common of 20 and 20" in pair.why
    assert "not paired and not tested" in compare(a, b).sentences()[0]


def test_without_a_test_split_nothing_is_compared(tmp_path: Path) -> None:
    found = compare(run(tmp_path / "a", None), run(tmp_path / "b", [1.0] * 20))
    assert found.pairs[0].difference is None
    assert "cannot be compared" in found.sentences()[0]
    runs, _ = found.tables()
    assert runs.rows[0]["train"] == 0.5
    assert runs.rows[0].get("test") is None
    assert runs.rows[1]["test"] == 1


def test_few_examples_are_not_tested(tmp_path: Path) -> None:
    found = compare(run(tmp_path / "a", [0.0] * 9), run(tmp_path / "b", [1.0] * 9))
    assert found.pairs[0].p is None
    assert "too few" in found.sentences()[0]


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    one, other = run(tmp_path / "1" / "run", [0.0] * 12), run(tmp_path / "2" / "run", [0.0] * 12)
    assert {entry.name for entry in compare(one, other).entries} == {str(one), str(other)}


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two"):
        compare(run(tmp_path / "a", None))
    with pytest.raises(UserError, match="there is no run"):
        compare(tmp_path / "a", tmp_path / "none")


def test_what_is_printed(tmp_path: Path) -> None:
    found = compare(run(tmp_path / "[red]a", noisy(0.5, 0)), run(tmp_path / "b", noisy(0.8, 1)))
    stream = io.StringIO()
    show(found, Console(file=stream, width=160))
    text = stream.getvalue()
    assert "[red]a and b differ significantly" in text
    assert "prompt [red]a" in text
