"""A run as its ledger tells it, whether it has ended or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import Belief
from ..errors import UserError
from .answers import Contest, Lead, Rated, answers, contests, counted, leads, rated
from .front import Front
from .ledger import read
from .lines import FORMAT
from .stages import CELL, CHEAPEST, SEARCH, TEST, TRANSFER
from .verdict import Verdict

UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Story:
    """What a ledger tells, whether its run has ended or not.

    Attributes:
        manifest: the start event.
        rated: every rating on the training split or a part of it, in the order asked.
        duels: every duel, in the order asked.
        leads: in a search by duels, who had the most net wins from when on.
        best: the final answer, or the best rated so far, or who leads the duels.
        verdict: the held-out comparison, if it was made.
        transfers: the same comparison with other targets, by name.
        belief: how sure an optimizer that gets no ratings was of the best prompt.
        front: value against cost, where the run has ended and its prompts were rated.
        cheapest: the held-out comparison of the front's cheapest prompt with the best one, if it was made.
        cells: those of prompts that hold cells of an archive with the start, by prompt.
        status: why the run stopped, or that it did not.
        events: the ledger's events.
    """

    manifest: dict[str, Any]
    rated: list[Rated]
    duels: list[Contest]
    leads: list[Lead]
    best: str
    verdict: Verdict | None
    transfers: dict[str, Verdict]
    belief: Belief | None
    front: Front | None
    cheapest: Verdict | None
    cells: dict[str, Verdict]
    status: str
    events: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Story:
        """Read a run folder.

        Raises:
            UserError: there is no run in it, or none of this version's format, or its ledger is damaged.
        """
        events = read(folder / "ledger.jsonl")
        if not events or events[0]["event"] != "start":
            raise UserError(f"there is no run in {str(folder)!r}: it has no ledger.jsonl, or one without a beginning.")
        if events[0].get("format") != FORMAT:
            raise UserError(f"{folder} holds no run that this version can read.")
        last = next(event for event in reversed(events) if event["event"] in ("start", "resume", "stop", "failed"))
        found, duels = rated(events), contests(events)
        led = leads(duels)
        best = last.get("best") or _best(found) or (led[-1].prompt if led else events[0]["start"][0])
        made = [event for event in events if event["event"] == "verdict"]
        verdicts = {
            event.get("stage", TEST): Verdict.from_json(event["verdict"])
            for event in made
            if event["best_prompt"] == best and event.get("stage") not in (CHEAPEST, CELL)
        }
        cells = {e["best_prompt"]: Verdict.from_json(e["verdict"]) for e in made if e.get("stage") == CELL}
        verdict = verdicts.pop(TEST, None)
        transfers = {stage.removeprefix(TRANSFER): found for stage, found in verdicts.items()}
        belief = Belief(**last["belief"]) if "belief" in last else None
        front = Front.from_json(last["front"]) if "front" in last else None
        cheapest = _cheapest(events, best, front)
        status = _status(last)
        measured = (best, verdict, transfers, belief, front, cheapest, cells)
        return cls(events[0], found, duels, led, *measured, status, events)

    @property
    def ratings(self) -> list[Rated]:
        """Those of ``rated`` that can be compared, see :func:`promptopt.record.answers.counted`."""
        return counted(self.rated)

    @property
    def leading(self) -> bool:
        """Whether the best prompt is only who leads the duels: no ledger says what an optimizer thinks on its way."""
        return bool(self.leads) and not self.rated and self.status.startswith((UNFINISHED, "failed"))

    @property
    def start(self) -> str:
        """The prompt that the best is compared with: the first to start from, or without one the first tried."""
        start: str = self.manifest["start"][0]
        if start or self.manifest["recipe"].get("start") is not None:
            return start
        return next((event["prompt"] for event in answers(self.events, SEARCH) if "prompt" in event), start)


def _cheapest(events: list[dict[str, Any]], best: str, front: Front | None) -> Verdict | None:
    """The comparison of the front's cheapest prompt with the best one."""
    asked = {"stage": CHEAPEST, "start_prompt": best, "best_prompt": front.cheapest.prompt if front else best}
    made = [event["verdict"] for event in events if event["event"] == "verdict" and asked.items() <= event.items()]
    return Verdict.from_json(made[-1]) if made else None


def _best(found: list[Rated]) -> str | None:
    return max(counted(found), key=lambda one: one.rating.rank).prompt if found else None


def _status(last: dict[str, Any]) -> str:
    if last["event"] in ("start", "resume"):
        return f"{UNFINISHED}: it is still running, or it was killed; promptopt resume takes it up again"
    return f"failed: {last['error']}" if last["event"] == "failed" else f"stopped: {last['reason']}"
