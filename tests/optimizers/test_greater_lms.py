"""Searches by gradient on real models with random weights: the target's speed-ups must not change what is searched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

pytest.importorskip("transformers")


from promptopt.core import Prompt, Rating
from promptopt.optimizers.gcg import Gcg
from promptopt.optimizers.greater import Greater
from promptopt.targets.local_lm import LocalLM
from promptopt.testing import FakeSetup

from ..targets.tiny_lms import EXAMPLES, FIVE, SPEEDUPS, TOKENIZERS, saved, slowed

pytestmark = pytest.mark.study

PAIRS = [(kind, words) for kind in FIVE for words in TOKENIZERS]
START = ["Think step by step."]


def trajectory(
    kind: str,
    words: str,
    optimizer: Any,
    *,
    steps: int,
    off: Sequence[str] = (),
    chat: bool = False,
    batch_size: int = 128,
) -> list[str]:
    """Every prompt that is asked about, in order; chosen by loss, as the model sees it."""
    model = saved(kind, words, chat=chat)
    lm = slowed(LocalLM(model=model, max_tokens=10, answer_tokens=4, batch_size=batch_size), *off)
    searching = optimizer(target=lm, examples=EXAMPLES[:3], steps=steps)
    searching.begin(FakeSetup(start=START, problem_with=lambda text: lm.problem_with(Prompt(text))))
    asked = []
    while batch := searching.ask():
        asked += [question.prompt.text for question in batch]
        rows = lm.run_batch([question.prompt for question in batch], EXAMPLES[:3])
        losses = [round(sum(output.loss for output in row) / len(row), 4) for row in rows]
        searching.tell([(question, Rating(-loss)) for question, loss in zip(batch, losses, strict=True)])
    return [*asked, searching.best().text]


def greater(**options: Any) -> Greater:
    return Greater(**options, k=20, group_size=2, mu=2)


def gcg(**options: Any) -> Gcg:
    return Gcg(**options, k=20, candidates=4)


@cache
def usual(kind: str, words: str) -> list[str]:
    return trajectory(kind, words, greater, steps=4)


@pytest.mark.parametrize(("kind", "words"), PAIRS)
def test_the_same_search_with_all_speed_ups_off(kind: str, words: str) -> None:
    off = trajectory(kind, words, greater, steps=4, batch_size=1, off=SPEEDUPS)
    assert off == usual(kind, words)
    assert len(set(off)) > 4
    if (kind, words) != ("llama", "sentencepiece"):  # there nothing in four steps has less loss than the start
        assert off[-1] != START[0]


@pytest.mark.parametrize("off", SPEEDUPS)
def test_the_same_search_with_one_speed_up_off(off: str) -> None:
    assert trajectory("llama", "byte-level", greater, steps=4, off=[off]) == usual("llama", "byte-level")


def test_the_same_search_in_a_chat_template() -> None:
    one, other = (trajectory("qwen3", "byte-level", greater, steps=4, chat=True, off=off) for off in ((), SPEEDUPS))
    assert one == other


@pytest.mark.parametrize("words", TOKENIZERS)
def test_gcg_searches_the_same_too(words: str) -> None:
    on = trajectory("llama", words, gcg, steps=2)
    assert on == trajectory("llama", words, gcg, steps=2, batch_size=2, off=SPEEDUPS)
    assert len(set(on)) == 9  # the start and two times four
