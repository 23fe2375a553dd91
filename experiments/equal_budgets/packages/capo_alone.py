"""promptolution's CAPO, whose numbers suit a budget of a few hundred calls."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pandas as pd
from jobs import Spent, complete, serve
from promptolution.llms.base_llm import BaseLLM
from promptolution.optimizers.capo import CAPO
from promptolution.predictors.base_predictor import BasePredictor
from promptolution.tasks.classification_tasks import ClassificationTask
from promptolution.utils.prompt_creation import create_prompts_from_samples

SHOTS, BLOCK = 4, 4  # examples that demonstrations are taken from; examples in a block of the race
POPULATION = 4


class Asked(BaseLLM):
    """Target or proposer. The target gets no system message: CAPO puts everything into one text."""

    def __init__(self, url: str, model: str) -> None:
        super().__init__()
        self.url, self.model, self.spent = url, model, False

    def _get_response(self, prompts: list[str], system_prompts: list[str]) -> list[str]:
        return [self.one(*pair) for pair in zip(prompts, system_prompts, strict=True)]

    def one(self, prompt: str, system: str) -> str:
        head = [{"role": "system", "content": system}] if self.model == "proposer" else []
        try:
            return complete(self.url, self.model, [*head, {"role": "user", "content": prompt}])
        except Spent:
            self.spent = True
            raise


class Whole(BasePredictor):
    """The reply is the label; the package compares in lower case."""

    def _extract_preds(self, preds: list[str]) -> list[str]:
        return [one.strip().lower() for one in preds]


def search(job: dict[str, Any]) -> dict[str, Any]:
    random.seed(job["seed"])
    np.random.seed(job["seed"])
    target, proposer = Asked(job["url"], "target"), Asked(job["url"], "proposer")
    rows = pd.DataFrame([{"x": one["input"], "y": one["label"]} for one in job["train"]])
    task = ClassificationTask(rows[SHOTS:], job["about"], n_subsamples=BLOCK, seed=job["seed"])
    given = [job["start"]]
    given += create_prompts_from_samples(task, proposer, n_prompts=POPULATION - 1, task_description=job["about"])
    capo = CAPO(
        Whole(target), task, proposer, initial_prompts=given, crossovers_per_iter=3, upper_shots=3,
        create_fs_reasoning=False, df_few_shots=rows[:SHOTS],
    )  # fmt: skip
    found = capo.optimize(n_steps=100)
    ended = "budget spent" if target.spent or proposer.spent else "ended by itself"
    return {"prefix": found[0].construct_prompt(), "ended": ended}


if __name__ == "__main__":
    serve(search)
