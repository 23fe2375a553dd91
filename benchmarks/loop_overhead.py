"""What the run itself costs: milliseconds a question and memory a record, with a scorer that is free.

    python benchmarks/loop_overhead.py

Compared with the least that keeps the same record: a for-loop that calls the same function and writes one JSON line per
answer. Both write to the same disk, in the same process, in turns. Prints a table, and last one JSON line.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

from promptopt.core import Prompt, Rate, Rating, Setup
from promptopt.optimizers import HillClimb, LexicalProposer
from promptopt.record.ledger import Ledger
from promptopt.run.budget import Budget
from promptopt.run.loop import Run
from promptopt.scorers import FunctionScorer

SIZES = (1_000, 10_000, 30_000)
ROUNDS = 3
WORDS = [f"word{i}" for i in range(300)]


class Counting:
    """The smallest optimizer: asks for prompt 0, 1, 2 and so on, and remembers the best."""

    question = Rate

    def begin(self, setup: Setup, /) -> None:
        self._next = 0
        self._best, self._rank = setup.start[0], (float("-inf"), 0.0)

    def ask(self) -> list[Rate]:
        self._next += 10
        return [Rate(Prompt(f"a prompt of ordinary length, number {i}")) for i in range(self._next - 10, self._next)]

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        for question, rating in answered:
            if rating.rank > self._rank:
                self._best, self._rank = question.prompt, rating.rank

    def best(self) -> Prompt:
        return self._best


def score(text: str) -> float:
    """Free."""
    return hash(text) % 1000 / 1000


def plain_loop(folder: Path, questions: int) -> None:
    """The named alternative: no budget, no cache, no replay, no lock."""
    with (folder / "answers.jsonl").open("w", encoding="utf-8", buffering=1) as file:
        for i in range(questions):
            text = f"a prompt of ordinary length, number {i}"
            file.write(json.dumps({"n": i, "prompt": text, "value": score(text)}) + "\n")


def search(folder: Path, questions: int, optimizer: Counting | HillClimb | None = None) -> Run:
    """A run over the free scorer, ledger on disk."""
    ledger = Ledger(folder)
    run = Run(
        optimizer or Counting(),
        FunctionScorer(score),
        start=[Prompt("start")],
        budget=Budget(questions=questions),
        ledger=ledger,
    )
    assert run.search() == "budget: questions"
    assert run.meter.questions == questions
    ledger.close()
    return run


def climb(folder: Path, questions: int) -> Run:
    """Hill-climb over the lexical proposer, for information: its own work is in here."""
    proposer = LexicalProposer(phrases=WORDS)
    return search(folder, questions, HillClimb(proposer=proposer, restarts=10_000, iterations=10))


def replay(folder: Path, questions: int) -> Run:
    """A finished run taken up again: everything comes from the ledger."""
    return search(folder, questions)


def milliseconds(task: Callable[[Path, int], object], questions: int, folder: Path) -> float:
    """Per question."""
    gc.collect()
    before = time.perf_counter()
    task(folder, questions)
    return (time.perf_counter() - before) / questions * 1e3


def bytes_per_record(questions: int) -> float:
    """Memory that a run holds at its end, per question."""
    with tempfile.TemporaryDirectory() as folder:
        gc.collect()
        tracemalloc.start()
        run = search(Path(folder), questions)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(run.steps) == questions
    return held / questions


def main() -> None:
    """Measure and print."""
    rows: dict[int, dict[str, float]] = {}
    columns = "run ms", "plain loop ms", "ratio", "replay ms", "hill-climb ms", "bytes/record"
    print(f"{'questions':>10}" + "".join(f"{column:>15}" for column in columns))
    for questions in SIZES:
        best: dict[str, float] = {}
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                measured = {
                    "run": milliseconds(search, questions, Path(folder)),
                    "plain": milliseconds(plain_loop, questions, Path(folder)),
                    "replay": milliseconds(replay, questions, Path(folder)),
                }
            best = {name: min(value, best.get(name, value)) for name, value in measured.items()}
        with tempfile.TemporaryDirectory() as folder:
            best["climb"] = milliseconds(climb, questions, Path(folder))
        best["bytes"] = bytes_per_record(questions)
        rows[questions] = best
        row = (best["run"], best["plain"], best["run"] / best["plain"], best["replay"], best["climb"], best["bytes"])
        print(f"{questions:>10,}" + "".join(f"{value:>15.4g}" for value in row))
    print(
        json.dumps(
            {
                "benchmark": "loop_overhead",
                "ms_per_question": {str(n): round(row["run"], 5) for n, row in rows.items()},
                "plain_loop_ms": {str(n): round(row["plain"], 5) for n, row in rows.items()},
                "ratio_at_10000": round(rows[10_000]["run"] / rows[10_000]["plain"], 2),
                "replay_ms": {str(n): round(row["replay"], 5) for n, row in rows.items()},
                "hill_climb_ms": {str(n): round(row["climb"], 5) for n, row in rows.items()},
                "bytes_per_record": {str(n): round(row["bytes"]) for n, row in rows.items()},
                "under_1_ms_at_10000": rows[10_000]["run"] < 1.0,
                "memory_growth": round(rows[30_000]["bytes"] / rows[1_000]["bytes"], 3),
            }
        )
    )


if __name__ == "__main__":
    main()
