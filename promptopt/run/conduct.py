"""One run from its first question to its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from shlex import quote

from ..core import NO_START, Prompt, Rate, Rating, Setup
from ..errors import PromptoptError, UserError
from ..models.wrappers import wrap
from ..record.ledger import Ledger, now
from ..record.stages import TRANSFER
from .cells import measure_cells
from .finish import begun_alone, final_choice, measure, result_of, write_result
from .loop import Run
from .manifest import check_targets, manifest
from .own_verdict import check_verdict
from .plan import Plan
from .recorder import Watch
from .result import Result
from .taken_up import OLD_RULE, old_rule, resumed
from .weigh import measure_cheapest, weigh


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


def conduct(plan: Plan, ledger: Ledger, watch: Watch | None) -> Result:
    """Search, choose, open the test split, write down what came of it.

    Raises:
        PromptoptError: what ends the run as failed, see :func:`promptopt.optimize`; its ledger says so, and keeps what
            was paid for.
    """
    if ledger.past:
        check_targets(ledger.past[0], plan)
        check_verdict(ledger, plan)
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
        refuses=plan.problem_with_parts,
        cache=plan.cache,
        per_example=plan.per_example,
        cases=plan.cases,
        objectives=plan.objectives or (),
        wrap=partial(wrap, cache=plan.reply_cache, most=plan.in_flight),
        ledger=ledger,
        watch=watch or (lambda progress: None),
    )
    ledger.append(resumed(plan) if ledger.past else manifest(plan, run.pictures))
    if ledger.past and "failed" in old_rule(ledger):
        run.notes.append(OLD_RULE)
    front, cheapest, cells = None, None, None
    try:
        reason = run.search()
        if reason not in ("interrupted", "stopped") and not run.harvest.any:
            run.harvest.end()
        best = run.best()
        if plan.start[0] is NO_START:
            begun_alone(run, reason)
        verdict, transfers = None, {}
        if reason not in ("interrupted", "stopped"):
            try:
                best = final_choice(plan, run, best)
                front = weigh(plan, run, best)
                verdict = measure(plan, run, best, plan.test)
                transfers = {
                    name: found
                    for name, scorer in plan.transfer.items()
                    if (found := measure(plan, run, best, scorer, stage=f"{TRANSFER}{name}"))
                }
                cheapest = measure_cheapest(plan, run, front)
                cells = measure_cells(plan, run)
            except KeyboardInterrupt:
                reason = "interrupted"
        front = front or weigh(plan, run, best)
    except BaseException as error:
        with suppress(PromptoptError):  # a full disk holds no more lines
            ledger.append({"event": "failed", "error": f"{type(error).__name__}: {error}", "time": now()})
        paid = bool(run.steps or run.meter.usage.calls)
        if ledger.folder and (paid or not isinstance(error, UserError)):  # of a mistake made before, nothing is kept
            error.add_note(f"What was paid for is kept; go on with: promptopt resume {quote(str(ledger.folder))}")
        raise
    finally:
        run.close()
    folder = ledger.folder
    result = result_of(plan, run, best, verdict, transfers, reason, folder, front=front, cheapest=cheapest, cells=cells)
    told = {"belief": asdict(result.belief)} if result.belief else {}
    told |= {"front": front.to_json()} if front else {}
    ledger.append({"event": "stop", "reason": reason, "best": result.best, **told, "time": now()})
    if ledger.folder:
        write_result(result, ledger.folder)
    return result
