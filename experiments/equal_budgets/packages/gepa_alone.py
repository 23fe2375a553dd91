"""gepa's own ``optimize``, with its default adapter and its default settings."""

from __future__ import annotations

from typing import Any

import gepa
from gepa.adapters.default_adapter.default_adapter import EvaluationResult
from jobs import Spent, complete, serve


class Quiet:
    """A logger that says nothing."""

    def log(self, message: str) -> None:
        pass


def marked(data: dict[str, Any], response: str) -> EvaluationResult:
    """The package's own feedback, for answers that have to be exact."""
    if response.strip() == data["answer"]:
        return EvaluationResult(score=1.0, feedback="The generated response is correct.", objective_scores=None)
    said = f"The generated response is incorrect. The correct answer is '{data['answer']}'."
    return EvaluationResult(score=0.0, feedback=said, objective_scores=None)


def search(job: dict[str, Any]) -> dict[str, Any]:
    spent = False

    def asked(model: str, messages: Any) -> str:
        nonlocal spent
        shown = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        try:
            return complete(job["url"], model, shown)
        except Spent:
            spent = True
            raise

    found = gepa.optimize(
        seed_candidate={"instruction": job["start"]},
        trainset=[{"input": one["input"], "additional_context": {}, "answer": one["label"]} for one in job["train"]],
        task_lm=lambda messages: asked("target", messages),
        reflection_lm=lambda prompt: asked("proposer", prompt),
        evaluator=marked,
        stop_callbacks=[lambda state: spent],
        raise_on_exception=False,
        logger=Quiet(),
        seed=job["seed"],
    )
    return {"prefix": found.best_candidate["instruction"], "ended": "budget spent" if spent else "ended by itself"}


if __name__ == "__main__":
    serve(search)
