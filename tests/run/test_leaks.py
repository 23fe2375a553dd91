"""The guard against training text in the best prompt."""

from __future__ import annotations

import pytest

from promptopt.core import Dataset, Example
from promptopt.run.leaks import SHARED_WORDS, leaks

PETS = Dataset("pets", train=(Example("1", object(), "Maine Coon"),), classes=("Maine Coon", "pug", "C++", "?"))
SUMS = Dataset("sums", train=tuple(Example(f"q{i}", f"Tom has {i} apples and eats two of them", i) for i in range(9)))


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a photo of a {}", None),
        ("a photo of a MAINE coon, a {}", "Maine Coon"),
        ("a maine or a coon {}", None),
        ("a pug's {}", "pug"),
        ("a pugnacious {}", None),
        ("pug maine coon {}", "Maine Coon, pug"),
        ("a photo of a {}\npug: a pug, smaller than a Maine Coon\nmaine coon: a Maine Coon", None),
        ("a pug's {}\nMaine Coon: a cat", "pug"),
    ],
)
def test_class_names_are_found_as_whole_words(prompt: str, named: str | None) -> None:
    assert leaks(prompt, PETS) == ([f"The best prompt names classes of the task: {named}."] if named else [])


def test_a_long_class_name_before_its_texts_is_no_quotation() -> None:
    name = "a digit on a seven segment display"
    data = Dataset("shown", train=(Example("1", object(), name),), classes=(name, "pug"))
    assert leaks(f"{{}}\n{name}: red strokes, a digit on a seven segment display", data) == []


def test_the_lines_of_a_text_task_are_read_as_they_are() -> None:
    data = Dataset("sums", train=SUMS.train, classes=("q",))
    assert leaks("q: Tom has 3 apples and eats two of them", data) != []


def test_five_words_in_a_row_are_a_quotation() -> None:
    text = "Tom has 3 apples and eats two of them".split()
    for first in range(len(text) - SHARED_WORDS + 1):
        quoted = " ".join(text[first : first + SHARED_WORDS])
        [warning] = leaks(f"Think. For example, {quoted.upper()}, is asked often.", SUMS)
        assert "q3" in warning
        assert leaks(" ".join(quoted.split()[:-1]), SUMS) == []


def test_at_most_five_examples_are_named() -> None:
    [warning] = leaks("apples and eats two of them", SUMS)
    assert warning.count("q") == 5
    assert "q0, q1, q2, q3, q4" in warning


def test_answers_count_too_and_test_examples_do_not() -> None:
    example = Example("x", "short", "the answer is quite long here")
    assert leaks("the answer is quite long", Dataset("d", train=(example,)))
    assert not leaks("the answer is quite long", Dataset("d", train=(), test=(example,)))


@pytest.mark.parametrize("prompt", ["", "{}", "…", "日本語のプロンプト"])
def test_nothing_leaks_from_other_texts(prompt: str) -> None:
    assert leaks(prompt, SUMS) == leaks(prompt, PETS) == []


TEXT = "the cat sat on the mat today"


@pytest.mark.parametrize("given", [{"passage": TEXT, "question": "who?"}, {"documents": ["one", TEXT]}, ["one", TEXT]])
def test_inputs_of_several_fields_are_looked_at(given: object) -> None:
    data = Dataset("d", train=(Example("x", given, "yes"),))
    [warning] = leaks(f"For example: {TEXT}.", data)
    assert "x" in warning
    assert leaks("Answer who sat on the mat.", data) == []


def test_texts_with_classes_are_looked_at_and_may_name_their_answers() -> None:
    data = Dataset("d", train=(Example("x", TEXT, "True"),), classes=("True", "False", "Uncertain"))
    assert leaks("Say True, False or Uncertain.", data) == []
    [warning] = leaks(f"{TEXT}: True. Say True, False or Uncertain.", data)
    assert "shares" in warning
