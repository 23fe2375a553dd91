"""The lexical proposer: it learns which phrases good prompts have, and says that no LLM was used."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from promptopt.errors import UserError
from promptopt.optimizers import HillClimb, LexicalProposer
from promptopt.optimizers.proposers import Proposer, Scored
from promptopt.testing import FakeSetup
from promptopt.vocabulary.units import Units

WORDS = [f"w{i}" for i in range(30)]
GOOD = [Scored("{} w1 w2", 0.9), Scored("{} w1 w3", 0.8)]
BAD = [Scored("{} w4 w5", 0.1), Scored("{} w4 w6", 0.2)]


def one_hole(text: str) -> str | None:
    return None if text.split().count("{}") == 1 else "one {}"


def begun(*, seed: int = 0, setup: FakeSetup | None = None, **options: Any) -> LexicalProposer:
    proposer = LexicalProposer(**{"phrases": WORDS, **options})
    proposer.begin(setup or FakeSetup(start=["{}"], seed=seed, problem_with=one_hole))
    return proposer


def words(texts: list[str]) -> Counter[str]:
    return Counter(word for text in texts for word in text.split())


def test_it_is_a_proposer_and_says_that_no_llm_was_used() -> None:
    setup = FakeSetup(start=["{}"])
    proposer: Proposer = begun(setup=setup)
    assert setup.notes == ["Prompts were proposed by the lexical proposer; no LLM was used."]
    assert proposer.propose([Scored("{}", 0.5)], [], n=3)


@pytest.mark.parametrize("conversation", ["fresh", "continued"])
def test_proposals_are_new_usable_and_as_many_as_wanted(conversation: str) -> None:
    proposer = begun(conversation=conversation)
    seen = {s.text for s in [*GOOD, *BAD]}
    for _ in range(5):
        new = proposer.propose(GOOD, BAD, n=8)
        assert len(new) == len(set(new)) == 8
        assert not seen.intersection(new)
        assert all(one_hole(text) is None for text in new)
        seen.update(new)


def test_the_seed_decides() -> None:
    proposals = [begun(seed=seed).propose(GOOD, BAD, n=20) for seed in (0, 0, 1)]
    assert proposals[0] == proposals[1] != proposals[2]


def test_to_begin_is_to_begin_afresh() -> None:
    proposer = begun()
    first = proposer.propose(GOOD, BAD, n=5)
    proposer.begin(FakeSetup(start=["{}"], problem_with=one_hole))
    assert proposer.propose(GOOD, BAD, n=5) == first


def test_phrases_of_good_prompts_come_more_often_than_those_of_bad_ones() -> None:
    count: Counter[str] = Counter()
    for seed in range(20):
        count += words(begun(seed=seed, explore=0.0).propose([*GOOD, Scored("{}", 0.5)], BAD, n=10))
    assert count["w1"] > count["w2"] > 0
    assert count["w2"] + count["w3"] > 3 * (count["w4"] + count["w5"] + count["w6"])


def test_exploring_brings_in_the_whole_vocabulary_and_not_exploring_does_not() -> None:
    def seen(explore: float) -> set[str]:
        found: Counter[str] = Counter()
        for seed in range(20):
            found += words(begun(seed=seed, explore=explore).propose(GOOD, BAD, n=10))
        return set(found)

    assert seen(0.0) <= {"{}", *(f"w{i}" for i in range(1, 7))}
    assert len(seen(1.0)) > 20


def test_a_weight_is_a_smoothed_log_odds() -> None:
    proposer = begun()
    proposer.propose(GOOD, BAD, n=1)
    assert proposer._weight("w1") == pytest.approx(math.log(2.5 / 3) - math.log(0.5 / 3))
    assert proposer._weight("w4") == pytest.approx(-proposer._weight("w1"))
    assert proposer._weight("w2") == pytest.approx(math.log(1.5 / 3) - math.log(0.5 / 3))
    assert proposer._weight("never seen") == 0.0


def test_a_fresh_conversation_learns_from_this_turn_alone() -> None:
    for conversation, remembered in (("fresh", False), ("continued", True)):
        proposer = begun(conversation=conversation)
        proposer.propose(GOOD, BAD, n=1)
        proposer.propose([Scored("{} w9", 1.0)], [], n=1)
        assert (proposer._weight("w4") != proposer._weight("never seen")) == remembered
        proposer.reset()
        assert proposer._weight("w4") == 0.0


def test_a_reset_lets_it_propose_again_what_it_proposed_before() -> None:
    proposer = begun(phrases=["only"], explore=1.0)
    start = [Scored("{}", 0.5)]
    first = set(proposer.propose(start, [], n=9))
    assert first == {"only {}", "{} only"}
    assert proposer.propose(start, [], n=9) == []
    proposer.reset()
    assert set(proposer.propose(start, [], n=9)) == first


@pytest.mark.parametrize("phrases", [[], ["{}"], [" "]])
def test_it_gives_up_where_mutation_finds_nothing(phrases: list[str]) -> None:
    assert begun(phrases=phrases).propose([Scored("{}", 0.5)], [], n=4) == []


def test_without_good_prompts_there_is_nothing_to_mutate() -> None:
    assert begun().propose([], BAD, n=4) == []


def test_excluded_words_are_not_brought_in() -> None:
    found = words(begun(exclude=["w1", "w2", "w3"], explore=1.0).propose([Scored("{}", 0.5)], [], n=60))
    assert found
    assert not {"w1", "w2", "w3"}.intersection(found)


@pytest.mark.parametrize("explore", [-0.1, 1.1, math.nan])
def test_explore_is_a_probability(explore: float) -> None:
    with pytest.raises(UserError, match="allowed is a probability from 0 to 1"):
        LexicalProposer(explore=explore)


def test_slots_keep_templates_in_shape() -> None:
    slots = {"frames": ["a photo of"], "adjectives": ["small", "odd"], "nouns": ["thing"], "suffixes": ["outside"]}
    for seed in range(10):
        for text in begun(seed=seed, phrases=slots, explore=1.0).propose([Scored("{}", 0.5)], [], n=8):
            before, _, after = text.partition("{}")
            assert "outside" not in before
            assert not after.replace("outside", "").strip()
            assert before.strip() == "" or not before.strip().startswith("thing a photo")


# ── Texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────

RULES = """You help the customers of a shop.

- Never promise refunds.
- Answer in the customer's language.
- Ask for the order number (e.g. "A-12. B").
- Keep replies below five lines.
- Hand over to a person where you are not sure."""
HELPFUL = ["Name the next step.", "Quote the policy. Give its section.", "Thank the customer."]


def sentences(text: str) -> set[str]:
    """Its lines and sentences, without the marks of lists."""
    units = Units(HELPFUL, start=[RULES])
    return {units.content(unit) for unit in units.split(text)}


def test_a_users_rules_survive() -> None:
    allowed = sentences(RULES) | set(HELPFUL)
    rules = RULES.splitlines()[2:]
    for seed in range(10):
        proposer = LexicalProposer(phrases=HELPFUL)
        proposer.begin(FakeSetup(start=[RULES], seed=seed))
        good = [Scored(RULES, 0.5)]
        for _ in range(3):
            new = proposer.propose(good, [], n=8)
            assert len(new) == 8
            for text in new:
                assert sentences(text) <= allowed
                assert [line for line in text.splitlines() if line in rules] == rules
                assert all(line.startswith("- ") for line in text.splitlines()[2:] if line)
            good = [Scored(text, 0.6) for text in new]


def test_a_sentence_is_never_changed_within() -> None:
    start = "Answer the customer's question politely."
    proposer = LexicalProposer(phrases=["the customer's", "politely", "Be brief."])
    proposer.begin(FakeSetup(start=[start]))
    new = proposer.propose([Scored(start, 0.5)], [], n=6)
    assert new
    for text in new:
        assert start in text or "question" not in text


def test_units_are_moved() -> None:
    proposer = LexicalProposer(phrases=["Be brief."], explore=0.0)
    proposer.begin(FakeSetup(start=["One. Two. Three."]))
    new = proposer.propose([Scored("One. Two. Three.", 0.5)], [], n=20)
    assert any(sorted(text.split()) == ["One.", "Three.", "Two."] for text in new)


def test_it_asks_for_phrases_where_prompts_are_texts() -> None:
    for told in (LexicalProposer().check, LexicalProposer().begin, HillClimb().check, HillClimb().begin):
        with pytest.raises(UserError, match=r"Give phrases = \[\.\.\.\]"):
            told(FakeSetup(start=["Answer politely."]))
    HillClimb().check(FakeSetup(start=["a photo of a {}"]))


def test_words_are_units_where_they_are_given_as_phrases() -> None:
    proposer = LexicalProposer(phrases=["use", "the", "logic", "step"], explore=1.0)
    proposer.begin(FakeSetup(start=["use the logic"]))
    found = words(proposer.propose([Scored("use the logic", 0.5)], [], n=30))
    assert set(found) == {"use", "the", "logic", "step"}
