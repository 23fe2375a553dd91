"""Runs whose answers come when they come: in any order, several at a time, given again, over several sittings."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from promptopt import optimize, resume
from promptopt.core import Belief, Duel, Preference, Prompt, Setup
from promptopt.errors import BudgetExhausted, ReplayMismatch
from promptopt.parts import parts_of, text_of
from promptopt.record.story import Story

START = [f"prompt {i}" for i in range(6)]


class Pairs:
    """Asks for random pairs in batches of two; what it asks next depends on everything told, in the order told."""

    question = Duel

    def begin(self, setup: Setup, /) -> None:
        self.rng = setup.rng()
        self.prompts = list(setup.start)
        self.told: list[tuple[int, str]] = []

    def ask(self) -> Sequence[Duel]:
        salt = sum(n * len(winner) for n, winner in self.told)
        pairs = list(itertools.permutations(self.prompts, 2))
        return [Duel(*pairs[(int(self.rng.integers(len(pairs))) + salt) % len(pairs)]) for _ in range(2)]

    def tell(self, answered: Sequence[tuple[Duel, Preference]], /) -> None:
        self.told += [(duel.number, preference.winner) for duel, preference in answered]

    def best(self) -> Prompt:
        return self.prompts[0]

    def belief(self) -> Belief:
        return Belief(0.25, len(self.told))


class Person:
    """Answers some of the open duels whenever it is waited for, in an order of its own.

    Args:
        stop: stop after this many answers of this sitting.
        again: give the answer before the last one again, differently, after every so many answers.
    """

    question = Duel

    def __init__(self, *, ahead: int = 4, stop: int | None = None, again: int = 0) -> None:
        self.ahead = ahead
        self.stop = stop
        self.again = again
        self.waiting: list[Duel] = []
        self.opened: list[int] = []
        self.remembered: list[tuple[int, str]] = []
        self.given: list[Duel] = []
        self.beliefs: list[Any] = []
        self.closed = False

    def open(self, questions: Sequence[Duel], record: Callable[[Duel, Preference], None], /) -> None:
        assert not {q.number for q in questions} & set(self.opened), "opened twice"
        self.opened += [q.number for q in questions]
        self.waiting += questions
        self.record = record

    def wait(self) -> bool:
        if self.stop is not None and len(self.given) >= self.stop:
            return False
        for _ in range(min(1 + len(self.given) % 3, len(self.waiting))):
            duel = self.waiting.pop(duel_at % len(self.waiting) if (duel_at := 7 * len(self.given)) else -1)
            self.given.append(duel)
            self.record(duel, Preference("a" if duel.number % 3 else "tie", {"by": {"ada": "a"}}))
            if self.again and len(self.given) % self.again == 0:
                self.record(self.given[-2], Preference("b", {"undone": True}))
        return True

    def remember(self, duel: Duel, preference: Preference, /) -> None:
        self.remembered.append((duel.number, preference.winner))

    def watch(self, progress: Any, /) -> None:
        self.beliefs.append(progress.belief)

    def close(self) -> None:
        self.closed = True

    def answer(self, questions: Sequence[Duel], /) -> list[Preference]:
        raise AssertionError("a run asks people one by one")


def search(folder: Path, person: Person, *, questions: int = 30) -> tuple[Any, Pairs]:
    optimizer = Pairs()
    result = optimize(start=START, optimizer=optimizer, scorer=person, budget=questions, run=folder)
    return result, optimizer


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_every_question_is_answered_once_and_within_the_budget(tmp_path: Path) -> None:
    person = Person()
    result, optimizer = search(tmp_path / "run", person)
    assert result.stop_reason == "budget: questions"
    assert sorted(person.opened) == list(range(30))
    assert Counter(n for n, _ in optimizer.told) == Counter(range(30))
    assert result.costs.questions == 30
    assert person.closed


def test_it_keeps_as_many_open_as_the_scorer_says(tmp_path: Path) -> None:
    person = Person(ahead=9)
    most = 0
    take = person.open

    def counting(questions: Sequence[Duel], record: Any, /) -> None:
        nonlocal most
        take(questions, record)
        most = max(most, len(person.waiting))

    person.open = counting  # type: ignore[method-assign]
    search(tmp_path / "run", person)
    assert most == 9


def test_an_answer_given_again_replaces_the_first_and_costs_nothing(tmp_path: Path) -> None:
    person = Person(again=5)
    result, optimizer = search(tmp_path / "run", person)
    changed = [n for n, times in Counter(n for n, _ in optimizer.told).items() if times > 1]
    assert changed
    assert result.costs.questions == 30
    assert len(result.steps) == 30
    assert all(step.answer.winner == "b" for step in result.steps if step.n in changed)
    assert len([e for e in events(tmp_path / "run", "answer") if e.get("again")]) == 6


@pytest.mark.parametrize("sitting", [1, 4, 11, 25])
def test_a_run_taken_up_again_goes_on_as_if_it_had_not_stopped(tmp_path: Path, sitting: int) -> None:
    person = Person(stop=sitting, again=5)
    stopped, optimizer = search(tmp_path / "run", person)
    assert stopped.stop_reason == "stopped"
    told = list(optimizer.told)
    later, optimizer = Person(again=5), Pairs()
    result = resume(tmp_path / "run", optimizer=optimizer, scorer=later)
    assert later.remembered == told
    assert optimizer.told[: len(told)] == told
    assert sorted(n for n in later.opened) == sorted(set(range(30)) - {n for n, _ in told})
    assert result.costs.questions == 30
    turns = events(tmp_path / "run", "turn")
    assert sum(turn["asked"] for turn in turns) == 30
    assert sum(turn["answers"] for turn in turns) == len(optimizer.told)


def test_answers_that_were_on_the_disk_and_not_told_are_told_when_it_goes_on(tmp_path: Path) -> None:
    search(tmp_path / "run", Person(stop=10))
    ledger = tmp_path / "run" / "ledger.jsonl"
    lines = ledger.read_text().splitlines()
    last = max(i for i, line in enumerate(lines) if json.loads(line)["event"] == "turn")
    ledger.write_text("\n".join(lines[:last]) + "\n")  # as if killed before the last turn
    later, optimizer = Person(), Pairs()
    result = resume(tmp_path / "run", optimizer=optimizer, scorer=later)
    assert result.costs.questions == 30
    assert Counter(n for n, _ in optimizer.told) == Counter(range(30))


def test_a_larger_budget_asks_on(tmp_path: Path) -> None:
    search(tmp_path / "run", Person(), questions=10)
    later, optimizer = Person(), Pairs()
    result = resume(tmp_path / "run", ["budget.questions=17"], optimizer=optimizer, scorer=later)
    assert result.costs.questions == 17
    assert later.opened == list(range(10, 17))


def test_a_search_that_asks_otherwise_is_noticed(tmp_path: Path) -> None:
    search(tmp_path / "run", Person(stop=6))

    class Others(Pairs):
        def ask(self) -> Sequence[Duel]:
            return [Duel(self.prompts[1], self.prompts[2])]

    with pytest.raises(ReplayMismatch, match="question"):
        resume(tmp_path / "run", optimizer=Others(), scorer=Person())


def test_an_output_that_cannot_be_bought_ends_the_search(tmp_path: Path) -> None:
    class Broke(Person):
        def wait(self) -> bool:
            raise BudgetExhausted("dollars")

    result, _ = search(tmp_path / "run", Broke())
    assert result.stop_reason == "budget: dollars"


def test_the_page_hears_of_every_turn_what_the_optimizer_believes(tmp_path: Path) -> None:
    person = Person()
    result, optimizer = search(tmp_path / "run", person)
    assert person.beliefs[-1] == Belief(0.25, 30)
    assert result.belief == optimizer.belief()
    assert events(tmp_path / "run", "stop")[-1]["belief"] == {"confidence": 0.25, "questions": 30}


def test_details_are_kept_and_not_compared(tmp_path: Path) -> None:
    result, _ = search(tmp_path / "run", Person())
    assert result.steps[0].answer.details == {"by": {"ada": "a"}}
    assert result.steps[0].answer == Preference(result.steps[0].answer.winner)


class Careless(Pairs):
    """Asks at first about prompts that change a frozen part, and then about nothing else."""

    def ask(self) -> Sequence[Duel]:
        changed = Prompt(text_of({"rules": "no", "instruction": "x"}))
        return [*super().ask(), Duel(self.prompts[0], changed)] if len(self.told) < 4 else [Duel(changed, changed)]


def test_duels_about_what_changes_a_frozen_part_are_not_asked(tmp_path: Path) -> None:
    start = [{"rules": "yes", "instruction": text} for text in START]
    optimizer = Careless()
    optimizer.knows_parts = True  # type: ignore[attr-defined]
    result = optimize(start=start, frozen=["rules"], optimizer=optimizer, scorer=Person(), budget=30, run=tmp_path)
    assert result.stop_reason == "converged"
    asked = [text for event in events(tmp_path, "answer") for text in (event["a"], event["b"])]
    assert len(asked) > 4
    assert {parts_of(text)["rules"] for text in asked} == {"yes"}
    assert [*result.counts] == ["prompts not asked about: it changes the part rules, which the recipe keeps frozen"]


def test_an_optimizer_that_waits_is_asked_again(tmp_path: Path) -> None:
    class OneAtATime(Pairs):
        def begin(self, setup: Setup, /) -> None:
            super().begin(setup)
            self.asked = 0

        def ask(self) -> Sequence[Duel]:
            if self.asked > len(self.told):
                return []
            self.asked += 1
            return super().ask()[:1]

    person = Person()
    result = optimize(start=START, optimizer=OneAtATime(), scorer=person, budget=8, run=tmp_path / "run")
    assert result.stop_reason == "budget: questions"
    assert [duel.number for duel in person.given] == list(range(8))


def test_a_rating_optimizer_meets_people_through_win_rates() -> None:
    class InBatches(Person):
        def answer(self, questions: Sequence[Duel], /) -> list[Preference]:
            self.given += questions
            return [Preference("a" if START[2] == duel.a.text else "b") for duel in questions]

    person = InBatches()
    result = optimize(
        start=START,
        optimizer={"name": "random-search", "pool": {"name": "list", "prompts": START}},
        scorer=person,
        run=None,
    )
    assert result.best == START[2]
    assert any("win rates over the starting prompt" in note for note in result.notes)
    assert all(duel.a != duel.b for duel in person.given), "nobody compares a prompt with itself"
    assert person.closed


# ── What costs, and what is best ──────────────────────────────────────────────────────────────────────────────────


class Skipper(Person):
    """Cannot tell about every third duel; with ``mind`` says a winner after all, a duel later."""

    def __init__(self, *, mind: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.mind = mind
        self.bests: list[str] = []

    def wait(self) -> bool:
        if self.stop is not None and len(self.given) >= self.stop:
            return False
        duel = self.waiting.pop(0)
        self.given.append(duel)
        self.record(duel, Preference("unknown" if duel.number % 3 == 0 else "a"))
        if self.mind and duel.number % 6 == 1:
            self.record(self.given[-2], Preference("b"))
        return True

    def watch(self, progress: Any, /) -> None:
        self.bests.append(progress.best.text)


def test_skips_cost_nothing(tmp_path: Path) -> None:
    result, optimizer = search(tmp_path / "run", Skipper(ahead=1), questions=10)
    assert result.stop_reason == "budget: questions"
    assert result.costs.questions == 10
    assert Counter(winner for _, winner in optimizer.told) == {"a": 10, "unknown": 5}


def test_a_skip_that_is_made_good_costs_one(tmp_path: Path) -> None:
    result, _ = search(tmp_path / "run", Skipper(ahead=1, mind=True), questions=10)
    latest = [step.answer.winner for step in result.steps]
    assert result.costs.questions == 10
    assert sum(winner != "unknown" for winner in latest) == 10
    assert Counter(latest)["b"] == 2


@pytest.mark.parametrize("sitting", [1, 3, 4, 8, 13])
def test_skips_of_an_earlier_sitting_cost_nothing_either(tmp_path: Path, sitting: int) -> None:
    whole, _ = search(tmp_path / "whole", Skipper(ahead=1, mind=True), questions=10)
    search(tmp_path / "run", Skipper(ahead=1, mind=True, stop=sitting), questions=10)
    result = resume(tmp_path / "run", optimizer=Pairs(), scorer=Later(ahead=1, mind=True))
    assert result.costs.questions == 10
    assert len(result.steps) == len(whole.steps)


class Later(Skipper):
    """Goes on where another left off: knows what was given then."""

    def remember(self, duel: Duel, preference: Preference, /) -> None:
        super().remember(duel, preference)
        self.given.append(duel)


class Latest(Pairs):
    """Holds the winner of the last duel best."""

    def best(self) -> Prompt:
        return self.prompts[len(self.told) % len(self.prompts)]


def test_the_best_is_the_same_live_at_the_end_and_when_the_run_is_taken_up(tmp_path: Path) -> None:
    """What watchers see is what the optimizer holds after all that was told, not a turn behind."""
    person, optimizer = Skipper(ahead=1, stop=3), Latest()
    stopped = optimize(start=START, optimizer=optimizer, scorer=person, budget=9, run=tmp_path / "run")
    assert person.bests == [START[0], START[1], START[2], START[3]]
    again = Skipper(ahead=1, stop=0)
    resumed = resume(tmp_path / "run", optimizer=Latest(), scorer=again)
    assert stopped.best == resumed.best == again.bests[0] == START[3]


class Uneven(Person):
    """Prefers the higher number, in an order of its own; takes every fifth answer back, and skips a few."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.bests: list[str] = []

    def wait(self) -> bool:
        if self.stop is not None and len(self.given) >= self.stop:
            return False
        duel = self.waiting.pop(7 * len(self.given) % len(self.waiting))
        self.given.append(duel)
        self.record(duel, Preference("unknown" if duel.number % 6 == 5 else self.prefers(duel)))
        if len(self.given) % 5 == 0:
            self.record(self.given[-2], Preference("tie" if duel.number % 2 else self.prefers(self.given[-2])))
        return True

    @staticmethod
    def prefers(duel: Duel) -> Any:
        return "a" if duel.a.text > duel.b.text else "b"

    def remember(self, duel: Duel, preference: Preference, /) -> None:
        """What was taken back is told again, and was given once."""
        if duel.number not in {one.number for one in self.given}:
            self.given.append(duel)

    def watch(self, progress: Any, /) -> None:
        self.bests.append(progress.best.text)


DUELLING: dict[str, dict[str, Any]] = {
    "apohf": {},
    "linear-duel": {},
    "double-ts": {},
    "random-duel": {},
    "apohf, released": {"fit": "released"},
    "linear-duel, released": {"fit": "released"},
    "double-ts, released": {"fit": "released"},
    "random-duel, released": {"fit": "released"},
}


@pytest.mark.parametrize("name", DUELLING)
def test_answers_in_an_uneven_order_give_one_best_prompt(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live, at the end, in the folder, when a stopped run is taken up, and when it then goes on to its end."""
    for module in ("apohf", "linear_duel", "double_ts"):
        monkeypatch.setattr(f"promptopt.optimizers.{module}.STEPS", 20)
    optimizer = {"name": name.partition(",")[0], **DUELLING[name]}
    options: dict[str, Any] = {"start": START, "optimizer": optimizer, "budget": 14}
    person = Uneven()
    whole = optimize(scorer=person, run=tmp_path / "whole", **options)
    assert len(set(person.bests)) > 1, "nothing was learnt, so nothing is shown here"
    ends = [person.bests[-1], Story.read(tmp_path / "whole").best, (tmp_path / "whole/best.txt").read_text().strip()]
    assert {whole.best} == {*ends, resume(tmp_path / "whole", scorer=Uneven(stop=0)).best}

    early = Uneven(stop=6)
    stopped = optimize(scorer=early, run=tmp_path / "run", **options)
    again = Uneven(stop=0)
    read_again = resume(tmp_path / "run", scorer=again)
    assert stopped.best == early.bests[-1] == read_again.best == again.bests[0] == Story.read(tmp_path / "run").best
    went_on = resume(tmp_path / "run", scorer=Uneven())
    assert went_on.best == whole.best
    told, others = ([(step.question, step.answer.winner) for step in run.steps] for run in (went_on, whole))
    assert told == others


def test_patience_goes_on_where_it_was(tmp_path: Path) -> None:
    """A best prompt that was found before the run was stopped is not news when it is taken up."""

    class Early(Pairs):
        def best(self) -> Prompt:
            return self.prompts[1 if len(self.told) >= 2 else 0]

    options: dict[str, Any] = {"start": START, "patience": 5, "budget": 30}
    whole = optimize(optimizer=Early(), scorer=Skipper(ahead=1), run=tmp_path / "whole", **options)
    optimize(optimizer=Early(), scorer=Skipper(ahead=1, stop=5), run=tmp_path / "run", **options)
    parts = resume(tmp_path / "run", optimizer=Early(), scorer=Skipper(ahead=1))
    assert parts.stop_reason == whole.stop_reason
    assert len(parts.steps) == len(whole.steps) == 7
