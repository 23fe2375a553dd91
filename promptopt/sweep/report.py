"""The report of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import Coverage
from ..record.answers import together
from ..record.story import Story
from ..report.curve import SearchCurve
from ..report.figures import SERIES, Axis, Chart, bars, forest
from ..report.page import Block, CodeBlock, FactsBlock, Figure, Grid, Headline, Page, Section, Text
from ..report.recipe import toml
from ..report.tables import Column, Table
from ..report.told import covered
from .table import FEWEST, RunOutcome, Score, SettingRow, SweepTable, range_of, score

if TYPE_CHECKING:
    from optuna import Study

POINTS = 60  # of a learning curve
COSTS = ("questions", "calls", "tokens", "dollars", "seconds")
SCORE = (Column("score", "score", "score"), Column("low", "low", "score"), Column("high", "high", "score"))
SETTING = Column("setting", "setting")


def sweep_page(folder: Path, *, storage: str | None = None) -> Page:
    """Everything that a sweep's study tells, as a page; learning curves as far as its ledgers lie on this machine.

    Args:
        folder: of the sweep, or with ``storage`` the study's name.
        storage: the URL of Optuna's storage.

    Raises:
        UserError: there is no such study.
    """
    from . import read
    from .study import Storage, load

    table = read(folder, storage=storage)
    study = load(Storage(storage or f"sqlite:///{folder / 'study.db'}"), table.name)
    told = SweepStory(folder, table, study)
    parts = [_verdict, _settings, _tasks, _tests, _curves, _importance, _slices, _recipe]
    sections = [section for part in parts if (section := part(told))]
    state = "finished" if table.finished else "under way"
    facts = [f"tasks {', '.join(table.tasks)}", f"seeds {', '.join(map(str, table.seeds))}", state]
    return Page(table.name, facts, sections, told.tables())


@dataclass(frozen=True)
class Curve:
    """The best score so far of a setting on a task, at question ``x``, over its seeds."""

    row: SettingRow
    task: str
    x: Sequence[float]
    scores: Sequence[Score]


@dataclass(frozen=True)
class SweepStory:
    """A sweep, each thing worked out once."""

    folder: Path
    table: SweepTable
    study: Study

    @cached_property
    def curves(self) -> list[Curve]:
        rows = [row for row in self.table.rows if row.chosen][:SERIES]
        found = [self._curve(row, task) for task in self.table.tasks for row in rows]
        return [curve for curve in found if curve]

    @cached_property
    def importance(self) -> tuple[dict[str, float], str]:
        """How much of the score's variation each parameter explains, and if that cannot be said, why."""
        complete = [row for row in self.table.rows if row.state == "complete"]
        if len(complete) < 4:
            return {}, f"{len(complete)} complete settings are too few to say which parameters matter."
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        from .study import quietly

        try:
            return quietly(lambda: get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator())), ""
        except (ValueError, RuntimeError) as error:
            return {}, f"Optuna cannot say which parameters matter: {error}"

    def tables(self) -> list[Table]:
        """Every table with something in it, in full."""
        made = [settings_table(self.table), tasks_table(self.table), runs_table(self.table), tests_table(self.table)]
        made += [curves_table(self.curves), importance_table(self.importance[0])]
        made += [slice_table(self.table, name) for name in _parameters(self.table)]
        return [table for table in made if table.rows]

    def _curve(self, row: SettingRow, task: str) -> Curve | None:
        found = [(outcome.seed, self._run_curve(row, outcome)) for outcome in row.outcomes if outcome.task == task]
        runs = [(seed, curve) for seed, curve in found if curve and curve.dots]
        if not runs:
            return None
        first, last = max(curve.dots[0][0] for _, curve in runs), max(curve.dots[-1][0] for _, curve in runs)
        count = min(POINTS, int(last - first) + 1)
        x = [first + i * (last - first) / max(1, count - 1) for i in range(count)]
        within = range_of([value for _, curve in runs for _, value in curve.dots])
        best = [[(seed, curve.at(question)) for seed, curve in runs] for question in x]
        return Curve(row, task, x, [score(values, within=within) for values in best])

    def _run_curve(self, row: SettingRow, outcome: RunOutcome) -> SearchCurve | None:
        """The curve of a run's ratings on the whole training split; None where its ledger is elsewhere."""
        places = [self.folder / "trials" / f"{row.setting:04d}" / outcome.key, Path(outcome.folder)]
        place = next((one for one in places if (one / "ledger.jsonl").exists()), None)
        return SearchCurve.of_ratings([one for one in Story.read(place).rated if one.whole]) if place else None


# ── Sections ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _verdict(told: SweepStory) -> Section:
    table, best = told.table, told.table.best
    notes = [Text(note) for note in table.notes]
    if best is None or best.score is None:
        unsure = Headline("No setting has run on every task with every seed", "There is no best setting yet.", "unsure")
        return Section("verdict", "Verdict", [unsure, FactsBlock(_totals(table)), *notes])
    compared = [row.difference for row in table.rows if row.difference]
    worse = sum(gap.significant and gap.mean < 0 for gap in compared)
    details = f"Its score is {_interval(best.score)} over {_runs(best.score)}. "
    if compared:
        details += (
            f"It is significantly better than {worse} of the {len(compared)} other settings that it was compared "
        )
        details += "with, after Holm's correction."
    found = f"Best: {best.label}"
    if table.tied:
        found = f"A tie: {_listed([row.label for row in table.tied])}"
        details = f"They have the same score, {_interval(best.score)} over {_runs(best.score)}. "
        details += "Only more seeds, tasks or examples can tell them apart. The first of them stands for all below."
        details += f" It is significantly better than {worse} of the {len(compared)} others." if worse else ""
    headline = Headline(found, details, "gain" if worse == len(compared) > 0 else "unsure")
    blocks: list[Block] = [headline, FactsBlock(_totals(table)), *notes]
    if compared:
        gaps = [(row.label, row.difference) for row in table.rows if row.difference]
        caption = "Each setting minus the best one, paired by task and seed"
        caption += ", with its 95% interval (not corrected)." if any(g.low is not None for _, g in gaps) else "."
        svg = forest(caption, "difference in score", [(name, g.mean, g.low, g.high) for name, g in gaps])
        blocks += [Figure(svg, caption, settings_table(table))]
    return Section("verdict", "Verdict", blocks)


def _totals(table: SweepTable) -> list[tuple[str, str]]:
    runs = sum(len(row.outcomes) for row in table.rows)
    facts = [("settings", str(len(table.rows))), ("runs", f"{runs:,}")]
    best = table.best
    if best and best.tested and best.gain:
        facts += [("best, held out", f"{best.tested.mean:.3f}"), ("its gain over the start", f"{best.gain.mean:+.3f}")]
    for name, form in (("questions", ",.0f"), ("calls", ",.0f"), ("dollars", ",.4f"), ("seconds", ",.1f")):
        spent = _cost(table, name)
        facts += [("LLM calls" if name == "calls" else name, format(spent, form))] if spent else []
    return facts


def _settings(told: SweepStory) -> Section:
    text = (
        "Settings are compared with the best by a sign-flip permutation test over their runs, paired by task and seed."
    )
    return Section("settings", "Settings", [Text(text), Grid(settings_table(told.table))])


def _tasks(told: SweepStory) -> Section | None:
    table = tasks_table(told.table)
    return Section("tasks", "Tasks", [Grid(table)]) if table.rows else None


def _tests(told: SweepStory) -> Section | None:
    table = tests_table(told.table)
    text = "The test splits were opened once, for the best setting of each optimizer."
    return Section("tests", "Held out", [Text(text), Grid(table)]) if table.rows else None


def _curves(told: SweepStory) -> Section | None:
    if not told.curves:
        where = sorted({outcome.host for row in told.table.rows for outcome in row.outcomes})
        text = f"No learning curves: the ledgers lie elsewhere ({', '.join(where)}), or they hold no ratings."
        return Section("curves", "Learning curves", [Text(text)]) if where else None
    seeds = max(one.seeds for curve in told.curves for one in curve.scores)
    shown = "mean over seeds with its 95% interval"
    if seeds < FEWEST:
        shown = f"mean over {seeds} {'seed' if seeds == 1 else 'seeds'}; an interval needs {FEWEST}"
    blocks: list[Block] = [Text(f"The best score so far on the training examples: {shown}.")]
    for task in told.table.tasks:
        if curves := [curve for curve in told.curves if curve.task == task]:
            blocks += [_learning(task, curves)]
    return Section("curves", "Learning curves", blocks)


def _learning(task: str, curves: Sequence[Curve]) -> Figure:
    means = [one.mean for curve in curves for one in curve.scores]
    span = max(means) - min(means) or abs(means[0])
    ends = [end for curve in curves for one in curve.scores for end in (one.low, one.high) if end is not None]
    seen = [*means, *(min(max(end, min(means) - span), max(means) + span) for end in ends)]  # a wide band is cut
    last = max(curve.x[-1] for curve in curves)
    finals = ", ".join(f"{curve.row.label} ends at {curve.scores[-1].mean:.3f}" for curve in curves)
    caption = f"{task}: {finals}."
    chart = Chart(caption, Axis("question", -0.5, last + 0.5), Axis.over("best score so far", seen))
    for i, curve in enumerate(curves):
        points = [*zip(curve.x, curve.scores, strict=True)]
        low = [(x, one.low) for x, one in points if one.low is not None]
        high = [(x, one.high) for x, one in points if one.high is not None]
        chart.band(low, high, f"s{i}").line([(x, one.mean) for x, one in points], f"s{i}")
    legend = [(f"s{i}", curve.row.label) for i, curve in enumerate(curves)]
    return Figure(chart.svg(), caption, curves_table(curves), legend)


def _importance(told: SweepStory) -> Section | None:
    found, why = told.importance
    if len(_parameters(told.table)) < 2:
        return None
    if not found:
        return Section("importance", "Importance", [Text(why)])
    caption = "The share of each parameter in what makes good settings good (PED-ANOVA, over complete settings)."
    figure = Figure(bars(caption, "importance", [*found.items()]), caption, importance_table(found))
    return Section("importance", "Importance", [figure])


def _slices(told: SweepStory) -> Section | None:
    figures = [_slice(told.table, name) for name in _parameters(told.table)]
    return Section("slices", "Slices", figures) if figures else None


def _slice(table: SweepTable, name: str) -> Figure:
    made = slice_table(table, name)
    values, scores = [row["value"] for row in made.rows], [row["score"] for row in made.rows]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    names = list(dict.fromkeys(map(str, values)))
    log = numeric and min(values) > 0 and max(values) / min(values) > 30
    x = Axis.over(name, values, log=log) if numeric else Axis.of(name, names)
    caption = f"The score of each setting by {name}."
    chart = Chart(caption, x, Axis.over("score", scores))
    chart.points(
        [(v if numeric else names.index(str(v)), s) for v, s in zip(values, scores, strict=True)], "best", radius=4
    )
    return Figure(chart.svg(), caption, made)


def _recipe(told: SweepStory) -> Section | None:
    identity: Mapping[str, Any] = told.study.user_attrs.get("identity", {})
    if "recipe" not in identity:
        return None
    text = f"Save this as {told.table.name}.toml and run it with: promptopt sweep {told.table.name}.toml"
    blocks: list[Block] = [Text(text), CodeBlock("recipe-text", "the recipe", toml(identity["recipe"]))]
    return Section("recipe", "Recipe", blocks)


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────


def settings_table(table: SweepTable) -> Table:
    """The settings, best first, with every number in a column of its own."""
    columns = [SETTING, *SCORE, Column("difference", "difference", "change"), Column("p_holm", "p (Holm)", "number")]
    columns += [Column("significant", "significant")]
    if any(row.test for row in table.rows):
        columns += [Column("test", "test", "score"), Column("gain", "test gain", "change")]
    spent = [what for what in COSTS if _cost(table, what)]
    coverages = [_coverage(row) for row in table.rows]
    columns += [Column("coverage", "rests on", "long")] if any(coverages) else []
    columns += [
        Column("runs", "runs", "count"),
        *(Column(what, what, "number") for what in spent),
        Column("state", "state"),
    ]
    rows = []
    for row in table.rows:
        gap = row.difference
        rows.append(
            {
                "setting": row.label,
                **_score(row.score),
                "difference": gap and gap.mean,
                "p_holm": gap and gap.p_holm,
                "significant": _standing(table, row),
                "test": row.tested and row.tested.mean,
                "gain": row.gain and row.gain.mean,
                "coverage": (coverage := _coverage(row)) and covered(coverage),
                "runs": len(row.outcomes),
                **{what: sum(getattr(outcome, what) for outcome in row.outcomes) for what in spent},
                "state": row.state,
            }
        )
    return Table("settings", "Settings, best first, with 95% intervals", tuple(columns), rows)


def _coverage(row: SettingRow) -> Coverage | None:
    """On how many examples a setting's score rests, over all of its runs; None where that is not known."""
    known = [outcome.coverage and Coverage(**outcome.coverage) for outcome in row.outcomes]
    return together(one or None for one in known) if known else None


def _standing(table: SweepTable, row: SettingRow) -> str | bool | None:
    """Whether a setting is the best, or differs significantly from it."""
    if row in table.tied:
        return "tied best"
    if row is table.best:
        return "best"
    return row.difference.significant if row.difference else None


def tasks_table(table: SweepTable) -> Table:
    """The score of every setting on every task."""
    columns = (SETTING, Column("task", "task"), *SCORE, Column("runs", "runs", "count"))
    rows = [
        {"setting": row.label, "task": task, **_score(row.tasks[task]), "runs": row.tasks[task].n}
        for row in table.rows
        for task in table.tasks
        if task in row.tasks
    ]
    return Table("tasks", "Settings by task, with 95% intervals over seeds", columns, rows)


def runs_table(table: SweepTable) -> Table:
    """Every run of every setting."""
    columns = [SETTING, Column("task", "task"), Column("seed", "seed", "count"), SCORE[0], Column("split", "split")]
    known = any(outcome.coverage for row in table.rows for outcome in row.outcomes)
    columns += [Column("coverage", "rests on", "long")] if known else []
    columns += [Column("train", "train", "score"), *(Column(what, what, "number") for what in COSTS)]
    columns += [Column("stop_reason", "stopped because"), Column("best", "best prompt", "prompt")]
    rows = [
        {"setting": row.label, **vars(outcome), "coverage": outcome.coverage and covered(Coverage(**outcome.coverage))}
        for row in table.rows
        for outcome in row.outcomes
    ]
    return Table("runs", "Every run", tuple(columns), rows)


def tests_table(table: SweepTable) -> Table:
    """What the test splits said."""
    columns = [SETTING, Column("task", "task"), Column("seed", "seed", "count")]
    columns += [
        Column("start", "start", "score"),
        Column("best", "best", "score"),
        Column("difference", "difference", "change"),
    ]
    columns += [
        Column("low", "low", "change"),
        Column("high", "high", "change"),
        Column("examples", "examples", "count"),
    ]
    columns += [Column("prompt", "best prompt", "prompt")]
    rows = []
    for row in table.rows:
        prompts = {(outcome.task, outcome.seed): outcome.best for outcome in row.outcomes}
        for one in row.test:
            rows.append({"setting": row.label, **vars(one), "prompt": prompts.get((one.task, one.seed))})
    return Table("tests", "Best prompts against the start on the test splits, with 95% intervals", tuple(columns), rows)


def curves_table(curves: Sequence[Curve]) -> Table:
    """The learning curves, point by point."""
    columns = (Column("task", "task"), SETTING, Column("question", "question", "number"), *SCORE)
    rows = [
        {"task": curve.task, "setting": curve.row.label, "question": round(x, 1), **_score(one)}
        for curve in curves
        for x, one in zip(curve.x, curve.scores, strict=True)
    ]
    return Table("curves", "Best score so far, with 95% intervals over seeds", columns, rows)


def importance_table(found: Mapping[str, float]) -> Table:
    """What Optuna says of the parameters."""
    columns = (Column("parameter", "parameter"), Column("importance", "importance", "score"))
    rows = [{"parameter": name, "importance": value} for name, value in found.items()]
    return Table("importance", "Importance of the parameters", columns, rows)


def slice_table(table: SweepTable, name: str) -> Table:
    """The score by one parameter."""
    rows = []
    for row in table.rows:
        params = {"optimizer": row.optimizer, **row.params}
        if name in params and row.score:
            rows.append({"value": params[name], "setting": row.label, **_score(row.score)})
    numeric = all(isinstance(row["value"], int | float) for row in rows)
    columns = (Column("value", name, "number" if numeric else "text"), SETTING, *SCORE)
    return Table(f"slice-{name.replace('/', '-')}", f"Scores by {name}", columns, rows)


def _parameters(table: SweepTable) -> list[str]:
    """The parameters that have more than one value among the settings with a score."""
    values: dict[str, set[str]] = {}
    for row in table.rows:
        for name, value in {"optimizer": row.optimizer, **row.params}.items() if row.score else ():
            values.setdefault(name, set()).add(str(value))
    return [name for name, found in values.items() if len(found) > 1]


def _cost(table: SweepTable, what: str) -> float:
    return float(sum(getattr(outcome, what) for row in table.rows for outcome in row.outcomes))


def _score(value: Score | None) -> dict[str, float | None]:
    return {"score": value.mean, "low": value.low, "high": value.high} if value else {}


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _runs(value: Score) -> str:
    runs = "1 run" if value.n == 1 else f"{value.n} runs"
    return f"{runs} with {value.seeds} {'seed' if value.seeds == 1 else 'seeds'}"


def _interval(value: Score) -> str:
    return f"{value.mean:.3f}" + ("" if value.low is None else f" (95% interval {value.low:.3f} to {value.high:.3f})")
