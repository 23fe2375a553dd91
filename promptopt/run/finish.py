"""What comes after the search: the final choice, the verdict on held-out data, the result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from ..core import NO_START, HasArchive, HasBelief, HasVocabulary, Prompt, Rate, Rating, Scorer
from ..errors import BudgetExhausted, NothingUsable, PromptoptError
from ..record.archive import NAME as ARCHIVE
from ..record.archive import as_lines
from ..record.folder import write_whole
from ..record.front import Front
from ..record.stages import DEV, FINAL, SHORTEN, TEST
from ..record.verdict import Verdict, compare
from .leaks import leaks
from .loop import Run
from .own_verdict import own_verdict
from .plan import Plan
from .result import Candidate, Result
from .shorten import shorten, shorter
from .usable import comparable, explain
from .weigh import costs, rate_front


def final_choice(plan: Plan, run: Run, best: Prompt) -> Prompt:
    """The final answer: the best on the dev split where there is one, or an ensemble where that is better.

    Questions and LLM usage that the search had to leave for this choice and the verdict may be spent from here on, and
    a budget of seconds, which is the search's alone, does not hold any more.
    """
    run.meter.end_search()
    scored = [prompt for prompt, rating in run.ratings.items() if rating.value == rating.value]
    ranked = sorted(scored, key=lambda prompt: run.ratings[prompt].rank, reverse=True)
    rating = run.ratings.get(best)
    try:
        if plan.dev is not None:
            run.open(plan.dev, "dev")
            candidates = list(dict.fromkeys([best, *ranked]))[: plan.finalists]
            best, rating = _best_of(run, candidates, plan.dev, stage=DEV)
        if plan.ensemble > 1 and len(ranked) > 1:
            together = Prompt("\n".join(p.text for p in ranked[: plan.ensemble]), {"step": "ensemble"})
            together, rated = _best_of(run, [together], plan.dev or plan.scorer, stage=FINAL)
            if plan.dev is None:
                run.ratings[together] = rated
            if rating is None or rated.rank > rating.rank:
                best, rating = together, rated
        if plan.shortening and rating is not None and rating.value == rating.value:
            best = _shorten(plan, run, best, rating)
        if plan.dev is not None and plan.on_front:
            rate_front(plan, run, best)
    except BudgetExhausted as error:
        run.notes.append(f"The final choice was cut short: {error}.")
    return best


def _shorten(plan: Plan, run: Run, best: Prompt, rating: Rating) -> Prompt:
    """The best prompt without the parts that do not pay, by ratings on the dev split or, without one, in training."""

    def rate(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Rating]]:
        stage = SHORTEN if plan.dev is None else DEV
        answers = run.answer([Rate(prompt) for prompt in prompts], plan.dev or plan.scorer, stage=stage)
        rated = [(q.prompt, answer) for q, answer in answers if isinstance(q, Rate) and isinstance(answer, Rating)]
        if plan.dev is None:
            run.ratings.update(rated)
        return rated

    phrases = plan.optimizer.vocabulary if isinstance(plan.optimizer, HasVocabulary) else ()
    known = {} if plan.dev else dict(run.ratings)
    # half an example: where examples are rated in several views, every word moves a rating a little
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
    """The highest rated of the prompts, and its rating; of equally rated ones the first."""
    answers = run.answer([Rate(prompt) for prompt in prompts], scorer, stage=stage)
    ratings = [answer for _, answer in answers if isinstance(answer, Rating)]
    best = max(range(len(ratings)), key=lambda i: ratings[i].rank)
    return prompts[best], ratings[best]


def begun_alone(run: Run, reason: str) -> None:
    """Say what the best prompt of a run without a starting prompt is compared with.

    Args:
        reason: why the search stopped.

    Raises:
        NothingUsable: there is no prompt at all.
    """
    if run.compared_with is not NO_START:
        run.notes.append("No start was given: the best prompt is compared with the first that the search tried.")
    elif reason not in ("interrupted", "stopped"):
        raise NothingUsable(
            f"the search ended before it had tried a prompt ({reason}), and there is none to start from. Raise the "
            "budget, see what the proposer's replies look like, or give start."
        )


def measure(
    plan: Plan, run: Run, best: Prompt, scorer: Scorer[Rate, Rating] | None, *, stage: str = TEST
) -> Verdict | None:
    """The comparison of the best prompt with what it is :attr:`.Recorder.compared_with`, on held-out examples.

    A comparison of the two that the ledger holds already is not made again.

    Args:
        scorer: rates on the held-out examples; None makes no comparison.
        stage: ``TEST``, or ``TRANSFER`` and another target's name.

    Raises:
        NothingUsable: there is nothing to compare. On another target, that is a note.
    """
    if scorer is None:
        return None
    start = run.compared_with
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
    verdict = compare(ratings[0], ratings[-1], rng=run.setup("test").rng(), by=plan.verdict_by)
    compared = {"stage": stage, "start_prompt": start.text, "best_prompt": best.text}
    run.ledger.append({"event": "verdict", **compared, "verdict": verdict.to_json()} | run.counted())
    return verdict


def result_of(
    plan: Plan,
    run: Run,
    best: Prompt,
    verdict: Verdict | None,
    transfers: Mapping[str, Verdict],
    reason: str,
    folder: Path | None,
    *,
    front: Front | None = None,
    cheapest: Verdict | None = None,
) -> Result:
    """What the run gives back."""
    ranked = sorted(run.ratings.items(), key=lambda item: item[1].rank, reverse=True)
    if front:
        known = costs(plan, run, run.ratings, front.objectives)
        ranked = [(prompt, replace(rating, objectives=known[prompt.text])) for prompt, rating in ranked]
    return Result(
        best=best.text,
        start=run.compared_with.text,
        candidates=tuple(Candidate(prompt, rating) for prompt, rating in ranked),
        verdict=verdict,
        transfers=transfers,
        belief=run.optimizer.belief() if isinstance(run.optimizer, HasBelief) else None,
        stop_reason=reason,
        costs=run.meter.costs,
        counts=dict(run.counts),
        notes=tuple(run.notes),
        warnings=(*_leaked(plan, best, front), *own_verdict(plan, run, verdict)),
        seed=plan.seed,
        run=folder,
        steps=tuple(run.steps),
        front=front,
        cheapest_verdict=cheapest,
        archive=run.optimizer.archive() if isinstance(run.optimizer, HasArchive) else None,
    )


def _leaked(plan: Plan, best: Prompt, front: Front | None) -> list[str]:
    if plan.data is None:
        return []
    found = leaks(best.text, plan.data)
    if front and front.saves:
        found += leaks(front.cheapest.prompt, plan.data, called="The cheapest prompt")
    return found


def write_result(result: Result, folder: Path) -> None:
    """Put the best prompt, the summary, the front and the archive into the run's folder, each all or nothing.

    Raises:
        PromptoptError: one cannot be written. The ledger says how the run ended all the same.
    """
    files = {"best.txt": result.best, "result.json": result.to_json()}
    if result.front:
        files["front.json"] = json.dumps(result.front.to_json(), ensure_ascii=False, allow_nan=False)
    if result.archive:
        files[ARCHIVE] = as_lines(result.archive)
    for name, text in files.items():
        try:
            write_whole(folder / name, f"{text}\n".encode(errors="backslashreplace"))
        except OSError as error:
            raise PromptoptError(
                f"{folder / name} cannot be written: {error.strerror}. The run has ended and its record is whole; when "
                f"that is mended, have it written with: promptopt resume {quote(str(folder))}"
            ) from None
