"""What a run's ledger tells, worked out once, and its tables."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core import Archive, Coverage, Dataset, Rating, Usage
from ..record.answers import answers
from ..record.archive import read_archive
from ..record.freeze import recipe_in_force
from ..record.replay import Replay
from ..record.stages import DEV, FINAL, STAGES
from ..record.story import Story
from . import duels as duelling
from .archive import elites_table, growth_table
from .curve import SearchCurve
from .front import front_table, shown
from .outcomes import HeldOutOutcome, changed_first, examples_of, judged, outcomes
from .ratings import Ancestor, lineage
from .tables import Column, Table

LABELS = 100
PROMPT = Column("prompt", "prompt", "prompt")
OUTCOME = (
    Column("id", "example"),
    Column("label", "label"),
    Column("input", "input", "long"),
    Column("start", "start", "score"),
    Column("best", "best", "score"),
    Column("change", "change"),
    Column("start_output", "reply to start", "long"),
    Column("start_reason", "why", "long"),
    Column("best_output", "reply to best", "long"),
    Column("best_reason", "why", "long"),
)
KNOWN = ("label", "input", "start_output", "start_reason", "best_output", "best_reason")  # shown where there are any


@dataclass(frozen=True)
class Told:
    """What a ledger tells, each thing worked out once."""

    folder: Path
    story: Story
    given: Dataset | None
    trust: bool = False

    @cached_property
    def curve(self) -> SearchCurve:
        return SearchCurve.of_ratings(self.story.rated)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        return recipe_in_force(self.story.events)

    @cached_property
    def data(self) -> tuple[Dataset | None, str]:
        return (self.given, "") if self.given else examples_of(self.story, self.recipe, trust=self.trust)

    @cached_property
    def outcomes(self) -> list[HeldOutOutcome]:
        return outcomes(self.story, self.data[0]) if self.story.manifest["examples"].get("test") else []

    @cached_property
    def scores(self) -> dict[str, Rating]:
        return {one.prompt: one.rating for one in self.story.rated}

    @cached_property
    def finalists(self) -> dict[str, float]:
        """The scores of the last choice, on the dev split where there is one."""
        found = [*answers(self.story.events, DEV), *answers(self.story.events, FINAL)]
        return {event["prompt"]: event["value"] for event in found if event["value"] is not None}

    @cached_property
    def archive(self) -> Archive | None:
        """The optimizer's archive, where there is one with something in it."""
        found = read_archive(self.folder)
        return found if found and found.history else None

    @cached_property
    def ancestors(self) -> list[Ancestor]:
        return lineage(self.story, self.story.rated)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the run wrote into result.json at its end: notes, warnings and counts are there only."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def tables(self) -> list[Table]:
        """Every table with something in it, in full."""
        made = [verdict_table(self.story), prompts_table(self), improvements_table(self), lineage_table(self)]
        made += [elites_table(self.archive), growth_table(self.archive)]
        made += [duels_table(self), records_table(self), leads_table(self), annotators_table(self)]
        made += [outcomes_table(self), labels_table(self), questions_table(self), calls_table(self)]
        made += [front_table(front)] if (front := shown(self.story.front)) else []
        return [table for table in [*made, counts_table(self), versions_table(self)] if table.rows]


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────


def verdict_table(story: Story) -> Table:
    """The held-out comparison."""
    kinds = {"start": "score", "best": "score", "difference": "change", "low": "change", "high": "change"}
    columns = [Column(key, key, kind) for key, kind in kinds.items()]  # type: ignore[arg-type]
    columns += [Column(key, key, "count") for key in ("examples", "unscored")]
    columns += [Column("by", "by")] if story.verdict and story.verdict.by else []
    rows = [story.verdict.to_json()] if story.verdict else []
    for who, prompt in (("start", story.start), ("best", story.best)) if rows else ():
        rating = judged(story, prompt)
        if rating and rating.coverage and incomplete(rating.coverage):
            columns += [Column(f"{who}_coverage", f"{who} rests on", "long")]
            rows[0][f"{who}_coverage"] = covered(rating.coverage)
    return Table("verdict", "Best against start on held-out examples", tuple(columns), rows)


def prompts_table(told: Told) -> Table:
    """Every prompt that was rated, best first."""
    latest = {one.prompt: one for one in told.story.rated}
    ranked = sorted(latest.values(), key=lambda one: (one.whole, one.rating.rank), reverse=True)
    columns = [Column("rank", "rank", "count"), Column("score", "score", "score"), PROMPT]
    if any(one.rating.coverage for one in ranked):
        columns += [Column("coverage", "rests on", "long")]
    if told.finalists:
        columns += [Column("final", "final choice", "score")]
    if any(one.rating.tiebreak for one in ranked):
        columns += [Column("tiebreak", "tie-break", "score")]
    if not all(one.whole for one in ranked):
        columns += [Column("examples", "examples", "count")]
    columns += [Column("question", "question", "count"), Column("step", "step")]
    if any(one.rating.feedback for one in ranked):
        columns += [Column("feedback", "feedback", "long")]
    places = [(one.whole, one.rating.rank) for one in ranked]
    rows = [
        {
            "rank": places.index(place) + 1,  # ties share a place
            "score": one.rating.value,
            "final": told.finalists.get(one.prompt),
            "tiebreak": one.rating.tiebreak,
            "examples": one.examples,
            "question": one.n,
            "step": str(one.origin.get("step", "start" if one.prompt in told.story.manifest["start"] else "")),
            "prompt": one.prompt,
            "feedback": one.rating.feedback,
            "coverage": one.rating.coverage and covered(one.rating.coverage),
        }
        for one, place in zip(ranked, places, strict=True)
    ]
    return Table("prompts", "Every rated prompt, best first", tuple(columns), rows)


def improvements_table(told: Told) -> Table:
    """The prompts that were the best so far."""
    columns = (
        Column("question", "question", "count"),
        Column("score", "score", "score"),
        Column("low", "low", "score"),
        Column("high", "high", "score"),
        PROMPT,
    )
    rows = [
        {
            "question": one.rated.n,
            "score": one.rated.rating.value,
            "low": one.interval[0],
            "high": one.interval[1],
            "prompt": one.rated.prompt,
        }
        for one in told.curve.improvements
    ]
    return Table("improvements", "Prompts that were the best so far, with 95% intervals", columns, rows)


def lineage_table(told: Told) -> Table:
    """The line of descent."""
    columns = (
        Column("step", "step"),
        Column("score", "score", "score"),
        Column("shown", "prompts shown", "count"),
        PROMPT,
    )
    rows = [
        {"step": one.step, "score": one.rating.value if one.rating else None, "shown": one.shown, "prompt": one.prompt}
        for one in told.ancestors
    ]
    return Table("lineage", "The line of descent of the best prompt", columns, rows)


def duels_table(told: Told) -> Table:
    """Every duel."""
    columns = [
        Column("question", "duel", "count"),
        Column("winner", "winner"),
        Column("a", "a", "prompt"),
        Column("b", "b", "prompt"),
    ]
    if any(duel.details for duel in told.story.duels):
        columns += [Column("details", "details")]
    rows = [
        {"question": d.n, "winner": d.winner, "a": d.a, "b": d.b, "details": _pairs(d.details)}
        for d in told.story.duels
    ]
    return Table("duels", "Every duel", tuple(columns), rows)


def records_table(told: Told) -> Table:
    """How each prompt fared in duels."""
    counts = [Column(key, key, "count") for key in ("net", "wins", "losses", "ties", "duels")]
    rows = [
        {
            "net": r.wins - r.losses,
            "wins": r.wins,
            "losses": r.losses,
            "ties": r.ties,
            "duels": r.duels,
            "prompt": r.prompt,
        }
        for r in duelling.records(told.story.duels)
    ]
    return Table("records", "How each prompt fared in duels", (counts[0], PROMPT, *counts[1:]), rows)


def leads_table(told: Told) -> Table:
    """Who led, from which duel on."""
    columns = (Column("question", "from duel", "count"), Column("net", "net wins", "count"), PROMPT)
    leads = duelling.changes_of_hands(told.story.leads)
    rows = [{"question": lead.n, "net": lead.net, "prompt": lead.prompt} for lead in leads]
    return Table("leads", "Who had the most net wins, from when on", columns, rows)


def annotators_table(told: Told) -> Table:
    """Those who answered."""
    columns = [Column("name", "who answered"), *(Column(k, k, "count") for k in ("answers", "ties", "undecided"))]
    columns += [
        Column("left", "share of wins for the left side", "score"),
        Column("seconds", "median seconds", "number"),
    ]
    rows = [
        {
            "name": one.name,
            "answers": one.answers.total(),
            "ties": one.answers["tie"],
            "undecided": one.answers["unknown"],
            "left": one.left / one.decided if one.decided else None,
            "seconds": one.median_seconds,
        }
        for one in duelling.annotators(told.story.duels)
    ]
    return Table("annotators", "Who answered, and how", tuple(columns), rows)


def outcomes_table(told: Told) -> Table:
    """Every test example."""
    found = changed_first(told.outcomes)
    known = [c for c in OUTCOME if c.key not in KNOWN or any(getattr(one, c.key) for one in found)]
    rows = [{column.key: getattr(one, column.key) for column in known} for one in found]
    return Table("examples", "Every test example", tuple(known), rows)


def labels_table(told: Told) -> Table:
    """Means by label, where there are few labels."""
    groups: defaultdict[str, list[HeldOutOutcome]] = defaultdict(list)
    for one in told.outcomes:
        if one.label and one.change != "not scored":
            groups[one.label].append(one)
    columns = (
        Column("label", "label"),
        Column("examples", "examples", "count"),
        Column("start", "start", "score"),
        Column("best", "best", "score"),
        Column("difference", "difference", "change"),
    )
    rows = []
    for label, group in groups.items() if len(groups) <= min(LABELS, len(told.outcomes) / 3) else ():
        start, best = (sum(getattr(one, key) for one in group) / len(group) for key in ("start", "best"))
        rows.append({"label": label, "examples": len(group), "start": start, "best": best, "difference": best - start})
    return Table("labels", "Mean score by label", columns, rows)


def questions_table(told: Told) -> Table:
    """Answers by stage."""
    columns = (
        Column("stage", "stage"),
        Column("answers", "answers", "count"),
        Column("unscored", "without a score", "count"),
    )
    rows = []
    for stage in STAGES:
        if found := list(answers(told.story.events, stage)):
            empty = sum(e.get("winner") == "unknown" if e["ask"] == "duel" else e["value"] is None for e in found)
            rows.append({"stage": stage, "answers": len(found), "unscored": empty})
    return Table("questions", "Answers bought", columns, rows)


def calls_table(told: Told) -> Table:
    """LLM calls by role and model."""
    spent: defaultdict[tuple[str, str], Usage] = defaultdict(Usage)
    for event in told.story.events:
        if event["event"] == "call":
            spent[event["role"], event["model"]] += Usage(*event["usage"])
    columns = (
        Column("role", "role"),
        Column("model", "model"),
        Column("calls", "calls", "count"),
        Column("input_tokens", "tokens in", "count"),
        Column("output_tokens", "tokens out", "count"),
        Column("dollars", "US dollars", "dollars"),
    )
    rows = [{"role": role, "model": model, **vars(usage)} for (role, model), usage in spent.items()]
    return Table("calls", "LLM calls", columns, rows)


def counts_table(told: Told) -> Table:
    """What was counted."""
    columns = (Column("what", "what was counted"), Column("count", "times", "count"))
    counts: Mapping[str, int] = told.summary.get("counts") or Replay(told.story.events).counts
    return Table("counts", "Counts", columns, [{"what": what, "count": n} for what, n in counts.items()])


def versions_table(told: Told) -> Table:
    """What the run ran with."""
    manifest = told.story.manifest
    versions = {"Python": manifest["python"], **manifest["packages"]}
    if manifest.get("git"):
        versions["git commit"] = manifest["git"]
    rows = [{"package": package, "version": version} for package, version in versions.items()]
    return Table("versions", "Versions", (Column("package", "package"), Column("version", "version")), rows)


# ── Coverage ──────────────────────────────────────────────────────────────────────────────────────────────────────


def covered(coverage: Coverage) -> str:
    """On how much a score rests, for example ``18 of 20 scored, 3 failed: no answer found (3)``."""
    text = f"{coverage.scored:,} of {coverage.examples:,} scored"
    text += f", {coverage.failed:,} failed" if coverage.failed else ""
    reasons = ", ".join(f"{why} ({n:,})" for why, n in sorted(coverage.reasons.items(), key=lambda item: -item[1]))
    return f"{text}: {reasons}" if reasons else text


def incomplete(coverage: Coverage) -> bool:
    """Whether some output failed or could not be scored."""
    return coverage.failed > 0 or coverage.scored < coverage.examples


def _pairs(details: Mapping[str, Any]) -> str:
    return "; ".join(f"{key}: {value}" for key, value in details.items())
