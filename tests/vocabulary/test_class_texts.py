"""Prompts with texts of single classes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.errors import UserError
from promptopt.vocabulary.class_texts import ClassLines, ClassTexts

CLASSES = ("boxer", "Maine_Coon", "tie: clip-on", "tie", "pug")
LINES = ClassLines(CLASSES)
words = st.text("ab :{", min_size=1).map(lambda text: " ".join(text.split())).filter(bool)


def refused(prompt: str, lines: ClassLines = LINES) -> str:
    with pytest.raises(UserError) as caught:
        lines.read(prompt)
    return str(caught.value)


def test_templates_and_texts_of_classes() -> None:
    texts = LINES.read("a photo of a {}\n\nboxer: a tall dog\n{}, seen from above\nboxer: a photo of a boxer dog\n")
    assert texts == ClassTexts(
        ("a photo of a {}", "{}, seen from above"), {"boxer": ("a tall dog", "a photo of a boxer dog")}
    )
    own = ["a tall dog", "a photo of a boxer dog"]
    assert texts.of("boxer") == ["a photo of a boxer", "boxer, seen from above", *own]
    assert texts.of("pug") == ["a photo of a pug", "pug, seen from above"]


@pytest.mark.parametrize(
    ("line", "name", "text"),
    [
        ("Maine_Coon: x", "Maine_Coon", "x"),
        ("maine  coon : x: y", "Maine_Coon", "x: y"),
        ("tie: red", "tie", "red"),
        ("tie: clip-on: red", "tie: clip-on", "red"),
        ("TIE: Clip-On: red", "tie: clip-on", "red"),
        ("pug:x", "pug", "x"),
        ("  pug: pug: x ", "pug", "pug: x"),
    ],
)
def test_the_class_of_a_line(line: str, name: str, text: str) -> None:
    assert LINES.read("a {}\n" + line).own == {name: (text,)}


@settings(max_examples=30)
@given(
    st.lists(words, max_size=3),
    st.dictionaries(st.sampled_from(CLASSES), st.lists(words, min_size=1, max_size=2).map(tuple)),
)
def test_reading_gives_back_what_was_written(frames: list[str], own: dict[str, tuple[str, ...]]) -> None:
    templates = tuple(f"{frame} {{}}" for frame in frames if not LINES._begins(frame))
    own = {name: own[name] for name in CLASSES if name in own}
    if not any(":" in text for text in own.get("tie", ())) and (templates or len(own) == len(CLASSES)):
        assert LINES.read(ClassTexts(templates, own).text) == ClassTexts(templates, own)


def test_without_a_template_every_class_needs_a_text() -> None:
    whole = "\n".join(f"{name}: x" for name in CLASSES)
    assert LINES.read(whole).templates == ()
    assert refused("pug: x\nboxer: y") == (
        "there is no text for 'Maine_Coon', 'tie: clip-on', 'tie'; add a line for each, or a template with one {} for "
        "all."
    )
    many = ClassLines([f"c{i}" for i in range(30)])
    assert "'c10' and 19 more" in refused("c0: x", many)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "the prompt is empty"),
        ("a photo", "'a photo' has no {}; a template needs one {}"),
        ("boxr: x", "'boxr' is no class of the task. Near is 'boxer'."),
        ("maine con: x", "Near is 'Maine_Coon'"),
        ("zzz: x", "The classes are 'boxer', 'Maine_Coon'"),
        ("pug:", "says nothing of its class"),
        ("{} or {}", "2 times {}"),
        ("pug: a {} here", "begins with the class 'pug' and has a {}"),
    ],
)
def test_lines_that_are_neither(line: str, said: str) -> None:
    assert said in refused(line)


def test_names_that_differ_in_case_alone_are_written_exactly() -> None:
    lines = ClassLines(["Turkey", "turkey"])
    assert lines.read("{}\nTurkey: a land\nturkey: a bird").own == {"Turkey": ("a land",), "turkey": ("a bird",)}
    assert "fits 'Turkey', 'turkey'; write the name exactly" in refused("TURKEY: x", lines)


def test_a_prompt_without_texts_of_classes() -> None:
    assert LINES.without("a {}\npug: x\nzzz: y\n\nMaine coon: z") == "a {}\nzzz: y\n"
