"""Numbers and option letters in replies as models write them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.core import Example, Mark
from promptopt.errors import UserError
from promptopt.metrics.answers import MultipleChoice, Numeric, number_in, picks


def value(metric: Any, output: Any, label: Any) -> float | None:
    mark = metric([output], [Example("e", None, label)])[0]
    return mark.value if isinstance(mark, Mark) else mark


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("16 - 3 - 4 = 9 eggs.\nShe makes $18 a day.\n#### 18", "18"),
        ("#### 42 apples, out of 50", "42"),
        ("#### none, so 7", "7"),
        ("3 #### unknown", "3"),
        ("The answer is 1,234.50.", "1234.5"),
        ("**$70,000**", "70000"),
        ("-5", "-5"),
        ("−7", "-7"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("x = -3", "-3"),
        ("16-3", "3"),
        ("it is 5 - 3", "3"),
        ("- 7 apples", "7"),
        ("50%", "50"),
        ("€ 5", "5"),
        (".5", "0.5"),
        ("1.5e-3", "0.0015"),
        ("10kg", "10"),
        ("\\boxed{42}", "42"),
        ("3.", "3"),
        ("3.\n4", "4"),
        ("1,2,3", "3"),
        ("12345678901234567891", "12345678901234567891"),
    ],
)
def test_the_last_number_is_read(text: str, number: str) -> None:
    assert number_in(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "forty-two", "H2O", "v1.2", "1e999999999", "No."])
def test_a_reply_without_a_number_has_failed_with_a_reason(text: str) -> None:
    assert Numeric()([text], [Example("e", None, "42")]) == [Mark(None, f"no number: {text!r}", failed=True)]


@pytest.mark.parametrize(
    ("output", "label", "tolerance", "expected"),
    [
        ("So it is 18.00 dollars", "worked out\n#### 18", 0, 1),
        ("So it is 19", "worked out\n#### 18", 0, 0),
        ("12345678901234567891", "12345678901234567890", 0, 0),
        ("0.333", "0.3333", 0, 0),
        ("0.333", "0.3333", 0.001, 1),
        ("0.3", 0.1 + 0.2, 1e-9, 1),
        ("7", [5, 7], 0, 1),
        (7, "7", 0, 1),
        (None, "7", 0, None),
    ],
)
def test_numbers_are_compared_exactly_or_within_the_tolerance(
    output: Any, label: Any, tolerance: float, expected: float | None
) -> None:
    assert value(Numeric(tolerance=tolerance), output, label) == expected


def test_a_wrong_number_is_explained() -> None:
    assert Numeric()(["41 or so"], [Example("e", None, "so\n#### 42")]) == [Mark(0.0, "expected '42', got '41'")]


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**12), max_value=10**12))
def test_numbers_survive_being_written(number: Decimal) -> None:
    assert number_in(f"The answer is {number:,f}.") == number
    assert number_in(f"It costs ${number:f}") == number


@pytest.mark.parametrize("tolerance", [-1.0, float("inf"), float("nan")])
def test_a_bad_tolerance_is_an_error(tolerance: float) -> None:
    with pytest.raises(UserError, match="tolerance is"):
        Numeric(tolerance=tolerance)


def test_a_label_without_a_number_is_an_error() -> None:
    with pytest.raises(UserError, match="example 'e' has the label 'forty'"):
        value(Numeric(), "40", "forty")


REPLIES = """
(B) | B | b | b) | B. | [B] | **B** | `B` | B) Paris | B: Paris | B. Because (A) is wrong | (b) foo | B, because
The answer is B | The answer is (B). | the answer is: **(B)** | Answer: (b) because | **Answer:** B
**Answer: B** | answer is b | Final answer: B | So the answer is B because A is wrong
The answer is A. Wait, the answer is B. | The correct option is (C). No: the correct option is (B).
The correct answer is option B: Paris | I would go with B. | The answer is $\\boxed{B}$ | $\\boxed{\\text{B}}$
<answer>B</answer> | The correct choice is “B” | Answer - B | The best answer here is therefore (B).
I think it's B | The answer is I think B | Answer: A\\nCorrection. Answer: B
"""


@pytest.mark.parametrize("reply", [one.strip() for line in REPLIES.split("\n")[1:-1] for one in line.split(" | ")])
def test_the_pick_is_found_in_real_replies(reply: str) -> None:
    assert picks(reply.replace("\\n", "\n")) == {"B"}


@pytest.mark.parametrize(
    "reply",
    [
        "Answer:\n\n(B)\n",
        "(A) is tempting.\n(B)",
        "A. apple\nB. bear\n\nThe answer is B",
        "(B)\n\nExplanation: (A) is wrong",
        "My answer: B\n\nLet me explain: option A fails.",
    ],
)
def test_the_pick_is_found_across_lines(reply: str) -> None:
    assert picks(reply) == {"B"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "no option: ''"),
        ("A dog", "no option"),
        ("I like dogs", "no option"),
        ("the answer is a dog", "no option"),
        ("Not B.", "no option"),
        ("It is not (B).", "no option"),
        ("Answer: None", "no option"),
        ("A or B", "several options: A, B in"),
        ("The answer is A or B", "several options: A, B in"),
        ("(A) x\n(B) y", "several options: A, B in"),
        ("I choose (B), since (A) is wrong", "several options: A, B in"),
    ],
)
def test_a_reply_without_a_clear_pick_has_failed_with_a_reason(reply: str, reason: str) -> None:
    mark = MultipleChoice()([reply], [Example("e", None, "B")])[0]
    assert isinstance(mark, Mark)
    assert (mark.value, mark.failed) == (None, True)
    assert mark.feedback.startswith(reason)


@pytest.mark.parametrize("label", ["B", "(B)", "b", "B.", "B) Paris", ["A", "B"], "(B) Paris\nis it"])
def test_labels_are_letters_in_any_dress(label: Any) -> None:
    assert value(MultipleChoice(), "The answer is (B)", label) == 1
    assert value(MultipleChoice(), "The answer is (C)", label) == 0


def test_a_wrong_pick_is_explained_and_none_is_unscored() -> None:
    marks = MultipleChoice()(["(C)", None], [Example("1", None, "(B)"), Example("2", None, "(B)")])
    assert marks == [Mark(0.0, "expected 'B', got 'C'"), None]


def test_a_label_that_is_no_letter_leaves_its_example_unscored() -> None:
    marks = MultipleChoice()(["(C)", "(C)"], [Example("1", None, "Monsters, Inc"), Example("2", None, "(C)")])
    assert marks == [Mark(None, "the label 'Monsters, Inc' is no option's letter"), 1.0]
