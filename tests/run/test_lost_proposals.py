"""Calls of a proposer that fail for good: the search goes on without, and a resumed run goes the same way."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from reflective_parts import RULES, START, Follows, Repeats, task, written
from response_parts import QUERY

import promptopt
from promptopt.core import Message, Request
from promptopt.errors import ModelError, Rejected, Unanswered
from promptopt.testing import ScriptedModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "equal_budgets"))
REFLECT = "reflect:Reflect"  # makes several calls between two ratings
SEARCHES: dict[str, dict[str, Any]] = {
    "hill-climb": {"proposer": "chat", "iterations": 4},
    "map-elites": {"measures": [{"name": "tone", "question": "How formal?", "scale": ["casual", "formal"]}]},
    "protegi": {"rounds": 2, "beam": 2, "gradients": 2, "successors": 4, "sample": 3, "evaluations": 60},
    REFLECT: {"sample": 3},
}
LOST = ("calls of the proposer that failed", "measurements that failed")


def replies(messages: Sequence[Message]) -> str:
    """Prompts, or what is on a scale."""
    return "casual" if "where it stands on a scale" in messages[-1].text else written(messages)


class Loses(ScriptedModel):
    """Loses the calls of these numbers; the next one is number ``n``."""

    def __init__(
        self, lost: Collection[int] = (), *, kind: type[ModelError] = Unanswered, n: int = 0, script: Any = replies
    ) -> None:
        super().__init__(script)
        self._lost, self._kind, self.n = lost, kind, n

    def complete(self, request: Request, /) -> Any:
        self.n += 1
        if self.n - 1 in self._lost:
            raise self._kind("m: it broke (HTTP 529)")
        return super().complete(request)


def run(folder: Path | None, model: ScriptedModel, *, search: str = REFLECT, **more: Any) -> Any:
    proposer = {"proposer": {"name": "chat", "model": model}} if search == "hill-climb" else {"model": model}
    given: dict[str, Any] = {"target": Repeats(), "metric": Follows(), "data": task(test=12), "budget": 30}
    optimizer = {"name": search, **SEARCHES[search], **proposer}
    return promptopt.optimize(start=START, optimizer=optimizer, run=folder, watch=False, **{**given, **more})


def told(result: Any) -> Any:
    return result.history(), result.best, result.verdict, result.stop_reason, dict(result.counts), result.costs.calls


@pytest.mark.parametrize(("search", "kind"), [*((name, Unanswered) for name in SEARCHES), (REFLECT, Rejected)])
def test_a_search_goes_on_without_what_was_lost_and_so_does_a_resumed_one(
    search: str, kind: type[ModelError], tmp_path: Path
) -> None:
    lost = (1, 2, 4)
    result = run(tmp_path / "run", Loses(lost, kind=kind), search=search)
    assert sum(result.counts.get(what, 0) for what in LOST) == 3
    assert "empty replies" not in result.counts
    assert [note for note in result.notes if re.match(r"A call of the \w+ failed, .* without its replies: m: it", note)]
    assert result.verdict
    lines = (tmp_path / "run" / "ledger.jsonl").read_text().splitlines(keepends=True)
    for end in range(2, len(lines), 6):
        again = tmp_path / str(end)
        again.mkdir()
        (again / "ledger.jsonl").write_text("".join(lines[:end]))
        assert told(run(again, Loses(lost, kind=kind, n=answered(lines[:end])), search=search)) == told(result)
        assert told(run(again, nothing := Loses(range(99)), search=search)) == told(result)
        assert nothing.n == 0


def answered(lines: Sequence[str]) -> int:
    """How many calls a ledger holds that are not made again."""
    events = [event for event in map(json.loads, lines) if event["event"] in ("call", "answer")]
    while events and events[-1].get("replies") == []:
        events.pop()
    return sum(event["event"] == "call" for event in events)


def test_the_third_in_a_row_ends_the_run_which_goes_on_as_if_nothing_had_been_lost(tmp_path: Path) -> None:
    whole = run(None, Loses())
    model = Loses(range(5, 99))
    with pytest.raises(ModelError, match=r"^m: it broke \(HTTP 529\) \(3 calls in a row failed\)") as caught:
        run(tmp_path, model)
    assert model.n == 8
    assert "promptopt resume" in caught.value.__notes__[0]
    with pytest.raises(ModelError, match="3 calls in a row"):
        run(tmp_path, Loses(range(99)))
    assert told(run(tmp_path, Loses())) == told(whole)
    assert told(run(tmp_path, nothing := Loses(range(99)))) == told(whole)
    assert nothing.n == 0
    assert all(rule in whole.best for rule in RULES)


def test_a_search_that_ends_for_want_of_an_answer_has_failed_and_goes_on(tmp_path: Path) -> None:
    def sampled(folder: Path | None, model: ScriptedModel) -> Any:
        optimizer = {"name": "best-of-n", "model": model, "query": QUERY}
        return promptopt.optimize(
            optimizer=optimizer, score=lambda reply: float("sun" in reply), budget=9, run=folder, watch=False
        )

    def because(messages: Any) -> str:
        return "Because of sunlight."

    with pytest.raises(ModelError, match=r"^m: it broke \(HTTP 529\)\n"):
        sampled(tmp_path, Loses([0], script=because))
    for lost in ((), range(99)):
        assert sampled(tmp_path, Loses(lost, script=because)).best == "Because of sunlight."
