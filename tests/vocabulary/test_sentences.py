"""Where sentences end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.vocabulary.sentences import closed, sentence_ends


def cut(text: str) -> list[str]:
    ends = sentence_ends(text)
    return [text[begin:end].strip() for begin, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Answer politely.", "Never promise refunds."],
        ["Is it so?", "Yes!", "Then stop…", "Done"],
        ["Use e.g. the order number, i.e. eight digits, cf. Sec. 3 and No. 5.", "Stop."],
        ["Ask Dr. J. Smith of ACME Inc. about it.", "Wait."],
        ["Answer yes or no.", "Explain."],
        ['Say "I do not know. Please ask again." and stop.', "Nothing else."],
        ["Round to 3.14 or v1.2.", "Use two digits."],
        ["Be brief (at most two lines. Really.) and kind.", "Thanks."],
        ["Quote `a. B`.", "Then go on."],
        ["It costs 5 U.S. Dollars.", "Pay."],
        ["¿Qué hora es?", "¡Hola!", "Él vino."],
        ["**Never guess.**", "*Ask.*"],
        ["Version 2.", "3 words only."],
        ["One.", "two is small, so a sentence does not begin."],
    ],
)
def test_sentences_are_told_apart(sentences: list[str]) -> None:
    expected = sentences if sentences[0] != "One." else [" ".join(sentences)]
    assert cut(" ".join(sentences)) == expected
    assert cut("  ".join(sentences)) == (expected if len(expected) > 1 else ["  ".join(sentences)])


def test_sentences_without_spaces() -> None:
    assert cut("请简短回答。不要猜测！好吗？") == ["请简短回答。", "不要猜测！", "好吗？"]


@given(st.text())
def test_ends_ascend_to_the_end(text: str) -> None:
    ends = sentence_ends(text)
    assert ends[-1] == len(text)
    assert all(one < other for one, other in pairwise(ends))


@pytest.mark.parametrize("text", ["Yes.", "So?", 'He said "no."', "(Really!)", "好。", "**Never.**"])
def test_closed(text: str) -> None:
    assert closed(text)


@pytest.mark.parametrize("text", ["", "clearly", "as follows:", "one, two,", "3.1"])
def test_not_closed(text: str) -> None:
    assert not closed(text)
