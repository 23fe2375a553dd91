"""Regret over duels: the default of ``apohf`` beside the released recipe, its baselines and Bayesian optimization.

    python experiments/apohf_regret/run.py --seeds 10 --out runs.jsonl
    python experiments/apohf_regret/run.py --report runs.jsonl --picture regret.svg

For every problem, seed and arm one search over the same pool, whose duels are answered by Bradley-Terry draws from a
quality that only this file knows. A line of JSON is written as each search ends, and what is written is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from promptopt.core import Example, Prompt, Rate, Rating
from promptopt.embedders.ngrams import Ngrams
from promptopt.metrics.text import TokenF1
from promptopt.optimizers.apohf import Apohf
from promptopt.optimizers.double_ts import DoubleTS
from promptopt.optimizers.linear_duel import LinearDuel
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.random_duel import RandomDuels
from promptopt.recipe.build import build
from promptopt.scorers.adapters import BradleyTerry
from promptopt.stats import interval
from promptopt.testing import FakeSetup

if TYPE_CHECKING:
    from promptopt.core import Array, Embedder

HERE = Path(__file__).parent
CHECKPOINTS = (25, 50, 75, 100, 150)
PAIRS = [  # what the default is compared with: its duels, and those of the other
    ("apohf, released", 75, 150),
    ("apohf, released", 75, 75),
    ("random", 75, 75),
    ("linear", 75, 75),
    ("double-ts", 75, 75),
    ("preferential-bo", 75, 75),
]
POINTS = 100  # quality is between 0 and 1, and reported in points
SCALE = 10.0  # of standardised quality, as in [Lin2024]


# ── Problems ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Problem:
    """A pool of n prompts: embeddings ``(n, d)``, quality ``(n,)`` in [0, 1], and the same on held-out examples."""

    texts: Sequence[str]
    vectors: Array
    quality: Array
    held_out: Array | None = None


@dataclass(frozen=True)
class Size:
    """How large problems are, and the folder of the sentence encoder; None stands for hashed n-grams."""

    pool: int = 200
    shots: int = 16
    encoder: str | None = None


def templates(task: str, size: Size, *, seed: int) -> Problem:
    """CLIP templates; quality is the few-shot accuracy of the embedded CLIP."""
    from promptopt.embedders.clip_text import ClipText
    from promptopt.metrics.classification import Accuracy
    from promptopt.optimizers.pools.templates import Grammar
    from promptopt.scorers.metric import MetricScorer

    data = build("datasets", {"name": "rendered", "task": task, "shots": size.shots, "seed": seed}, where="data")
    target = build("targets", "clip", where="target", offered={"classes": data.classes})
    draw = Grammar().draw(np.random.default_rng(seed))
    texts = ["a photo of a {}", *(next(draw) for _ in range(size.pool - 1))]

    def accuracy(examples: Sequence[Example]) -> Array:
        scorer = MetricScorer(target=target, metric=Accuracy(classes=data.classes), examples=examples)
        return np.array([rating.value for rating in scorer.answer([Rate(Prompt(text)) for text in texts])])

    vectors = ClipText(classes=data.classes, cache=False).embed(texts)
    return Problem(texts, vectors, accuracy(data.train), accuracy(data.test))


def instructions(task: str, size: Size, *, seed: int) -> Problem:
    """Instructions of ``instructions.toml``; quality is the token F1 with the reference that is most alike."""
    told = tomllib.loads((HERE / "instructions.toml").read_text(encoding="utf-8"))[task]
    every = [" ".join(filter(None, phrases)) + "." for phrases in product(*told["slots"])]
    texts = [every[i] for i in np.random.default_rng(seed).choice(len(every), size.pool, replace=False)]
    good = [Example(str(i), "", text) for i, text in enumerate(told["references"])]
    metric = TokenF1()
    marks = np.array([[getattr(mark, "value", mark) for mark in metric([text] * len(good), good)] for text in texts])
    return Problem(texts, encoder(size).embed(texts), marks.max(axis=1))


def encoder(size: Size) -> Embedder:
    """The sentence encoder that was asked for."""
    if size.encoder is None:
        return Ngrams()
    from promptopt.embedders.sentence import SentenceTransformer

    return SentenceTransformer(model=size.encoder, cache=False)


def linear(size: Size, *, seed: int) -> Problem:
    """Quality is ``w·x``, over vectors in all directions."""
    rng = np.random.default_rng(seed)
    x = unit(rng.standard_normal((size.pool, 64)))
    return synthetic(x, x @ rng.standard_normal(64))


def wavy(size: Size, *, seed: int) -> Problem:
    """Quality is ``sin(3 a·z) + cos(3 b·z)`` with random directions a and b.

    The vectors are points z of a sphere in five dimensions, turned into 64, with a little noise.
    """
    rng = np.random.default_rng(seed)
    z = unit(rng.standard_normal((size.pool, 5)))
    a, b = unit(rng.standard_normal((2, 5)))
    turn, _ = np.linalg.qr(rng.standard_normal((64, 5)))
    x = unit(z @ turn.T + 0.02 * rng.standard_normal((size.pool, 64)))
    return synthetic(x, np.sin(3 * z @ a) + np.cos(3 * z @ b))


def synthetic(vectors: Array, utility: Array) -> Problem:
    """Quality is the utility, from 0 at the worst to 1 at the best."""
    texts = [str(i) for i in range(len(vectors))]
    return Problem(texts, vectors, (utility - utility.min()) / np.ptp(utility))


def unit(rows: Array) -> Array:
    """Rows of length 1."""
    scaled: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


PROBLEMS: dict[str, Callable[..., Problem]] = {
    **{task: lambda size, *, seed, task=task: templates(task, size, seed=seed) for task in ("roman", "dice", "tally")},
    "antonyms": lambda size, *, seed: instructions("antonyms", size, seed=seed),
    "larger animal": lambda size, *, seed: instructions("larger_animal", size, seed=seed),
    "linear utility": linear,
    "wavy utility": wavy,
}


# ── Searches ──────────────────────────────────────────────────────────────────────────────────────────────────────


def preferential_bo(**pool: Any) -> Any:
    """BoTorch, which is loaded where it is needed."""
    from promptopt.optimizers.preferential_bo import PreferentialBO

    return PreferentialBO(**pool)


ARMS: dict[str, Callable[..., Any]] = {
    "random": RandomDuels,
    "linear": LinearDuel,
    "double-ts": DoubleTS,
    "apohf, released": partial(Apohf, fit="released"),
    "apohf, default": Apohf,
    "preferential-bo": preferential_bo,
    "random, released": partial(RandomDuels, fit="released"),
    "linear, released": partial(LinearDuel, fit="released"),
    "double-ts, released": partial(DoubleTS, fit="released"),
}


class Known:
    """Embeds and rates the prompts of a problem by looking them up."""

    name = "known"
    question = Rate

    def __init__(self, problem: Problem) -> None:
        quality = problem.quality
        self._vectors = dict(zip(problem.texts, problem.vectors, strict=True))
        self._ratings = dict(zip(problem.texts, (quality - quality.mean()) / quality.std(), strict=True))

    def embed(self, texts: Sequence[str], /) -> Array:
        return np.stack([self._vectors[text] for text in texts])

    def answer(self, questions: Sequence[Rate], /) -> list[Rating]:
        return [Rating(float(self._ratings[question.prompt.text])) for question in questions]


def search(arm: str, problem: Problem, *, duels: int, scale: float, seed: int) -> dict[str, Any]:
    """Regret after each checkpoint in points, and where the problem has them, held-out scores in points."""
    known, setup = Known(problem), FakeSetup(start=problem.texts[:1], seed=seed)
    answers = BradleyTerry(scorer=known, scale=scale)
    answers.begin(setup)
    optimizer = ARMS[arm](pool=ListPool(prompts=problem.texts), pool_size=len(problem.texts), embedder=known)
    optimizer.begin(setup)
    place = {text: i for i, text in enumerate(problem.texts)}
    began, regret, held_out = time.monotonic(), {}, {}
    for n in range(1, duels + 1):
        asked = [replace(duel, number=n) for duel in optimizer.ask()]
        optimizer.tell(list(zip(asked, answers.answer(asked), strict=True)))
        if n in CHECKPOINTS:
            best = place[optimizer.best().text]
            regret[str(n)] = POINTS * float(problem.quality.max() - problem.quality[best])
            if problem.held_out is not None:
                held_out[str(n)] = POINTS * float(problem.held_out[best])
    return {"regret": regret, "held_out": held_out, "seconds": round(time.monotonic() - began, 1)}


def run(options: argparse.Namespace) -> None:
    """Every search that is not in the file yet, a line for each."""
    done = {key(found) for found in read([options.out])} if options.out.exists() else set()
    size = Size(options.pool, options.shots, options.encoder)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for name in options.problems:
            arms = [arm for arm in options.arms if (name, arm, seed) not in done]
            problem = PROBLEMS[name](size, seed=seed) if arms else None
            for arm in arms:
                assert problem is not None
                found = search(arm, problem, duels=options.duels, scale=options.scale, seed=seed)
                line = json.dumps({"problem": name, "arm": arm, "seed": seed, **found})
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")


# ── Report ────────────────────────────────────────────────────────────────────────────────────────────────────────


def key(found: dict[str, Any]) -> tuple[str, str, int]:
    """What tells searches apart."""
    return found["problem"], found["arm"], found["seed"]


def read(files: Iterable[Path]) -> list[dict[str, Any]]:
    """The searches of some files."""
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def bounds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95% bootstrap interval; NaN for the interval of fewer than ten."""
    low, high = interval(np.array(values), rng=np.random.default_rng(0))
    nan = float("nan")
    return float(np.mean(values)), nan if low is None else low, nan if high is None else high


def cell(values: Sequence[float]) -> str:
    """Mean and interval in words, with the number of seeds where these are too few for an interval."""
    if not values:
        return ""
    mean, low, high = bounds(values)
    return f"{mean:.1f} (n = {len(values)})" if np.isnan(low) else f"{mean:.1f} ({low:.1f} to {high:.1f})"


def at(runs: list[dict[str, Any]], problem: str, arm: str, n: int, what: str = "regret") -> dict[int, float]:
    """By seed, what a search had after n duels."""
    found = [run for run in runs if (run["problem"], run["arm"]) == (problem, arm)]
    return {run["seed"]: run[what][str(n)] for run in found if str(n) in run[what]}


def table(rows: list[list[str]]) -> str:
    """Rows as Markdown, the first being the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def report(runs: list[dict[str, Any]]) -> str:
    """Regret of every problem, the paired differences of the claim, and held-out accuracy."""
    problems = [name for name in PROBLEMS if any(run["problem"] == name for run in runs)]
    arms = [arm for arm in ARMS if any(run["arm"] == arm for run in runs)]
    parts = []
    for problem in problems:
        rows = [[problem, *map(str, CHECKPOINTS)]]
        rows += [[arm, *(cell([*at(runs, problem, arm, n).values()]) for n in CHECKPOINTS)] for arm in arms]
        parts.append(table(rows))
    rows = [["default minus", *(f"{arm} ({n} duels against {other})" for arm, n, other in PAIRS)]]
    rows += [[problem, *(cell(gaps(runs, problem, *pair)) for pair in PAIRS)] for problem in problems]
    parts.append(table(rows))
    shown = [(problem, n) for problem in problems for n in (75, 150) if any_held_out(runs, problem)]
    rows = [["held-out accuracy", *(f"{problem}, {n}" for problem, n in shown)]]
    rows += [[arm, *(cell([*at(runs, problem, arm, n, "held_out").values()]) for problem, n in shown)] for arm in arms]
    return "\n\n".join([*parts, table(rows)] if shown else parts)


def any_held_out(runs: list[dict[str, Any]], problem: str) -> bool:
    """Whether a problem has held-out examples."""
    return any(run["held_out"] for run in runs if run["problem"] == problem)


def gaps(runs: list[dict[str, Any]], problem: str, arm: str, n: int, other: int) -> list[float]:
    """Regret of the default after n duels minus that of another arm after so many, by seed."""
    default, rival = at(runs, problem, "apohf, default", n), at(runs, problem, arm, other)
    return [default[seed] - rival[seed] for seed in default if seed in rival]


def draw(runs: list[dict[str, Any]], file: Path) -> None:
    """Curves of the mean regret with their bands."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "regret", "font.size": 8}
    problems = [name for name in PROBLEMS if any(run["problem"] == name for run in runs)]
    figure, grid = plt.subplots(2, -(-len(problems) // 2), figsize=(10, 5), squeeze=False)
    for axes in grid.flat[len(problems) :]:
        axes.axis("off")
    for problem, axes in zip(problems, grid.flat, strict=False):
        for arm in ARMS:
            points = [n for n in CHECKPOINTS if at(runs, problem, arm, n)]
            if not points:
                continue
            mean, low, high = zip(*(bounds([*at(runs, problem, arm, n).values()]) for n in points), strict=True)
            (line,) = axes.plot(points, mean, label=arm, color=f"C{list(ARMS).index(arm)}", marker=".")
            axes.fill_between(points, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
        axes.set(title=problem, xlabel="duels", ylabel="regret, points", ylim=(-1, None))
    handles = {name: line for axes in grid.flat for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="lower right")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where searches are added as JSON lines")
    parser.add_argument("--report", type=Path, nargs="+", help="run nothing, print the tables of these files")
    parser.add_argument("--picture", type=Path, help="where to draw the curves, as SVG")
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--duels", type=int, default=CHECKPOINTS[-1])
    parser.add_argument("--pool", type=int, default=200, help="prompts in a pool")
    parser.add_argument("--shots", type=int, default=16, help="labelled images per class")
    parser.add_argument("--scale", type=float, default=SCALE, help="how sharply standardised quality decides")
    parser.add_argument("--encoder", help="a sentence-transformers model for instructions; hashed n-grams without one")
    options = parser.parse_args(words)
    if not (options.out or options.report):
        parser.error("give --out to run or --report to report")
    if options.out:
        run(options)
    runs = read(options.report or [options.out])
    print(report(runs))
    if options.picture:
        draw(runs, options.picture)


if __name__ == "__main__":
    main()
