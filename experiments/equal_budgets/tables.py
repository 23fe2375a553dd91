"""The tables of README.md, of the lines of results.jsonl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from promptopt.stats import interval, t_interval

PAGE = Path(__file__).resolve().parent / "README.md"
ORIGINALS = ("gepa.optimize", "DSPy MIPROv2", "DSPy COPRO", "promptolution CAPO")


def report(lines: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"{one['task']} {one['search']} {one['start']:.2f} {one['test']:.2f}" for one in lines)


def write_page(tables: str) -> None:
    """Put the tables between the marks of README.md."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- tables -->\n")
    _, _, after = rest.partition("<!-- end of tables -->")
    PAGE.write_text(f"{before}<!-- tables -->\n{tables}\n<!-- end of tables -->{after}", encoding="utf-8")
