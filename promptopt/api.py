"""The front door: :func:`optimize` and :func:`resume`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from .core import (
    NO_START,
    Dataset,
    FailedRule,
    Metric,
    Optimizer,
    ScoreFunction,
    Scorer,
    Target,
)
from .errors import LockedRun, UserError
from .recipe.build import bind
from .recipe.plan import planned
from .recipe.read import override
from .record.folder import discard, new_folder, opened
from .record.freeze import thaw
from .run.budget import Budget
from .run.conduct import Given, conduct
from .run.plan import Plan
from .run.progress import asks_people, watching
from .run.recorder import Watch
from .run.result import Result
from .run.taken_up import EXTENDS, check_same, in_force, old_rule
from .trust import allowing

Table: TypeAlias = Mapping[str, Any]


def optimize(
    *,
    start: str | Mapping[str, str] | Sequence[str | Mapping[str, str]] | None = None,
    score: ScoreFunction | None = None,
    optimizer: str | Table | Optimizer[Any, Any] = "bayes",
    scorer: str | Table | Scorer[Any, Any] | None = None,
    target: str | Table | Target | None = None,
    data: str | Table | Dataset | None = None,
    metric: str | Table | Metric | None = None,
    tiebreak: str | Table | Metric | None = None,
    transfer: Table | None = None,
    frozen: Sequence[str] = (),
    budget: int | Table | Budget = 500,
    patience: int | None = None,
    goal: float | None = None,
    finalists: int = 5,
    ensemble: int = 1,
    shorten: int | None = None,
    objectives: str | Sequence[str] | None = None,
    margin: float | None = None,
    verdict: bool | Literal["cheapest"] | Mapping[str, Any] = True,
    seed: int = 0,
    cache: bool = True,
    per_example: bool = True,
    cases: bool = False,
    case_length: int = 2000,
    failed: FailedRule = "worst",
    views: int | None = None,
    reply_cache: bool = True,
    in_flight: int = 64,
    run: str | Path | None = "auto",
    watch: Watch | bool | None = None,
    allow_env: Sequence[str] = (),
) -> Result:
    """Search for a prompt that scores better than the one you have.

    Say how prompts are scored in one of three ways: ``score``, a function of the text; ``target`` and ``data`` (with a
    metric), for labelled examples; or ``scorer``, a part of its own. Parts are given by name (``"clip"``), as a table
    with options (``{"name": "clip", "model": "ViT-B-32", "pretrained": "openai"}``), or as objects.

    Args:
        start: the prompt that you use today; several are searched from together, and the first is compared with. A
            prompt of several parts is a mapping of their names to their texts (:mod:`promptopt.parts`). An optimizer
            that begins with something else, as ``ape`` with the examples, needs none: then the best prompt is compared
            with the first that the search tried, or give ``""`` to compare it with no instruction at all.
        score: text to a number, higher is better; of a prompt of several parts it is given the mapping.
        optimizer: what searches. ``bayes`` by default, which needs phrases and no LLM; those for CLIP templates come
            along.
        scorer: what answers the optimizer's questions.
        target: what is prompted.
        data: the examples, in splits; the search never sees the test split.
        metric: what counts as a good output; the target's own choice by default.
        tiebreak: a metric that decides between equal ratings; likewise.
        transfer: other targets by a name of your choice; the best prompt is compared with the start on each of them,
            on the same test split.
        frozen: names of parts of the start that stay as they are.
        budget: questions, or a :class:`Budget` (as a table: questions, calls, tokens, dollars, seconds).
        patience: stop after this many questions without a better prompt.
        goal: stop at this rating.
        finalists: with a dev split, the best so many are rated on it, and the best there is the answer.
        ensemble: with more than 1, the best so many templates are also tried together, for targets that take several
            lines as an ensemble; kept if rated better than the best alone.
        shorten: questions kept back for a last step that drops every part of the answer without which its rating does
            not fall (:mod:`promptopt.run.shorten`); 0 leaves it out. None leaves it to the optimizer: one that puts
            prompts together by chance, as ``bayes`` does, takes up to 20 and no more than a tenth of the budget, any
            other none.
        objectives: what prompts cost, by name, to be weighed against their value (:mod:`promptopt.record.front`):
            ``prompt-tokens``; ``dollars`` and ``seconds`` an example, for which prompts are rated one at a time; and
            what the metric or scorer brings. The cheapest prompt is so by the first of them. None is ``prompt-tokens``,
            which is free; an empty list weighs nothing. With a dev split, naming them has up to ``finalists`` more
            prompts rated there.
        margin: by how much, in units of the rating, the cheapest prompt may be worse than the best: the 95% interval of
            the difference has to lie above minus this. None is half of what the best gained over the start, and the
            cheapest must not be significantly worse either.
        verdict: open the test split at the end. Without it ``resume`` with ``verdict=true`` opens it later.
            ``cheapest`` also rates the cheapest prompt there: three prompts instead of two. A table has another scorer
            or metric give the verdict than the one that the search maximises: ``{"metric": "compressed-size"}``,
            ``{"scorer": {...}}``, with ``"cheapest": True`` if wanted.
        seed: all randomness of the run derives from it.
        cache: answer repeated ratings from memory; turn it off for a noisy score whose repeats should count.
        per_example: keep per-example values in the ledger.
        cases: write into the ledger what happened on each example of every rating: output, value, reason. The verdict's
            ratings always have it.
        case_length: characters of an output, and of a reason, in what is told of an example.
        failed: what an output counts as that came about but cannot be used, because it was refused, empty, cut off or
            unreadable: ``worst``, the metric's worst value, or ``leave-out``, nothing.
        views: in how many copies each training example is rated, for targets that know copies, as ``clip`` does: the
            image and slightly turned, shifted and stretched ones. An example's value is the mean over its copies; dev
            and test split are rated as they are. None is 16 with one training example per class, else 1.
        reply_cache: take replies of chat models from the cache on disk where an earlier run asked the same.
        in_flight: most LLM calls under way at once, per model; fewer where a provider throttles.
        run: the folder to record the run in; ``"auto"`` makes one under ``runs/``, None records nothing. A folder that
            holds this run already is taken up where it stopped.
        watch: called with a :class:`promptopt.run.recorder.Progress` after every answer. By default a line shows how
            the run is going, on a terminal and in a notebook; False shows nothing, True a line now and then elsewhere
            too.
        allow_env: names of environment variables that the headers of a target ``http`` may name as ``${NAME}``. No
            recipe file can hold it, and no ledger does.

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
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    watch: Watch | bool | None = None,
    allow_env: Sequence[str] = (),
    **objects: Any,
) -> Result:
    """Take up a run where it stopped. What its ledger holds is not paid for again.

    Args:
        run: the run's folder.
        overrides: changes to its budget, patience, goal or verdict, for example ``budget.questions=2000``.
        watch, allow_env: as in :func:`optimize`.
        **objects: arguments of :func:`optimize` that were given as objects when the run was started (a function, an
            optimizer); the ledger cannot make them again.

    Raises:
        UserError: there is no run, it is in use, an object is missing, or an override would change the search itself.
        ReplayMismatch: the search asks something else than it did: the recipe, the data or the code has changed.
    """
    folder = Path(run)
    if not (folder / "ledger.jsonl").exists():
        raise UserError(f"there is no run in {str(folder)!r}: it has no ledger.jsonl.")
    with opened(folder) as ledger:
        if not ledger.past:
            raise UserError(f"{folder} was stopped before it began; start it anew.")
        for key in (text.partition("=")[0] for text in overrides):
            if key.partition(".")[0].strip() not in EXTENDS:
                raise UserError(f"{key!r} cannot change when a run is taken up again, only {', '.join(EXTENDS)} can.")
        recipe = override(thaw(in_force(ledger), objects), overrides)
        with watching(watch, people=asks_people(recipe.get("scorer"))) as watcher:
            return conduct(prepare({**recipe, **old_rule(ledger), "allow_env": allow_env}), ledger, watcher)


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
    recipe = {key: value for key, value in arguments.items() if key not in ("run", "watch", "allow_env")}
    with allowing(bound.arguments["allow_env"]):
        return planned({**bound.arguments, **(parts or {})}, recipe=recipe)


def execute(arguments: Table, *, watch: Watch | None = None, parts: Table | None = None) -> Result:
    """:func:`optimize` with its arguments in a table, as in a recipe; ``parts`` as of :func:`prepare`.

    Raises:
        PromptoptError: as :func:`optimize`. A new folder in which nothing was asked or bought is removed again.
    """
    plan = prepare(arguments, parts=parts)
    run = arguments.get("run", "auto")
    new = run == "auto" or not run or not Path(run).exists()
    if new or not (Path(run) / "ledger.jsonl").exists():
        plan.check_keys()
    folder = new_folder(f"{plan.searcher}-s{plan.seed}") if run == "auto" else run and Path(run)
    try:
        return _execute(plan, folder or None, arguments, watch=watch, parts=parts)
    except UserError as error:
        if new and folder and not isinstance(error, LockedRun):
            discard(folder)
        raise


def _execute(plan: Plan, folder: Path | None, arguments: Table, *, watch: Watch | None, parts: Table | None) -> Result:
    with opened(folder) as ledger:
        if ledger.past:
            parameters = inspect.signature(optimize).parameters.items()
            check_same(ledger, plan, defaults={name: p.default for name, p in parameters if p.default is not p.empty})
            plan = prepare({**arguments, **old}, parts=parts) if (old := old_rule(ledger)) else plan
        return conduct(plan, ledger, watch)


def judge(arguments: Table, best: str, *, parts: Table | None = None) -> Result:
    """A recipe's verdict on a prompt that was found elsewhere: a run that searches nothing and opens the test split.

    Args:
        arguments: as of :func:`execute`; ``run`` is the folder to record it in.
        best: the prompt to compare with the start.
        parts: as of :func:`prepare`.

    Raises:
        PromptoptError: as :func:`optimize`.
    """
    plan = prepare(arguments, parts=parts)
    if plan.start[0] is NO_START:
        raise UserError("start is missing; give the prompt that the other one is to be compared with.")
    given, asked = Given(best), plan.test or plan.scorer
    recipe = {**plan.recipe, "optimizer": given}
    plan = replace(plan, optimizer=given, scorer=asked, dev=None, ensemble=1, recipe=recipe)
    with opened(arguments.get("run") and Path(arguments["run"])) as ledger:
        return conduct(plan, ledger, None)
