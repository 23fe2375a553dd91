"""The protocols mean something to a type checker: what fits, checks, and what does not, does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.study  # mypy reads the whole package

HEADER = """
from __future__ import annotations
from collections.abc import Sequence
from typing import TypeVar
from promptopt import optimize
from promptopt.core import Begins, ChatModel, Duel, Optimizer, Preference, PreferenceScorer, Prompt, Rate, Rating
from promptopt.core import RatingScorer, Scorer, Setup
from promptopt.optimizers import HillClimb, LexicalProposer, RandomSearch
from promptopt.optimizers.pools import ListPool
from promptopt.scorers import BradleyTerry, FunctionScorer, MetricScorer, WinRate
from promptopt.testing import FakeSetup, ScriptedModel

Q = TypeVar("Q")
A = TypeVar("A")

def pair(optimizer: Optimizer[Q, A], scorer: Scorer[Q, A]) -> None: ...

class Duels:
    question = Duel
    def begin(self, setup: Setup, /) -> None: ...
    def ask(self) -> Sequence[Duel]: return []
    def tell(self, answered: Sequence[tuple[Duel, Preference]], /) -> None: ...
    def best(self) -> Prompt: return Prompt("")

ratings = FunctionScorer(len)
preferences = BradleyTerry(scorer=ratings)
climb = HillClimb()
random = RandomSearch(pool=ListPool(prompts=["a"]))
"""

GOOD = {
    "rates": "pair(climb, ratings)\npair(random, ratings)",
    "duels": "pair(Duels(), preferences)",
    "win_rate": "pair(climb, WinRate(scorer=preferences))",
    "there_and_back": "pair(Duels(), BradleyTerry(scorer=WinRate(scorer=preferences)))",
    "protocols": "a: PreferenceScorer = preferences\nb: RatingScorer = WinRate(scorer=preferences)\n"
    "c: Optimizer[Rate, Rating] = climb\nd: Begins = preferences",
    "fakes": "setup: Setup = FakeSetup()\nmodel: ChatModel = ScriptedModel(['x'])",
    "optimize": "optimize(start='a', score=len, optimizer=climb, budget=5)\n"
    "optimize(start='a', score=lambda text: 0.5, run=None)",
    "object": "optimize(start='a', scorer=preferences, optimizer=Duels())",
}
BAD = {
    "rate_optimizer_duel_scorer": "pair(climb, preferences)",
    "duel_optimizer_rate_scorer": "pair(Duels(), ratings)",
    "bradley_terry_of_duels": "BradleyTerry(scorer=preferences)",
    "win_rate_of_ratings": "WinRate(scorer=ratings)",
    "no_optimizer": "c: Optimizer[Rate, Rating] = ratings",
    "duels_as_rates": "c: Optimizer[Rate, Rating] = Duels()",
    "score_of_text": "optimize(start='a', score=lambda text: 'good')",
    "positional": "optimize('a', len)",
    "misspelt": "optimize(start='a', scroe=len)",
}


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What mypy says about each snippet, from one run."""
    folder: Path = tmp_path_factory.mktemp("typing")
    for name, text in {**GOOD, **BAD}.items():
        (folder / f"{name}.py").write_text(HEADER + text + "\n")
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(root / "pyproject.toml"), str(folder)],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, list[str]] = {name: [] for name in {**GOOD, **BAD}}
    for line in done.stdout.splitlines():
        if match := re.search(r"(\w+)\.py:(\d+): error: (.*)", line):
            found[match[1]].append(f"{match[2]}: {match[3]}")
    return found


@pytest.mark.parametrize("name", GOOD)
def test_what_fits_type_checks(errors: dict[str, list[str]], name: str) -> None:
    assert errors[name] == []


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_does_not(errors: dict[str, list[str]], name: str) -> None:
    assert errors[name]
    last = HEADER.count("\n") + 1
    assert all(int(error.split(":")[0]) >= last for error in errors[name])
