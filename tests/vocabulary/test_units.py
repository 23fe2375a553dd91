"""Texts as whole units: nothing that a search does to a text cuts a sentence or spoils its form."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.vocabulary.blocks import blocks
from promptopt.vocabulary.units import Units, bare

RULES = """You are a support agent for ACME Corp. Answer the customer's question politely.

Rules:
1. Never promise refunds.
2. Use the order number, e.g. "No. 12345. A".
3. Keep it short.

```
code here.  Two.
```

Question: {input}
Answer:"""
PHRASES = ["Answer in one word.", "Think step by step. Then answer.", "Quote the policy.", "Be brief", "clearly"]

SENTENCES = [
    "Never promise refunds.",
    "Answer the customer's question politely.",
    'Say "I do not know. Ask again." where you are not sure.',
    "Use e.g. the order number (cf. Sec. 3).",
    "Is it urgent?",
    "Be brief and kind.",
    'Write "A-12. B" - and no more.',
    "Think step by step before you answer.",
    "answer the question",
    "请简短回答。",
]
FIXED = [
    "# Role",
    "Question: {input}",
    "Labels:",
    "```\nx = 1.  y = 2.\n```",
    "| a | b |\n|---|---|",
    "<doc>\nA. B.\n</doc>",
]
MARKS = ["", "- ", "* ", "1. ", "2) "]
lines = st.one_of(
    st.tuples(st.sampled_from(MARKS), st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=3).map(" ".join)).map(
        "".join
    ),
    st.sampled_from(FIXED),
)
texts = st.lists(st.tuples(st.sampled_from(["\n", "\n\n"]), lines), min_size=1, max_size=7).map(
    lambda parts: "".join(gap + line for gap, line in parts).strip()
)
given_phrases = st.lists(st.sampled_from([*PHRASES, *SENTENCES, "- Stop.", "Q: two?\nA: 2"]), max_size=5, unique=True)
keeps = st.sampled_from(["all", "rules", "structure"])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def changed(units: Units, texts: list[str], *, seed: int, moves: int) -> str:
    """A text after some random changes, read again after each, as a search does."""
    draw, text = rng(seed), texts[0]
    for _ in range(moves):
        parts = units.split(text)
        move, free = int(draw.integers(4)), units.free(parts)
        if move == 0 and free and len(parts) > 1:
            units.drop(parts, free[int(draw.integers(len(free)))])
        if move == 1 and units.all:
            units.insert(parts, units.all[int(draw.integers(len(units.all)))], draw)
        if move == 2:
            units.move(parts, draw)
        if move == 3:
            parts = units.cross(parts, units.split(texts[-1]), draw)
        text = units.join(parts)
    return text


# ── Properties ────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.text() | texts, given_phrases)
def test_the_units_of_a_text_are_the_text(text: str, phrases: list[str]) -> None:
    assert "".join(Units(phrases).split(text)) == text


@given(st.lists(texts, min_size=1, max_size=2), given_phrases, keeps, st.integers(0, 999), st.integers(1, 6))
def test_every_unit_of_a_changed_text_is_whole(
    starts: list[str], phrases: list[str], keep: str, seed: int, moves: int
) -> None:
    units = Units(phrases, start=starts, keep=keep)
    known = {bare(unit) for text in starts for unit in units.split(text)} | {bare(phrase) for phrase in phrases}
    text = changed(units, starts, seed=seed, moves=moves)
    assert {bare(unit) for unit in units.split(text)} <= known
    sentences = {bare(sentence) for one in known for sentence in Units([]).split(one)}
    for unit in Units([], start=starts).split(text):  # read by one who does not know the phrases
        assert bare(unit) in known | sentences or _spelled(bare(unit), known | sentences)


def _spelled(text: str, known: set[str]) -> bool:
    """Whether known units and the white space between them spell a text, as where fragments stand in a line."""
    return not text or any(
        text == one or (text.startswith(one) and text[len(one)].isspace() and _spelled(text[len(one) + 1 :], known))
        for one in known
    )


@given(texts, given_phrases, st.integers(0, 999), st.integers(1, 6))
def test_what_is_fixed_stays_in_its_order(text: str, phrases: list[str], seed: int, moves: int) -> None:
    units = Units(phrases, start=[text])
    parts = units.split(text)
    free = set(units.free(parts))
    fixed = [bare(part) for place, part in enumerate(parts) if place not in free]
    left = iter([bare(unit) for unit in units.split(changed(units, [text], seed=seed, moves=moves))])
    assert all(one in left for one in fixed)


@given(
    st.lists(st.sampled_from(SENTENCES[:7]), min_size=2, max_size=6),
    given_phrases,
    st.integers(0, 999),
    st.integers(1, 6),
)
def test_numbers_are_consecutive(items: list[str], phrases: list[str], seed: int, moves: int) -> None:
    text = "Rules:\n" + "\n".join(f"{n}. {item}" for n, item in enumerate(items, 1))
    units = Units(phrases, start=[text], keep="structure")
    numbers = [int(n) for n in re.findall(r"^(\d+)\. ", changed(units, [text], seed=seed, moves=moves), re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


@given(
    st.lists(st.sampled_from(SENTENCES[:7]), min_size=2, max_size=5),
    st.lists(st.sampled_from(PHRASES[:4])),
    st.integers(0, 999),
)
def test_lines_of_prose_stay_lines(sentences: list[str], phrases: list[str], seed: int) -> None:
    units = Units(phrases, start=["\n".join(sentences)], keep="all")
    text = changed(units, ["\n".join(sentences)], seed=seed, moves=3)
    assert [line for line in text.split("\n") if line in sentences] == sentences


# ── What a text is made of ────────────────────────────────────────────────────────────────────────────────────────


def test_a_prompt_as_people_write_it() -> None:
    assert Units(PHRASES, start=[RULES]).split(RULES) == [
        "You are a support agent for ACME Corp.",
        " Answer the customer's question politely.",
        "\n\nRules:",
        "\n1. Never promise refunds.",
        '\n2. Use the order number, e.g. "No. 12345. A".',
        "\n3. Keep it short.",
        "\n\n```\ncode here.  Two.\n```",
        "\n\nQuestion: {input}",
        "\nAnswer:",
    ]


@pytest.mark.parametrize(("keep", "places"), [("all", []), ("rules", [0, 1]), ("structure", [0, 1, 3, 4, 5])])
def test_keep_says_what_may_go(keep: str, places: list[int]) -> None:
    units = Units(PHRASES, start=[RULES], keep=keep)
    assert units.free(units.split(RULES)) == places


def test_a_rule_that_is_given_as_a_phrase_may_go() -> None:
    units = Units(["Keep it short."], start=[RULES])
    assert units.contents(RULES)[2:] == ["Keep it short."]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a line that is wrapped at the width of an editor, as people do\nin files. Then one more.", 2),
        ("- an item\n  with more below it\n  - and a smaller one\n- another", 2),
        ("- an item that goes\non in the next line\n- another", 2),
        ("<rules>\nA. B.\n\nC.\n</rules>\nDone.", 2),
        ("> quoted. Twice.\n> More.\n\nDone.", 2),
        ('{\n  "a": 1\n}\nDone.', 2),
        ("Code:\n\n    x = 1\n    y = 2\nDone.", 3),
        ("**Rules**\nOne. Two.", 3),
        ("answer the question\nbe brief", 1),
        ("Answer the question\nBe brief", 2),
        ("~~~\nnever closed. Two.", 1),
        ("", 0),
        ("  \n ", 1),
    ],
)
def test_what_belongs_together(text: str, count: int) -> None:
    assert len(Units([]).split(text)) == count


def test_blocks_say_what_is_prose() -> None:
    found = [
        (block, prose) for _, block, prose in blocks("# A\nOne. Two.\n- b\n\nQ: x\nA: y\nDone.", known=["Q: x\nA: y"])
    ]
    assert found == [("# A", False), ("One. Two.", True), ("- b", False), ("Q: x\nA: y", False), ("Done.", True)]


def test_a_phrase_that_begins_a_sentence_cuts_nothing() -> None:
    assert Units(["Be brief", "and kind."]).split("Stop. Be brief and very kind.") == [
        "Stop.",
        " Be brief and very kind.",
    ]


def test_phrases_that_follow_one_another_are_told_apart() -> None:
    units = Units(PHRASES, start=["answer the question"])
    assert units.split("answer the question clearly") == ["answer the question", " clearly"]
    assert units.split("Quote the policy. Think step by step. Then answer. Stop.") == [
        "Quote the policy.",
        " Think step by step. Then answer.",
        " Stop.",
    ]


def test_a_start_that_given_words_spell_is_those_words() -> None:
    assert Units(["use", "the", "logic"], start=["use the logic"]).split("use the logic") == ["use", " the", " logic"]


@pytest.mark.parametrize(
    ("unit", "content"),
    [(' Write "A-12. B" - no more.', 'Write "A-12. B" - no more.'), ("\n2. x - y", "x - y"), ("\n  * 3. x", "3. x")],
)
def test_bare_takes_off_the_mark_of_a_list_and_nothing_else(unit: str, content: str) -> None:
    assert bare(unit) == content


# ── Changes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def inserted(text: str, new: str) -> set[str]:
    """Every text that inserting a phrase can give."""
    found = set()
    for seed in range(40):
        units = Units([new], start=[text])
        parts = units.split(text)
        units.insert(parts, new, rng(seed))
        found.add(units.join(parts))
    return found


@pytest.mark.parametrize(
    ("text", "new", "after"),
    [
        ("One. Two.", "New.", {"New. One. Two.", "One. New. Two.", "One. Two. New."}),
        ("One.\nTwo.", "New.", {"New.\nOne.\nTwo.", "One.\nNew.\nTwo.", "One.\nTwo.\nNew."}),
        ("One.\n\nTwo.", "New.", {"New. One.\n\nTwo.", "One. New.\n\nTwo.", "One.\n\nTwo. New."}),
        ("answer it", "clearly", {"answer it clearly", "clearly answer it"}),
        ("Answer it.", "Be brief", {"Answer it.\nBe brief", "Be brief\nAnswer it."}),
        (
            "Rules:\n- a\n- b",
            "New.",
            {
                "New.\n\nRules:\n- a\n- b",
                *(f"Rules:\n{x}" for x in ("- New.\n- a\n- b", "- a\n- New.\n- b", "- a\n- b\n- New.")),
            },
        ),
        ("1) a\n\n2) b", "New.", {"1) New.\n\n2) a\n\n3) b", "1) a\n\n2) New.\n\n3) b", "1) a\n\n2) b\n\n3) New."}),
        ("- a", "* New.", {"- New.\n- a", "- a\n- New."}),
        ("# Role\n\nBe kind.", "New.", {"# Role\n\nNew. Be kind.", "# Role\n\nBe kind. New."}),
        ("Text: {input}\nLabel:", "New.", {"New.\n\nText: {input}\nLabel:"}),
        ("Say one of:\nyes, no", "New.", {"New.\n\nSay one of:\nyes, no", "Say one of:\nyes, no\nNew."}),
        ("One.\n", "New.", {"New. One.\n", "One. New.\n"}),
        ("请简短回答。", "不要猜测。", {"不要猜测。请简短回答。", "请简短回答。不要猜测。"}),
        ("- a\n- b", "Q: x\nA: y", {"Q: x\nA: y\n- a\n- b", "- a\n- b\nQ: x\nA: y"}),
        ("", "New.", {"New."}),
    ],
)
def test_a_phrase_comes_in_where_it_reads_well(text: str, new: str, after: set[str]) -> None:
    assert inserted(text, new) == after


@pytest.mark.parametrize(
    ("text", "place", "after"),
    [
        ("One. Two. Three.", 1, "One. Three."),
        ("One.\nTwo. Three.", 1, "One.\nThree."),
        ("One. Two.\n\nThree.", 0, "Two.\n\nThree."),
        ("One.\n\nTwo.\nThree.", 1, "One.\n\nThree."),
        ("1. a\n2. b\n3. c\n\n1. d", 1, "1. a\n2. c\n\n1. d"),
        ("One. Two.", 1, "One."),
    ],
)
def test_a_unit_goes_and_the_line_break_stays(text: str, place: int, after: str) -> None:
    units = Units([], start=[text], keep="structure")
    parts = units.split(text)
    units.drop(parts, place)
    assert units.join(parts) == after


def test_a_move_keeps_everything() -> None:
    units = Units(PHRASES, start=["One. Two. Three."])
    found = set()
    for seed in range(30):
        parts = units.split("One. Two. Three.")
        units.move(parts, rng(seed))
        found.add(units.join(parts))
    assert len(found) > 3
    assert {tuple(sorted(text.split())) for text in found} == {("One.", "Three.", "Two.")}


def test_crossing_exchanges_what_is_not_shared() -> None:
    units = Units(["A.", "B.", "C."], start=["Stay."], keep="all")
    children = {units.join(units.cross(units.split("Stay. A. B."), units.split("Stay. C."), rng(s))) for s in range(60)}
    assert all("Stay." in child for child in children)
    assert {"A." in child for child in children} == {"B." in child for child in children} == {True, False}
    assert {"C." in child for child in children} == {True, False}
