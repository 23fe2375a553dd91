"""The interrogator's chain: nearer at every step, as far as the text tower goes, and the same every time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("open_clip")

from promptopt.core import Example, Prompt, Rating
from promptopt.errors import UserError
from promptopt.optimizers.interrogate import Interrogate
from promptopt.targets.clip.models import load
from promptopt.targets.clip.references import References
from promptopt.targets.painter import paint
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import OptimizerContract

PICTURE = paint("seven blue triangles on an orange background", 3)
EXAMPLES = [Example("e/0", "", (PICTURE,))]
LISTS = {
    "signs": ["a clock", "triangles", "a die"],
    "numbers": ["two", "seven", "nine"],
    "more": ["in blue", "in red", "on an orange background", "high quality", "small", "in chalk"],
}


def asked(start: str = "a picture", examples: Sequence[Example] = EXAMPLES, **options: Any) -> list[str]:
    """The prompts that are to be rated."""
    optimizer = Interrogate(examples=examples, cache=False, **{"phrases": LISTS, **options})
    optimizer.begin(FakeSetup(start=[start]))
    return [question.prompt.text for question in optimizer.ask()]


def near(texts: Sequence[str]) -> np.ndarray:
    loaded = load("embedded", None)
    assert loaded is not None
    return References(loaded, [PICTURE], cache=None).similarity(texts)


class TestInterrogate(OptimizerContract):
    start = ("a picture",)

    def make(self) -> Interrogate:
        return Interrogate(examples=EXAMPLES, phrases=LISTS, cache=False)


def test_every_step_is_nearer_to_the_picture_than_the_one_before() -> None:
    prompts = asked()
    assert prompts[0] == "a picture"
    assert len(prompts) > 2
    assert (np.diff(near(prompts)) > 0).all()


def test_the_first_step_is_the_best_of_all_combinations_and_the_others_the_best_phrase() -> None:
    start, first, second, *_ = asked()
    every = [", ".join(filter(None, [start, a, b])) for a in ("", *LISTS["signs"]) for b in ("", *LISTS["numbers"])]
    best = {a: LISTS[a][int(near(LISTS[a]).argmax())] for a in ("signs", "numbers")}
    allowed = [one for one in every if {*one.split(", ")[1:]} <= {*best.values()}]
    assert len(allowed) == 4
    assert first == allowed[int(near(allowed).argmax())]
    longer = [f"{first}, {phrase}" for phrase in LISTS["more"]]
    assert second == longer[int(near(longer).argmax())]


def test_it_ends_where_no_phrase_is_nearer_or_none_is_left() -> None:
    prompts = asked()
    longer = [f"{prompts[-1]}, {phrase}" for phrase in LISTS["more"] if phrase not in prompts[-1]]
    assert not longer or near(longer).max() <= near(prompts[-1:])[0] + 1e-6
    assert len(asked(most=1)) <= 3
    assert asked(phrases=["seven"], most=0) == ["a picture"]


def test_a_full_text_tower_ends_the_chain() -> None:
    full = " ".join(["picture"] * 22)
    assert asked(full) == [full]


def test_the_best_rated_of_the_chain_is_the_answer() -> None:
    optimizer = Interrogate(examples=EXAMPLES, phrases=LISTS, cache=False)
    optimizer.begin(FakeSetup(start=["a picture"]))
    questions = optimizer.ask()
    optimizer.tell([(question, Rating(float(place == 1))) for place, question in enumerate(questions)])
    assert optimizer.best() == questions[1].prompt
    assert not optimizer.ask()


def test_references_are_the_labels_pictures_paths_or_texts(tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    file.write_bytes(PICTURE.data)
    assert asked(examples=[Example("e", "", (str(file),))]) == asked() == asked(examples=[Example("e", "", PICTURE)])
    assert asked(examples=[Example("e", "", "seven triangles")])[-1].startswith("a picture, ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"examples": [Example("e", "", None)]}, "drawings"),
        ({"examples": []}, "there are no examples"),
        ({"phrases": {"a": []}}, "there are no phrases"),
        ({"phrases": ["a", " "]}, "' '"),
        ({"phrases": "missing.toml"}, "missing.toml"),
        ({"shortlist": 0}, "shortlist"),
        ({"examples": [Example("e", "", "word " * 40)]}, "too long"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        asked(**{"examples": EXAMPLES, **change})


def test_what_comes_along_is_understood_by_the_painter() -> None:
    prompts = asked(phrases=None)
    assert Prompt(prompts[-1]) != Prompt("a picture")
