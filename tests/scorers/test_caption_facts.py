"""A verdict that no search saw."""

from __future__ import annotations

import pytest

pytest.importorskip("open_clip")

from promptopt.api import execute
from promptopt.core import Example, Prompt, Rate
from promptopt.errors import UserError
from promptopt.scorers import CaptionFacts
from promptopt.testing.contracts import ScorerContract

CAPTION = "three red stars on a black background"
EXAMPLES = [Example(f"e/{number}", "", None) for number in range(6)]


class TestCaptionFacts(ScorerContract):
    def make(self) -> CaptionFacts:
        return CaptionFacts(caption=CAPTION, examples=EXAMPLES)


def test_rates_by_what_pictures_show() -> None:
    scorer = CaptionFacts(caption=CAPTION, examples=EXAMPLES)
    whole, some = scorer.answer([Rate(Prompt(CAPTION)), Rate(Prompt("three hearts, red on black"), on=("e/1", "e/4"))])
    assert whole.value == 1.0
    assert some.per_example is not None
    assert some.per_example.tolist() == [0.75, 0.75]


@pytest.mark.parametrize("change", [{"caption": "a landscape"}, {"examples": []}])
def test_mistakes_are_named(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(change))):
        CaptionFacts(**{"caption": CAPTION, "examples": EXAMPLES, **change})  # type: ignore[arg-type]


def test_it_gives_the_verdict_on_a_search_by_similarity() -> None:
    found = execute(
        {
            "start": "a picture",
            "data": {"name": "painted", "caption": CAPTION, "pictures": 2, "test": 12},
            "target": "painter",
            "metric": {"name": "clip-similarity", "cache": False},
            "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": [CAPTION, "a blue clock"]}},
            "verdict": {"scorer": {"name": "caption-facts", "caption": CAPTION}},
            "budget": 3,
            "run": None,
        }
    )
    assert found.best == CAPTION
    assert found.verdict.best == 1.0
    assert found.verdict.significant
    assert not found.warnings
    assert any("by rules" in note for note in found.notes)
