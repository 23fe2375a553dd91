"""Duels as a report tells them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import promptopt
from promptopt.core import Belief, Duel, Preference, Prompt
from promptopt.record.answers import Contest, contests, leads
from promptopt.record.story import Story
from promptopt.report.duels import agreement, annotators, changes_of_hands, records
from promptopt.report.run import run_page

A, B, C = "prompt a", "prompt b", "prompt c"


def contest(n: int, a: str, b: str, winner: str, **details: Any) -> Contest:
    return Contest(n, a, b, winner, details)


DUELS = [
    contest(0, A, B, "tie", by={"ada": "tie"}, swapped={"ada": True}, seconds={"ada": 4.0}),
    contest(1, A, B, "b", by={"ada": "b", "bob": "b"}, swapped={"ada": True, "bob": False}, seconds={"ada": 2.0}),
    contest(2, B, C, "b", by={"ada": "b"}, swapped=False),
    contest(3, C, A, "a"),
    contest(4, A, B, "unknown", by={"ada": "unknown", "bob": "a"}),
]


def test_wins_losses_and_ties() -> None:
    found = {one.prompt: (one.wins, one.losses, one.ties, one.duels) for one in records(DUELS)}
    assert found == {C: (2, 0, 0, 2), B: (1, 1, 1, 3), A: (0, 2, 1, 3)}
    assert [one.prompt for one in records(DUELS)] == [C, B, A]


def test_the_lead_changes_only_for_more_net_wins() -> None:
    assert [(lead.n, lead.prompt, lead.net) for lead in leads(DUELS)] == [(1, B, 1), (2, C, 1), (3, C, 2)]
    assert [lead.n for lead in changes_of_hands(leads(DUELS))] == [1, 2]


def test_who_answered() -> None:
    ada, bob = annotators(DUELS)
    assert (ada.name, ada.answers.total(), ada.answers["tie"], ada.answers["unknown"]) == ("ada", 4, 1, 1)
    assert (ada.left, ada.decided) == (1, 2)  # b stood on the left in duel 1 and on the right in duel 2
    assert ada.median_seconds == 3.0
    assert (bob.left, bob.decided, bob.median_seconds) == (0, 1, None)


def test_agreement_counts_duels_that_two_answered() -> None:
    found = agreement(DUELS)
    assert found is not None
    assert (found.twice, found.agreed) == (2, 1)
    assert agreement(DUELS[2:4]) is None


class Duels:
    """Asks each pair of three prompts once and believes in the last winner."""

    question = Duel

    def begin(self, setup: Any, /) -> None:
        self._best, self._asked = setup.start[0], False

    def ask(self) -> list[Duel]:
        asked, self._asked = self._asked, True
        return [] if asked else [Duel(Prompt(a), Prompt(b)) for a, b in [(A, B), (B, C), (A, C)]]

    def tell(self, answered: Any, /) -> None:
        for question, answer in answered:
            self._best = question.a if answer.winner == "a" else question.b

    def best(self) -> Prompt:
        return self._best

    def belief(self) -> Belief:
        return Belief(0.75, 4)


class Later:
    """The later letter wins; says who answered."""

    question = Duel

    def answer(self, questions: Any, /) -> list[Preference]:
        return [
            Preference("a" if q.a.text > q.b.text else "b", {"by": {"ada": "b"}, "swapped": True}) for q in questions
        ]


def test_the_page_of_a_run_by_duels(tmp_path: Path) -> None:
    promptopt.optimize(start="start", optimizer=Duels(), scorer=Later(), run=tmp_path)
    assert [duel.winner for duel in contests(Story.read(tmp_path).events)] == ["b", "b", "b"]
    page = run_page(tmp_path)
    names = [section.id for section in page.sections]
    assert "duels" in names
    assert "curve" not in names
    assert {"duels", "records", "leads", "annotators"} <= {table.name for table in page.tables}
    texts = [getattr(block, "text", "") for section in page.sections for block in section.blocks]
    assert any("no other prompt is better with probability 0.75. About 4 more" in text for text in texts)
    [records_table] = [table for table in page.tables if table.name == "records"]
    assert records_table.rows[0]["prompt"] == C
    assert "Best prompt" in [section.title for section in page.sections]
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "ledger.jsonl").write_text("".join(lines[:-1]))  # as if killed before it ended
    titles = [section.title for section in run_page(tmp_path).sections]
    assert "Most duels won so far" in titles
    assert "Best prompt" not in titles


@pytest.mark.parametrize("winner", ["tie", "unknown"])
def test_nobody_leads_where_nobody_won(winner: str) -> None:
    assert leads([contest(0, A, B, winner)]) == []
