"""Descriptors of classes: from an LLM, a table or a file, and the prompts that they make."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptopt.core import Message, Prompt, Reply
from promptopt.errors import UserError
from promptopt.optimizers.pools.descriptors import Descriptors
from promptopt.testing import FakeSetup, ScriptedModel
from promptopt.testing.contracts import PoolContract
from promptopt.vocabulary.class_texts import ClassLines

CLASSES = ("boxer", "Maine_Coon", "pug")
GIVEN = {"boxer": ["a flat face", "tall"], "maine coon": ["long fur"], "pug": []}


def problem(text: str) -> str | None:
    """What CLIP says, with room for 40 characters a text."""
    try:
        texts = ClassLines(CLASSES).read(text)
    except UserError as error:
        return str(error)
    return "too long" if any(len(text) > 40 for name in CLASSES for text in texts.of(name)) else None


def drawn(pool: Descriptors, n: int | None = None, *, start: Sequence[str] = ("a scan of a {}",), seed: int = 0) -> Any:
    setup = FakeSetup(start=start, problem_with=problem)
    pool.begin(setup)
    return list(islice(pool.draw(np.random.default_rng(seed)), n)), setup


class TestTable(PoolContract):
    def make(self) -> Descriptors:
        return Descriptors(classes=CLASSES, descriptors=GIVEN)

    def problem_with(self, text: str) -> str | None:
        return problem(text)


class TestModel(PoolContract):
    def make(self) -> Descriptors:
        return Descriptors(classes=CLASSES, model=ScriptedModel(lambda _: "- short\n- small"))

    def problem_with(self, text: str) -> str | None:
        return problem(text)


def test_the_prompt_of_the_papers_comes_first_and_then_with_the_templates() -> None:
    own = "boxer: a scan of a boxer, a flat face\nboxer: a scan of a boxer, tall\n"
    own += "Maine_Coon: a scan of a Maine_Coon, long fur"
    found, _ = drawn(Descriptors(classes=CLASSES, descriptors=GIVEN), start=("pug: x", "a scan of a {}\n{}"))
    assert found[:2] == [own + "\npug: a scan of a pug", "a scan of a {}\n{}\n" + own]
    assert own.splitlines()[0] in found[2] or own.splitlines()[1] in found[2]
    assert len(found) == 6  # one descriptor of the boxer, the other, or both; with the templates or without
    assert [problem(text) for text in found] == [None] * 6


def test_sentences_stand_by_themselves() -> None:
    table = {"boxer": "A {} is tall", "Maine_Coon": ["x: y"], "pug": ["{}"]}
    found, _ = drawn(Descriptors(classes=CLASSES, descriptors=table, form="sentences"), 1)
    assert found == ["boxer: A boxer is tall\nMaine_Coon: x: y\npug: pug"]


def test_what_does_not_fit_is_left_out_and_counted() -> None:
    found, setup = drawn(
        Descriptors(classes=CLASSES, descriptors={**GIVEN, "pug": ["y" * 50, "flat"]}, template="{}"), 1
    )
    assert found[0].endswith("pug: pug, flat")
    assert setup.counts == {"descriptors that do not fit": 1}


def test_a_model_is_asked_about_each_class_that_has_no_list_once() -> None:
    replies = {"boxer": '{"prompts": ["a flat face"]}', "Maine Coon": "I list:\n- long fur\n- 42"}
    asked: list[str] = []

    def reply(messages: Sequence[Message]) -> str:
        asked.append(messages[0].text)
        return next(text for name, text in replies.items() if f"a picture of {name}" in asked[-1])

    model = ScriptedModel(reply)
    pool = Descriptors(classes=CLASSES, descriptors={"pug": ["small"]}, model=model, wanted=3, task="Pets.")
    found, setup = drawn(pool, 1, start=("{}",))
    assert found == ["boxer: boxer, a flat face\nMaine_Coon: Maine_Coon, long fur\npug: pug, small"]
    next(pool.draw(np.random.default_rng(1)))
    assert setup.roles == ["proposer"]
    assert len(asked) == 2
    assert "What the pictures are: Pets." in asked[0]
    assert "may show: Maine Coon, pug." in asked[0]
    assert "List 3 visual features" in asked[0]
    assert all(call.schema for call in model.calls)
    assert len({call.seed for call in model.calls}) == 2


def test_refused_replies_leave_a_class_without_descriptors() -> None:
    pool = Descriptors(classes=CLASSES, model=ScriptedModel(lambda _: Reply("", "refusal")), template="{}")
    found, setup = drawn(pool)
    assert found == ["boxer: boxer\nMaine_Coon: Maine_Coon\npug: pug", "a scan of a {}"]
    assert setup.counts == {"refused replies": 3}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.json", json.dumps(GIVEN)),
        ("d.toml", 'boxer = ["a flat face", "tall"]\n"maine coon" = ["long fur"]\npug = []'),
        ("d.csv", "class,descriptor\nboxer,a flat face\nMaine Coon,long fur\nboxer,tall\npug,\n"),
    ],
)
def test_files(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    pool = Descriptors(classes=CLASSES, descriptors=tmp_path / name)
    assert drawn(pool)[0] == drawn(Descriptors(classes=CLASSES, descriptors=GIVEN))[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"descriptors": {"boxer": ["x"]}}, "no descriptors of Maine_Coon, pug. Give"),
        ({"descriptors": {**GIVEN, "boxr": ["x"]}}, "'boxr' is no class of the task. Near is 'boxer'."),
        ({"descriptors": {**GIVEN, "pug": [1]}}, "descriptors of 'pug' are"),
        ({"descriptors": "nowhere.json"}, "cannot read descriptors from 'nowhere.json'"),
        ({"descriptors": GIVEN, "wanted": 0}, "wanted"),
        ({"descriptors": GIVEN, "template": "a photo"}, "template"),
        ({"descriptors": {}, "classes": ()}, "classes"),
    ],
)
def test_what_cannot_be_used(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Descriptors(**{"classes": CLASSES, **options})


def test_a_file_that_holds_no_lists(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text("[1]")
    with pytest.raises(UserError, match="holds no lists by class"):
        Descriptors(classes=CLASSES, descriptors=tmp_path / "d.json")


@pytest.mark.parametrize(
    ("start", "target", "suits"),
    [
        ("a photo of a {}", problem, True),
        ("boxer: x\nMaine_Coon: y\npug: z", problem, True),
        ("Answer politely.", lambda text: None, False),
        ("boxer: x\nMaine_Coon: y\npug: z", lambda text: None, False),
        ("a photo of a {}", lambda text: None if text.count("{}") == 1 and "\n" not in text else "one line", False),
    ],
)
def test_it_is_for_clip_alone(start: str, target: Any, suits: bool) -> None:
    pool = Descriptors(classes=CLASSES, descriptors=GIVEN)
    setup = FakeSetup(start=[start], problem_with=target)
    if suits:
        pool.check(setup)
    else:
        with pytest.raises(UserError, match="texts of single classes for the target clip"):
            pool.check(setup)
    assert setup.problem_with(Prompt(start)) is None
