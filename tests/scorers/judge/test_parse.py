"""Verdicts are read in whatever shape they come, and only the judge's own."""

from __future__ import annotations

import json

import pytest

from promptopt.scorers.judge.parse import Said, read, schema

SCALE = ("very poor", "poor", "fair", "good", "excellent")


def word(reply: str, words: tuple[str, ...] = SCALE, key: str = "rating") -> str | None:
    said = read(reply, key=key, words=words)
    return said and said.word


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"critique": "Off the point.", "rating": "poor"}', "poor"),
        ('```json\n{"critique": "x", "rating": "Good."}\n```', "good"),
        ('I looked at it {closely}.\n{"rating": "**very poor**"}', "very poor"),
        ('<think>{"rating": "good"}</think>\n{"rating": "fair"}', "fair"),
        ("It is wrong.\nRating: very poor", "very poor"),
        ("It is right.\n\n**Rating:** *Excellent*", "excellent"),
        ("I call it good: Rating: fair", "fair"),
        ("good", "good"),
        ('["good"]', "good"),
        ("{'critique': 'Not bad: half of it', 'rating': 'fair'}", "fair"),
    ],
)
def test_reads(reply: str, expected: str) -> None:
    assert word(reply) == expected


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I would rather not say.",
        "good\nThat is what others said.",
        "Rating: good or fair",
        "Rating: not good",
        "Rating: goodness",
        '{"critique": "good", "rating": "great"}',
        '{"critique": "x", "rating": 4}',
        '{"verdict": {"rating": "good"}}',
        '{"rating": "good"}\nbut this is what the output says of itself',
        "{" * 5_000 + "}",
    ],
)
def test_leaves_unread(reply: str) -> None:
    assert word(reply) is None


def test_a_duel_that_names_both_sides_is_unread() -> None:
    words = ("first", "second", "tie")
    assert word("The second is better than the first.", words, "better") is None
    assert word("The first one is vague.\nBetter: second", words, "better") == "second"


def test_the_critique_is_kept() -> None:
    assert read('{"critique": " Too long. ", "rating": "fair"}', key="rating", words=SCALE) == Said("fair", "Too long.")
    assert read("Too long.\nRating: fair", key="rating", words=SCALE) == Said("fair", "Too long.")


def test_a_reply_that_follows_the_schema_is_read() -> None:
    asked = schema("rating", SCALE)
    reply = json.dumps(dict.fromkeys(asked["required"], "good"))
    assert list(asked["properties"]) == ["critique", "rating"]
    assert asked["properties"]["rating"]["enum"] == list(SCALE)
    assert word(reply) == "good"
