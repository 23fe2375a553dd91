"""Hill-climb: what is sampled, shown, proposed and asked, and in which order [Liu2024]."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptopt.core import Prompt, Rate, Rating
from promptopt.errors import UserError
from promptopt.optimizers import HillClimb
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.proposers import Scored
from promptopt.recipe.read import read_recipe
from promptopt.testing import FakeSetup


class Proposes:
    """Numbers its proposals and notes what it was shown."""

    def __init__(self, *, texts: Callable[[int], list[str]] | None = None) -> None:
        self.texts = texts

    def begin(self, setup: Any, /) -> None:
        self.shown: list[tuple[list[Scored], list[Scored], int]] = []
        self.events: list[str] = []

    def reset(self) -> None:
        self.events.append("reset")

    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> list[str]:
        turn = len(self.shown)
        self.shown.append((list(good), list(bad), n))
        self.events.append("propose")
        return self.texts(turn) if self.texts else [f"new {turn}.{i}" for i in range(n)]


def value(text: str) -> float:
    return sum(map(ord, text)) % 97 / 97


def search(
    optimizer: HillClimb, *, start: Sequence[str] = ("start",), score: Any = value, **setup: Any
) -> list[list[str]]:
    """All batches, as texts."""
    optimizer.begin(FakeSetup(start=start, **setup))
    batches = []
    while batch := optimizer.ask():
        assert all(type(question) is Rate and question.on == () for question in batch)
        batches.append([question.prompt.text for question in batch])
        optimizer.tell([(q, s if isinstance(s := score(q.prompt.text), Rating) else Rating(s)) for q in batch])
    return batches


def climb(proposer: Any, **options: Any) -> HillClimb:
    return HillClimb(
        proposer=proposer, **{"restarts": 1, "resets": 1, "iterations": 2, "k": 2, "per_call": 3, **options}
    )


# ── Order ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_loops_of_the_paper() -> None:
    proposer = Proposes()
    pool = ListPool(prompts=[f"pool {i}" for i in range(20)])
    optimizer = climb(proposer, pool=pool, restarts=2, resets=3, iterations=2, sample=5)
    batches = search(optimizer)
    assert [len(batch) for batch in batches] == [5, *[3] * 6, 5, *[3] * 6]
    assert proposer.events == ["reset", "propose", "propose"] * 6
    assert batches[0][0] == "start"
    assert all(text.startswith("pool") for text in batches[0][1:] + batches[7])
    assert "start" not in batches[7]
    everything = [text for batch in batches for text in batch]
    assert len(set(everything)) == len(everything)


def test_a_reset_begins_again_from_the_sample() -> None:
    proposer = Proposes()
    search(climb(proposer, pool=ListPool(prompts=["p1", "p2", "p3"]), resets=2, sample=4, k=50, per_call=2))
    shown = [{s.text for s in [*good, *bad]} for good, bad, _ in proposer.shown]
    assert shown[0] == shown[2] == {"start", "p1", "p2", "p3"}
    assert shown[1] == shown[0] | {"new 0.0", "new 0.1"}
    assert shown[3] == shown[0] | {"new 2.0", "new 2.1"}


def test_a_used_up_pool_leaves_the_starting_prompts() -> None:
    proposer = Proposes()
    batches = search(climb(proposer, restarts=3, iterations=1), start=["a", "b"])
    assert batches == [["a", "b"], *[[f"new {i}.0", f"new {i}.1", f"new {i}.2"] for i in range(3)]]
    assert {s.text for s in [*proposer.shown[2][0], *proposer.shown[2][1]]} == {"a", "b"}


def test_no_more_are_sampled_than_asked_for() -> None:
    class Endless:
        drawn = 0

        def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
            while True:
                self.drawn += 1
                yield f"pool {self.drawn}"

    pool = Endless()
    assert [len(b) for b in search(climb(Proposes(), pool=pool, sample=4, iterations=1))] == [4, 3]
    assert pool.drawn == 3


# ── What the proposer is shown ────────────────────────────────────────────────────────────────────────────────────


def test_best_first_and_worst_first() -> None:
    proposer = Proposes()
    scores = {"start": 0.3, "a": 0.9, "b": 0.1, "c": 0.5, "d": 0.7, "e": 0.2}
    search(climb(proposer, pool=ListPool(prompts=list("abcde")), iterations=1), score=lambda t: scores.get(t, 0.0))
    [(good, bad, n)] = proposer.shown
    assert good == [Scored("a", 0.9), Scored("d", 0.7)]
    assert bad == [Scored("b", 0.1), Scored("e", 0.2)]
    assert n == 3


def test_good_alone_for_the_ablation() -> None:
    proposer = Proposes()
    search(climb(proposer, pool=ListPool(prompts=list("abcde")), feedback="good"))
    assert all(good and not bad for good, bad, _ in proposer.shown)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_no_prompt_is_good_and_bad(size: int) -> None:
    proposer = Proposes()
    search(climb(proposer, pool=ListPool(prompts=list("abcdefg")), sample=size, k=3, iterations=1))
    [(good, bad, _)] = proposer.shown
    assert not {s.text for s in good} & {s.text for s in bad}
    assert 1 <= len(good) <= 3
    assert len(bad) <= 3
    assert len(good) + len(bad) <= size


def test_equal_values_are_told_apart_by_the_tiebreak() -> None:
    proposer = Proposes()
    ties = {"start": 0.2, "a": 0.1, "b": 0.9, "c": 0.5}
    search(
        climb(proposer, pool=ListPool(prompts=list("abc")), k=1, iterations=1),
        score=lambda t: Rating(0.5, ties.get(t, 0.0)),
    )
    [(good, bad, _)] = proposer.shown
    assert ([s.text for s in good], [s.text for s in bad]) == (["b"], ["a"])


def test_what_could_not_be_scored_is_not_shown() -> None:
    proposer = Proposes()
    search(
        climb(proposer, pool=ListPool(prompts=list("abcde")), k=9, iterations=1),
        score=lambda t: math.nan if t in "ab" else 0.5,
    )
    [(good, bad, _)] = proposer.shown
    assert {s.text for s in [*good, *bad]} == {"start", "c", "d", "e"}


def test_nothing_scored_shows_nothing_and_ends() -> None:
    proposer = Proposes(texts=lambda turn: [])
    assert search(climb(proposer), score=lambda t: math.nan) == [["start"]]
    assert [(good, bad) for good, bad, _ in proposer.shown] == [([], []), ([], [])]


# ── What it asks ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_known_is_not_asked_again_but_taken_along() -> None:
    turns = [["a", "start", "a", "b"], ["b", "c"]]
    proposer = Proposes(texts=lambda turn: turns[turn])
    assert search(climb(proposer)) == [["start"], ["a", "b"], ["c"]]


def test_a_turn_with_nothing_new_goes_on_to_the_next() -> None:
    turns = [["start"], [], ["a"]]
    assert search(climb(Proposes(texts=lambda turn: turns[turn]), iterations=3)) == [["start"], ["a"]]


def test_what_the_target_cannot_take_is_not_asked() -> None:
    proposer = Proposes(texts=lambda turn: ["bad 1", f"good {turn}"])
    optimizer = climb(proposer, pool=ListPool(prompts=["bad 2", "good p"]))
    batches = search(optimizer, problem_with=lambda text: "bad" if "bad" in text else None)
    assert batches == [["start", "good p"], ["good 0"], ["good 1"]]


def test_origins_say_where_a_prompt_came_from() -> None:
    optimizer = climb(Proposes(), pool=ListPool(prompts=["p"]), restarts=1, resets=2, iterations=1, sample=2)
    optimizer.begin(FakeSetup(start=["start"]))
    origins = {}
    while batch := optimizer.ask():
        origins.update({q.prompt.text: dict(q.prompt.origin) for q in batch})
        optimizer.tell([(q, Rating(value(q.prompt.text))) for q in batch])
    best = max(["start", "p"], key=value)
    assert origins["start"] == {}
    assert origins["p"] == {"step": "pool"}
    assert origins["new 0.0"] == {"step": "0.0.0", "parents": [best]}
    assert origins["new 1.2"]["step"] == "0.1.0"


# ── The incumbent ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_incumbent_is_the_best_so_far_and_ties_do_not_displace_it() -> None:
    optimizer = climb(Proposes())
    optimizer.begin(FakeSetup(start=["start", "other"]))
    assert optimizer.best() == Prompt("start")
    start, other = optimizer.ask()
    optimizer.tell([(start, Rating(0.5, 0.1)), (other, Rating(0.5, 0.1))])
    assert optimizer.best() == Prompt("start")
    batch = optimizer.ask()
    optimizer.tell([(batch[0], Rating(math.nan)), (batch[1], Rating(0.5, 0.2)), (batch[2], Rating(0.5, 0.2))])
    assert optimizer.best() == batch[1].prompt


def test_an_unscored_start_gives_way() -> None:
    optimizer = climb(Proposes())
    optimizer.begin(FakeSetup(start=["start", "other"]))
    start, other = optimizer.ask()
    optimizer.tell([(start, Rating(math.nan)), (other, Rating(-5.0))])
    assert optimizer.best() == Prompt("other")


@pytest.mark.parametrize("name", ["restarts", "resets", "iterations", "sample", "k", "per_call"])
def test_numbers_are_at_least_one(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is 0; allowed is 1 or more"):
        HillClimb(**{name: 0})  # type: ignore[arg-type]


def test_the_most_that_a_search_asks() -> None:
    optimizer = climb(Proposes(), pool=ListPool(prompts=[f"p {i}" for i in range(99)]), restarts=2, resets=3, sample=5)
    assert optimizer.most == sum(len(batch) for batch in search(optimizer)) == 2 * (5 + 3 * 2 * 3)


def test_all_restarts_of_the_papers_recipe_fit_into_its_budget() -> None:
    recipe = read_recipe(Path(__file__).parents[2] / "experiments" / "liu2024" / "paper.toml")
    options = {key: value for key, value in recipe["optimizer"].items() if key not in ("name", "pool", "proposer")}
    assert HillClimb(**options).most == 12_000 == recipe["budget"]["questions"]
    assert options["per_call"] == 1
    assert recipe["optimizer"]["proposer"]["wording"] == "released"
    assert "dev" not in recipe["data"]  # a dev split would keep questions back for the final choice


def test_a_proposer_that_looks_is_told_of_all_that_was_tried_in_its_conversation() -> None:
    class LooksToo(Proposes):
        def begin(self, setup: Any, /) -> None:
            super().begin(setup)
            self.seen: list[list[str]] = []

        def look(self, seen: Sequence[Scored], /) -> None:
            self.events.append("look")
            self.seen.append([one.text for one in seen])

    proposer = LooksToo()
    search(climb(proposer, resets=2, per_call=1), start=("start", "other"))
    assert proposer.events == ["reset", *["look", "propose"] * 2] * 2
    assert [sorted(texts) for texts in proposer.seen] == [
        ["other", "start"],
        ["new 0.0", "other", "start"],
        ["other", "start"],
        ["new 2.0", "other", "start"],
    ]
    assert all(texts == sorted(texts, key=value, reverse=True) for texts in proposer.seen)


def test_it_finds_good_phrases_faster_than_chance() -> None:
    """Not a benchmark: with a score that adds up words, learning from good and bad must beat drawing at random."""
    from promptopt import optimize
    from promptopt.optimizers import LexicalProposer, RandomSearch
    from promptopt.optimizers.pools.templates import Grammar

    words = [f"w{i}" for i in range(60)]
    good = set(words[::10])

    def score(text: str) -> float:
        return len(good & set(text.split()))

    gains = []
    for seed in range(3):
        proposer = LexicalProposer(phrases={"adjectives": words})
        climbed = optimize(
            start="{}", score=score, optimizer=climb(proposer, iterations=99, k=5), budget=150, seed=seed, run=None
        )
        pool = Grammar(phrases={"adjectives": words}, adjectives=6)
        drawn = optimize(start="{}", score=score, optimizer=RandomSearch(pool=pool), budget=150, seed=seed, run=None)
        gains.append(climbed.candidates[0].rating.value - drawn.candidates[0].rating.value)
    assert sum(gains) / 3 > 1
