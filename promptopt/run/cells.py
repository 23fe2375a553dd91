"""After the verdict: the best prompts of single cells of an archive, measured on held-out examples as well."""

from __future__ import annotations

from ..core import HasArchive, Rate, Rating
from ..errors import BudgetExhausted
from ..record.archive import elites
from ..record.stages import CELL, TEST
from ..record.verdict import Verdict
from .loop import Run
from .plan import Plan
from .verdicts import tested_by, verdict_on

__all__ = ["measure_cells"]


def measure_cells(plan: Plan, run: Run) -> dict[str, Verdict]:
    """The comparisons of the prompts that hold cells with what the verdict compares with, on the test split.

    Those of the ``plan.cells`` highest ratings are measured. Each takes one rating more than the verdict, but for the
    best prompt, which that has rated already.

    Returns:
        By prompt; empty where none are wanted, there is no archive, or there was no verdict.
    """
    start, tested = run.compared_with, tested_by(run)
    if not (plan.cells and plan.test and isinstance(run.optimizer, HasArchive) and start.text in tested):
        return {}
    holders = sorted(elites(run.optimizer.archive()).values(), key=lambda one: -one.value)
    prompts = [one.prompt for one in holders if one.prompt != start][: plan.cells]
    try:
        new = [Rate(prompt, cases=True) for prompt in prompts if prompt.text not in tested]
        for question, answer in run.answer(new, plan.test, stage=TEST):
            if isinstance(question, Rate) and isinstance(answer, Rating):
                tested[question.prompt.text] = answer
    except BudgetExhausted as error:
        run.notes.append(f"No verdict on some of the cells: {error}.")
    return {
        prompt.text: verdict_on(run, start.text, prompt.text, tested, stage=CELL, by=plan.verdict_by)
        for prompt in prompts
        if prompt.text in tested
    }
