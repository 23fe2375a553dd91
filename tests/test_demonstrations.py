"""Demonstrations as a part of a prompt: nothing is lost, ids stay in their split, nobody takes them for a leak."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import promptopt
from promptopt import Dataset, Example, Prompt, UserError
from promptopt.core import Message
from promptopt.demonstrations import Demonstration, of_prompt, problem_with, read, text_of
from promptopt.parts import parts_of
from promptopt.parts import text_of as text_of_parts
from promptopt.run.leaks import leaks
from promptopt.testing import ScriptedModel

ATOMS = ["a", " ", "\n", "\r", "\u2028", "\x85", '"', "\\", ": ", "=== a ===", "é", "\ud800", "\0", "\x1c"]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(ATOMS)).map("".join))
SHOWN = st.lists(st.builds(Demonstration, TEXTS, st.one_of(st.none(), TEXTS)))


def test_reads_well() -> None:
    shown = [Demonstration("reviews/12"), Demonstration("q 7", "So:\ngood"), Demonstration("7", '"bad"')]
    assert text_of(shown) == 'reviews/12\n"q 7": "So:\\ngood"\n7: "\\"bad\\""'


@settings(max_examples=60)
@given(SHOWN)
def test_nothing_is_lost(shown: list[Demonstration]) -> None:
    assert list(read(text_of(shown))) == shown
    parts = {"instruction": "Go.", "demonstrations": text_of(shown)}
    assert list(of_prompt(text_of_parts(parts))) == shown


@pytest.mark.parametrize("line", ["two words", "a:", "a: b", 'a "b"', '"a', 'a: "\\q"', 'a: "b" c', 'a b: "c"'])
def test_a_line_that_names_none(line: str) -> None:
    with pytest.raises(UserError, match="a line is the id of a training example"):
        read(f"e1\n{line}")
    assert problem_with(line, ["a"])
    assert of_prompt(text_of_parts({"demonstrations": line})) == ()


def test_a_prompt_without_the_part_has_none() -> None:
    assert of_prompt("reviews/12") == of_prompt(text_of_parts({"instruction": "e1"})) == ()


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────

TRAIN, DEV, TEST = (
    tuple(Example(f"{split}{i}", f"the {split} text number {i} of many", f"label {i}") for i in range(6))
    for split in ("train", "dev", "test")
)
DATA = Dataset("texts", TRAIN, (), TEST)
OWN = text_of([Demonstration("train1", "the train text number 1 of many, so: label 1"), Demonstration("train2")])


def reply(messages: Sequence[Message]) -> str:
    """The label of the text that is asked, where the prompt says think; the last demonstration's answer elsewhere."""
    number = messages[-1].text.rpartition(" of many")[0].rpartition(" ")[2]
    return f"label {number}" if "think" in messages[-1].text else messages[-2].text if messages[1:] else "?"


def searched(start: Any, run: Path | None = None, **options: Any) -> Any:
    given: dict[str, Any] = {"optimizer": "bayes", "budget": 12, "metric": "exact-match", "data": DATA}
    target = {"name": "chat", "model": ScriptedModel(reply)}
    return promptopt.optimize(start=start, target=target, run=run, watch=False, **{**given, **options})


BAYES: dict[str, Any] = {"optimizer": {"name": "bayes", "phrases": ["Do think.", "Be brief.", "Say why."]}}


def test_a_search_over_texts_leaves_the_ids_alone_and_the_verdict_shows_them() -> None:
    result = searched({"instruction": "Go.", "demonstrations": OWN}, **BAYES)
    assert "think" in result.parts["instruction"]
    assert {parts_of(c.prompt.text)["demonstrations"] for c in result.candidates} == {OWN}
    assert not any("changed at a time" in note for note in result.notes)
    assert (result.verdict.start, result.verdict.best) == (1 / 6, 1.0)  # beside label 2, and thinking


def test_named_demonstrations_are_no_leak() -> None:
    assert not leaks(text_of_parts({"instruction": "Go.", "demonstrations": OWN}), DATA)
    assert not leaks(text_of_parts({"demonstrations": OWN}), DATA)
    assert leaks(text_of_parts({"instruction": TRAIN[3].input, "demonstrations": OWN}), DATA)
    assert leaks(text_of_parts({"instruction": "Go.", "demonstrations": f"as in {TRAIN[3].input}"}), DATA)


@pytest.mark.parametrize("named", ["test1", "dev1", "train1\nnone"])
def test_only_training_examples_may_be_named(named: str) -> None:
    data = Dataset("texts", TRAIN, DEV, TEST)
    with pytest.raises(UserError, match="which is no training example; name ids of the training split") as caught:
        searched({"instruction": "Go.", "demonstrations": named}, data=data, **BAYES)
    assert str(caught.value).count(". ") <= 1


@pytest.mark.parametrize("named", ["test1", 'train1\ndev1: "so"'])
def test_held_out_examples_are_refused_whatever_the_target(named: str) -> None:
    options: dict[str, Any] = {"data": Dataset("texts", TRAIN, DEV, TEST), **BAYES}
    options["target"] = lambda parts, example: "?"
    with pytest.raises(UserError, match="an example that is kept for after the search"):
        promptopt.optimize(
            start={"instruction": "Go.", "demonstrations": named}, budget=5, metric="exact-match", run=None, **options
        )


def test_texts_are_searched_where_there_are_some() -> None:
    with pytest.raises(UserError, match="For the part demonstrations take the optimizer demonstrations"):
        searched({"instruction": "Go.", "demonstrations": ""}, frozen=["instruction"], **BAYES)
    free = {"instruction": "Go.", "demonstrations": "As in the book."}
    result = promptopt.optimize(
        start=free,
        score=lambda parts: len(parts["demonstrations"]),
        frozen=["instruction"],
        budget=10,
        run=None,
        **BAYES,
    )
    assert "brief" in result.parts["demonstrations"]  # a function's part of that name is a text like any other


def test_a_prompt_with_a_held_out_example_is_not_even_asked_about() -> None:
    class Names:
        question, knows_parts = promptopt.Rate, True

        def begin(self, setup: Any, /) -> None:
            self.start = setup.start[0]
            self.left = [[promptopt.Rate(Prompt(self.start.text + name)) for name in ("train3", "test3")]]

        def ask(self) -> Any:
            return self.left.pop() if self.left else []

        def tell(self, answered: Any, /) -> None:
            assert [q.prompt.text[-6:] for q, _ in answered] == ["train3"]

        def best(self) -> Prompt:
            return Prompt(self.start.text + "test3")

    result = searched({"instruction": "Go.", "demonstrations": ""}, optimizer=Names())
    assert result.best.endswith("train3")
    assert any("kept for after the search" in what for what in result.counts)
