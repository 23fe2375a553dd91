"""Measure the embedded LM: what its card says.

    python experiments/embedded_lm/evaluate.py --model DIR

prints a Markdown report, the numbers for the tests and, as the last line, all numbers as JSON. Everything is drawn from
fixed seeds. The questions are the test split of promptopt.data.reasoning, none of which is in the corpus.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from corpus import AND_SO_ON, AT_ONCE, EXTRACTOR, enriched, natural, written_out
from scipy.stats import spearmanr
from transformers import AutoModelForCausalLM, AutoTokenizer

from promptopt.core import Example
from promptopt.data.reasoning import TASKS, reasoning

EMBEDDED = Path(__file__).resolve().parents[2] / "promptopt" / "embedded" / "lm"
START = "Please answer the question."
KNOWING = {
    "arithmetic": "Add step by step, verify each total carefully.",
    "navigation": "Track each position step by step, slowly, carefully.",
    "boolean": "Simplify the logic step by step, verify it formally.",
    "counting": "List and tick each one separately, step by step.",
    "swapping": "Trace and follow each step carefully, attentively.",
    "comparing": "Compare each candidate pairwise, step by step.",
}
NAMED = (
    START, "", "Answer the question.", "Solve the problem.", "You are a helpful assistant.", "Give the correct answer.",
    "Think step by step.", "Reason step by step.", "Think carefully.", "Explain it slowly and thoroughly.",
    "Reason carefully, step by step, and verify everything.", "Answer quickly.", "Guess the answer immediately.",
    "Be brief.", "You are a patient teacher.", "Show your work.",
)  # fmt: skip
N_NATURAL, N_ENRICHED = 10, 10
N_QUESTIONS = 200
SAMPLE = 60  # of them, for the tests


@dataclass(frozen=True)
class Outcome:
    """What a prompt does on questions.

    Attributes:
        right: ``(n_questions,)`` booleans, by the likeliest answer.
        loss: ``(n_questions,)`` cross-entropy of the true answer after the reasoning, in nats.
        reasoning: the texts.
        tokens: ``(n_questions,)`` length of the reasoning.
    """

    right: np.ndarray
    loss: np.ndarray
    reasoning: list[str]
    tokens: np.ndarray


class Reasoner:
    """A causal LM that is asked a question with an instruction, reasons greedily and answers after the extractor."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def rendered(self, question: str, prompt: str) -> str:
        """Question and prompt as the chat template has them."""
        message = {"role": "user", "content": f"{question} {prompt}".strip()}
        text: str = self.tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        return text

    @torch.no_grad()
    def __call__(self, prompt: str, examples: Sequence[Example]) -> Outcome:
        """Run a prompt on examples."""
        asked = [self.rendered(example.input, prompt) for example in examples]
        batch = self.tokenizer(asked, return_tensors="pt", padding=True, add_special_tokens=False)
        batch.pop("token_type_ids", None)
        new = self.model.generate(**batch)[:, batch["input_ids"].shape[1] :]
        thought = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        loss, right = self._answers(
            [f"{a}{t} {EXTRACTOR}" for a, t in zip(asked, thought, strict=True)], [e.label for e in examples]
        )
        return Outcome(right, loss, thought, (new != self.tokenizer.pad_token_id).sum(1).numpy())

    def _answers(self, texts: list[str], answers: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """``(n,)`` losses and booleans. An answer is one token of this model."""
        batch = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        mask = batch["attention_mask"]
        logits = self.model(
            input_ids=batch["input_ids"], attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)
        ).logits[:, -1]
        true = torch.tensor([ids[0] for ids in self.tokenizer(answers, add_special_tokens=False)["input_ids"]])
        return F.cross_entropy(logits, true, reduction="none").numpy(), (logits.argmax(-1) == true).numpy()


def prompts(task: str) -> list[str]:
    """Named prompts, drawn ones, and drawn ones enriched by words that mean something."""
    rng = np.random.default_rng([5, list(TASKS).index(task)])
    drawn = [natural(rng) for _ in range(N_NATURAL + N_ENRICHED)]
    plain = [written_out(rng, words) for words in drawn[:N_NATURAL]]
    rich = [written_out(rng, enriched(rng, words, task, heavy=True)) for words in drawn[N_NATURAL:]]
    return list(dict.fromkeys([*NAMED, KNOWING[task], *plain, *rich]))


def measure(reasoner: Reasoner, task: str, n: int) -> dict[str, Any]:
    """All numbers of one task."""
    examples = reasoning(task=task, test=n).test
    outcomes = {prompt: reasoner(prompt, examples) for prompt in prompts(task)}
    accuracy = {prompt: 100 * float(o.right.mean()) for prompt, o in outcomes.items()}
    loss = {prompt: float(o.loss.mean()) for prompt, o in outcomes.items()}
    by_size = np.array([example.input.count("#") for example in examples])
    start = outcomes[START]
    return {
        "start": accuracy[START],
        "knowing": accuracy[KNOWING[task]],
        "others": {other: 100 * float(reasoner(text, examples).right.mean()) for other, text in KNOWING.items()},
        "least": min(accuracy.values()),
        "median": float(np.median(list(accuracy.values()))),
        "most": max(accuracy.values()),
        "natural": float(np.mean([accuracy[p] for p in prompts(task)[len(NAMED) + 1 :][:N_NATURAL]])),
        "calibration": float(spearmanr(list(accuracy.values()), [-x for x in loss.values()]).statistic),
        "loss_start": loss[START],
        "loss_knowing": loss[KNOWING[task]],
        "start_by_size": {int(k): 100 * float(start.right[by_size == k].mean()) for k in np.unique(by_size)},
        "tokens": max(int(o.tokens.max()) for o in outcomes.values()),
        "named": {prompt: [accuracy[prompt], loss[prompt]] for prompt in (*NAMED, KNOWING[task])},
        "kinds": kinds(start),
        "sample": {
            "start": round(100 * float(start.right[:SAMPLE].mean()), 1),
            "knowing": round(100 * float(outcomes[KNOWING[task]].right[:SAMPLE].mean()), 1),
        },
    }


def kinds(outcome: Outcome) -> dict[str, float]:
    """Share in percent of reasoning that goes to the end, breaks off, or is none."""
    none = np.mean([text == AT_ONCE for text in outcome.reasoning])
    broken = np.mean([text.endswith(AND_SO_ON) for text in outcome.reasoning])
    return {"none": 100 * float(none), "broken off": 100 * float(broken), "to the end": 100 * float(1 - none - broken)}


def report(results: dict[str, dict[str, Any]]) -> str:
    """The numbers as Markdown tables."""
    lines = ["| task | start | natural | least | median | most | knowing | loss, start | loss, knowing | calibration |",
             "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for task, r in results.items():
        numbers = [r[key] for key in ("start", "natural", "least", "median", "most", "knowing")]
        cells = [f"{x:.1f}" for x in numbers] + [f"{r[k]:.2f}" for k in ("loss_start", "loss_knowing", "calibration")]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    lines += ["", f"| prompt | {' | '.join(results)} |", "|---|" + "---|" * len(results)]
    for prompt in NAMED:
        lines.append(f"| `{prompt}` | " + " | ".join(f"{r['named'][prompt][0]:.1f}" for r in results.values()) + " |")
    for task, text in KNOWING.items():
        lines.append(f"| `{text}` | " + " | ".join(f"{r['others'][task]:.1f}" for r in results.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the embedded LM.")
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--questions", type=int, default=N_QUESTIONS)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    reasoner = Reasoner(given.model)
    results = {task: measure(reasoner, task, given.questions) for task in given.tasks}
    print(report(results))
    print("\n" + json.dumps({task: r["sample"] for task, r in results.items()}) + "\n")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
