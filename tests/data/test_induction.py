"""Instruction induction, from tiny files of each shape that its tasks have."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from promptopt.data.induction import induction
from promptopt.errors import UnknownName, UserError


def write(root: Path, task: str, induce: list[Any], execute: list[Any] | None = None) -> Path:
    for part, cases in (("induce", induce), ("execute", execute)):
        (root / part).mkdir(exist_ok=True)
        if cases is not None:
            examples = {str(i): case for i, case in enumerate(cases, start=1)}
            content = {"metadata": {"num_examples": len(cases)}, "examples": examples}
            (root / part / f"{task}.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def only(root: Path, task: str, case: dict[str, Any]) -> tuple[Any, Any]:
    """Input and label of a single case."""
    data = induction(task=task, root=write(root, task, [case]), test=0)
    [example] = data.train
    return example.input, example.label


def plain(n: int, offset: int = 0) -> list[dict[str, Any]]:
    return [{"input": f"word{i}", "output": f"drow{i}"} for i in range(offset, offset + n)]


def test_induce_is_for_training_and_execute_for_testing(tmp_path: Path) -> None:
    data = induction(task="antonyms", root=write(tmp_path, "antonyms", plain(60), plain(10, 100)), dev=5)
    assert (len(data.train), len(data.dev), len(data.test)) == (20, 5, 10)
    assert {example.id.rpartition("/")[0] for example in data.train} == {"induction/antonyms/induce"}
    assert [example.id for example in data.test] == [f"induction/antonyms/execute/{i}" for i in range(1, 11)]
    assert data.test[0].label == "drow100"


def test_a_small_task_trains_on_what_there_is(tmp_path: Path) -> None:
    root = write(tmp_path, "tiny", plain(9), [*plain(2), *plain(3, 100)])  # two of the nine are tested on
    data = induction(task="tiny", root=root, dev=3)
    assert (len(data.train), len(data.dev), len(data.test)) == (4, 3, 5)
    with pytest.raises(UserError, match=r"train=9.*there are 7"):
        induction(task="tiny", root=root, train=9)


def test_a_task_without_an_execute_file_is_tested_on_the_rest(tmp_path: Path) -> None:
    data = induction(task="cs_algorithms", root=write(tmp_path, "cs_algorithms", plain(50)), dev=5)
    assert (len(data.train), len(data.dev), len(data.test)) == (20, 5, 25)


def test_one_answer_with_fields_that_say_nothing(tmp_path: Path) -> None:
    case = {"input": "47 0", "output": "47", "x": 47, "y": 0}
    assert only(tmp_path, "diff", case) == ("47 0", "47")


def test_white_space_around_an_input_goes(tmp_path: Path) -> None:
    case = {"input": "\nList: b a\n", "output": "a b"}
    assert only(tmp_path, "word_sorting", case) == ("List: b a", "a b")


def test_several_translations_count_the_given_one_first(tmp_path: Path) -> None:
    case = {"input": "place", "output": "Platz", "possible_translations": ["Ort", "Platz", "Ort"]}
    assert only(tmp_path, "translation_en-de", case) == ("place", ("Platz", "Ort"))


def test_a_single_translation_is_a_text_even_if_it_equals_the_input(tmp_path: Path) -> None:
    case = {"input": "rail", "output": "rail", "possible_translations": ["rail"]}
    assert only(tmp_path, "translation_en-fr", case) == ("rail", "rail")


def test_a_word_is_not_its_own_rhyme(tmp_path: Path) -> None:
    case = {"input": "pig", "output": "big", "other_rhymes": ["big", "pig", "dig"], "rhyme_group": "IH G"}
    assert only(tmp_path, "rhymes", case) == ("pig", ("big", "dig"))


def test_several_outputs_count(tmp_path: Path) -> None:
    case = {"input": "Sentence 1: a", "output": "not the same", "possible_outputs": ["not the same", "no"]}
    assert only(tmp_path, "word_in_context", case)[1] == ("not the same", "no")


def test_common_concept_shows_all_items(tmp_path: Path) -> None:
    case = {"concept": "swing.", "items": ["pendulums", "guitars"], "all_common_concepts": ["swing.", "move."]}
    assert only(tmp_path, "common_concept", case) == ("pendulums, guitars", ("swing.", "move."))


def test_cause_and_effect_shows_both_in_either_order(tmp_path: Path) -> None:
    pairs = [{"cause": f"It rained {i} times.", "effect": f"{i} streets got wet."} for i in range(40)]
    data = induction(task="cause_and_effect", root=write(tmp_path, "cause_and_effect", pairs), train=40, test=0)
    first = Counter(example.input.startswith(f"Sentence 1: {example.label} Sentence 2: ") for example in data.train)
    assert all(f"{example.label}" in example.input for example in data.train)
    assert min(first[True], first[False]) >= 10
    again = induction(task="cause_and_effect", root=tmp_path, train=40, test=0, seed=9)
    assert {example.id: example for example in again.train} == {example.id: example for example in data.train}


def test_a_misspelt_task_and_a_wrong_root(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The root should hold the folders induce/ and execute/"):
        induction(task="antonyms", root=tmp_path)
    with pytest.raises(UnknownName, match="Did you mean 'antonyms'"):
        induction(task="antonym", root=write(tmp_path, "antonyms", plain(3)))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({"input": "a"}, "example '1': unknown field 'output'"),
        ({"input": "a", "output": 3}, "the field 'output' is 3, but must be a text"),
        ({"input": "a", "output": "b", "possible_translations": "b"}, "must be a list of texts"),
        ("text", "is no JSON object"),
    ],
)
def test_broken_cases(tmp_path: Path, case: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        induction(task="t", root=write(tmp_path, "t", [case]), test=0)
