"""DSPy's MIPROv2 and COPRO on a program of one prediction, whose numbers suit a budget of a few hundred calls.

The target is asked as any chat model is: the instruction as the system message, demonstrations as turns, the input.
What DSPy's own adapter puts around them is left out, so that all searches here change the same prompt of the same
target.
"""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any

os.environ["DSPY_CACHEDIR"] = tempfile.mkdtemp()

import dspy
from jobs import serve

logging.disable(logging.WARNING)


class Plain(dspy.ChatAdapter):
    """Messages without field markers, and replies that are the label."""

    def format(self, signature: Any, demos: Any, inputs: Any) -> list[dict[str, Any]]:
        turns = [{"role": "system", "content": signature.instructions}]
        for one in demos:
            turns += [{"role": "user", "content": one["input"]}, {"role": "assistant", "content": one["label"]}]
        return [*turns, {"role": "user", "content": inputs["input"]}]

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        return {"label": completion.strip()}


class Program(dspy.Module):
    """One prediction with that adapter; whoever proposes uses DSPy's own."""

    def __init__(self, start: str, lm: Any) -> None:
        super().__init__()
        self.predict = dspy.Predict(dspy.Signature("input -> label", start))
        self.predict.lm = lm

    def forward(self, input: str) -> Any:
        with dspy.context(adapter=Plain()):
            return self.predict(input=input)


def exact(example: Any, found: Any, trace: Any = None) -> float:
    return float(example.label == found.label)


def search(job: dict[str, Any]) -> dict[str, Any]:
    how: dict[str, Any] = {"api_base": job["url"], "api_key": "none", "num_retries": 0}
    target = dspy.LM("openai/target", model_type="chat", temperature=0.0, max_tokens=20, **how)
    proposer = dspy.LM("openai/proposer", model_type="chat", temperature=1.0, max_tokens=200, cache=False, **how)
    dspy.configure(lm=target)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    dspy.cache.reset_memory_cache()
    train = [dspy.Example(**one).with_inputs("input") for one in job["train"]]
    program = Program(job["start"], target)
    if job["what"] == "copro":
        copro = dspy.COPRO(prompt_model=proposer, metric=exact, breadth=4, depth=20)
        found = copro.compile(program, trainset=train, eval_kwargs={"num_threads": 1, "display_progress": False})
    else:
        mipro = dspy.MIPROv2(
            metric=exact, prompt_model=proposer, task_model=target, auto=None, num_candidates=3, num_threads=1,
            max_bootstrapped_demos=3, max_labeled_demos=3, seed=job["seed"] + 1,
        )  # fmt: skip
        found = mipro.compile(
            program, trainset=train, valset=train, num_trials=20, minibatch_size=8, minibatch_full_eval_steps=4
        )
    return {"prefix": rendered(found.predict), "ended": "ended by itself"}


def rendered(predict: Any) -> str:
    """What stands before an input."""
    return "\n".join([predict.signature.instructions, *(f"{one['input']} {one['label']}" for one in predict.demos)])


if __name__ == "__main__":
    serve(search)
