"""What a round of the dueling bandit costs: seconds and peak memory, by arms, dimensions and duels.

    python benchmarks/apohf_rounds.py [--quick]

A round is what a person waits for between an answer and the next question: the fit to all answers, the choice of the
pair, and the incumbent. Measured in a process of its own for every row, so that the peak memory is the row's own; a
process that only imports numpy, scipy and the package is the first row. Embeddings are random unit vectors with a
decaying spectrum, the duels so far random pairs, answered by Bradley-Terry.

``plain`` is the round as the released code of [Lin2024] has it, in numpy: gradients of all arms written out, and V as a
(P, P) array to take its diagonal. P is 3,169 at d = 64, 13,409 at d = 384 and 25,697 at d = 768; in double precision V
alone is 1.4 GB at d = 384 and 5.3 GB at d = 768, so it runs at d = 64 (and, where not ``--quick``, 384) with 200 arms.
Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

BUDGET_S, BUDGET_MB = 0.3, 500  # for the default with 200 arms at d = 768
FITS = ("gaussian-process", "released", "released-full")
RESIDENT = "the package alone"


# ── In the process of one row ─────────────────────────────────────────────────────────────────────────────────────


class Table:
    """Embeds the text ``i`` as row i of a table."""

    name = "table"

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def embed(self, texts: Sequence[str], /) -> Any:
        return self.rows[[int(text) for text in texts]]


def embeddings(arms: int, d: int) -> Any:
    """``(arms, d)``"""
    drawn = np.random.default_rng(0).standard_normal((arms, d)) * np.arange(1, d + 1) ** -0.5
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def measure(fit: str, arms: int, d: int, duels: int, rounds: int) -> dict[str, float]:
    """Seconds of a round, the least and the median, and the peak memory of this process in MB."""
    import promptopt.optimizers.apohf  # noqa: F401 - so that it counts in every row

    table = embeddings(arms, d)
    seconds = [] if fit == RESIDENT else (plain if fit == "plain" else rounds_of)(fit, table, duels, rounds)
    return {"s": min(seconds, default=0.0), "median": float(np.median(seconds or [0.0])), "mb": peak()}


def peak() -> float:
    """Peak memory of this process, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def rounds_of(fit: str, table: Any, duels: int, rounds: int) -> list[float]:
    """Ours."""
    from promptopt.core import Preference
    from promptopt.optimizers.apohf import Apohf
    from promptopt.optimizers.pools.listed import ListPool
    from promptopt.testing import FakeSetup

    options: dict[str, Any] = {"fit": fit.removesuffix("-full"), "norm": "full" if fit.endswith("full") else None}
    pool = ListPool(prompts=[str(i) for i in range(len(table))])
    optimizer = Apohf(pool=pool, pool_size=len(table), embedder=Table(table), n_init=duels, **options)
    optimizer.begin(FakeSetup(start=["0"]))
    utility, rng = 10 * table[:, 0], np.random.default_rng(1)

    def answer(duel: Any) -> None:
        odds = np.exp(utility[int(duel.b.text)] - utility[int(duel.a.text)])
        optimizer.tell([(duel, Preference("a" if rng.random() < 1 / (1 + odds) else "b"))])

    for _ in range(duels):
        answer(optimizer.ask()[0])
    seconds = []
    for _ in range(rounds):
        before = time.perf_counter()
        (duel,) = optimizer.ask()
        optimizer.best()
        seconds.append(time.perf_counter() - before)
        answer(duel)
    return seconds


def plain(fit: str, table: Any, duels: int, rounds: int) -> list[float]:
    """The released way: (arms, P) gradients and a (P, P) matrix."""
    from promptopt.optimizers.blas import single_threaded
    from promptopt.optimizers.duels.network import draw, gradients, train

    rng = np.random.default_rng(1)
    a, b = np.array([rng.choice(len(table), 2, replace=False) for _ in range(duels)]).T
    wins, start = rng.integers(2, size=duels).astype(float), draw(rng, (table.shape[1], 32, 32, 1))
    seconds = []
    for _ in range(rounds):
        before = time.perf_counter()
        played, places = np.unique(np.r_[a, b], return_inverse=True)
        split = places[:duels], places[duels:]
        h, g = gradients(
            single_threaded(train)(start, table[played], *split, wins, decay=0.1 / (duels + 50), steps=1_000), table
        )
        pairs = zip(g.into, g.back, strict=True)
        full = np.concatenate([np.hstack([(e[:, :, None] * u[:, None]).reshape(len(u), -1), e]) for u, e in pairs], 1)
        gaps = full[a] - full[b]
        v = 0.1 * np.eye(full.shape[1]) + gaps.T @ gaps
        first = int(np.argmax(h))
        np.argmax(h + np.sqrt((full - full[first]) ** 2 @ (1 / np.diag(v))))
        seconds.append(time.perf_counter() - before)
    return seconds


# ── All rows ──────────────────────────────────────────────────────────────────────────────────────────────────────


def rows(*, quick: bool) -> list[tuple[str, int, int, int, int]]:
    """Fit, arms, dimensions, duels so far, rounds."""
    sizes = (200,) if quick else (200, 1_000, 5_000)
    ours = [
        (fit, arms, d, duels, 5 if fit == FITS[0] else 2)
        for fit in (FITS[:2] if quick else FITS)
        for arms in sizes
        for d in (384, 768)
        for duels in (50, 150)
    ]
    if quick:
        ours.append((FITS[0], 5_000, 768, 150, 3))
    reference = [(fit, 200, d, 150, 2) for d in ((64,) if quick else (64, 384)) for fit in ("plain", "released")]
    return [(RESIDENT, 0, 8, 0, 0), *ours, *reference]


def in_a_process(row: tuple[str, int, int, int, int]) -> dict[str, float]:
    """The measures of a row, from a process of its own."""
    command = [sys.executable, str(Path(__file__)), "--row", json.dumps(row)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Seconds and memory of a round of the dueling bandit.")
    parser.add_argument("--quick", action="store_true", help="a part of the table, in about a minute")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measure(*json.loads(options.row))))
        return
    print(f"{'fit':>18}{'arms':>7}{'d':>5}{'duels':>7}{'seconds':>10}{'median':>10}{'peak MB':>9}")
    table: dict[tuple[str, int, int, int], dict[str, float]] = {}
    for row in rows(quick=options.quick):
        table[row[:4]] = found = in_a_process(row)
        fit, arms, d, duels = row[:4]
        print(
            f"{fit:>18}{arms:>7,}{d:>5}{duels:>7}{found['s']:>10.3f}{found['median']:>10.3f}{found['mb']:>9.0f}",
            flush=True,
        )
    target, most = table[FITS[0], 200, 768, 150], max(arms for _, arms, _, _ in table)
    large = table[FITS[0], most, 768, 150]
    by_hand, ours = table["plain", 200, 64, 150], table["released", 200, 64, 150]
    print(
        json.dumps(
            {
                "benchmark": "apohf_rounds",
                "rows": [
                    [*key, round(one["s"], 4), round(one["median"], 4), round(one["mb"])] for key, one in table.items()
                ],
                "target_met": target["median"] < BUDGET_S and target["mb"] < BUDGET_MB,
                f"seconds_{most}_arms_over_200": round(large["median"] / target["median"], 2),
                "plain_over_released_seconds": round(by_hand["median"] / ours["median"], 2),
                "plain_over_released_mb": round(by_hand["mb"] / ours["mb"], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
