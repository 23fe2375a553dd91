"""Templates or texts, and what may be said in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from promptopt.errors import UserError
from promptopt.testing import FakeSetup
from promptopt.vocabulary import Vocabulary, is_template, vocabulary
from promptopt.vocabulary.phrases import Phrases
from promptopt.vocabulary.units import Units


def clip(text: str) -> str | None:
    return None if text.count("{}") == 1 else "one {}"


def classes(text: str) -> str | None:
    """Takes templates, and lines for the class dog beside them or alone."""
    lines = text.splitlines()
    return None if lines and all(line.count("{}") == 1 or line.startswith("dog: ") for line in lines) else "no"


def chat(text: str) -> str | None:
    return None if text.strip() else "empty"


def function(text: str) -> str | None:
    return None


@pytest.mark.parametrize(
    ("start", "target", "template"),
    [
        (["a photo of a {}"], clip, True),
        (["a photo of a {}", "{}"], clip, True),
        (["a photo of a {}\\na scan of a {}\\n"], function, True),
        (["a photo of a {}"], function, True),
        (["Return {} where nothing fits."], chat, False),
        (["Answer politely."], chat, False),
        (["Answer politely."], function, False),
        (["a photo of a {}", "a photo"], function, False),
        (["a photo of a {}\\ndog: brown"], classes, True),
        (["dog: brown"], classes, False),
        (["a photo of a {}\\ndog: brown"], function, False),
        (["Translate:\\n{}"], clip, False),
        (["Say {} and {}."], function, False),
        ([], clip, False),
    ],
)
def test_the_start_and_the_target_say_what_prompts_are(
    start: list[str], target: Callable[[str], str | None], template: bool
) -> None:
    setup = FakeSetup(start=[text.replace("\\n", "\n") for text in start], problem_with=target)
    assert is_template(setup) == template


def test_templates_have_the_embedded_phrases_by_default() -> None:
    found: Vocabulary = vocabulary(None, FakeSetup(start=["a photo of a {}"]))
    assert isinstance(found, Phrases)
    assert "a photo of a" in found.all


def test_a_target_that_knows_few_prompts_makes_no_class_of_what_stands_before_a_colon() -> None:
    known = ["Task: sort.", "Task: sort.\nBe brief."]
    setup = FakeSetup(start=known[:1], problem_with=lambda text: None if text in known else "unknown")
    assert isinstance(vocabulary(["Be brief."], setup), Units)


def test_texts_of_classes_alone_are_told_what_to_give() -> None:
    with pytest.raises(UserError, match=r"texts of single classes and no template.*optimizer = \"proapo\""):
        vocabulary(None, FakeSetup(start=["dog: brown"], problem_with=classes))


@pytest.mark.parametrize("phrases", [None, [], [" "]])
def test_texts_without_phrases_are_told_what_to_give(phrases: list[str] | None) -> None:
    with pytest.raises(UserError, match=r"the prompts are texts.*Give phrases = \[\.\.\.\].*or have a chat model"):
        vocabulary(phrases, FakeSetup(start=["Answer politely."]))


def test_texts_have_whole_units() -> None:
    found: Vocabulary = vocabulary(["Be brief.", "Be kind."], FakeSetup(start=["Stop. Go."]), exclude=["kind."])
    assert isinstance(found, Units)
    assert found.all == ["Be brief."]
    assert found.contents("Stop. Be brief. Go.") == ["Stop.", "Be brief.", "Go."]
    assert vocabulary({"nouns": ["Be kind."]}, FakeSetup(start=["Stop."])).all == ["Be kind."]


def test_both_kinds_take_prompts_apart_alike() -> None:
    template = vocabulary({"adjectives": ["big"]}, FakeSetup(start=["{}"]))
    assert template.contents("big {} big") == ["big"]
    parts = template.split("big {}")
    assert template.free(parts) == [0]
    template.drop(parts, 0)
    assert template.join(parts) == "{}"
