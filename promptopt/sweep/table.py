"""What a sweep found: settings in rows, best first, put together from an Optuna study alone.

A *setting* is an optimizer with its parameters, and one Optuna trial. It is run on every task with every seed; what is
compared is the mean over these runs of the score that the chosen prompt has on the dev split. :func:`table` reads the
runs' outcomes from the trials' user attributes, so it needs no run folder and works on any machine.

An interval says where the mean would lie with other seeds, on the same tasks. It is worked out from one number per
seed, its mean over the tasks: a t interval, for scores from 0 to 1 on the logit scale and so inside 0 and 1, as is
usual for proportions that surveys estimate. Fewer than three seeds give none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ..record.codec import null_for_nan
from ..report.sheets import to_csv
from ..stats import holm, sign_flip, t_interval

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from ..core import Array

Range: TypeAlias = tuple[float, float]
State: TypeAlias = Literal["complete", "pruned", "failed", "running", "waiting"]
LEVEL = 0.05
FEWEST = 3  # seeds for an interval
SAME = 12  # digits in which two mean scores must agree to be a tie; beyond are rounding errors
RUN = "run:"  # before the key of a run among the user attributes of a trial
STATES: dict[str, State] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}
ORDER: list[State] = ["complete", "pruned", "running", "waiting", "failed"]


@dataclass(frozen=True)
class Score:
    """A mean over ``n`` runs with its 95% interval over ``seeds`` seeds.

    ``low`` and ``high`` are None for fewer than three seeds, and where a seed has not run on every task yet.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    seeds: int


@dataclass(frozen=True)
class Difference:
    """A setting minus the best one, paired by task and seed.

    Attributes:
        mean: of the differences; at most 0 but for settings that were stopped early.
        low, high: 95% interval of the mean over seeds; None for fewer than three seeds.
        p: two-sided p-value of the sign-flip permutation test, which asks no normal distribution. With n pairs it
            cannot be less than 2 / 2^n.
        p_holm: the same, corrected for the number of settings that are compared with the best (Holm).
        pairs: how many runs were compared.
    """

    mean: float
    low: float | None
    high: float | None
    p: float
    p_holm: float
    pairs: int

    @property
    def significant(self) -> bool:
        """Whether the setting differs from the best after the correction, at 0.05."""
        return self.p_holm < LEVEL


@dataclass(frozen=True)
class RunOutcome:
    """One run of a setting.

    Attributes:
        task, seed: which run.
        score: of the chosen prompt on ``split``.
        split: ``dev``, or ``train`` where the task has no dev split.
        best: the chosen prompt.
        train: its rating on the training split; None where it has none.
        questions, calls, tokens, dollars, seconds: what the run cost.
        stop_reason: why its search ended.
        host, folder: where its ledger lies.
        coverage: on how many examples the score rests, fields as of :class:`promptopt.core.Coverage`; None where that
            is not known.
    """

    task: str
    seed: int
    score: float
    split: Literal["dev", "train"]
    best: str
    train: float | None
    questions: int
    calls: int
    tokens: int
    dollars: float
    seconds: float
    stop_reason: str
    host: str
    folder: str
    coverage: Mapping[str, Any] | None = None

    @property
    def covered(self) -> bool:
        """Whether every output of the chosen prompt could be scored and none failed, as far as is known."""
        found = self.coverage
        return found is None or (found["scored"] == found["examples"] and not found["failed"])

    @property
    def key(self) -> str:
        """For example ``digits-s2``; also the name of the run's folder."""
        return run_key(self.task, self.seed)


@dataclass(frozen=True)
class Test:
    """What the test split said about the chosen prompt of one run of a chosen setting; fields as of a verdict."""

    task: str
    seed: int
    start: float
    best: float
    difference: float
    low: float | None
    high: float | None
    examples: int


@dataclass(frozen=True)
class SettingRow:
    """One setting.

    Attributes:
        setting: its number in the sweep, from 0; its runs lie in ``trials/0007``.
        trial: the number of its Optuna trial.
        optimizer: the name of its section in the recipe.
        params: the values it was given, by name, the optimizer left out.
        state: ``complete``, ``pruned`` (stopped early as clearly worse), ``failed``, ``running`` or ``waiting``.
        score: over its runs so far; None where there is none yet.
        tasks: the same for each task that has runs.
        difference: from the best setting; None for the best itself and where nothing can be compared.
        outcomes: its runs.
        chosen: whether it is the best overall or the best of its optimizer, and its prompts go on to the test split.
        test: what the test split said, by run; empty until it was opened.
        error: why it failed.
    """

    setting: int
    trial: int
    optimizer: str
    params: Mapping[str, Any]
    state: State
    score: Score | None
    tasks: Mapping[str, Score]
    difference: Difference | None
    outcomes: tuple[RunOutcome, ...]
    chosen: bool = False
    test: tuple[Test, ...] = ()
    error: str | None = None

    @property
    def label(self) -> str:
        """The setting in words, for example ``hill-climb k=5``."""
        values = [f"{name.removeprefix(self.optimizer + '.')}={value}" for name, value in self.params.items()]
        return " ".join([self.optimizer, *values])

    @property
    def tested(self) -> Score | None:
        """The mean score of its prompts on the test splits."""
        return score([(one.seed, one.best) for one in self.test], within=self._test_range) if self.test else None

    @property
    def gain(self) -> Score | None:
        """The mean gain over the starting prompts on the test splits."""
        gains = [(one.seed, one.difference) for one in self.test]
        return score(gains, within=_of_differences(self._test_range)) if self.test else None

    @property
    def _test_range(self) -> Range | None:
        return range_of([value for one in self.test for value in (one.start, one.best)])

    def cost(self, what: Literal["questions", "calls", "tokens", "dollars", "seconds"]) -> float:
        """What its runs cost together."""
        return float(sum(getattr(outcome, what) for outcome in self.outcomes))


@dataclass(frozen=True)
class SweepTable:
    """A sweep's settings, best first; those that were stopped early, are under way or failed come after the others.

    Attributes:
        name: of the study.
        tasks: in the order of the recipe.
        seeds: of the repeats.
        rows: the settings.
        notes: what a reader should know, for example which tasks have no dev split.
    """

    name: str
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: tuple[SettingRow, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def best(self) -> SettingRow | None:
        """The setting with the best mean score among those that ran on every task with every seed."""
        return self.rows[0] if self.rows and self.rows[0].state == "complete" else None

    @property
    def tied(self) -> tuple[SettingRow, ...]:
        """The best setting and those whose mean score equals its own, where there are such."""
        found = tuple(row for row in self.rows if row.state == "complete" and _first(row) == _first(self.rows[0]))
        return found if len(found) > 1 else ()

    @property
    def finished(self) -> bool:
        """Whether no setting is waiting or under way."""
        return all(row.state not in ("waiting", "running") for row in self.rows)

    def header(self) -> list[str]:
        """The columns of :meth:`cells`."""
        tested = ["test", "test gain"] if any(row.test for row in self.rows) else []
        return ["setting", "score", *self.tasks, "difference", "p (Holm)", *tested, "runs", "questions", "state"]

    def cells(self) -> list[list[str]]:
        """The table as texts, one list per row, as a reader wants to see it."""
        return [self._cells(row) for row in self.rows]

    def to_markdown(self) -> str:
        """The table in Markdown, with the notes below it."""
        rows = [self.header(), ["---"] * len(self.header()), *self.cells()]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        return "\n".join(lines + ([""] + [f"- {note}" for note in self.notes] if self.notes else [])) + "\n"

    def to_csv(self) -> str:
        """One line per setting with plain numbers, every parameter in a column of its own."""
        params = list(dict.fromkeys(name for row in self.rows for name in row.params))
        rows = [self._record(row, params) for row in self.rows]
        return to_csv(rows, list(rows[0]) if rows else [])

    def to_json(self) -> str:
        """Everything, every run of every setting included, on one line; NaN becomes null."""
        rows = [
            asdict(row)
            | {"label": row.label, "significant": row.difference and row.difference.significant}
            | {"tied": row in self.tied}
            for row in self.rows
        ]
        whole = {"name": self.name, "tasks": self.tasks, "seeds": self.seeds, "notes": self.notes, "rows": rows}
        return json.dumps(null_for_nan(whole), ensure_ascii=False, allow_nan=False)

    def _cells(self, row: SettingRow) -> list[str]:
        gap = row.difference
        cells = [row.label, _interval(row.score), *(_interval(row.tasks.get(task)) for task in self.tasks)]
        tie = "tied best" if row in self.tied else ""
        cells += [tie or ("best" if row is self.best else _interval(gap, sign="+"))]
        cells += [f"{gap.p_holm:.3f}{' *' if gap.significant else ''}" if gap else ""]
        if "test" in self.header():
            cells += [_interval(row.tested), _interval(row.gain, sign="+")]
        runs = f"{len(row.outcomes)} of {len(self.tasks) * len(self.seeds)}"
        return [*cells, runs, f"{row.cost('questions'):.0f}", row.state]

    def _record(self, row: SettingRow, params: Sequence[str]) -> dict[str, Any]:
        mean: Mapping[str, Any] = asdict(row.score) if row.score else {}
        gap: Mapping[str, Any] = asdict(row.difference) if row.difference else {}
        test, gain = row.tested, row.gain
        return {
            "setting": row.setting,
            "trial": row.trial,
            "state": row.state,
            "optimizer": row.optimizer,
            **{name: row.params.get(name) for name in params},
            "score": mean.get("mean"),
            "low": mean.get("low"),
            "high": mean.get("high"),
            "runs": len(row.outcomes),
            **{task: row.tasks[task].mean if task in row.tasks else None for task in self.tasks},
            **{f"difference {key}" if key != "mean" else "difference": gap.get(key) for key in GAP},
            "test": test and test.mean,
            "test gain": gain and gain.mean,
            **{what: row.cost(what) for what in ("questions", "calls", "tokens", "dollars", "seconds")},
            "error": row.error,
        }


GAP = ("mean", "low", "high", "p", "p_holm", "pairs")


def table(study: Study, test: Study | None = None) -> SweepTable:
    """The table of a sweep, finished or under way.

    Args:
        study: the Optuna study that ``promptopt sweep`` made, from any storage.
        test: the study that holds what the test splits said about the chosen settings, if they were opened.
    """
    tasks, seeds = tuple(study.user_attrs["tasks"]), tuple(study.user_attrs["seeds"])
    order = {run_key(task, seed): i for i, (seed, task) in enumerate((s, t) for s in seeds for t in tasks)}
    tested = {trial.user_attrs["setting"]: _tests(trial, order) for trial in settled(test)} if test else {}
    trials = settled(study)
    within = range_of([one["score"] for trial in trials for one in outcomes(trial).values()])
    rows = [_row(trial, tasks, order, within) for trial in trials]
    places = {number: place for place, number in enumerate(study.user_attrs.get("order", ()))}
    rows.sort(key=lambda row: (ORDER.index(row.state), *_first(row), places.get(row.setting, row.setting)))
    rows = _distinct(rows)
    picked = choose(rows)
    name = study.user_attrs.get("sweep", study.study_name)
    rows = [replace(row, test=tested.get(row.setting, ()) if row.setting in picked else ()) for row in rows]
    return SweepTable(name, tasks, seeds, tuple(_compared(rows, picked, _of_differences(within))), tuple(_notes(rows)))


def choose(rows: Sequence[SettingRow]) -> list[int]:
    """The settings whose prompts go on to the test split: the best of each optimizer, the best overall first."""
    best: dict[str, int] = {}
    for row in rows:
        if row.state == "complete":
            best.setdefault(row.optimizer, row.setting)
    return list(best.values())


def score(runs: Sequence[tuple[int, float]], *, within: Range | None = None) -> Score:
    """The mean of runs with its interval over seeds.

    Args:
        runs: the seed and the value of each, at least one.
        within: the range that values can have; None where it is not known.
    """
    means = _by_seed(runs)
    mean = float(np.mean([value for _, value in runs]))
    low, high = t_interval(means, within=within) if means is not None else (None, None)
    return Score(mean, low, high, len(runs), len({seed for seed, _ in runs}))


def range_of(scores: Sequence[float]) -> Range | None:
    """From 0 to 1 where all scores lie there, as accuracies do; else None."""
    return (0.0, 1.0) if all(0 <= value <= 1 for value in scores) else None


def _of_differences(within: Range | None) -> Range | None:
    return within and (within[0] - within[1], within[1] - within[0])


def _by_seed(runs: Sequence[tuple[int, float]]) -> Array | None:
    """``(n_seeds,)``: the mean of each seed's runs; None for too few seeds, or if some have more runs than others."""
    found: dict[int, list[float]] = {}
    for seed, value in runs:
        found.setdefault(seed, []).append(value)
    if len(found) < FEWEST or len({len(values) for values in found.values()}) > 1:
        return None
    return np.array([np.mean(values) for values in found.values()])


def run_key(task: str, seed: int) -> str:
    """What a run of a setting is called."""
    return f"{task}-s{seed}"


# ── From trials to rows ───────────────────────────────────────────────────────────────────────────────────────────


def settled(study: Study) -> list[FrozenTrial]:
    """One trial per setting, in the order of the study.

    A setting has several trials where workers were lost and others took it up again: of those the last one counts that
    did not fail, or where all failed the last one.
    """
    found: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        setting = trial.user_attrs.get("setting")
        if setting is None or "duplicate" in trial.user_attrs:
            continue
        before = found.get(setting)
        if before is None or trial.state.name != "FAIL" or before.state.name == "FAIL":
            found[setting] = trial
    return list(found.values())


def outcomes(trial: FrozenTrial) -> dict[str, dict[str, Any]]:
    """What a trial's finished runs left in its user attributes, by :func:`run_key`."""
    return {key.removeprefix(RUN): value for key, value in trial.user_attrs.items() if key.startswith(RUN)}


def _row(trial: FrozenTrial, tasks: Sequence[str], order: Mapping[str, int], within: Range | None) -> SettingRow:
    found = sorted(outcomes(trial).items(), key=lambda item: order[item[0]])
    runs = tuple(RunOutcome(**fields) for _, fields in found)
    by_task = {task: [(run.seed, run.score) for run in runs if run.task == task] for task in tasks}
    setting = trial.user_attrs["setting"]
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    return SettingRow(
        setting=setting,
        trial=trial.number,
        optimizer=trial.user_attrs.get("optimizer", params.get("optimizer", "")),
        params={name: value for name, value in params.items() if name != "optimizer"},
        state=STATES[trial.state.name],
        score=score([(run.seed, run.score) for run in runs], within=within) if runs else None,
        tasks={task: score(values, within=within) for task, values in by_task.items() if values},
        difference=None,
        outcomes=runs,
        error=trial.user_attrs.get("error"),
    )


def _distinct(rows: Sequence[SettingRow]) -> list[SettingRow]:
    """The rows without those whose optimizer and parameters came in an earlier row.

    A sampler may draw the same parameters again, and the trial then takes the runs of the first.
    """
    found: dict[str, SettingRow] = {}
    for row in rows:
        values = json.dumps([row.optimizer, row.params], sort_keys=True, default=repr)
        found.setdefault(values if row.outcomes else str(row.setting), row)
    return list(found.values())


def _tests(trial: FrozenTrial, order: Mapping[str, int]) -> tuple[Test, ...]:
    found = sorted(outcomes(trial).items(), key=lambda item: order[item[0]])
    names = Test.__dataclass_fields__
    return tuple(Test(**{name: fields[name] for name in names}) for _, fields in found if fields.get("examples"))


def _first(row: SettingRow) -> tuple[float, ...]:
    """The key that rows of the same state are sorted by: the higher mean score first. Equal keys are a tie."""
    return (-round(row.score.mean, SAME) if row.score else math.inf,)


def _compared(rows: Sequence[SettingRow], picked: Sequence[int], within: Range | None) -> list[SettingRow]:
    """The same rows with their differences from the first, where that is complete."""
    rows = [replace(row, chosen=row.setting in picked) for row in rows]
    if not rows or rows[0].state != "complete":
        return rows
    gaps = [_paired(row, rows[0]) for row in rows[1:]]
    compared = [i for i, gap in enumerate(gaps) if len(gap) >= 2]
    p_values = [sign_flip(np.array([value for _, value in gaps[i]])) for i in compared]
    for i, p, p_holm in zip(compared, p_values, holm(p_values), strict=True):
        gap = score(gaps[i], within=within)
        rows[i + 1] = replace(rows[i + 1], difference=Difference(gap.mean, gap.low, gap.high, p, p_holm, gap.n))
    return rows


def _paired(row: SettingRow, best: SettingRow) -> list[tuple[int, float]]:
    """For each run (task and seed) that both settings have: its seed, and the setting's score minus the best's."""
    theirs = {outcome.key: outcome.score for outcome in best.outcomes}
    return [(one.seed, one.score - theirs[one.key]) for one in row.outcomes if one.key in theirs]


def _notes(rows: Sequence[SettingRow]) -> list[str]:
    runs = [run for row in rows for run in row.outcomes]
    on_train = list(dict.fromkeys(run.task for run in runs if run.split == "train"))
    notes = [f"{', '.join(on_train)}: no dev split, so the score is that on the training split."] if on_train else []
    if runs and (seeds := len({run.seed for run in runs})) < FEWEST:
        notes.append(f"No intervals: {seeds} {'seed is' if seeds == 1 else 'seeds are'} too few; they need {FEWEST}.")
    if lacking := sum(not run.covered for run in runs):
        notes.append(f"In {lacking} of {len(runs)} runs some outputs of the chosen prompt failed or had no score.")
    if any(row.state == "pruned" for row in rows):
        notes.append("Settings marked pruned were clearly worse than the best and got no more seeds.")
    failed = [f"{row.label} failed: {row.error or 'its worker was lost'}" for row in rows if row.state == "failed"]
    return notes + failed


def _interval(value: Score | Difference | None, *, sign: str = "") -> str:
    if value is None:
        return ""
    if value.low is None or value.high is None:
        return f"{value.mean:{sign}.3f}"
    return f"{value.mean:{sign}.3f} ({value.low:{sign}.3f} to {value.high:{sign}.3f})"
