"""Labels by likelihood: against generating the answer, and against plain batches of one row for each text and label.

    python benchmarks/labels.py MODEL [--texts 64] [--threads 1] [--ways likelihood chat "chat, one by one"]

The ways take turns in one process, prompt by prompt, and every prompt is rated on the same reviews. ``likelihood`` is
``local-lm`` with the input before the prompt, where another prompt has read what stands before it; ``prompt first``
shares the prompt alone. ``plain`` feeds each text with each label as a row of its own and takes the logits of all
positions, ``generate`` writes up to 16 tokens with transformers' ``generate``; both in batches sorted by length.
``chat`` is the target of that name with ``local`` and 32 calls at a time, put together or read ``one by one``. Seconds
are the processor's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from transformers import AutoModelForCausalLM

from promptopt.core import Example, Prompt
from promptopt.data.reviews import reviews
from promptopt.models.local import Local
from promptopt.targets.chat import ChatTarget
from promptopt.targets.local_lm import LocalLM
from promptopt.testing import FakeSetup

PROMPTS = (
    "Classify the sentiment as positive or negative.",
    "Is this review positive or negative?",
    "What does the reviewer feel?",
)
BATCH = 32


def batches(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]


def heads(lm: LocalLM, prompt: str, examples: Sequence[Example]) -> list[tuple[int, ...]]:
    return [head.ids for head in lm._pages.heads([(prompt, one) for one in examples])]


def plain(model: torch.nn.Module, lm: LocalLM, prompt: str, examples: Sequence[Example]) -> torch.Tensor:
    """``(n_examples, n_labels)`` log-probabilities, all labels together made 1."""
    tails = [lm._pages.tail(word) for word in lm._labels.words]
    rows = [(head, tail) for head in heads(lm, prompt, examples) for tail in tails]
    ids = [(*head, *tail.ids) for head, tail in rows]
    found = torch.zeros(len(rows))
    for part in batches(ids):
        longest = max(len(ids[i]) for i in part)
        logs = model(torch.tensor([[*ids[i], *[0] * (longest - len(ids[i]))] for i in part])).logits.log_softmax(-1)
        for place, i in enumerate(part):
            head, tail = rows[i]
            found[i] = sum(logs[place, t - 1, ids[i][t]] for t in range(len(head) + tail.first, len(ids[i])))
    return found.reshape(len(examples), len(tails)).log_softmax(-1)


def generate(model: torch.nn.Module, lm: LocalLM, prompt: str, examples: Sequence[Example]) -> None:
    ids = heads(lm, prompt, examples)
    for part in batches(ids):
        longest = max(len(ids[i]) for i in part)
        given = torch.tensor([[*[2] * (longest - len(ids[i])), *ids[i]] for i in part])
        mask = torch.tensor([[*[0] * (longest - len(ids[i])), *[1] * len(ids[i])] for i in part])
        model.generate(given, attention_mask=mask, max_new_tokens=16, do_sample=False, pad_token_id=2)


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def chat(model: str, *, size: int) -> ChatTarget:
    """With so many conversations in a batch."""
    labels = ["positive", "negative"]
    target = ChatTarget(model=Local(model=model, batch_size=size), answers="likelihood", labels=labels, workers=BATCH)
    target.begin(FakeSetup())
    return target


def compare(model: torch.nn.Module, lm: LocalLM, examples: Sequence[Example]) -> None:
    """Say how far ``likelihood`` and ``plain`` are apart; their labels are to be the same."""
    apart = 0.0
    for prompt in PROMPTS:
        wanted = plain(model, lm, prompt, examples)
        outputs = lm.run(Prompt(prompt), examples)
        rows = torch.tensor([list(one.log_probabilities.values()) for one in outputs])
        apart = max(apart, float((rows - wanted).abs().max()))
        assert rows.argmax(-1).tolist() == wanted.argmax(-1).tolist()
    print(f"the same labels; log-probabilities differ from plain ones by {apart:.1e} at most")


def compare_chats(one: ChatTarget, other: ChatTarget, *, examples: Sequence[Example]) -> None:
    """Say how far both are apart."""
    said = [[*target.run(Prompt(PROMPTS[0]), examples)] for target in (one, other)]
    rows = torch.tensor([[list(output.log_probabilities.values()) for output in outputs] for outputs in said])
    apart = float((rows[0] - rows[1]).abs().max())
    print(f"chat together and one by one: log-probabilities differ by {apart:.1e} at most")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ways", nargs="*", help="these alone")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    examples = reviews(shots=given.texts // 2).train
    how = {"model": given.model, "answers": "likelihood", "labels": ["positive", "negative"]}
    lm, first = LocalLM(**how), LocalLM(**how, template="{prompt}\n{input}")
    model = AutoModelForCausalLM.from_pretrained(given.model).eval()
    for one in (lm, first):
        one.run(Prompt("Warm up."), examples)
    ways: dict[str, Callable[[str], object]] = {
        "likelihood": lambda prompt: lm.run(Prompt(prompt), examples),
        "likelihood, prompt first": lambda prompt: first.run(Prompt(prompt), examples),
        "plain": lambda prompt: plain(model, lm, prompt, examples),
        "generate": lambda prompt: generate(model, lm, prompt, examples),
    }
    chats = {"chat": chat(given.model, size=BATCH), "chat, one by one": chat(given.model, size=1)}
    for way, target in chats.items():
        if not given.ways or way in given.ways:
            target.run(Prompt("Warm up."), examples[:1])
            ways[way] = lambda prompt, target=target: target.run(Prompt(prompt), examples)
    ways = {way: run for way, run in ways.items() if not given.ways or way in given.ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for prompt in PROMPTS:
        for way, run in ways.items():
            seconds[way].append(timed(lambda run=run, prompt=prompt: run(prompt)))
    if "plain" in ways:
        compare(model, lm, examples)
    if {*chats} <= {*ways}:
        compare_chats(*chats.values(), examples=examples)
    base = min(map(statistics.median, seconds.values()))
    for way, found in seconds.items():
        middle = statistics.median(found)
        print(f"{way:<26}{middle:8.2f} s a prompt on {len(examples)} texts{middle / base:8.1f} x")


if __name__ == "__main__":
    main()
