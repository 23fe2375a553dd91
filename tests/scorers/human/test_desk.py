"""The desk: who is shown what, and what their answers come to."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from promptopt.core import Duel, Preference, Prompt
from promptopt.scorers.human.desk import Desk
from promptopt.scorers.human.view import View
from promptopt.stats import fleiss_kappa


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Record:
    """Keeps what is recorded, in order."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, Preference]] = []

    def __call__(self, duel: Duel, preference: Preference) -> None:
        self.lines.append((duel.number, preference))

    @property
    def winners(self) -> list[tuple[int, str]]:
        return [(number, preference.winner) for number, preference in self.lines]


def make(n: int = 3, **options: Any) -> tuple[Desk, Record, Clock]:
    """A desk with so many duels, prepared."""
    clock, record = Clock(), Record()
    desk = Desk(rng=np.random.default_rng, clock=clock, **options)
    desk.record = record
    for number in range(n):
        put(desk, number)
    return desk, record, clock


def put(desk: Desk, number: int) -> None:
    duel = Duel(Prompt(f"a{number}"), Prompt(f"b{number}"), number)
    desk.ready(desk.put(duel), View.of_texts(duel))


def shown(desk: Desk, name: str) -> Any:
    found = desk.deal(name)
    assert found is not None
    return found


def prefer(desk: Desk, name: str, winner: str) -> int:
    """Say which of the two is better, wherever it stands."""
    now = shown(desk, name)
    side = winner if winner in ("tie", "unknown") else "left" if (winner == "a") != now.swapped else "right"
    assert desk.answer(name, now.key, side, again=now.again)  # type: ignore[arg-type]
    return int(now.key)


def test_a_duel_is_shown_until_it_is_answered_and_to_nobody_else() -> None:
    desk, record, _ = make()
    first = shown(desk, "ada")
    assert shown(desk, "ada") == first
    assert shown(desk, "bob").key != first.key
    assert prefer(desk, "ada", "a") == first.key
    assert shown(desk, "ada").key not in (first.key, shown(desk, "bob").key)
    assert record.winners == [(first.key, "a")]


@pytest.mark.parametrize("winner", ["a", "b", "tie", "unknown"])
def test_sides_are_shuffled_and_an_answer_names_the_prompt(winner: str) -> None:
    desk, record, clock = make(40)
    for _ in range(40):
        shown(desk, "ada")
        clock.now += 2.5
        prefer(desk, "ada", winner)
    assert {preference.winner for _, preference in record.lines} == {winner}
    swapped = [preference.details["swapped"]["ada"] for _, preference in record.lines]
    assert 5 < sum(swapped) < 35
    assert record.lines[0][1].details["by"] == {"ada": winner}
    assert record.lines[0][1].details["seconds"] == {"ada": 2.5}


def test_the_same_answer_sent_twice_counts_once() -> None:
    desk, record, _ = make()
    now = shown(desk, "ada")
    assert desk.answer("ada", now.key, "left", again=now.again)
    assert desk.answer("ada", now.key, "left", again=now.again)
    assert len(record.lines) == 1
    assert desk.standing().answered == 1


def test_an_answer_to_an_unknown_duel_is_not_kept() -> None:
    desk, record, _ = make()
    assert not desk.answer("ada", 99, "left")
    assert not desk.answer("ada", 0, "left", again=1)
    assert not record.lines


def test_only_duels_that_were_dealt_are_answered() -> None:
    desk, record, _ = make(10)
    mine = shown(desk, "ada").key
    assert not [key for key in range(10) if key != mine and desk.answer("ada", key, "left")]
    assert not [key for key in range(10) if desk.answer("eve", key, "left")]
    assert not record.lines
    assert desk.answer("ada", mine, "left")


def test_nothing_is_kept_of_an_answer_that_was_given_less_than_no_times_before() -> None:
    desk, record, _ = make()
    key = shown(desk, "ada").key
    assert not desk.answer("ada", key, "left", again=-5)
    assert not record.lines


@pytest.mark.parametrize("choice", ["left", "right"])
def test_a_late_answer_means_the_sides_that_were_seen(choice: Any) -> None:
    desk, record, clock = make(1, lease=30)
    seen = shown(desk, "ada")
    clock.now += 31
    other = shown(desk, "bob")
    assert desk.answer("bob", other.key, "tie")
    assert desk.answer("ada", seen.key, choice)
    assert record.lines[-1][1].details["by"]["ada"] == ("b" if seen.swapped == (choice == "left") else "a")


def test_undo_shows_the_last_duel_again_and_its_answer_stands_until_then() -> None:
    desk, record, _ = make()
    assert desk.undoable("ada") is None
    first = prefer(desk, "ada", "a")
    second = prefer(desk, "ada", "a")
    third = shown(desk, "ada").key
    desk.undo("ada")
    desk.undo("ada", second)  # the same undo, sent twice
    assert shown(desk, "ada").key == second
    assert shown(desk, "ada").again == 1
    desk.undo("ada")
    assert shown(desk, "ada").key == first
    assert len(record.lines) == 2
    prefer(desk, "ada", "b")
    assert record.winners == [(first, "a"), (second, "a"), (first, "b")]
    assert shown(desk, "ada").key == third
    assert desk.standing().answered == 2
    assert desk.undoable("ada") == first


def test_undo_does_not_reach_what_others_answered() -> None:
    desk, _, _ = make()
    key = prefer(desk, "ada", "a")
    desk.undo("bob", key)
    assert desk.undoable("bob") is None
    assert shown(desk, "bob").key != key


def test_an_abandoned_duel_returns_and_its_late_answer_is_not_lost() -> None:
    desk, record, clock = make(1, lease=30)
    key = shown(desk, "ada").key
    clock.now += 29
    assert desk.deal("bob") is None
    clock.now += 2
    assert shown(desk, "bob").key == key
    assert desk.standing().present == 1
    assert desk.answer("ada", key, "tie")
    prefer(desk, "bob", "tie")
    assert record.winners == [(key, "tie"), (key, "tie")]
    assert set(record.lines[-1][1].details["by"]) == {"ada", "bob"}


def test_whoever_leaves_gives_the_duel_back() -> None:
    desk, _, _ = make(1)
    key = shown(desk, "ada").key
    desk.leave("ada")
    assert shown(desk, "bob").key == key


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [("a", "a", "a"), ("a", "b", "tie"), ("tie", "b", "tie"), ("unknown", "b", "b"), ("a", "unknown", "a")],
)
def test_a_second_opinion_comes_from_somebody_else_with_the_sides_exchanged(
    one: str, other: str, together: str
) -> None:
    desk, record, _ = make(1, second_opinions=1.0)
    before = shown(desk, "ada")
    key = prefer(desk, "ada", one)
    assert desk.deal("ada") is None
    now = shown(desk, "bob")
    assert (now.key, now.swapped) == (key, not before.swapped)
    assert desk.deal("cyd") is None
    prefer(desk, "bob", other)
    assert record.winners == [(key, one), (key, together)]
    assert record.lines[-1][1].details["by"] == {"ada": one, "bob": other}
    assert desk.deal("cyd") is None


def test_the_share_of_second_opinions_is_kept_about() -> None:
    desk, _, _ = make(300, second_opinions=0.1)
    for _ in range(300):
        prefer(desk, "ada", "a")
    seconds = 0
    while desk.deal("bob"):
        prefer(desk, "bob", "a")
        seconds += 1
    assert 15 <= seconds <= 50
    assert desk.standing().doubled == seconds
    assert desk.standing().agreed == 1.0


def test_nothing_to_choose_between_is_a_tie_without_anybody() -> None:
    desk, record, _ = make(0)
    duel = Duel(Prompt("a"), Prompt("b"), 0)
    assert desk.deal("ada") is None
    assert desk.ready(desk.put(duel), View.of_texts(Duel(Prompt("x"), Prompt("x"))))
    assert record.winners == [(0, "tie")]
    assert desk.news()
    assert desk.deal("ada") is None


def test_a_resumed_desk_goes_on_where_it_was() -> None:
    desk, record, _ = make(4, second_opinions=0.5)
    for name in "ada", "ada", "bob":
        prefer(desk, name, "a")
    desk.undo("ada")
    prefer(desk, "ada", "b")
    lines = record.lines
    again, record, _ = make(0, second_opinions=0.5)
    for number, preference in lines:
        again.remember(Duel(Prompt(f"a{number}"), Prompt(f"b{number}"), number), preference)
    assert again.standing() == type(again.standing())(**{**vars(desk.standing()), "present": 0})
    assert not again.news()
    for name in "ada", "bob":
        assert again.undoable(name) == desk.undoable(name)
    last = lines[-1][0]
    assert again.answer("ada", last, "left", again=1)  # a retry of what was recorded before the kill
    assert not record.lines
    again.undo("ada", last)
    assert again.deal("ada") is None  # until it is prepared again
    again.ready(last, View.of_texts(Duel(Prompt("a"), Prompt("b"))))
    assert (shown(again, "ada").key, shown(again, "ada").again) == (last, 2)


def test_a_closed_desk_takes_nothing() -> None:
    desk, record, _ = make()
    key = shown(desk, "ada").key
    desk.close()
    assert not desk.answer("ada", key, "left")
    assert desk.deal("ada") is None
    assert not record.lines


def test_an_answer_that_could_not_be_recorded_is_still_to_be_given() -> None:
    desk, record, _ = make(1)
    key = shown(desk, "ada").key

    def full(duel: Duel, preference: Preference) -> None:
        raise OSError("no space left")

    desk.record = full
    with pytest.raises(OSError, match="no space"):
        desk.answer("ada", key, "left")
    assert desk.standing().answered == 0
    desk.record = record
    assert desk.answer("ada", key, "left")


def test_many_at_once_lose_nothing() -> None:
    desk, record, _ = make(400, second_opinions=0.2)

    def work(name: str) -> None:
        while desk.deal(name):
            prefer(desk, name, "a")

    threads = [threading.Thread(target=work, args=(f"n{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    firsts = [number for number, preference in record.lines if len(preference.details["by"]) == 1]
    assert sorted(firsts) == list(range(400))
    assert sum(desk.standing().by.values()) == len(record.lines)


@pytest.mark.parametrize(
    ("pairs", "kappa"),
    [([], None), ([("a", "a")] * 3, None), ([("a", "a"), ("b", "b")], 1.0), ([("a", "b"), ("b", "a")], -1.0)],
)
def test_kappa_of_clear_cases(pairs: list[tuple[str, str]], kappa: float | None) -> None:
    assert fleiss_kappa(pairs) == (None if kappa is None else pytest.approx(kappa))


def test_kappa_by_hand() -> None:
    # three of four agree; "a" is said 5 times of 8: chance = (25 + 9) / 64
    pairs = [("a", "a"), ("a", "b"), ("b", "b"), ("a", "a")]
    assert fleiss_kappa(pairs) == pytest.approx((48 / 64 - 34 / 64) / (30 / 64))
