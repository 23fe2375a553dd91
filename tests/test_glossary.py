"""The study of the glossary: its page says what its results say, and the shipped CLIP still gives them."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("open_clip")
pytest.importorskip("sklearn")

pytestmark = pytest.mark.study

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "glossary"
POINTS = 1.0  # what another processor's rounding may change


@cache
def script() -> ModuleType:
    """The script beside the page, imported under a name of its own."""
    spec = importlib.util.spec_from_file_location("glossary_run", EXPERIMENT / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXPERIMENT / "results.json").read_text(encoding="utf-8"))
    return found


def test_the_tables_of_the_page_are_those_of_the_results() -> None:
    assert script().tables(results()) in (EXPERIMENT / "README.md").read_text(encoding="utf-8")


def test_every_row_was_measured_on_ten_seeds() -> None:
    accuracy = results()["accuracy"]
    assert [*accuracy] == [*script().ROWS]
    assert {len(values) for values in accuracy.values()} == {10}


def test_the_shipped_weights_give_the_numbers_of_the_first_seed() -> None:
    run = script()
    draw = run.Draw(run.Model(), 0)
    for row in ("`a photo of a {}`", "definition as `SENTENCE`", "mean of the partial sentences"):
        assert run.ROWS[row](draw) == pytest.approx(results()["accuracy"][row][0], abs=POINTS)
