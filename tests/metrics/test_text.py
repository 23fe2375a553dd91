"""Exact match, normal forms, F1, the tasks of instruction induction, regular expressions."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.core import Example, Mark
from promptopt.errors import UnknownName, UserError
from promptopt.metrics.text import (
    INDUCTION_TASKS,
    Contains,
    ExactMatch,
    Match,
    Regex,
    SetF1,
    SetMatch,
    TextMetric,
    TokenF1,
    instruction_induction,
    instruction_induction_form,
    squad,
)
from promptopt.recipe.build import call

WORDS: list[TextMetric] = [ExactMatch(), Match(), Contains(), SetMatch(), SetF1(), TokenF1()]


def value(metric: TextMetric, output: Any, label: Any) -> float | None:
    mark = metric([output], [Example("e", None, label)])[0]
    return mark.value if isinstance(mark, Mark) else mark


def feedback(metric: TextMetric, output: Any, label: Any) -> str:
    mark = metric([output], [Example("e", None, label)])[0]
    assert isinstance(mark, Mark)
    return mark.feedback


# ── Normal forms ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("The  Cat, and a Hat!", "cat and hat"),
        ("don't", "dont"),
        ("another theme", "another theme"),
        ("A", "a"),
        ("The.", "the"),
        ("?!", "?!"),
        (" \n ", ""),
    ],
)
def test_squad_drops_case_punctuation_articles_and_white_space(text: str, form: str) -> None:
    assert squad(text) == form


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("\n Cat and dog.  They run.\nMore", "cat dog"),
        ("Sentence 1: The sun-rise", "the sun rise"),
        ("3.5", "3"),
        ("0 - definitely not", "0 definitely not"),
        ("cat .", "cat"),
        ("sandy", "sandy"),
    ],
)
def test_instruction_induction_keeps_the_first_sentence_and_its_articles(text: str, form: str) -> None:
    assert instruction_induction_form(text) == form


# ── Values ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("metric", "output", "label", "expected"),
    [
        (ExactMatch(), " Paris\n", "Paris", 1),
        (ExactMatch(), "paris", "Paris", 0),
        (ExactMatch(), "", "Paris", 0),
        (ExactMatch(), 42, "42", 1),
        (ExactMatch(), "42", 42, 1),
        (Match(), "The Paris.", "paris", 1),
        (Match(), "the", "A", 0),
        (Match(), "Paris, France", "paris", 0),
        (Contains(), "It is Paris, I think", "paris", 1),
        (Contains(), "parisian", "paris", 0),
        (Contains(), "unparis", "paris", 0),
        (Contains(), "c++ or c", "c", 1),
        (Contains(), "anything", "", 0),
        (SetMatch(), "cat dog", "dog, cat, dog", 1),
        (SetMatch(), "cat", "dog, cat", 0),
        (SetF1(), "cat cat cow", "dog, cat", 0.5),
        (TokenF1(), "cat cat cow", "dog, cat", 0.4),
        (TokenF1(), "", "", 1),
        (TokenF1(), "", "dog", 0),
        (TokenF1(), "x y", ["a b", "x z", "q"], 0.5),
        (Match(), "b", ["a", "b"], 1),
        (Match(normal="instruction-induction"), "Paris. It is in France", "paris", 1),
        (Match(normal="instruction-induction"), "the cat", "cat", 0),
    ],
)
def test_values(metric: TextMetric, output: Any, label: Any, expected: float) -> None:
    assert value(metric, output, label) == pytest.approx(expected)


@pytest.mark.parametrize("metric", WORDS)
def test_none_is_unscored_and_order_is_kept(metric: TextMetric) -> None:
    examples = [Example("1", None, "x"), Example("2", None, "y"), Example("3", None, "z")]
    first, middle, last = metric(["x", None, "q"], examples)
    assert first == 1
    assert middle is None
    assert last == Mark(0.0, "expected 'z', got 'q'")


@given(st.text(), st.text())
def test_values_lie_between_0_and_1_and_a_text_matches_itself(output: str, label: str) -> None:
    for metric in WORDS:
        found = value(metric, output, label)
        assert found is not None
        assert 0 <= found <= 1
        assert value(metric, label, label) == 1


def test_f1_is_symmetric_and_orders_with_overlap() -> None:
    assert value(TokenF1(), "a1 b1 c1", "a1 b1") == value(TokenF1(), "a1 b1", "a1 b1 c1") == pytest.approx(0.8)


def test_feedback_is_one_bounded_line() -> None:
    text = feedback(Match(), "no\n" * 1000, ["yes " * 1000, "y"])
    assert text.startswith("expected 'yes yes")
    assert "(or 1 other)" in text
    assert "\n" not in text
    assert len(text) <= 200


@pytest.mark.parametrize("label", [None, [], [None], {"a": 1}])
def test_a_label_that_is_no_reference_is_an_error(label: Any) -> None:
    with pytest.raises(UserError, match="example 'e' has the label"):
        value(Match(), "x", label)


def test_an_output_that_no_target_of_texts_gives_is_an_error() -> None:
    with pytest.raises(UserError, match="measures text, but the target gave bytes"):
        value(Match(), b"x", "x")


@pytest.mark.parametrize(("output", "what"), [(["x"], "a list"), ({"x": 1}, "an object")])
def test_other_json_than_text_has_failed(output: Any, what: str) -> None:
    (mark,) = Match()([output], [Example("e", None, "x")])
    assert mark == Mark(None, f"no text: {what} in JSON", failed=True)


# ── Instruction induction ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("task", "output", "label", "expected"),
    [
        ("antonyms", "Hot.", "hot", 1),
        ("antonyms", "not hot", "hot", 0),
        ("synonyms", "it means rest", "rest", 1),
        ("synonyms", "restless", "rest", 0),
        ("taxonomy_animal", "spider and chicken", "chicken, spider", 1),
        ("taxonomy_animal", "spider", "chicken, spider", 0),
        ("orthography_starts_with", "the to", "to the", 1),
        ("common_concept", "used for repairs", ["help repair something.", "used for repairs."], 1),
        ("common_concept", "used here", ["used for repairs.", "other"], 0.4),
        ("informal_to_formal", "Please call upon arrival.", "Please call upon your arrival.", 8 / 9),
        ("translation_en-de", "Die Katze", ["katze", "die katze"], 1),
    ],
)
def test_each_task_has_the_metric_of_the_paper(task: str, output: str, label: Any, expected: float) -> None:
    assert value(instruction_induction(task=task), output, label) == pytest.approx(expected)


def test_there_are_24_tasks_of_the_paper_and_8_of_instructzero() -> None:
    assert len(INDUCTION_TASKS) == 32


def test_a_misspelt_task_is_told_the_closest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'taxonomy_animal'"):
        instruction_induction(task="taxonomy_animals")


# ── Regular expressions ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_pattern_alone_is_found_or_not() -> None:
    pytest.importorskip("regex")
    metric = Regex(pattern=r"(?i)^yes\b")
    assert value(metric, "Yes, it is", "ignored") == 1
    assert value(metric, "No", "ignored") == 0
    assert "is not found in 'No'" in feedback(metric, "No", "ignored")


@pytest.mark.parametrize("group", [1, "answer"])
def test_a_group_is_compared_with_the_label_and_without_it_there_is_no_answer(group: int | str) -> None:
    pytest.importorskip("regex")
    metric = Regex(pattern=r"Result: (?P<answer>.*)", group=group)
    assert value(metric, "so\nResult: 7 ", ["8", "7"]) == 1
    assert value(metric, "Result: 9", "7") == 0
    assert value(metric, "nine", "9") is None
    assert "no answer" in feedback(metric, "nine", "9")


def test_an_endless_search_is_given_up_and_has_failed() -> None:
    pytest.importorskip("regex")
    started = time.monotonic()
    metric = Regex(pattern=r"^(a|aa)+$", seconds=0.2)
    assert value(metric, "a" * 60 + "!", "") is None
    (mark,) = metric(["a" * 60 + "!"], [Example("e", None, "")])
    assert mark == Mark(None, "too slow: '^(a|aa)+$' was sought for over 0.2 s", failed=True)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "("}, "is not a regular expression"),
        ({"pattern": "(a)", "group": 2}, "has no group 2"),
        ({"pattern": "(a)", "group": "b"}, "has no group 'b'"),
        ({"pattern": 5}, "valid string"),
        ({}, "pattern must be given"),
    ],
)
def test_a_bad_recipe_is_an_error(options: dict[str, Any], message: str) -> None:
    pytest.importorskip("regex")
    with pytest.raises(UserError, match=message):
        call(Regex, options, where="metric")


def test_recipes_reach_the_normal_form() -> None:
    assert value(call(Match, {"normal": "instruction-induction"}, where="metric"), "the cat", "cat") == 0
    with pytest.raises(UserError, match="'squad' or 'instruction-induction'"):
        call(Match, {"normal": "none"}, where="metric")
