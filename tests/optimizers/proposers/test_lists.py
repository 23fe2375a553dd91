"""One list at a time, in turn, behind the start."""

from __future__ import annotations

from promptopt.optimizers import HillClimb, ListsProposer
from promptopt.optimizers.proposers import Scored
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import OptimizerContract, ProposerContract

LISTS = {"colours": ["red", "blue"], "signs": ["stars", "hearts"]}


def begun() -> ListsProposer:
    proposer = ListsProposer(phrases=LISTS)
    proposer.begin(FakeSetup(start=["a picture"]))
    return proposer


class TestListsProposer(ProposerContract):
    start = ("a picture",)

    def make(self) -> ListsProposer:
        return ListsProposer(phrases=LISTS)


class TestHillClimbWithLists(OptimizerContract):
    start = ("a picture",)

    def make(self) -> HillClimb:
        return HillClimb(proposer=ListsProposer(phrases=LISTS), sample=1, restarts=1, resets=1)


def test_lists_take_turns_and_phrases_are_exchanged() -> None:
    proposer = begun()
    assert proposer.propose([Scored("a picture", 0)], [], n=9) == ["a picture, red", "a picture, blue"]
    best = [Scored("a picture, blue", 1)]
    assert proposer.propose(best, [], n=9) == ["a picture, blue, stars", "a picture, blue, hearts"]
    best = [Scored("a picture, blue, hearts", 2)]
    assert proposer.propose(best, [], n=9) == ["a picture, red, hearts", "a picture, hearts"]
    assert proposer.propose(best, [], n=9) == []


def test_a_list_goes_on_where_one_turn_has_no_room_for_it() -> None:
    proposer = begun()
    start = [Scored("a picture", 0)]
    assert [proposer.propose(start, [], n=1) for _ in range(3)] == [
        ["a picture, red"],
        ["a picture, blue"],
        ["a picture, stars"],
    ]
