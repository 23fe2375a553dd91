"""How whole runs end, whatever their optimizer: within each kind of budget, and alike where they were killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from promptopt import Result

Run = Callable[[Path | None, Any], Result]
"""``run(folder, budget)``: a run of the optimizer that is tested."""


def ended_by(run: Run, budget: dict[str, float]) -> Result:
    """A run whose only limit ended it, and was kept."""
    result = run(None, budget)
    [(name, limit)] = budget.items()
    assert result.stop_reason == f"budget: {name}"
    spent = {**vars(result.costs), "tokens": result.costs.input_tokens + result.costs.output_tokens}
    assert name == "seconds" or 0 < spent[name] <= limit
    return result


def taken_up(run: Run, folder: Path, *, questions: int, files: tuple[str, ...] = ()) -> Result:
    """A whole run in ``folder / "whole"``, and others that were cut off at a quarter and a half of its ledger: each
    ends alike when it is begun again, the named files of its folder included.
    """
    whole = run(folder / "whole", {"questions": questions})
    ledger = (folder / "whole" / "ledger.jsonl").read_text().splitlines(keepends=True)
    for cut in (len(ledger) // 4, len(ledger) // 2):
        place = folder / f"cut{cut}"
        place.mkdir()
        (place / "ledger.jsonl").write_text("".join(ledger[:cut]))
        resumed = run(place, {"questions": questions})
        assert (resumed.best, resumed.history()) == (whole.best, whole.history())
        assert resumed.costs.calls == whole.costs.calls
        assert [(place / name).read_bytes() for name in files] == [
            (folder / "whole" / name).read_bytes() for name in files
        ]
    return whole
