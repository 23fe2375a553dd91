"""What a step of GReaTer costs: seconds for proposals and gradient, for reasoning and for losses.

    python benchmarks/greater_step.py            # on the embedded LM
    python benchmarks/greater_step.py --quick
    python benchmarks/greater_step.py --model FOLDER --dtype bfloat16 --task arithmetic

A short search is made first, and its steps are then gone through again: with every speed-up of the target, with each of
them switched off in turn, with all of them off, and by a plain loop over ``generate`` and ``forward`` of transformers
that takes one example and one candidate at a time, with a KV cache. The loop is spared what it could spare itself: it
has the current prompt's reasoning from when that was a candidate, and it takes proposals and gradient from one pass.
All of them must come to the same losses. Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

import promptopt
from promptopt.core import Example, Prompt, Rating
from promptopt.data.reasoning import reasoning
from promptopt.optimizers.greater import Greater
from promptopt.targets.local_lm import NUMBER_EXTRACTOR, LocalLM
from promptopt.targets.local_lm.generate import DocumentWriter
from promptopt.targets.local_lm.speedups import Speedups
from promptopt.testing import FakeSetup

EMBEDDED = Path(promptopt.__file__).parent / "embedded" / "lm"
START = "Please answer the question."
LAMBDA = 0.2
SPEEDUPS = tuple(field.name for field in fields(Speedups))
WAYS: dict[str, tuple[int, Sequence[str]]] = {  # rows at a time, and what is turned off
    "all speed-ups": (128, ()),
    **{f"no {name}": (128, (name,)) for name in SPEEDUPS},
    "one row at a time": (1, ()),
    "none of them": (1, SPEEDUPS),
}
PARTS = ("gradient", "reasoning", "losses")
Seconds = dict[str, float]


@dataclass(frozen=True)
class Taken:
    """One step of a search: a prompt, the position looked at, and the candidates that were rated."""

    text: str
    position: int
    candidates: tuple[str, ...]


def target(options: argparse.Namespace, way: str = "all speed-ups") -> LocalLM:
    """The local LM of the benchmark."""
    batch_size, off = WAYS[way]
    lm = LocalLM(
        model=options.model,
        extractor=NUMBER_EXTRACTOR,
        max_tokens=options.max_tokens,
        device=options.device,
        dtype=options.dtype,
        batch_size=batch_size,
    )
    lm._speedups = Speedups(**dict.fromkeys(off, False))
    return lm


def searched(lm: LocalLM, examples: Sequence[Example], *, mu: int, steps: int) -> list[Taken]:
    """The steps of a search that goes by loss."""
    taken: list[Taken] = []
    optimizer = Greater(target=lm, examples=examples, steps=3 * steps, k=40, mu=mu, longest=10)
    optimizer.begin(FakeSetup(start=[START], problem_with=lambda text: lm.problem_with(Prompt(text))))
    while len(taken) < steps and (batch := optimizer.ask()):
        prompts = [question.prompt for question in batch]
        if origin := prompts[0].origin:
            texts = tuple(prompt.text for prompt in prompts[:mu])
            taken.append(Taken(origin["parents"][0], origin["position"], texts))
        losses = lm.losses([prompt.text for prompt in prompts], examples).mean(axis=1)
        optimizer.tell([(q, Rating(-float(loss))) for q, loss in zip(batch, losses, strict=True)])
    return [one for one in taken if one.position < len(lm.tokens(one.text)) and len(one.candidates) == mu]


# ── The target ────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def watched(clock: Callable[[], float]) -> Iterator[Seconds]:
    """Seconds spent in the reasoning and in what follows it, while in use."""
    spent = {"_reason": 0.0, "_answer": 0.0}
    originals = {name: getattr(DocumentWriter, name) for name in spent}

    def timed(name: str) -> Callable[..., Any]:
        def method(self: DocumentWriter, *args: Any) -> Any:
            before = clock()
            result = originals[name](self, *args)
            spent[name] += clock() - before
            return result

        return method

    for name in spent:
        setattr(DocumentWriter, name, timed(name))
    try:
        yield spent
    finally:
        for name, original in originals.items():
            setattr(DocumentWriter, name, original)


def go_through(lm: LocalLM, steps: Sequence[Taken], examples: Sequence[Example]) -> tuple[list[Seconds], Any]:
    """Seconds of each step by part, and the losses ``(n_steps, n_candidates, n_examples)``."""
    clock = clock_of(lm)
    found, losses = [], []
    for step in steps:
        lm.run(Prompt(step.text), examples)  # as it was when this prompt was a candidate
        with watched(clock) as inside:
            before = clock()
            seen = lm.step(step.text, step.position, examples, perplexity_weight=LAMBDA)
            seen.top(40), seen.gradient(range(40))
            gradient = clock() - before
        with watched(clock) as spent:
            before = clock()
            prompts = [Prompt(text, {"parents": [step.text]}) for text in step.candidates]
            rows = list(lm.run_batch(prompts, examples))
            whole = clock() - before
        again = inside["_reason"] + inside["_answer"]  # reasoning written once more, where it is not kept
        seconds = {"gradient": gradient - again, "reasoning": spent["_reason"] + again}
        found.append({**seconds, "losses": whole - spent["_reason"]})
        losses.append([[output.loss for output in row] for row in rows])
    return found, np.array(losses)


def clock_of(lm: LocalLM) -> Callable[[], float]:
    """A clock that waits for the GPU where there is one."""
    on_gpu = lm._weights[0].device.type == "cuda"

    def clock() -> float:
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    return clock


# ── The plain loop ────────────────────────────────────────────────────────────────────────────────────────────────


class Loop:
    """The same step by transformers alone: one example and one candidate at a time."""

    def __init__(self, options: argparse.Namespace, lm: LocalLM) -> None:
        self.clock = clock_of(lm)
        device = lm._weights[0].device
        dtype = None if options.dtype == "auto" else getattr(torch, options.dtype)
        self.words = AutoTokenizer.from_pretrained(options.model)
        self.model = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype or "auto").to(device).eval()
        self.model.requires_grad_(False)
        self.longest = options.max_tokens
        ends = self.model.generation_config.eos_token_id
        self.ends = {*([ends] if isinstance(ends, int) else ends or []), self.words.eos_token_id}

    def ids(self, text: str, **more: Any) -> torch.Tensor:
        found = self.words(text, return_tensors="pt", return_token_type_ids=False, **more)["input_ids"]
        return torch.as_tensor(found).to(self.model.device)

    def framed(self, prompt: str, example: Example) -> str:
        """Question and prompt."""
        text = f"{example.input}\n{prompt}"
        message = [{"role": "user", "content": text}]
        chat = self.words.chat_template is not None
        return (
            str(self.words.apply_chat_template(message, tokenize=False, add_generation_prompt=True)) if chat else text
        )

    def start(self, prompt: str, example: Example) -> int:
        """Where the prompt's tokens begin."""
        text = self.framed(prompt, example)
        special = self.words.chat_template is None
        offsets = self.words(text, add_special_tokens=special, return_offsets_mapping=True)["offset_mapping"]
        return next(i for i, (_, end) in enumerate(offsets) if end > text.rindex(prompt))

    def reason(self, prompt: str, example: Example) -> torch.Tensor:
        """Head and reasoning, without the end token."""
        head = self.ids(self.framed(prompt, example), add_special_tokens=self.words.chat_template is None)
        whole = self.model.generate(
            head, attention_mask=torch.ones_like(head), max_new_tokens=self.longest, do_sample=False
        )
        return whole[:, :-1] if int(whole[0, -1]) in self.ends else whole

    def tail(self, example: Example) -> tuple[torch.Tensor, int]:
        """Extractor and answer, and the answer's length."""
        extractor = self.ids(NUMBER_EXTRACTOR, add_special_tokens=False)
        whole = self.ids(f"{NUMBER_EXTRACTOR}{example.label}", add_special_tokens=False)
        return whole, whole.shape[1] - extractor.shape[1]

    def loss(self, reasoned: torch.Tensor, example: Example) -> float:
        """Cross-entropy of the true answer."""
        tail, n = self.tail(example)
        with torch.no_grad():
            logits = self.model(input_ids=torch.cat([reasoned, tail], dim=1)).logits[0, -n - 1 : -1].float()
        return F.cross_entropy(logits, tail[0, -n:]).item()

    def gradient(self, step: Taken, example: Example, reasoned: torch.Tensor, size: int) -> torch.Tensor:
        """d loss / d weight of every token at the position; ``size`` tokens of prompt."""
        tail, n = self.tail(example)
        ids = torch.cat([reasoned, tail], dim=1)
        first = self.start(step.text, example)
        embeddings = self.model.get_input_embeddings().weight
        leaf = embeddings[ids[0, first + step.position]].clone().requires_grad_()
        embeds = embeddings[ids].index_put((torch.tensor([0]), torch.tensor([first + step.position])), leaf)
        logits = self.model(inputs_embeds=embeds).logits[0].float()
        nll = F.cross_entropy(logits[first - 1 : first + size - 1], ids[0, first : first + size])
        (F.cross_entropy(logits[-n - 1 : -1], tail[0, -n:]) + LAMBDA * nll).backward()
        logits[first + step.position - 1].topk(40)
        assert leaf.grad is not None
        return embeddings.float() @ leaf.grad.float()

    def go_through(self, steps: Sequence[Taken], examples: Sequence[Example], size: Callable[[str], int]) -> Any:
        """As :func:`go_through`."""
        found, losses = [], []
        for step in steps:
            kept = [self.reason(step.text, example) for example in examples]
            marks = [self.clock()]
            for example, reasoned in zip(examples, kept, strict=True):
                self.gradient(step, example, reasoned, size(step.text))
            marks.append(self.clock())
            written = [[self.reason(text, example) for example in examples] for text in step.candidates]
            marks.append(self.clock())
            losses.append([[self.loss(r, e) for r, e in zip(row, examples, strict=True)] for row in written])
            marks.append(self.clock())
            found.append(dict(zip(PARTS, np.diff(marks).tolist(), strict=True)))
        return found, np.array(losses)


# ── The table ─────────────────────────────────────────────────────────────────────────────────────────────────────


def mean(steps: Sequence[Seconds]) -> Seconds:
    """Seconds a step by part, and in all."""
    parts = {part: float(np.mean([step[part] for step in steps])) for part in PARTS}
    return {**parts, "step": sum(parts.values())}


def measured(options: argparse.Namespace, *, examples: int, mu: int) -> dict[str, Seconds]:
    """Every way to take the steps of one search."""
    data = reasoning(task=options.task, train=examples, dev=0, test=0).train
    lm = target(options)
    steps = searched(lm, data, mu=mu, steps=options.steps)
    if not steps:
        raise SystemExit("the search made no step with a full shortlist")
    rows: dict[str, Seconds] = {}
    losses = {}
    for way in WAYS:
        found, losses[way] = go_through(target(options, way), steps, data)
        rows[way] = mean(found)
    few = steps[:: max(1, len(steps) // options.loop_steps)][: options.loop_steps]
    loop = Loop(options, lm)
    found, losses["plain loop"] = loop.go_through(few, data, lambda text: len(lm.tokens(text)))
    rows["plain loop"] = mean(found)
    check(losses, [steps.index(step) for step in few], exact=options.dtype in ("auto", "float32"))
    return rows


def check(losses: dict[str, Any], few: Sequence[int], *, exact: bool) -> None:
    """All ways came to the same losses; in half precision rounding decides what is written, so nothing is asked."""
    for way, found in losses.items():
        expected = losses["all speed-ups"]
        apart = np.abs(found - (expected[list(few)] if way == "plain loop" else expected))
        if exact and not (apart < 1e-3).all():
            raise SystemExit(f"{way}: {(apart >= 1e-3).mean():.1%} of the losses differ, by up to {apart.max():.4f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(EMBEDDED), help="a folder or a name on the Hub")
    parser.add_argument("--task", default="arithmetic")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    parser.add_argument("--max-tokens", type=int, default=80)
    parser.add_argument("--examples", type=int, nargs="*", default=[32, 50])
    parser.add_argument("--candidates", type=int, nargs="*", default=[3, 10])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--loop-steps", type=int, default=3, help="steps that the plain loop takes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one size, two steps")
    options = parser.parse_args()
    if options.quick:
        options.examples, options.candidates, options.steps, options.loop_steps = [32], [3], 2, 1
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    results = []
    for examples in options.examples:
        for mu in options.candidates:
            rows = measured(options, examples=examples, mu=mu)
            fastest = rows["all speed-ups"]["step"]
            print(f"\n{examples} examples, {mu} candidates; seconds a step")
            print(f"{'':20}" + "".join(f"{column:>12}" for column in (*PARTS, "step", "times")))
            for way, row in rows.items():
                cells = "".join(f"{row[part]:12.3f}" for part in (*PARTS, "step"))
                print(f"{way:20}{cells}{row['step'] / fastest:12.1f}", flush=True)
            results.append({"examples": examples, "candidates": mu, "seconds": rows})
    print(json.dumps({"benchmark": "greater_step", "model": Path(options.model).name, "results": results}))


if __name__ == "__main__":
    main()
