"""GCG: substitutions at random among the tokens with the best gradients, at a fixed length (Zou et al., 2023)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptopt.core import Prompt, Rating
from promptopt.errors import UserError
from promptopt.optimizers.gcg import Gcg
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import OptimizerContract

sys.path.insert(0, str(Path(__file__).parent))  # the contract runs this file in a fresh process
from word_model import EXAMPLES, VOCABULARY, WordModel

WORTH = {word * 2: i for i, word in enumerate("abcdefghijklmnopqrstuvwxyz")}


def gcg(model: WordModel | None = None, **options: Any) -> Gcg:
    return Gcg(target=model or WordModel(), examples=EXAMPLES, **options)


def search(
    optimizer: Gcg, *, start: Sequence[str] = ("aa bb cc",), score: Callable[[str], float] | None = None, **setup: Any
) -> list[list[str]]:
    """All batches, as texts; the score is the model's own quality by default."""
    optimizer.begin(FakeSetup(start=start, **setup))
    score = score or optimizer.target.quality  # type: ignore[attr-defined]
    batches = []
    while batch := optimizer.ask():
        batches.append([question.prompt.text for question in batch])
        optimizer.tell([(question, Rating(score(question.prompt.text))) for question in batch])
    return batches


class TestContract(OptimizerContract):
    start = ("aa bb cc",)

    def make(self) -> Gcg:
        return gcg(steps=6, candidates=9, k=5)


def test_each_candidate_has_one_token_exchanged_from_the_pool_of_its_position() -> None:
    optimizer = gcg(WordModel(worth=WORTH), steps=1, candidates=9, k=3)
    start, new = search(optimizer)
    assert start == ["aa bb cc"]
    assert len(set(new)) == 9
    pool = {"zz", "yy", "xx"}
    assert set(new) == {f"{w} bb cc" for w in pool} | {f"aa {w} cc" for w in pool} | {f"aa bb {w}" for w in pool}


def test_steep_examples_count_for_more_unless_all_are_made_equal() -> None:
    worth = np.zeros((8, len(VOCABULARY)))
    worth[0, VOCABULARY.index(" zz")] = 1000
    worth[1:3, VOCABULARY.index(" yy")] = 0.001
    for average, word in (("summed", "zz"), ("unit", "yy")):
        optimizer = gcg(WordModel(worth=worth), steps=1, candidates=3, k=1, average=average)
        assert set(search(optimizer)[1]) == {f"{word} bb cc", f"aa {word} cc", f"aa bb {word}"}


def test_the_length_is_fixed() -> None:
    optimizer = gcg(steps=8, candidates=6)
    for batch in search(optimizer):
        assert {len(optimizer.target.tokens(text)) for text in batch} == {3}


def test_the_best_candidate_is_built_upon_even_where_it_is_worse() -> None:
    score = {"aa bb cc": 9.0, "zz bb cc": 1.0, "aa zz cc": 2.0}
    for downhill, next_text in ((True, "aa zz cc"), (False, "aa bb cc")):
        optimizer = gcg(WordModel(worth={"zz": 3}), steps=2, candidates=3, k=1, downhill=downhill)
        search(optimizer, score=lambda text: score.get(text, 0.0))
        asked = [one["text"] for one in optimizer.target.asked]  # type: ignore[attr-defined]
        assert list(dict.fromkeys(asked)) == list(dict.fromkeys(["aa bb cc", next_text]))
        assert optimizer.best().text == "aa bb cc"


def test_uphill_the_best_candidate_is_built_upon_if_it_is_better() -> None:
    optimizer = gcg(WordModel(worth=WORTH), steps=9, candidates=9, k=3)
    search(optimizer)
    assert set(optimizer.best().text.split()) == {"xx", "yy", "zz"}
    stuck = gcg(steps=4, candidates=5, downhill=False)
    search(stuck, score=lambda text: 0.0)
    assert {asked["text"] for asked in stuck.target.asked} == {"aa bb cc"}  # type: ignore[attr-defined]
    assert stuck.best() == Prompt("aa bb cc")


def test_what_is_barred_does_not_survive_or_cannot_be_run_is_not_asked() -> None:
    worth = {**WORTH, "7": 99, "#": 98}
    optimizer = gcg(WordModel(worth=worth, gone=["zz"]), steps=3, candidates=20, k=4)
    texts = [t for b in search(optimizer, problem_with=lambda t: "no" if "yy" in t else None)[1:] for t in b]
    assert texts
    assert not [text for text in texts if any(bad in text for bad in ("7", "#", "zz", "yy"))]
    free = gcg(WordModel(worth=worth), steps=1, candidates=3, k=1, allowed=r"[ \w#]+")
    assert set(search(free)[1]) == {"7 bb cc", "aa 7 cc", "aa bb 7"}


def test_pools_with_nothing_new_end_the_drawing() -> None:
    assert search(gcg(WordModel(missing=range(8)), steps=3)) == [["aa bb cc"]]
    assert len(search(gcg(WordModel(worth=WORTH), steps=1, candidates=50, k=2))[1]) == 6


def test_gradients_are_taken_at_every_position_and_counted() -> None:
    optimizer = gcg(steps=2, batch=4, perplexity_weight=0.3, reasoning=False, answer_temperature=0.2)
    setup = FakeSetup(start=["aa bb cc"])
    optimizer.begin(setup)
    while batch := optimizer.ask():
        optimizer.tell([(question, Rating(0.0)) for question in batch])
    asked = optimizer.target.asked  # type: ignore[attr-defined]
    assert [one["position"] for one in asked] == [0, 1, 2] * 2
    assert {(one["with_reasoning"], one["perplexity_weight"], len(one["rows"])) for one in asked} == {(False, 0.3, 4)}
    assert {one["answer_temperature"] for one in asked} == {0.2}
    assert asked[0]["rows"] == asked[2]["rows"] != asked[3]["rows"]
    assert setup.counts["gradient passes"] == 24


@pytest.mark.parametrize("name", ["steps", "k", "candidates", "batch"])
def test_numbers_are_at_least_one(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is 0; allowed is 1 or more"):
        gcg(**{name: 0})
