"""GReaTer: what is proposed, shortlisted, asked and kept, and at which position [Das2025]."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptopt.core import Prompt, Rate, Rating
from promptopt.errors import UserError
from promptopt.optimizers.greater import Greater
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import OptimizerContract

sys.path.insert(0, str(Path(__file__).parent))  # the contract runs this file in a fresh process
from word_model import EXAMPLES, VOCABULARY, WordModel

UPHILL: dict[str, Any] = {"downhill": False, "stay": False, "again": False}


def greater(model: WordModel | None = None, **options: Any) -> Greater:
    return Greater(target=model or WordModel(), examples=EXAMPLES, **options)


def search(
    optimizer: Greater,
    *,
    start: Sequence[str] = ("aa bb cc",),
    score: Callable[[str], float] | None = None,
    **setup: Any,
) -> list[list[str]]:
    """All batches, as texts; the score is the model's own quality by default."""
    optimizer.begin(FakeSetup(start=start, **setup))
    score = score or optimizer.target.quality  # type: ignore[attr-defined]
    batches = []
    while batch := optimizer.ask():
        assert all(type(question) is Rate and question.on == () for question in batch)
        batches.append([question.prompt.text for question in batch])
        optimizer.tell([(question, Rating(score(question.prompt.text))) for question in batch])
    return batches


def positions(optimizer: Greater) -> list[int]:
    return [asked["position"] for asked in optimizer.target.asked]  # type: ignore[attr-defined]


class TestContract(OptimizerContract):
    start = ("aa bb cc",)

    def make(self) -> Greater:
        return greater(steps=25)


class TestContractWithOtherSwitches(OptimizerContract):
    start = ("aa bb cc", "dd ee .")

    def make(self) -> Greater:
        return greater(
            steps=25,
            order="random",
            shortlist="random",
            batch=3,
            mu=2,
            group_size=2,
            longest=5,
            average="unit",
            **UPHILL,
        )


class TestContractWithARace(OptimizerContract):
    start = ("aa bb cc",)

    def make(self) -> Greater:
        return greater(steps=25, shortlist="race")


class TestContractAsReleased(OptimizerContract):
    start = ("aa bb cc .", "aa dd .")

    def make(self) -> Greater:
        return greater(steps=25, fixed="aa", stop_wins=True, placeholder="zz", groups=6, answer_temperature=0.2)


# ── Proposals ─────────────────────────────────────────────────────────────────────────────────────────────────────


def candidates(model: WordModel, text: str, position: int = 0, **options: Any) -> list[str]:
    """Every prompt that is shortlisted when the shortlist holds all of them."""
    optimizer = greater(model, **{"steps": 1, "groups": 1, "group_size": 8, "k": 2, "stay": False, **options})
    optimizer.begin(FakeSetup(start=[text]))
    seen = model.step(text, position, EXAMPLES, with_reasoning=True, perplexity_weight=0, answer_temperature=1)
    return list(optimizer._candidates(seen, text, position, np.random.default_rng(0)).values())


def test_only_what_all_examples_of_a_group_would_say_is_a_candidate() -> None:
    model = WordModel(liking={})
    model.liking[:] = -np.arange(len(VOCABULARY))  # in the order of the vocabulary
    model.liking[:, VOCABULARY.index(" zz")] = 9
    model.liking[:4, VOCABULARY.index(" yy")] = 8  # to half of them
    model.liking[:, VOCABULARY.index(" xx")] = 7
    assert candidates(model, "aa", k=3, mu=1) == ["xx", "zz"]
    assert candidates(model, "aa", k=2, mu=1, groups=40, group_size=1) == ["xx", "yy", "zz"]


def test_k_grows_until_there_are_enough_to_choose_from() -> None:
    model = WordModel(liking={word * 2: 26 - i for i, word in enumerate("zyxwvutsrqpo")})
    assert candidates(model, "aa", k=6, mu=3) == ["uu", "vv", "ww", "xx", "yy", "zz"]
    assert candidates(model, "aa", k=1, mu=3) == ["tt", "uu", "vv", "ww", "xx", "yy", "zz"]  # 1, 3, 5, 7
    assert candidates(model, "aa", k=1, k_step=5, mu=3) == ["uu", "vv", "ww", "xx", "yy", "zz"]  # 1, 6
    assert candidates(model, "aa", k=1, k_step=1, mu=1) == ["yy", "zz"]


def test_the_current_token_is_a_candidate_like_the_others() -> None:
    model = WordModel(liking={"zz": 9, "yy": 8})
    assert sorted(candidates(model, "aa bb", mu=1, stay=True)) == ["aa bb", "yy bb", "zz bb"]
    assert sorted(candidates(model, "aa bb", mu=1, stay=False)) == ["yy bb", "zz bb"]


def test_rated_prompts_come_again_or_are_left_out() -> None:
    for again, expected in ((True, ["zz bb"]), (False, ["yy bb"])):
        optimizer = greater(WordModel(worth={"zz": 3, "yy": 2}), steps=1, k=40, mu=1, again=again)
        batches = search(optimizer, start=["aa bb", "zz bb"], score=lambda text: float(text == "aa bb"))
        assert batches == [["aa bb", "zz bb"], *([] if again else [expected])]
        assert optimizer.best().text == "aa bb"


def test_symbols_the_current_and_the_previous_token_are_barred() -> None:
    model = WordModel(liking={"": 10, "7": 9, "#": 8, "bb": 7, "aa": 6, "zz": 5, "yy": 4})
    model.liking[:] = np.roll(model.liking, -5, axis=1)  # the model rolls by five at position 1
    assert candidates(model, "aa bb", 1, k=2, mu=1) == ["aa yy", "aa zz"]
    assert candidates(model, "aa bb", 1, k=2, mu=1, allowed=r"[ \w#]+") == ["aa 7", "aa #"]


def test_what_does_not_survive_or_cannot_be_run_is_no_candidate() -> None:
    model = WordModel(liking={"zz": 9, "yy": 8, "xx": 7, "ww": 6}, gone=["zz"])
    assert candidates(model, "aa", k=3, mu=1) == ["xx", "yy"]
    optimizer = greater(model, steps=6, k=4, groups=1, group_size=8, **UPHILL)
    batches = search(optimizer, start=["aa bb"], problem_with=lambda text: "no" if "yy" in text else None)
    assert len(batches) > 3
    assert not [text for batch in batches for text in batch if "zz" in text or "yy" in text]


def test_a_vocabulary_that_is_used_up_ends_the_growth_of_k() -> None:
    model = WordModel(gone=[word * 2 for word in "abcdefghijklmnopqrstuvwxy"])
    assert set(candidates(model, "aa", k=1, mu=20)) == {"zz", ".", ","}


# ── The shortlist ─────────────────────────────────────────────────────────────────────────────────────────────────


def shortlist(model: WordModel, **options: Any) -> list[str]:
    optimizer = greater(model, **{"steps": 1, "k": 40, "groups": 1, "group_size": 8, **options})
    return search(optimizer, start=["aa bb"])[1]


def test_the_most_negative_gradients_are_rated() -> None:
    worth = {word * 2: i for i, word in enumerate("abcdefghijklmnopqrstuvwxyz")}
    assert shortlist(WordModel(worth=worth), mu=3) == ["zz bb", "yy bb", "xx bb"]
    assert shortlist(WordModel(worth={k: -v for k, v in worth.items()}), mu=2) == [". bb", ", bb"]


def test_an_example_with_steep_gradients_counts_for_more_unless_all_are_made_equal() -> None:
    worth = np.zeros((8, len(VOCABULARY)))
    worth[0, VOCABULARY.index(" zz")] = 1000
    worth[1:3, VOCABULARY.index(" yy")] = 0.001
    assert shortlist(WordModel(worth=worth), mu=2) == ["zz bb", "yy bb"]
    assert shortlist(WordModel(worth=worth), mu=2, average="unit") == ["yy bb", "zz bb"]


def test_examples_without_the_position_are_left_out() -> None:
    worth = np.zeros((8, len(VOCABULARY)))
    worth[:5, VOCABULARY.index(" zz")] = 1
    worth[5:, VOCABULARY.index(" yy")] = 1
    assert shortlist(WordModel(worth=worth), mu=1) == ["zz bb"]
    assert shortlist(WordModel(worth=worth, missing=range(5)), mu=1) == ["yy bb"]
    assert len(search(greater(WordModel(missing=range(8)), steps=3), start=["aa ."])) == 1


def test_a_random_shortlist_does_not_look_at_gradients() -> None:
    worth = {word * 2: i for i, word in enumerate("abcdefghijklmnopqrstuvwxyz")}
    chosen = {tuple(shortlist(WordModel(worth=worth, seed=0), shortlist="random", batch=b)) for b in (None, 7, 6, 5)}
    flipped = {k: -v for k, v in worth.items()}
    again = {tuple(shortlist(WordModel(worth=flipped, seed=0), shortlist="random", batch=b)) for b in (None, 7, 6, 5)}
    assert chosen == again
    assert chosen != {("zz bb", "yy bb", "xx bb")}


def test_in_a_race_the_least_true_loss_on_few_examples_wins() -> None:
    worth = {word * 2: i for i, word in enumerate("abcdefghijklmnopqrstuvwxyz")}
    assert shortlist(WordModel(worth=worth), shortlist="race", mu=3) == ["zz bb", "yy bb", "xx bb"]
    model = WordModel(worth=worth)
    optimizer = greater(model, shortlist="race", steps=1, k=1, mu=1, groups=1)
    setup = FakeSetup(start=["aa bb"])
    optimizer.begin(setup)
    while batch := optimizer.ask():
        optimizer.tell([(q, Rating(0.0)) for q in batch])
    ((prompts, rows),) = model.tried
    assert prompts > 1
    assert len(rows) == len(set(rows)) == max(1, len(EXAMPLES) // prompts)
    assert setup.counts == {"loss passes": len(EXAMPLES) + prompts * len(rows)}


def test_in_a_race_with_more_candidates_than_examples_each_is_tried_on_the_same_one() -> None:
    model = WordModel()
    shortlist(model, shortlist="race")
    ((prompts, rows),) = model.tried
    assert (prompts > len(EXAMPLES), len(rows)) == (True, 1)


# ── Positions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_from_left_to_right_and_at_a_full_stop_from_the_beginning() -> None:
    optimizer = greater(steps=7, **UPHILL)
    search(optimizer, start=["aa bb ."], score=lambda text: 0.0)
    assert positions(optimizer) == [0, 1, 2, 0, 1, 2, 0]


def test_a_prompt_without_a_full_stop_is_tried_with_one_more_token() -> None:
    optimizer = greater(steps=4, **UPHILL)
    batches = search(optimizer, start=["aa bb"], score=lambda text: float(text == "aa bb"))
    assert positions(optimizer) == [0, 1, 2, 0]
    assert optimizer.target.asked[2]["text"] == "aa bb."  # type: ignore[attr-defined]
    assert batches[3][-1] == "aa bb."
    assert len(batches[3]) == 4
    assert all(text.startswith("aa bb") and len(text) > 5 for text in batches[3])
    assert optimizer.best() == Prompt("aa bb")


def test_it_grows_as_long_as_that_is_better_and_stops_at_a_full_stop() -> None:
    lengths = {}
    for longest in (3, 6):
        optimizer = greater(steps=9, longest=longest, **UPHILL)
        search(optimizer, start=["aa"], score=lambda text: len(text.replace(".", "")))
        lengths[longest] = len(optimizer.best().text.split())
    assert lengths == {3: 3, 6: 6}
    optimizer = greater(steps=9, **UPHILL)
    search(optimizer, start=["aa bb"], score=lambda text: float("." in text))
    assert optimizer.best().text.count(".") == 1
    fixed = greater(steps=9, longest=0)
    assert not [
        text for batch in search(fixed, start=["aa bb"]) for text in batch if len(fixed.target.tokens(text)) > 2
    ]


def test_random_order_visits_every_position_and_the_end() -> None:
    optimizer = greater(steps=60, order="random", **UPHILL)
    search(optimizer, start=["aa bb cc"], score=lambda text: float(text == "aa bb cc"))
    assert set(positions(optimizer)) == {0, 1, 2, 3}


# ── What is kept ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_uphill_the_best_start_is_improved_and_the_current_token_stays_unless_something_is_better() -> None:
    optimizer = greater(steps=3, **UPHILL)
    batches = search(optimizer, start=["aa bb .", "cc dd ."], score=lambda text: float("cc" in text))
    assert batches[0] == ["aa bb .", "cc dd ."]
    assert {asked["text"] for asked in optimizer.target.asked} == {"cc dd ."}  # type: ignore[attr-defined]
    assert optimizer.best() == Prompt("cc dd .")


def test_the_better_token_is_built_upon() -> None:
    optimizer = greater(WordModel(worth={"zz": 3, "yy": 2}), steps=2, k=40)
    search(optimizer, start=["aa bb ."])
    assert [asked["text"] for asked in optimizer.target.asked] == ["aa bb .", "zz bb."]  # type: ignore[attr-defined]
    assert optimizer.best().text == "zz yy."


def test_the_shortlists_best_takes_the_place_even_where_it_is_worse_and_the_answer_is_the_best_of_all() -> None:
    score = {"aa bb .": 9.0, "zz bb.": 1.0, "yy bb.": 2.0, "yy zz.": 3.0}
    for downhill, next_text in ((True, "yy bb."), (False, "aa bb .")):
        optimizer = greater(WordModel(worth={"zz": 3, "yy": 2}), steps=2, k=40, mu=2, downhill=downhill)
        search(optimizer, start=["aa bb ."], score=lambda text: score.get(text, 0.0))
        asked = [one["text"] for one in optimizer.target.asked]  # type: ignore[attr-defined]
        assert asked == ["aa bb .", next_text]
        assert optimizer.best().text == "aa bb ."


def test_a_shortlist_that_could_not_be_scored_leaves_the_prompt_as_it_is() -> None:
    optimizer = greater(steps=3, k=40)
    search(optimizer, start=["aa bb ."], score=lambda text: 1.0 if text == "aa bb ." else math.nan)
    assert {asked["text"] for asked in optimizer.target.asked} == {"aa bb ."}  # type: ignore[attr-defined]


def test_a_current_token_with_the_best_gradient_is_not_paid_for_again() -> None:
    optimizer = greater(WordModel(worth={"aa": 9, ".": 8}), steps=4, k=40, mu=1)
    assert search(optimizer, start=["aa ."]) == [["aa ."]]
    assert positions(optimizer) == [0, 1, 0, 1]


def test_a_prompt_that_grows_stays_longer_even_where_it_is_worse() -> None:
    optimizer = greater(WordModel(worth={"zz": 3, "yy": 2}), steps=3, k=40)
    search(optimizer, start=["aa"], score=lambda text: -len(text.replace(".", "xxxx")))
    assert [len(optimizer.target.tokens(asked["text"])) for asked in optimizer.target.asked] == [1, 2, 3]  # type: ignore[attr-defined]
    assert optimizer.best().text == "aa"


def test_the_placeholder_is_what_a_prompt_grows_by() -> None:
    for placeholder, grown in ((".", "aa bb."), ("cc", "aa bb cc"), ("nothing", "aa bb")):
        optimizer = greater(steps=3, placeholder=placeholder, **UPHILL)
        search(optimizer, start=["aa bb"], score=lambda text: float(text == "aa bb"))
        assert optimizer.target.asked[2]["text"] == grown  # type: ignore[attr-defined]


def test_a_full_stop_in_the_second_half_wins_whatever_its_rating() -> None:
    for wins in (True, False):
        model = WordModel(worth={"zz": 9, ".": 8, "yy": 7}, liking={"zz": 3, ".": 2, "yy": 1})
        model.liking[:] = model.liking[:1]
        optimizer = greater(model, steps=4, k=40, stop_wins=wins)
        batches = search(optimizer, start=["aa bb cc dd"], score=lambda text: -text.count("."))
        asked = [one["text"] for one in model.asked]
        assert batches[1] == ["zz bb cc dd", ". bb cc dd", "yy bb cc dd"]  # the first half
        third = [text.split()[2] if len(text.split()) > 2 else "" for text in asked[3:]]
        assert (asked[3].count(".") == 1) == wins, third
        if wins:
            assert len(batches[3]) == 2  # what stands behind the full stop is not rated


def test_what_is_fixed_stays_at_the_front() -> None:
    optimizer = greater(steps=12, k=40, longest=5, fixed="aa bb")
    batches = search(optimizer, start=["aa bb cc dd ."])
    assert set(positions(optimizer)) == {2, 3, 4}
    assert len(batches) > 3
    assert all(text.startswith("aa bb ") for batch in batches for text in batch)
    drawn = greater(steps=30, k=40, fixed="aa", order="random")
    search(drawn, start=["aa bb cc ."])
    assert min(positions(drawn)) == 1
    for start in ("bb cc", "aa bb", "bb aa bb"):
        with pytest.raises(UserError, match=r"has to begin with it.*and go on; given is"):
            greater(fixed="aa bb").begin(FakeSetup(start=["aa bb cc", start]))


def test_the_tiebreak_decides_between_equal_ratings() -> None:
    optimizer = greater(WordModel(worth={"zz": 3, "yy": 2}), steps=1, k=40)
    optimizer.begin(FakeSetup(start=["aa bb"]))
    (start,) = optimizer.ask()
    optimizer.tell([(start, Rating(0.5, -1.0))])
    one, other, *_ = optimizer.ask()
    optimizer.tell([(one, Rating(0.5, -1.0)), (other, Rating(0.5, -0.9))])
    assert optimizer.best() == other.prompt


def test_origins_name_the_parent_whose_reasoning_is_the_draft() -> None:
    optimizer = greater(steps=2)
    optimizer.begin(FakeSetup(start=["aa bb ."]))
    (start,) = optimizer.ask()
    optimizer.tell([(start, Rating(1.0))])
    assert {q.prompt.origin["parents"][0] for q in optimizer.ask()} == {"aa bb ."}
    optimizer.tell([])
    assert {(q.prompt.origin["step"], q.prompt.origin["position"]) for q in optimizer.ask()} == {(1, 1)}


def test_it_climbs_to_the_best_words() -> None:
    model = WordModel(seed=3)
    optimizer = greater(model, steps=60, k=40)
    search(optimizer, start=["aa bb cc ."])
    assert model.quality(optimizer.best().text) > model.quality("aa bb cc .") + 2


# ── What the target is asked ──────────────────────────────────────────────────────────────────────────────────────


def test_switches_reach_the_gradient() -> None:
    model = WordModel()
    search(greater(model, steps=2, reasoning=False, perplexity_weight=0.7, answer_temperature=0.2, batch=3))
    for asked in model.asked:
        assert (asked["with_reasoning"], asked["perplexity_weight"], asked["answer_temperature"]) == (False, 0.7, 0.2)
        assert len(asked["rows"]) == len(set(asked["rows"])) == 3
    assert model.asked[0]["rows"] != model.asked[1]["rows"]
    other = WordModel()
    search(greater(other, steps=1))
    assert other.asked[0] == {
        "text": "aa bb cc", "position": 0, "rows": list(range(8)), "with_reasoning": True, "perplexity_weight": 0.2,
        "answer_temperature": 1.0,
    }  # fmt: skip


def test_gradient_passes_are_counted() -> None:
    optimizer = greater(steps=5, batch=3)
    setup = FakeSetup(start=["aa bb"])
    optimizer.begin(setup)
    while batch := optimizer.ask():
        optimizer.tell([(q, Rating(math.nan)) for q in batch])
    assert setup.counts["gradient passes"] == 15


# ── Mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["steps", "k", "k_step", "groups", "group_size", "mu", "batch"])
def test_numbers_are_at_least_one(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is 0; allowed is 1 or more"):
        greater(**{name: 0})


def test_other_mistakes() -> None:
    with pytest.raises(UserError, match="longest is -1; allowed is 0 or more"):
        greater(longest=-1)
    with pytest.raises(UserError, match="no examples"):
        Greater(target=WordModel(), examples=())
    with pytest.raises(UserError, match="answer_temperature is 0; allowed is a number above 0"):
        greater(answer_temperature=0)
    with pytest.raises(UserError, match="no regular expression"):
        greater(allowed="[")

    class BlackBox:
        def problem_with(self, prompt: Prompt, /) -> str | None:
            return None

        def run(self, prompt: Prompt, examples: Any, /) -> list[str]:
            return []

    with pytest.raises(UserError, match=r"BlackBox shows none.*local-lm"):
        Greater(target=BlackBox(), examples=EXAMPLES)
