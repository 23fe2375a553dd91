"""Does the gradient of the likelihood of labels say which token of a prompt should become which?

    python experiments/smollm2/gradient.py --out gradient.jsonl                  # SmolLM2 and the embedded LM
    python experiments/smollm2/gradient.py --models embedded --positions 200     # appends what is missing
    python experiments/smollm2/gradient.py --report gradient.jsonl

A look is a random prompt, a random position in it and the model's own proposals there. The gradient of the loss on 12
examples ranks the proposals. So does their true loss on as few of these examples as cost no more passes (a backward
pass counting as two more), and on all 12. Each ranking is compared with the true loss on 12 other examples. For some
positions the gradient is taken along the way from the token's embedding to each proposal's, too: the mean at two
points, a pass forward and back for each proposal and point.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tasks import TASKS

from promptopt.core import Example, Prompt
from promptopt.data.reasoning import reasoning
from promptopt.optimizers.token_search import ALLOWED, directions, likeliest, pattern, takeable, usable_tokens
from promptopt.stats import interval
from promptopt.targets.local_lm import LocalLM
from promptopt.targets.local_lm.gradient import Page, Terms, _losses
from promptopt.targets.local_lm.kv_cache import padded
from promptopt.targets.local_lm.loss import Read
from promptopt.testing import FakeSetup

MODELS = {"smollm2": ("category", "language", "feeling"), "embedded": ("arithmetic", "navigation")}
SEEN, OTHERS, SHOWN = 12, 12, 16  # examples, other examples, proposals
PASSES = 3  # of a gradient, for an example: forward, and back as two
POINTS = (0.25, 0.75)  # along the way
TOP = 3
WAYS = {
    "gradient": "gradient on 12 examples",
    "few": "true loss on few examples, no more passes",
    "true": "true loss on the same 12 examples",
    "path": "gradient along the way",
}


# ── Models, prompts, examples ─────────────────────────────────────────────────────────────────────────────────────


@cache
def setting(model: str, task: str) -> tuple[LocalLM, list[Example], list[str]]:
    """The model, examples and prompts of a task."""
    if model == "smollm2":
        own = TASKS[task]
        how: dict[str, Any] = {"answers": "likelihood", "labels": own.classes, "template": own.template}
        return LocalLM(model=model, chat_template=False, **how), own.examples(), own.pool
    data = reasoning(task=task, train=200, dev=0, test=10)  # type: ignore[arg-type]
    labels = sorted({str(example.label) for example in data.train})
    lm = LocalLM(model=model, answers="likelihood", labels=labels)
    return lm, list(data.train), [*random_words(lm, 40)]


def random_words(lm: LocalLM, n: int) -> Iterator[str]:
    """Prompts of words that the model knows."""
    usable = usable_tokens(lm.vocabulary, pattern(r" [A-Za-z]+"))
    words = sorted({text.strip() for text, good in zip(lm.vocabulary, usable, strict=True) if good and len(text) > 2})
    rng = np.random.default_rng(0)
    for _ in range(n):
        yield f"{' '.join(rng.choice(words, int(rng.integers(3, 9)), replace=False))}."


# ── One position ──────────────────────────────────────────────────────────────────────────────────────────────────


def look(model: str, task: str, number: int, *, along: bool) -> dict[str, Any] | None:
    """Rankings of the proposals at a position, and how far they agree with the loss on other examples."""
    lm, every, prompts = setting(model, task)
    rng = np.random.default_rng([number, len(every)])
    text = prompts[int(rng.integers(len(prompts)))]
    examples = [every[i] for i in rng.choice(len(every), SEEN + OTHERS, replace=False)]
    tokens = lm.tokens(text)
    position = int(rng.integers(len(tokens)))
    began = time.process_time()
    seen = lm.step(text, position, examples[:SEEN], with_reasoning=False)
    usable = usable_tokens(lm.vocabulary, pattern(ALLOWED))
    ranked = zip(*likeliest(seen, usable, SHOWN), strict=False)
    proposed = [token for token in dict.fromkeys(t for row in ranked for t in row) if token != tokens[position]]
    setup = FakeSetup(problem_with=lambda new: lm.problem_with(Prompt(new)))
    new = takeable(lm, setup, text, position, proposed[:SHOWN])
    if len(new) < SHOWN // 2:
        return None
    losses = lm.losses([*new.values()], examples)
    few = max(1, PASSES * SEEN // len(new))
    by = {
        "gradient": directions(seen, [*new]),
        "few": losses[:, :few].mean(axis=1),
        "true": losses[:, :SEEN].mean(axis=1),
    }
    if along:
        by["path"] = path(lm, text, position, [*new], examples[:SEEN])
    wanted = losses[:, SEEN:].mean(axis=1)
    best = {way: wanted[np.argsort(found)[:TOP]].min() - wanted.min() for way, found in by.items()}
    chance = np.mean([wanted[rng.permutation(len(wanted))[:TOP]].min() - wanted.min() for _ in range(200)])
    return {
        "model": model, "task": task, "number": number, "proposals": len(new), "few": few,
        "rank": {way: round(float(spearmanr(found, wanted).statistic), 4) for way, found in by.items()},
        "seen": round(float(spearmanr(by["gradient"], by["true"]).statistic), 4),
        "regret": {way: round(float(value), 4) for way, value in best.items()},
        "chance": round(float(chance), 4), "seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def path(lm: LocalLM, text: str, position: int, tokens: Sequence[int], examples: Sequence[Example]) -> NDArray[Any]:
    """``(n_tokens,)``: what each exchange adds to the mean loss, by gradients at points between the two embeddings."""
    pages = [*lm._whole(text, position, examples, with_reasoning=False).values()]
    backbone, _ = lm._weights
    with torch.no_grad():
        old, ends = backbone.embed(torch.tensor(pages[0].ids[pages[0].place])), backbone.embed(torch.tensor(tokens))
    gains = [
        [float((slopes(lm, pages, old + t * (end - old)).mean(dim=0) * (end - old)).sum()) for t in POINTS]
        for end in ends
    ]
    return np.mean(gains, axis=1)


def slopes(lm: LocalLM, pages: Sequence[Page], point: torch.Tensor) -> torch.Tensor:
    """``(n_pages, width)`` the gradient of each loss where the position's embedding is this point ``(width,)``."""
    backbone, _ = lm._weights
    with torch.enable_grad():
        leaf = point.expand(len(pages), -1).clone().requires_grad_()
        embeds = backbone.embed(padded([page.ids for page in pages]))
        rows, columns = torch.arange(len(pages)), torch.tensor([page.place for page in pages])
        states = backbone.read(embeds.index_put((rows, columns), leaf))
        losses, _ = _losses(backbone, Read(states, [0] * len(pages)), pages, Terms(0.0, 1.0))
        (found,) = torch.autograd.grad(losses.sum(), leaf)
    return found


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────


def shown(values: Sequence[float]) -> str:
    """Mean with its 95% bootstrap interval over positions."""
    low, high = interval(np.array(values), rng=np.random.default_rng(0))
    return f"{np.mean(values):.2f}" + ("" if low is None else f" ({low:.2f} to {high:.2f})")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown, the first being the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def report(looks: Sequence[dict[str, Any]]) -> str:
    """Rank correlations with the loss on other examples, and the regret of the best three, by model."""
    models = [model for model in MODELS if any(one["model"] == model for one in looks)]
    of = {model: [one for one in looks if one["model"] == model] for model in models}
    with_path = {model: [one for one in found if "path" in one["rank"]] for model, found in of.items()}
    rows = [["rank correlation with the loss on 12 other examples", *models]]
    rows.append(["positions", *(str(len(of[model])) for model in models)])
    for way, said in WAYS.items():
        chosen = with_path if way == "path" else of
        rows.append([said, *(shown([one["rank"][way] for one in chosen[m]]) if chosen[m] else "" for m in models)])
    pairs = [("few", "gradient", of), ("path", "gradient", with_path)]
    for one, other, chosen in pairs:
        gaps = {m: [x["rank"][one] - x["rank"][other] for x in chosen[m]] for m in models}
        rows.append([f"{WAYS[one]}, minus {WAYS[other]}", *(shown(gaps[m]) if gaps[m] else "" for m in models)])
    own = "gradient, with the loss on its own examples"
    rows.append([own, *(shown([one["seen"] for one in of[m]]) for m in models)])
    second = [["best of three above the best of all, nats", *models]]
    for way in ("gradient", "few", "true"):
        second.append([WAYS[way], *(shown([one["regret"][way] for one in of[m]]) for m in models)])
    second.append(["three at random", *(shown([one["chance"] for one in of[m]]) for m in models)])
    return f"{table(rows)}\n\n{table(second)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--positions", type=int, default=20, help="of each task")
    parser.add_argument("--along", type=int, default=5, help="of these, with gradients along the way")
    parser.add_argument("--out", type=Path, help="a file to append every position to; what it holds stays")
    parser.add_argument("--report", type=Path, help="look at nothing; print the tables of this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = options.report or options.out
    kept = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    looks = [json.loads(line) for line in kept]
    done = {(one["model"], one["task"], one["number"]) for one in looks}
    every = [(n, m, t) for n, m in product(range(options.positions), options.models) for t in MODELS[m]]
    for number, model, task in [] if options.report else every:
        if (model, task, number) in done:
            continue
        found = look(model, task, number, along=number < options.along)
        if found is None:
            continue
        looks.append(found)
        if options.out:
            with options.out.open("a", encoding="utf-8") as written:
                written.write(json.dumps(found) + "\n")
    print(report(looks))


if __name__ == "__main__":
    main()
