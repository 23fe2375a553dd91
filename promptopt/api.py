"""The front door: :func:`optimize` and :func:`resume`."""

from __future__ import annotations

import inspect
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, TypeAlias

from .run.budget import Budget
from .recipe.build import bind, override
from .core import Dataset, HasBelief, Metric, Optimizer, Prompt, Rate, Rating, ScoreFunction, Scorer, Setup, Target
from .errors import BudgetExhausted, LockedRun, NothingUsable, UserError
from .run.leaks import leaks
from .record.ledger import FORMAT, TEST, TRANSFER, Ledger, read
from .run.loop import Run, Watch
from .run.manifest import check_targets, freeze, manifest, thaw
from .models.wrappers import wrap
from .recipe.plan import Plan
from .run.progress import asks_people, watching
from .run.result import Candidate, Result
from .scorers.marking import FailedRule
from .run.shorten import shorten, shorter
from .run.usable import comparable, explain
from .record.verdict import Verdict, compare

Table: TypeAlias = Mapping[str, Any]
OLD_RULE = "This run was begun by a version that left failed outputs out of the mean; it goes on that way."
EXTENDS = ("budget", "patience", "goal", "verdict")  # what may differ when a run is taken up again


def optimize(
    *,
    start: str | Sequence[str],
    score: ScoreFunction | None = None,
    optimizer: str | Table | Optimizer[Any, Any] = "bayes",
    scorer: str | Table | Scorer[Any, Any] | None = None,
    target: str | Table | Target | None = None,
    data: str | Table | Dataset | None = None,
    metric: str | Table | Metric | None = None,
    tiebreak: str | Table | Metric | None = None,
    transfer: Table | None = None,
    budget: int | Table | Budget = 500,
    patience: int | None = None,
    goal: float | None = None,
    finalists: int = 5,
    ensemble: int = 1,
    shorten: int | None = None,
    verdict: bool = True,
    seed: int = 0,
    cache: bool = True,
    per_example: bool = True,
    cases: bool = False,
    failed: FailedRule = "worst",
    views: int | None = None,
    reply_cache: bool = True,
    in_flight: int = 64,
    run: str | Path | None = "auto",
    watch: Watch | bool | None = None,
) -> Result:
    """Search for a prompt that scores better than the one you have.

    Say how prompts are scored in one of three ways: ``score``, a function of the text; ``target`` and ``data`` (with a
    metric), for labelled examples; or ``scorer``, a part of its own. Parts are given by name (``"clip"``), as a table
    with options (``{"name": "clip", "model": "ViT-B-32", "pretrained": "openai"}``), or as objects.

    Args:
        start: the prompt that you use today; several are searched from together, and the first is compared with.
        score: text to a number, higher is better.
        optimizer: what searches. ``bayes`` by default, which needs phrases and no LLM; those for CLIP templates come
            along.
        scorer: what answers the optimizer's questions.
        target: what is prompted.
        data: the examples, in splits; the search never sees the test split.
        metric: what counts as a good output; the target's own choice by default.
        tiebreak: a metric that decides between equal ratings; likewise.
        transfer: other targets by a name of your choice; the best prompt is compared with the start on each of them,
            on the same test split.
        budget: questions, or a :class:`Budget` (as a table: questions, calls, tokens, dollars, seconds).
        patience: stop after this many questions without a better prompt.
        goal: stop at this rating.
        finalists: with a dev split, the best so many are rated on it, and the best there is the answer.
        ensemble: with more than 1, the best so many templates are also tried together, for targets that take several
            lines as an ensemble; kept if rated better than the best alone.
        shorten: questions kept back for a last step that drops every part of the answer without which its rating does
            not fall (:mod:`promptopt.run.shorten`); 0 leaves it out. None leaves it to the optimizer: one that puts prompts
            together by chance, as ``bayes`` does, takes up to 20 and no more than a tenth of the budget, any other
            none.
        verdict: open the test split at the end. Without it ``resume`` with ``verdict=true`` opens it later.
        seed: all randomness of the run derives from it.
        cache: answer repeated ratings from memory; turn it off for a noisy score whose repeats should count.
        per_example: keep per-example values in the ledger.
        cases: write into the ledger what happened on each example of every rating: output, value, reason. The verdict's
            ratings always have it.
        failed: what an output counts as that came about but cannot be used, because it was refused, empty, cut off or
            unreadable: ``worst``, the metric's worst value, or ``leave-out``, nothing.
        views: in how many copies each training example is rated, for targets that know copies, as ``clip`` does: the
            image and slightly turned, shifted and stretched ones. An example's value is the mean over its copies; dev
            and test split are rated as they are. None is 16 with one training example per class, else 1.
        reply_cache: take replies of chat models from the cache on disk where an earlier run asked the same.
        in_flight: most LLM calls under way at once, per model; fewer where a provider throttles.
        run: the folder to record the run in; ``"auto"`` makes one under ``runs/``, None records nothing. A folder that
            holds this run already is taken up where it stopped.
        watch: called with a :class:`promptopt.run.loop.Progress` after every answer. By default a line shows how the run is
            going, on a terminal and in a notebook; False shows nothing, True a line now and then elsewhere too.

    Returns:
        The best prompt, everything tried, the verdict on the test split and what it cost.

    Raises:
        UserError: something in the call cannot work; nothing has been spent.
        ModelError: a chat model refused for good. The run is kept and can be resumed.
        NothingUsable: nothing that came back could be rated or compared.
    """
    arguments = {key: value for key, value in locals().items() if key != "watch"}
    with watching(watch, people=asks_people(scorer)) as watcher:
        return execute(arguments, watch=watcher)


def resume(
    run: str | Path, overrides: Sequence[str] = (), *, watch: Watch | bool | None = None, **objects: Any
) -> Result:
    """Take up a run where it stopped. What its ledger holds is not paid for again.

    Args:
        run: the run's folder.
        overrides: changes to its budget, patience, goal or verdict, for example ``budget.questions=2000``.
        watch: as in :func:`optimize`.
        **objects: arguments of :func:`optimize` that were given as objects when the run was started (a function, an
            optimizer); the ledger cannot make them again.

    Raises:
        UserError: there is no run, it is in use, an object is missing, or an override would change the search itself.
        ReplayMismatch: the search asks something else than it did: the recipe, the data or the code has changed.
    """
    folder = Path(run)
    if not (folder / "ledger.jsonl").exists():
        raise UserError(f"there is no run in {str(folder)!r}: it has no ledger.jsonl.")
    with _opened(folder) as ledger:
        if not ledger.past:
            raise UserError(f"{folder} was stopped before it began; start it anew.")
        for key in (text.partition("=")[0] for text in overrides):
            if key.partition(".")[0].strip() not in EXTENDS:
                raise UserError(f"{key!r} cannot change when a run is taken up again, only {', '.join(EXTENDS)} can.")
        recipe = override(thaw(_recipe(ledger), objects), overrides)
        with watching(watch, people=asks_people(recipe.get("scorer"))) as watcher:
            return _run(prepare({**recipe, **_old_rule(ledger)}), ledger, watcher)


def prepare(arguments: Table, *, parts: Table | None = None) -> Plan:
    """Build and check everything that a recipe names, without asking or spending anything.

    Args:
        arguments: the keyword arguments of :func:`optimize`, as in a recipe.
        parts: some of them built before, for example ``target``, to be used instead of being built again.

    Raises:
        UserError: something in it cannot work.
    """
    signature = inspect.signature(optimize)
    bound = signature.bind(**bind(optimize, arguments, where="recipe"))
    bound.apply_defaults()
    recipe = {key: value for key, value in arguments.items() if key not in ("run", "watch")}
    return Plan.of({**bound.arguments, **(parts or {})}, recipe=recipe)


def execute(arguments: Table, *, watch: Watch | None = None, parts: Table | None = None) -> Result:
    """:func:`optimize` with its arguments in a table, as in a recipe; ``parts`` as of :func:`prepare`."""
    plan = prepare(arguments, parts=parts)
    run = arguments.get("run", "auto")
    new = run == "auto" or not run or not Path(run).exists()
    if new or not (Path(run) / "ledger.jsonl").exists():
        plan.check_keys()
    folder = _new_folder(plan) if run == "auto" else run and Path(run)
    try:
        return _execute(plan, folder or None, arguments, watch=watch, parts=parts)
    except UserError as error:
        if new and folder and not isinstance(error, LockedRun):
            _discard(folder)
        raise


def _execute(plan: Plan, folder: Path | None, arguments: Table, *, watch: Watch | None, parts: Table | None) -> Result:
    with _opened(folder) as ledger:
        if ledger.past:
            _check_same(ledger, plan)
            plan = prepare({**arguments, **old}, parts=parts) if (old := _old_rule(ledger)) else plan
        return _run(plan, ledger, watch)


def judge(arguments: Table, best: str, *, parts: Table | None = None) -> Result:
    """A recipe's verdict on a prompt that was found elsewhere: a run that searches nothing and opens the test split.

    Args:
        arguments: as of :func:`execute`; ``run`` is the folder to record it in.
        best: the prompt to compare with the start.
        parts: as of :func:`prepare`.
    """
    plan = prepare(arguments, parts=parts)
    given, asked = Given(best), plan.test or plan.scorer
    recipe = {**plan.recipe, "optimizer": given}
    plan = replace(plan, optimizer=given, scorer=asked, dev=None, ensemble=1, recipe=recipe)
    with _opened(arguments.get("run") and Path(arguments["run"])) as ledger:
        return _run(plan, ledger, None)


class Given:
    """An optimizer that knows its prompt already and asks nothing."""

    question = Rate

    def __init__(self, text: str) -> None:
        self._best = Prompt(text)

    def begin(self, setup: Setup, /) -> None:
        """There is nothing to begin."""

    def ask(self) -> Sequence[Rate]:
        """No questions."""
        return ()

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """No answers."""

    def best(self) -> Prompt:
        """The prompt it was given."""
        return self._best


# ── One run from its first question to its verdict ────────────────────────────────────────────────────────────────


def _run(plan: Plan, ledger: Ledger, watch: Watch | None) -> Result:
    if ledger.past:
        check_targets(ledger.past[0], plan)
    run = Run(
        plan.optimizer,
        plan.scorer,
        start=plan.start,
        seed=plan.seed,
        budget=plan.budget,
        reserved=plan.reserved,
        aftermath=plan.aftermath,
        aftermath_roles=plan.aftermath_roles,
        examples=len(plan.data.train) if plan.data else 0,
        patience=plan.patience,
        goal=plan.goal,
        problem_with=plan.problem_with,
        cache=plan.cache,
        per_example=plan.per_example,
        cases=plan.cases,
        wrap=partial(wrap, cache=plan.reply_cache, most=plan.in_flight),
        ledger=ledger,
        watch=watch or (lambda progress: None),
    )
    ledger.append(_resumed(plan) if ledger.past else manifest(plan))
    if ledger.past and "failed" in _old_rule(ledger):
        run.notes.append(OLD_RULE)
    try:
        reason = run.search()
        if reason not in ("interrupted", "stopped") and not run.harvest.any:
            run.harvest.end()
        best = run.optimizer.best()
        verdict, transfers = None, {}
        if reason not in ("interrupted", "stopped"):
            try:
                best = _choose(plan, run, best)
                verdict = _verdict(plan, run, best, plan.test)
                transfers = {
                    name: found
                    for name, scorer in plan.transfer.items()
                    if (found := _verdict(plan, run, best, scorer, stage=f"{TRANSFER}{name}"))
                }
            except KeyboardInterrupt:
                reason = "interrupted"
    except BaseException as error:
        with suppress(OSError):  # a full disk holds no more lines
            ledger.append({"event": "failed", "error": f"{type(error).__name__}: {error}", "time": _now()})
        if ledger.folder:
            error.add_note(f"What was paid for is kept; go on with: promptopt resume {quote(str(ledger.folder))}")
        raise
    finally:
        run.close()
    result = _result(plan, run, best, verdict, transfers, reason, ledger.folder)
    belief = {"belief": asdict(result.belief)} if result.belief else {}
    ledger.append({"event": "stop", "reason": reason, "best": result.best, **belief, "time": _now()})
    if ledger.folder:
        for name, text in {"best.txt": result.best, "result.json": result.to_json()}.items():
            (ledger.folder / name).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return result


def _choose(plan: Plan, run: Run, best: Prompt) -> Prompt:
    """The final answer: the best on the dev split where there is one, or an ensemble where that is better."""
    scored = [prompt for prompt, rating in run.ratings.items() if rating.value == rating.value]
    ranked = sorted(scored, key=lambda prompt: run.ratings[prompt].rank, reverse=True)
    rating = run.ratings.get(best)
    try:
        if plan.dev is not None:
            run.open(plan.dev, "dev")
            candidates = list(dict.fromkeys([best, *ranked]))[: plan.finalists]
            best, rating = _best_of(run, candidates, plan.dev, stage="dev")
        if plan.ensemble > 1 and len(ranked) > 1:
            together = Prompt("\n".join(p.text for p in ranked[: plan.ensemble]), {"step": "ensemble"})
            together, rated = _best_of(run, [together], plan.dev or plan.scorer, stage="final")
            if rating is None or rated.rank > rating.rank:
                best, rating = together, rated
        if plan.shortening and rating is not None and rating.value == rating.value:
            best = _shorten(plan, run, best, rating)
    except BudgetExhausted as error:
        run.notes.append(f"The final choice was cut short: {error}.")
    return best


def _shorten(plan: Plan, run: Run, best: Prompt, rating: Rating) -> Prompt:
    """Without the parts that do not pay, as rated on the dev split where there is one."""

    def rate(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Rating]]:
        stage = "shorten" if plan.dev is None else "dev"
        answers = run.answer([Rate(prompt) for prompt in prompts], plan.dev or plan.scorer, stage=stage)
        rated = [(q.prompt, answer) for q, answer in answers if isinstance(q, Rate) and isinstance(answer, Rating)]
        if plan.dev is None:
            run.ratings.update(rated)
        return rated

    phrases = getattr(plan.optimizer, "vocabulary", ())
    known = {} if plan.dev else dict(run.ratings)
    within = 0.5 / len(plan.data.train) if plan.data and plan.views > 1 and not plan.dev else 0.0
    found, _, whole = shorten(
        best, rating, shorter=shorter(plan, phrases), rate=rate, most=plan.shortening, known=known, within=within
    )
    if found != best:
        run.notes.append(f"Shortened from {best.text!r}: what was dropped did not pay.")
    if not whole:
        run.notes.append(f"Not every part of the answer was tried; {plan.shortening} questions were kept for it.")
    return found


def _best_of(run: Run, prompts: Sequence[Prompt], scorer: Scorer[Any, Any], *, stage: str) -> tuple[Prompt, Rating]:
    """The highest rated, and its rating; a tie goes to the earlier one."""
    answers = run.answer([Rate(prompt) for prompt in prompts], scorer, stage=stage)
    ratings = [answer for _, answer in answers if isinstance(answer, Rating)]
    best = max(range(len(ratings)), key=lambda i: ratings[i].rank)
    return prompts[best], ratings[best]


def _verdict(
    plan: Plan, run: Run, best: Prompt, scorer: Scorer[Rate, Rating] | None, *, stage: str = TEST
) -> Verdict | None:
    """The held-out comparison, taken from the ledger if it stands there.

    Raises:
        NothingUsable: there is nothing to compare. On another target, that is a note.
    """
    if scorer is None:
        return None
    start = plan.start[0]
    run.open(scorer, "test")
    try:
        questions = [Rate(prompt, cases=True) for prompt in dict.fromkeys([start, best])]
        answers = list(run.answer(questions, scorer, stage=stage))
    except BudgetExhausted as error:
        folder = run.ledger.folder
        remedy = f" with: promptopt resume {quote(str(folder))} budget.…" if folder else ", and run it again."
        run.notes.append(f"No verdict: {error}. Raise it{remedy}")
        return None
    for event in run.replay.verdicts:
        if (event.get("stage", TEST), event["start_prompt"], event["best_prompt"]) == (stage, start.text, best.text):
            return Verdict.from_json(event["verdict"])
    ratings = [answer for _, answer in answers if isinstance(answer, Rating)]
    if not comparable(ratings[0], ratings[-1]):
        problem = f"no verdict ({stage}): not one output on held-out examples could be used: {explain(ratings)}."
        if stage == TEST:
            raise NothingUsable(problem)
        run.notes.append(problem)
        return None
    verdict = compare(ratings[0], ratings[-1], rng=run.setup("test").rng())
    compared = {"stage": stage, "start_prompt": start.text, "best_prompt": best.text}
    run.ledger.append({"event": "verdict", **compared, "verdict": verdict.to_json()} | run.counted())
    return verdict


def _result(
    plan: Plan,
    run: Run,
    best: Prompt,
    verdict: Verdict | None,
    transfers: Mapping[str, Verdict],
    reason: str,
    folder: Path | None,
) -> Result:
    ranked = sorted(run.ratings.items(), key=lambda item: item[1].rank, reverse=True)
    return Result(
        best=best.text,
        start=plan.start[0].text,
        candidates=tuple(Candidate(prompt, rating) for prompt, rating in ranked),
        verdict=verdict,
        transfers=transfers,
        belief=run.optimizer.belief() if isinstance(run.optimizer, HasBelief) else None,
        stop_reason=reason,
        costs=run.meter.costs,
        counts=dict(run.counts),
        notes=tuple(run.notes),
        warnings=tuple(leaks(best.text, plan.data)) if plan.data else (),
        seed=plan.seed,
        run=folder,
        steps=tuple(run.steps),
    )


# ── Folders ───────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _opened(folder: Path | None) -> Iterator[Ledger]:
    ledger = Ledger(folder)
    try:
        yield ledger
    finally:
        ledger.close()


def _new_folder(plan: Plan) -> Path:
    """A new folder under ``runs/``."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{type(plan.optimizer).__name__}-s{plan.seed}"
    for suffix in ["", *(f"-{i}" for i in range(2, 1000))]:
        folder = Path("runs") / (name + suffix)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"cannot make the folder {folder} for the run: {error.strerror}. Give another one with run = ..., or "
                "start it where you may write."
            ) from None
        return folder
    raise UserError("runs/ holds a thousand runs of this second; give a folder with run.")


def _discard(folder: Path) -> None:
    """Remove the folder of a run that could not begin: nothing was asked, answered or bought."""
    if folder.exists() and {event["event"] for event in read(folder / "ledger.jsonl")} <= {"start", "failed"}:
        shutil.rmtree(folder)


def _check_same(ledger: Ledger, plan: Plan) -> None:
    """Raises UserError if the folder holds a run with another recipe."""
    parameters = inspect.signature(optimize).parameters.items()
    defaults = freeze({name: p.default for name, p in parameters if p.default is not p.empty})
    then, now = (_told(plan, {**defaults, **recipe}) for recipe in (_recipe(ledger), freeze(plan.recipe)))
    changed = sorted(key for key in {*then, *now} - {*EXTENDS} if then.get(key) != now.get(key))
    if changed:
        raise UserError(
            f"{ledger.folder} holds a run with other {', '.join(changed)}. Give another folder, or take that run up "
            f"with: promptopt resume {ledger.folder}"
        )


def _told(plan: Plan, recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without the scorer's options that only say how people are asked, such as the port of a page."""
    scorer, leave_out = recipe.get("scorer"), getattr(plan.scorer, "presentation", ())
    if isinstance(scorer, str):
        scorer = {"name": scorer}
    if isinstance(scorer, dict):
        scorer = {key: value for key, value in scorer.items() if key not in leave_out}
    return {**recipe, "scorer": scorer}


def _recipe(ledger: Ledger) -> dict[str, Any]:
    """The recipe in force: as the run was started, with what it was extended by since.

    Raises:
        UserError: the ledger does not begin as a run does.
    """
    first = ledger.past[0]
    if first.get("format") != FORMAT:
        raise UserError(f"{ledger.folder} holds no run that this version can take up; start a new one.")
    extended = [event["extended"] for event in ledger.past if event["event"] == "resume"]
    return {**first["recipe"], **(extended[-1] if extended else {})}


def _old_rule(ledger: Ledger) -> dict[str, Any]:
    """What a run that began before failed outputs counted, or before there were views, goes on with: the rules and the
    default search of then."""
    first = ledger.past[0]
    if "failed" in first:
        return {} if "views" in first else {"views": 1}
    return {"failed": "leave-out", "views": 1} | ({} if "optimizer" in first["recipe"] else {"optimizer": "hill-climb"})


def _resumed(plan: Plan) -> dict[str, Any]:
    recipe = freeze(plan.recipe)
    return {"event": "resume", "time": _now(), "extended": {key: recipe[key] for key in EXTENDS if key in recipe}}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
