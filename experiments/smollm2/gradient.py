"""Does a gradient say which token of a prompt should become which, and what says it better for as many passes?

    python experiments/smollm2/gradient.py --out experiments/smollm2/gradient.jsonl --page   # appends what is missing
    python experiments/smollm2/gradient.py --kinds "embedded LM, labels" --positions 80
    python experiments/smollm2/gradient.py --report experiments/smollm2/gradient.jsonl

A look is a random prompt, a random position in it and the model's own proposals there. Several ways rank the proposals,
each from the same examples; what counts is the true loss on as many other examples. A pass is one example with one
prompt; a gradient costs two, as ``benchmarks/lm_sizes.py`` measures: the weights are frozen, so a backward pass costs
no more than a forward one.

Then every way makes a step for as many passes as ``greater`` pays for one: a gradient, and three proposals rated. What
the step gains is measured on the other examples.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matrix import HERE
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tasks import INPUT_FIRST, TASKS

from promptopt.core import Example, Prompt
from promptopt.data.reasoning import reasoning
from promptopt.optimizers.token_search import ALLOWED, directions, likeliest, pattern, takeable, usable_tokens
from promptopt.stats import interval
from promptopt.targets.local_lm import LocalLM
from promptopt.targets.local_lm.gradient import Page, Terms, TokenStep, _losses
from promptopt.targets.local_lm.kv_cache import padded
from promptopt.targets.local_lm.loss import Read
from promptopt.testing import FakeSetup


@dataclass(frozen=True)
class Kind:
    """What is looked at.

    Attributes:
        reasoning: the longest reasoning, in tokens; 0 where labels are compared by likelihood.
        seen: examples that the ways see; as many others decide.
        shown: proposals at a position.
        positions: of each task.
        along: at so many positions of each task the gradient is taken along the way, too.
    """

    model: str
    tasks: tuple[str, ...]
    reasoning: int = 0
    seen: int = 12
    shown: int = 16
    positions: int = 15
    along: int = 0


WORDS, TRAINED = ("category", "language", "feeling"), ("arithmetic", "navigation")
KINDS = {
    "SmolLM2, labels": Kind("smollm2", WORDS),
    "embedded LM, labels": Kind("embedded", TRAINED, positions=50, along=10),
    "embedded LM, reasoning": Kind("embedded", TRAINED, reasoning=80),
    "SmolLM2, reasoning": Kind("smollm2", ("category",), reasoning=16, seen=6, shown=8),
}
PASSES = 2  # of a gradient, for an example: forward, and back
POINTS = (0.25, 0.75)  # along the way
TOP = 3
RANKED = {
    "gradient": "the gradient",
    "unit": "the gradient, each example's at length 1",
    "prior": "how likely the model itself finds the token",
    "few": "racing: the true loss on few of the examples, for the passes of the gradient",
    "true": "the true loss on the examples",
    "path": "gradients along the way, the mean of two",
}
STEPS = {
    "gradient": "gradient, three rated (`greater`)",
    "few": "racing, three rated",
    "several": "gradient at all positions; one, two, three tokens at once rated",
    "prior": "the model's five likeliest rated",
    "chance": "five at random rated",
}


# ── Models, prompts, examples ─────────────────────────────────────────────────────────────────────────────────────


@cache
def setting(kind: str, task: str) -> tuple[LocalLM, list[Example], list[str]]:
    """The model, examples and prompts of a task."""
    what = KINDS[kind]
    how: dict[str, Any] = {"max_tokens": what.reasoning} if what.reasoning else {"answers": "likelihood"}
    if what.model == "smollm2":
        own = TASKS[task]
        template = INPUT_FIRST.format(thing=own.thing.capitalize())
        how |= {"chat_template": bool(what.reasoning), "template": template.removesuffix("\nAnswer:")}
        if not what.reasoning:
            how |= {"labels": own.classes, "template": template}
        return LocalLM(model=what.model, **how), own.examples(), own.pool
    data = reasoning(task=task, train=200, dev=0, test=10)  # type: ignore[arg-type]
    if not what.reasoning:
        how |= {"labels": sorted({str(example.label) for example in data.train})}
    lm = LocalLM(model=what.model, **how)
    return lm, list(data.train), [*random_words(lm, 40)]


def random_words(lm: LocalLM, n: int) -> Iterator[str]:
    """Prompts of words that the model knows."""
    usable = usable_tokens(lm.vocabulary, pattern(r" [A-Za-z]+"))
    words = sorted({text.strip() for text, good in zip(lm.vocabulary, usable, strict=True) if good and len(text) > 2})
    rng = np.random.default_rng(0)
    for _ in range(n):
        yield f"{' '.join(rng.choice(words, int(rng.integers(3, 9)), replace=False))}."


# ── One position ──────────────────────────────────────────────────────────────────────────────────────────────────


def look(kind: str, task: str, number: int) -> dict[str, Any] | None:
    """Rankings of the proposals at a position, and how far they agree with the loss on other examples."""
    what, (lm, every, prompts) = KINDS[kind], setting(kind, task)
    rng = np.random.default_rng([number, len(every)])
    text = prompts[int(rng.integers(len(prompts)))]
    examples = [every[i] for i in rng.choice(len(every), 2 * what.seen, replace=False)]
    position = int(rng.integers(len(lm.tokens(text))))
    began = time.process_time()
    steps = everywhere(lm, text, examples[: what.seen], with_reasoning=bool(what.reasoning))
    if position not in steps:
        return None
    seen = steps[position]
    new = proposals(lm, text, position, seen, n=what.shown)
    if len(new) < what.shown // 2:
        return None
    together = several(lm, text, steps)
    every_text = [*new.values(), *together, text]
    losses = lm.losses(every_text, examples)
    few = max(1, PASSES * what.seen // len(new))
    by = {
        "gradient": directions(seen, [*new]),
        "unit": directions(seen, [*new], average="unit"),
        "prior": -np.nanmean(seen.log_probabilities([*new]), axis=0),
        "few": losses[: len(new), :few].mean(axis=1),
        "true": losses[: len(new), : what.seen].mean(axis=1),
    }
    if number < what.along:
        by["path"] = path(lm, text, position, [*new], examples[: what.seen])
    mine, wanted = losses[:, : what.seen].mean(axis=1), losses[:, what.seen :].mean(axis=1)
    own = wanted[: len(new)]
    regret = {way: own[np.argsort(found, kind="stable")[:TOP]].min() - own.min() for way, found in by.items()}
    regret["chance"] = np.mean([own[rng.permutation(len(own))[:TOP]].min() - own.min() for _ in range(200)])
    extra = TOP + PASSES  # as many passes as a gradient and the ratings of its shortlist
    rated = {way: np.argsort(by[way], kind="stable")[:TOP] for way in ("gradient", "few")}
    rated["several"] = np.arange(len(new), len(new) + len(together))
    rated["prior"] = np.argsort(by["prior"], kind="stable")[:extra]
    gain = {way: wanted[-1] - wanted[places[mine[places].argmin()]] for way, places in rated.items() if len(places)}
    drawn = [rng.permutation(len(new))[:extra] for _ in range(200)]
    gain["chance"] = np.mean([wanted[-1] - wanted[places[mine[places].argmin()]] for places in drawn])
    return {
        "kind": kind, "task": task, "number": number, "proposals": len(new), "few": few,
        "rank": {way: round(float(spearmanr(found, own).statistic), 4) for way, found in by.items()},
        "seen": round(float(spearmanr(by["gradient"], by["true"]).statistic), 4),
        "regret": {way: round(float(value), 4) for way, value in regret.items()},
        "gain": {way: round(float(value), 4) for way, value in gain.items()},
        "seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def proposals(lm: LocalLM, text: str, position: int, seen: TokenStep, *, n: int) -> dict[int, str]:
    """The prompts with another token there, by token: the likeliest of every example, then the second likeliest."""
    tokens, usable = lm.tokens(text), usable_tokens(lm.vocabulary, pattern(ALLOWED))
    ranked = zip(*likeliest(seen, usable, n), strict=False)
    proposed = [token for token in dict.fromkeys(t for row in ranked for t in row) if token != tokens[position]]
    setup = FakeSetup(problem_with=lambda one: lm.problem_with(Prompt(one)))
    return dict(takeable(lm, setup, text, position, proposed[:n]))


def several(lm: LocalLM, text: str, steps: dict[int, TokenStep]) -> list[str]:
    """The prompt with one, two and three tokens exchanged, those whose gradient promises most at their positions."""
    tokens, best = lm.tokens(text), []
    for position, seen in steps.items():
        new = [*proposals(lm, text, position, seen, n=16)]
        if new:
            slopes = directions(seen, [*new, tokens[position]])
            best.append((float(slopes[:-1].min() - slopes[-1]), position, new[int(slopes[:-1].argmin())]))
    found, current = [], text
    for _, position, token in sorted(best)[:TOP]:
        if len(lm.tokens(current)) == len(tokens) and (one := lm.replace(current, position, token)):
            current = one
            found.append(current)
    return found


def everywhere(lm: LocalLM, text: str, examples: Sequence[Example], *, with_reasoning: bool) -> dict[int, TokenStep]:
    """Proposals and gradients at every position that all documents have, from one pass forward and back."""
    n = len(lm.tokens(text))
    pages = {at: [*lm._whole(text, at, examples, with_reasoning=with_reasoning).values()] for at in range(n)}
    pages = {at: found for at, found in pages.items() if len(found) == len(examples)}
    if not pages:
        return {}
    backbone, _ = lm._weights
    one = next(iter(pages.values()))
    with torch.no_grad():
        leaf = backbone.embed(padded([page.ids for page in one])).clone()
    leaf.requires_grad_()
    with torch.enable_grad():
        read = Read(backbone.read(leaf), [0] * len(one))
        losses, _ = _losses(backbone, read, one, Terms(0.0, 1.0))
        (slopes,) = torch.autograd.grad(losses.sum(), leaf)
    rows, found = torch.arange(len(one)), {}
    for at, these in pages.items():
        with torch.no_grad():
            logits = backbone.logits(read.at([(i, page.place - 1) for i, page in enumerate(these)]))
        own = slopes[rows, [page.place for page in these]].float()
        found[at] = TokenStep(backbone, len(lm.vocabulary), losses.detach().double().numpy(), logits, own)
    return found


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
    """Rank correlations with the loss on other examples, the regret of the best three, and what a step gains."""
    kinds = [kind for kind in KINDS if any(one["kind"] == kind for one in looks)]
    of = {kind: [one for one in looks if one["kind"] == kind] for kind in kinds}

    def row(said: str, what: str, way: str, less: str = "") -> list[str]:
        cells = []
        for kind in kinds:
            rows = [one[what] for one in of[kind] if way in one[what] and (not less or less in one[what])]
            cells.append(shown([one[way] - (one[less] if less else 0) for one in rows]) if rows else "")
        return [said, *cells]

    rank = [["rank correlation with the loss on other examples", *kinds]]
    rank.append(["positions", *(str(len(of[kind])) for kind in kinds)])
    rank += [row(said, "rank", way) for way, said in RANKED.items()]
    rank.append(row("*racing, less the gradient*", "rank", "few", "gradient"))
    rank.append(row("*the true loss, less gradients along the way*", "rank", "true", "path"))
    own = "the gradient, with the loss on its own examples"
    rank.append([own, *(shown([one["seen"] for one in of[kind]]) for kind in kinds)])
    regret = [["best of three above the best of all, nats", *kinds]]
    regret += [row(said, "regret", way) for way, said in RANKED.items() if way != "path"]
    regret.append(row("three at random", "regret", "chance"))
    regret.append(row("*the gradient, less chance*", "regret", "gradient", "chance"))
    gain = [["what a step gains on other examples, nats, for equal passes", *kinds]]
    gain += [row(said, "gain", way) for way, said in STEPS.items()]
    gain += [row(f"*{STEPS[way]}, less `greater`*", "gain", way, "gradient") for way in STEPS if way != "gradient"]
    return "\n\n".join(map(table, (rank, regret, gain)))


def write_page(tables: str) -> None:
    """Put the tables between the marks of README.md."""
    page = HERE / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- gradient -->\n")
    _, _, after = rest.partition("<!-- end of gradient -->")
    page.write_text(f"{before}<!-- gradient -->\n{tables}\n<!-- end of gradient -->{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--positions", type=int, help="of each task; by default as many as the page has")
    parser.add_argument("--out", type=Path, help="a file to append every position to; what it holds stays")
    parser.add_argument("--report", type=Path, help="look at nothing; print the tables of this file")
    parser.add_argument("--page", action="store_true", help="write the tables into README.md too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = options.report or options.out
    kept = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    looks = [json.loads(line) for line in kept]
    done = {(one["kind"], one["task"], one["number"]) for one in looks}
    most = {kind: options.positions or KINDS[kind].positions for kind in options.kinds}
    every = [(n, k, t) for n, k in product(range(max(most.values())), most) if n < most[k] for t in KINDS[k].tasks]
    for number, kind, task in [] if options.report else every:
        found = None if (kind, task, number) in done else look(kind, task, number)
        if found is not None:
            looks.append(found)
            if options.out:
                with options.out.open("a", encoding="utf-8") as written:
                    written.write(json.dumps(found) + "\n")
    print(report(looks))
    if options.page:
        write_page(report(looks))


if __name__ == "__main__":
    main()
