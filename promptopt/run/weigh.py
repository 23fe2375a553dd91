"""After the choice: the best prompt's value weighed against what prompts cost, and the cheapest one measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..core import Prompt, Rate, Rating
from ..errors import BudgetExhausted
from ..record.front import Front, front_of
from ..record.stages import CHEAPEST, DEV, TEST, held_out
from ..record.verdict import Verdict, compare
from .loop import Run
from .objectives import DEFAULT, METERED, Tokens, costs_of, together
from .plan import Plan

__all__ = ["costs", "measure_cheapest", "rate_front", "weigh"]


def weigh(plan: Plan, run: Run, best: Prompt) -> Front | None:
    """The front of the prompts that were rated where the best one was chosen, and its cheapest; costs nothing.

    Returns:
        None where the user wants none, or the best prompt has no rating, as in a search by duels.
    """
    dev = _on_dev(run)
    front = _front(plan, run, best, dev if best in dev else run.ratings)
    if front and front.unknown:
        metered = " and ".join(name for name in front.objectives if name in METERED) or "costs"
        run.notes.append(
            f"{front.unknown} prompts are left out of the front, since their {metered} are not known in full: replies "
            "from the cache or the record tell none. With reply_cache = false all are bought."
        )
    return front


def _front(plan: Plan, run: Run, best: Prompt, rated: Mapping[Prompt, Rating]) -> Front | None:
    names = DEFAULT if plan.objectives is None else plan.objectives
    if not names:
        return None
    return front_of(
        {prompt.text: rating for prompt, rating in rated.items()},
        costs(plan, run, rated, names),
        objectives=names,
        best=best.text,
        split="train" if rated is run.ratings else "dev",
        margin=plan.margin,
        gain=_gain(run, best, rated),
        tokens=_tokens(plan, run).said if DEFAULT[0] in names else "",
    )


def _gain(run: Run, best: Prompt, rated: Mapping[Prompt, Rating]) -> float:
    """By how much the best prompt is rated higher than the start, there or else in training; 0 where nobody knows."""
    start = run.compared_with
    for ratings in (rated, run.ratings):
        if start in ratings and best in ratings:
            gain = ratings[best].value - ratings[start].value
            return gain if gain == gain else 0.0
    return 0.0


def costs(plan: Plan, run: Run, prompts: Iterable[Prompt], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """What prompts cost, by prompt and objective, as far as it is known."""
    return costs_of(prompts, names, measured=_measured(run), tokens=_tokens(plan, run))


def _tokens(plan: Plan, run: Run) -> Tokens:
    return Tokens([plan.target, *run.prompted])


def _on_dev(run: Run) -> dict[Prompt, Rating]:
    """The ratings on the dev split."""
    steps = [(step.question, step.answer) for step in run.steps if step.stage == DEV]
    return {q.prompt: answer for q, answer in steps if isinstance(q, Rate) and isinstance(answer, Rating)}


def _measured(run: Run) -> dict[str, dict[str, float]]:
    """What prompts cost on all training and dev examples that they were rated on."""
    if not run.objectives:
        return {}
    steps = [(step.question, step.answer) for step in run.steps if not held_out(step.stage)]
    rated = [(q, answer) for q, answer in steps if isinstance(q, Rate) and isinstance(answer, Rating)]
    return together((q.prompt, answer, run.examples_of(q, answer)) for q, answer in rated)


def rate_front(plan: Plan, run: Run, best: Prompt) -> None:
    """Have some of the training split's front rated on the dev split, to choose the cheapest there.

    They are those that could be it by their ratings in training, the cheapest first.
    """
    front, known = _front(plan, run, best, run.ratings), _on_dev(run)
    if front is None or plan.dev is None:
        return
    first = front.objectives[0]
    passing = [point for point in front.points if point.passes(front.margin, given=front.margin_given)]
    passing.sort(key=lambda point: point.objectives[first])
    prompts = {prompt.text: prompt for prompt in run.ratings}
    new = [prompts[point.prompt] for point in passing if prompts[point.prompt] not in known]
    list(run.answer([Rate(prompt) for prompt in new[: plan.on_front]], plan.dev, stage=DEV))


def measure_cheapest(plan: Plan, run: Run, front: Front | None) -> Verdict | None:
    """The comparison of the cheapest prompt with the best one on the test split: its ``start`` is the best, its
    ``best`` the cheapest. It takes one rating more than the verdict.

    Returns:
        None where it is not wanted, the cheapest is the best, or there was no verdict.
    """
    tested = {s.question.prompt.text: s.answer for s in run.steps if s.stage == TEST and isinstance(s.question, Rate)}
    if not (plan.cheapest and plan.test and front and front.saves and front.best.prompt in tested):
        return None
    one, other = front.best.prompt, front.cheapest.prompt
    try:
        if other not in tested:
            ((_, tested[other]),) = run.answer([Rate(Prompt(other), cases=True)], plan.test, stage=TEST)
    except BudgetExhausted as error:
        run.notes.append(f"No verdict on the cheapest prompt: {error}.")
        return None
    compared = {"stage": CHEAPEST, "start_prompt": one, "best_prompt": other}
    for event in run.replay.verdicts:
        if compared.items() <= event.items():
            return Verdict.from_json(event["verdict"])
    start, best = tested[one], tested[other]
    assert isinstance(start, Rating)
    assert isinstance(best, Rating)
    verdict = compare(start, best, rng=run.setup("test").rng(), by=plan.verdict_by)
    run.ledger.append({"event": "verdict", **compared, "verdict": verdict.to_json()} | run.counted())
    return verdict
