"""Replies to several queries: the pools, and searches in which only replies to the same query meet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import promptopt
from promptopt.core import Belief, Prompt, Reply
from promptopt.errors import UserError
from promptopt.optimizers.apohf import Apohf
from promptopt.optimizers.double_ts import DoubleTS
from promptopt.optimizers.duels import SHEET
from promptopt.optimizers.linear_duel import LinearDuel
from promptopt.optimizers.pools.distinct import Distinct
from promptopt.optimizers.pools.responses import Replies, Responses
from promptopt.optimizers.random_duel import RandomDuels
from promptopt.scorers import BradleyTerry, FunctionScorer
from promptopt.testing import FakeSetup, ScriptedModel

from ..duel_problems import rows

QUERIES = ("Why is the sky blue?", "Who wrote Emma?", "What is a sonnet?")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return replies(tmp_path / "replies.jsonl")


def replies(path: Path, *, each: int = 6, start: int = 0) -> Path:
    """Replies ``0`` to ``17`` to three queries, six to each; they take turns in the file."""
    lines = [{"query": QUERIES[i % 3], "reply": str(start + i)} for i in range(3 * each)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return path


def number(prompt: Prompt) -> int:
    return int(prompt.text.rpartition("\n\n")[2])


def query(prompt: Prompt) -> str:
    return prompt.text.partition("\n\n")[0]


class Table:
    """Embeds a query with its reply as a row of a table."""

    name = "table"

    def __init__(self, table: Any) -> None:
        self.rows = table

    def embed(self, texts: Sequence[str], /) -> Any:
        return self.rows[[number(Prompt(text)) for text in texts]]


TABLE = rows(18, 5)
UTILITY = 6 * TABLE[:, 0]


def begun(make: Any, path: Path, **options: Any) -> Any:
    optimizer = make(pool=Replies(path=path), embedder=Table(TABLE), **options)
    optimizer.begin(FakeSetup(start=["I do not know."]))
    return optimizer


def answered(optimizer: Any, duels: int) -> list[Any]:
    """Ask so many duels; the reply of the higher utility wins."""
    asked = []
    for _ in range(duels):
        (duel,) = optimizer.ask()
        winner = "a" if UTILITY[number(duel.a)] > UTILITY[number(duel.b)] else "b"
        optimizer.tell([(duel, promptopt.core.Preference(winner))])
        asked.append(duel)
    return asked


# ── The pools ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_queries_take_turns_and_the_users_reply_stands_for_each() -> None:
    calls: list[str] = []

    def reply(messages: Any) -> str | Reply:
        calls.append(messages[0].text)
        return Reply("cut of", "length") if len(calls) == 2 else f"reply {len(calls)}"

    pool = Responses(model=ScriptedModel(reply), queries=QUERIES[:2], per_call=1, per_query=3)
    pool.begin(FakeSetup(start=["I do not know."]))
    drawn = list(pool.draw(np.random.default_rng(0)))
    assert [text.split("\n\n") for text in drawn] == [
        [QUERIES[0], "I do not know."],
        [QUERIES[1], "I do not know."],
        [QUERIES[0], "reply 1"],
        [QUERIES[1], "reply 3"],
        [QUERIES[0], "reply 4"],
        [QUERIES[1], "reply 5"],
    ]
    assert [pool.query_of(text) for text in drawn] == [*QUERIES[:2]] * 3
    assert calls == [QUERIES[0], QUERIES[1], QUERIES[1], QUERIES[0], QUERIES[1]]


def test_a_query_whose_replies_are_used_up_leaves_the_turns_to_the_others() -> None:
    numbers = iter(range(100))
    model = ScriptedModel(lambda messages: "Air." if "sky" in messages[0].text else f"reply {next(numbers)}")
    pool = Responses(model=model, queries=QUERIES[:2], per_call=1)
    pool.begin(FakeSetup())
    drawn = [query(Prompt(text)) for text in islice(pool.draw(np.random.default_rng(0)), 6)]
    assert drawn == [QUERIES[0], *[QUERIES[1]] * 5]


def test_a_file_of_replies(path: Path) -> None:
    pool = Replies(path=path)
    assert pool.queries == QUERIES
    drawn = [Prompt(text) for text in pool.draw(np.random.default_rng(1))]
    assert sorted(map(number, drawn)) == list(range(18))
    assert [query(prompt) for prompt in drawn] == [*QUERIES] * 6
    assert all(query(prompt) == QUERIES[number(prompt) % 3] for prompt in drawn)
    assert list(pool.draw(np.random.default_rng(2))) != [prompt.text for prompt in drawn]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"query": "Why?", "reply": "So."}\n{"query": "Why?"}', "line 2 holds no query and reply"),
        ('["Why?", "So."]', "line 1"),
        ('{"query": "Why?", "reply": 3}', "line 1"),
        ("no JSON", "line 1"),
        ("\n\n", "holds no replies"),
        ('{"query": "A", "reply": "b"}\n{"query": "A\\n\\nB", "reply": "c"}', "begins with another query"),
    ],
)
def test_a_file_that_is_no_file_of_replies(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        Replies(path=tmp_path / "bad.jsonl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give query"),
        ({"query": "Why?", "queries": ["Who?"]}, "give query"),
        ({"queries": ["Why?", " "]}, "query is empty"),
        ({"queries": ["Why?", "Why?"]}, "given twice"),
        ({"queries": ["Why?"], "per_query": 0}, "per_query is 0"),
    ],
)
def test_wrong_queries_are_named(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Responses(model=ScriptedModel([]), **options)


def test_distinct_replies_keep_their_queries(path: Path) -> None:
    optimizer = Apohf(pool=Distinct(pool=Replies(path=path), threshold=0.99))
    optimizer.begin(FakeSetup(start=["I do not know."]))
    assert all(query(duel.a) == query(duel.b) for duel in (optimizer.ask()[0] for _ in range(9)))


# ── The search ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fit", [{}, {"fit": "released"}])
@pytest.mark.parametrize("make", [Apohf, LinearDuel, DoubleTS, RandomDuels])
def test_only_replies_to_the_same_query_meet_and_queries_take_turns(
    make: Any, fit: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("apohf", "linear_duel", "double_ts"):
        monkeypatch.setattr(f"promptopt.optimizers.{module}.STEPS", 20)
    optimizer = begun(make, path, **fit)
    assert len(optimizer._arms) == 18
    asked = answered(optimizer, 12)
    assert [query(duel.a) for duel in asked] == [query(duel.b) for duel in asked] == [*QUERIES] * 4
    assert all(duel.a.origin["query"] == query(duel.a) and duel.a != duel.b for duel in asked)
    assert 0 <= optimizer.belief().confidence <= 1


def test_the_rule_of_the_paper_among_the_arms_of_a_query(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One utility and one V over the duels of all queries; both arms among those of the query asked."""
    monkeypatch.setattr("promptopt.optimizers.linear_duel.STEPS", 50)
    optimizer = begun(LinearDuel, path, fit="released", n_init=4)
    answered(optimizer, 7)
    x, h, duels = optimizer._arms.vectors, optimizer._utility().mean, optimizer._record.duels()
    assert {query(optimizer._arms.prompts[i]) for i in duels.played} == set(QUERIES)
    own = [i for i, prompt in enumerate(optimizer._arms.prompts) if query(prompt) == QUERIES[7 % 3]]
    differences = x[duels.a] - x[duels.b]
    diagonal = np.diag(differences.T @ differences)
    first = max(own, key=lambda i: h[i])
    second = max(
        (i for i in own if i != first), key=lambda i: h[i] + np.sqrt((((x[i] - x[first]) ** 2) / diagonal).sum())
    )
    (duel,) = optimizer.ask()
    assert [optimizer._arms.index(prompt) for prompt in (duel.a, duel.b)] == [first, second]


def test_the_answer_is_the_best_played_reply_to_each_query(path: Path) -> None:
    optimizer = begun(Apohf, path)
    first = optimizer.best().text.split(SHEET)
    assert [text.partition("\n\n")[0] for text in first] == [*QUERIES]
    answered(optimizer, 60)
    mean = optimizer._utility().mean
    played = {optimizer._arms.prompts[i] for i in optimizer._record.duels().played}
    best = [Prompt(text) for text in optimizer.best().text.split(SHEET)]
    for asked, prompt in zip(QUERIES, best, strict=True):
        own = [one for one in played if query(one) == asked]
        assert prompt == max(own, key=lambda one: mean[optimizer._arms.index(one)])
        assert UTILITY[number(prompt)] == max(UTILITY[number(one)] for one in own)


def test_what_one_query_teaches_helps_the_others(path: Path) -> None:
    """After duels about the first query alone, the second query's replies are in order too."""
    optimizer = begun(Apohf, path, n_init=100)
    own = [prompt for prompt in optimizer._arms.prompts if query(prompt) == QUERIES[0]]
    for a in own:
        for b in own:
            if a != b:
                winner = "a" if UTILITY[number(a)] > UTILITY[number(b)] else "b"
                optimizer.tell([(promptopt.core.Duel(a, b), promptopt.core.Preference(winner))])
    others = [i for i, prompt in enumerate(optimizer._arms.prompts) if query(prompt) != QUERIES[0]]
    utility = [UTILITY[number(optimizer._arms.prompts[i])] for i in others]
    assert np.corrcoef(optimizer._utility().mean[others], utility)[0, 1] > 0.5


def test_a_query_with_one_reply_is_not_asked(tmp_path: Path) -> None:
    lines = [{"query": QUERIES[0], "reply": "0"}, *({"query": QUERIES[1], "reply": str(i)} for i in (1, 2, 3))]
    (tmp_path / "few.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    optimizer = begun(Apohf, tmp_path / "few.jsonl")
    assert {query(duel.a) for duel in answered(optimizer, 4)} == {QUERIES[1]}
    assert optimizer.best().text.startswith(f"{QUERIES[0]}\n\n0{SHEET}{QUERIES[1]}")
    (tmp_path / "few.jsonl").write_text(json.dumps(lines[0]), encoding="utf-8")
    lonely = begun(Apohf, tmp_path / "few.jsonl")
    assert list(lonely.ask()) == []
    assert lonely.belief() == Belief(1.0, 0)


def test_prompts_that_answer_no_query_cannot_join(path: Path) -> None:
    from promptopt.optimizers.proposers.lexical import LexicalProposer

    proposer = LexicalProposer(phrases={"adjectives": ["short"]})
    optimizer = Apohf(pool=Replies(path=path), proposer=proposer, mutate_every=5)
    with pytest.raises(UserError, match="answer no query"):
        optimizer.begin(FakeSetup(start=["I do not know."]))


def test_a_run_over_several_queries_and_its_resumption(path: Path, tmp_path: Path) -> None:
    def quality(text: str) -> float:
        return float(UTILITY[number(Prompt(text))])

    def run(folder: str, budget: int) -> Any:
        scorer = BradleyTerry(scorer=FunctionScorer(quality), scale=3.0, standardise=20)
        optimizer = Apohf(pool=Replies(path=path), embedder=Table(TABLE))
        return promptopt.optimize(
            start="I do not know.", optimizer=optimizer, scorer=scorer, budget=budget, run=tmp_path / folder
        )

    whole = run("whole", 30)
    run("parts", 11)
    parts = run("parts", 30)
    assert parts.history() == whole.history()
    assert parts.best == whole.best
    best = [Prompt(text) for text in whole.best.split(SHEET)]
    regret = [max(UTILITY[i] for i in range(k, 18, 3)) - UTILITY[number(prompt)] for k, prompt in enumerate(best)]
    assert np.mean(regret) < 0.3 * UTILITY.std()
