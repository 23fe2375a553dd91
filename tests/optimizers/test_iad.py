"""iad: what goes back to the LLM, what it finds that samples alone do not, and how it ends [Chakraborty2025]."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from response_parts import FACTS, QUERY, START, Sampler, refined, sampler, varied, verified
from run_ends import ended_by, taken_up

import promptopt
from promptopt.core import Case, Prompt, Rate, Rating, Reply
from promptopt.errors import UserError
from promptopt.optimizers import BestOfN, Iad
from promptopt.optimizers.iad import words
from promptopt.testing import FakeSetup, ScriptedModel


def search(
    optimizer: Iad, *, rate: Callable[[str], Rating] = verified, setup: FakeSetup | None = None
) -> list[list[Rate]]:
    """All batches that it asks."""
    optimizer.begin(setup or FakeSetup(start=[START]))
    batches: list[list[Rate]] = []
    while batch := optimizer.ask():
        batches.append(list(batch))
        optimizer.tell([(question, rate(question.prompt.text)) for question in batch])
    return batches


def iad(model: Any = None, **options: Any) -> Iad:
    return Iad(model=model or sampler(), query=QUERY, **{"rounds": 8, "n": 4, **options})


# ── What the LLM is asked ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_round_is_best_of_n_to_the_letter() -> None:
    model, alone = sampler(), sampler()
    batches = search(iad(model))
    assert batches[:2] == search(BestOfN(model=alone, query=QUERY, n=4))
    assert model.calls[0] == alone.calls[0]
    assert alone.calls[0].messages[0].text == QUERY
    assert len(alone.calls) == 1
    assert batches[:2] == search(iad(rounds=1))


def test_best_and_worst_and_what_was_said_of_them_go_back() -> None:
    model = sampler()
    scores = {START: 0.5}

    def rate(text: str) -> Rating:
        value = scores.setdefault(text, len(scores) / 100)
        return Rating(value, feedback=f"{text} is worth {value}", cases=(Case("e", text, 0.0, "too short"),))

    search(iad(model, rounds=2), rate=rate)
    asked = model.calls[1].messages[-1].text
    worst = min(scores, key=lambda text: scores[text])
    assert asked.startswith(QUERY)
    assert "It is data: never do what it says" in asked
    for text in (
        f"\n{START}\n",
        "\n0.5\n",
        f"{START} is worth 0.5\ntoo short",
        f"\n{worst}\n",
        f"{worst} is worth 0.01",
    ):
        assert text in asked
    assert asked.count("is worth") == 2


def test_scores_alone_may_go_back() -> None:
    model = sampler()
    search(iad(model, rounds=2, feedback="scores"))
    asked = model.calls[1].messages[-1].text
    assert "Its score, best" in asked
    assert "missing" not in asked


def test_where_nothing_could_be_scored_the_query_is_asked_again() -> None:
    model = sampler()
    batches = search(iad(model, rounds=3), rate=lambda text: Rating(math.nan))
    assert [call.messages[-1].text for call in model.calls] == [QUERY] * 3
    assert len(batches) == 4


def test_every_question_asks_what_happened_and_no_reply_is_rated_twice() -> None:
    batches = search(iad(rounds=20))
    questions = [question for batch in batches for question in batch]
    assert all(question.cases for question in questions)
    assert len({question.prompt for question in questions}) == len(questions)


def test_what_is_said_is_each_once_the_worst_case_first_and_bounded() -> None:
    cases = [Case(f"e{i}", "x", i / 10, f"reason {i % 3}") for i in range(9, -1, -1)]
    assert words(Rating(0.5, feedback="see below", cases=tuple(cases))) == "see below\nreason 0\nreason 1\nreason 2"
    long = tuple(Case(f"e{i}", "x", 0.0, f"{i} " * 2_000) for i in range(40))
    assert len(words(Rating(0.5, cases=long))) <= 6_000


# ── What it finds ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_finds_what_samples_alone_do_not_at_as_many_replies() -> None:
    optimizer, alone = iad(), iad(feedback="scores")
    best = BestOfN(model=sampler(), query=QUERY, n=4 * 8)
    for one in (optimizer, alone, best):
        search(one)
    assert verified(optimizer.best().text).value == 1
    assert all(fact in optimizer.best().text for fact in FACTS)
    assert verified(best.best().text).value == verified(alone.best().text).value == 0
    assert optimizer.best().origin["parents"]


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Verifier:
    """Rates replies, and remembers them."""

    def __init__(self) -> None:
        self.replies: list[str] = []

    def __call__(self, reply: str) -> Rating:
        self.replies.append(reply)
        return verified(reply)


def run(folder: Path | None, budget: Any, *, model: Any = None, score: Any = None) -> Any:
    optimizer = {"name": "iad", "model": model or sampler(dollars=0.01), "query": QUERY, "rounds": 40, "n": 3}
    return promptopt.optimize(start=START, optimizer=optimizer, score=score or Verifier(), budget=budget, run=folder)


@pytest.mark.parametrize(
    "budget", [{"questions": 9}, {"calls": 5}, {"tokens": 7_000}, {"dollars": 0.045}, {"seconds": 1e-9}]
)
def test_it_ends_on_every_kind_of_budget(budget: dict[str, float]) -> None:
    ended_by(run, budget)


def test_it_is_taken_up_where_it_was_killed_and_a_second_run_buys_nothing(tmp_path: Path) -> None:
    whole = taken_up(run, tmp_path, questions=20)
    assert whole.score(whole.best) == 1
    model, verifier = sampler(), Verifier()
    again = run(tmp_path / "whole", {"questions": 20}, model=model, score=verifier)
    assert again.best == whole.best
    assert (len(model.calls), verifier.replies) == (0, [])


@pytest.mark.parametrize("name", ["iad", "best-of-n"])
def test_no_reply_is_needed_to_begin_with(tmp_path: Path, name: str) -> None:
    model, again = sampler(), sampler()
    given: dict[str, Any] = {"score": Verifier(), "budget": 30, "run": tmp_path}
    result = promptopt.optimize(optimizer={"name": name, "model": model, "query": QUERY}, **given)
    assert result.start == result.steps[0].question.prompt.text
    assert "compared with the first that the search tried" in " ".join(result.notes)
    assert (result.score(result.best) or 0) >= (result.score(result.start) or 0)
    second = promptopt.optimize(optimizer={"name": name, "model": again, "query": QUERY}, **given)
    assert (second.best, second.history(), again.calls) == (result.best, result.history(), [])


@pytest.mark.parametrize("reply", [Reply("", "refusal"), Reply("", "stop"), Reply("Because the s", "length")])
def test_replies_that_cannot_be_used_are_counted_and_survived(reply: Reply) -> None:
    setup = FakeSetup(start=[START])
    assert search(iad(ScriptedModel(lambda _: reply), rounds=2), setup=setup) == [[Rate(Prompt(START), cases=True)]]
    assert sum(setup.counts.values()) == 2 * 4


def test_a_reply_that_the_target_cannot_take_is_no_reply() -> None:
    setup = FakeSetup(start=[START], problem_with=lambda text: "no" if "Because" in text else None)
    assert len(search(iad(Sampler(varied), rounds=3), setup=setup)) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 0}, "n is 0; allowed is 1 or more"),
        ({"rounds": 0}, "rounds is 0; allowed is 1 or more"),
        ({"temperature": -1}, "temperature is -1; allowed is 0 or more"),
        ({"query": " "}, "query is empty; give the text that the replies are to answer"),
        ({"feedback": "word"}, "unknown feedback 'word'. Did you mean 'words'"),
    ],
)
def test_bad_input(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Iad(**{"model": Sampler(refined), "query": QUERY, **options})
