"""Placeholders are replaced as data."""

from __future__ import annotations

from typing import Any

import pytest

from promptopt.core import Example
from promptopt.errors import UnknownName, UserError
from promptopt.targets.placeholders import fill, names, values


def filled(template: str, given: Any, prompt: str = "P") -> str:
    return fill(template, values(Example("e/1", given, "y"), prompt=prompt))


def test_prompt_and_input() -> None:
    assert filled("{prompt}: {input}!", "cat") == "P: cat!"
    assert names("{prompt} {input} { x } {} {0}") == {"prompt", "input", "0"}


def test_what_is_put_in_is_not_read_again() -> None:
    assert filled("{prompt}|{input}", "{prompt}", prompt="{input} {0.__class__} {nothing}") == (
        "{input} {0.__class__} {nothing}|{prompt}"
    )


def test_other_braces_stay() -> None:
    assert filled('{"a": {input}} {} { input }', "1") == '{"a": 1} {} { input }'


def test_fields_of_a_dict() -> None:
    given = {"question": "Why?", "n": 3, "tags": ["é"]}
    assert filled("{question} {n} {tags}", given) == 'Why? 3 ["é"]'
    assert filled("{input}", given) == 'question: Why?\nn: 3\ntags: ["é"]'


def test_an_unknown_placeholder_names_the_closest() -> None:
    with pytest.raises(UnknownName, match=r"unknown placeholder 'quest'.* Did you mean 'question'"):
        filled("{quest}", {"question": "Why?"})


def test_inputs_that_are_no_text() -> None:
    with pytest.raises(UserError, match="example 'e/1': object is no text"):
        filled("{input}", object())
    with pytest.raises(UserError, match="a field of the input is called 'prompt'"):
        filled("{input}", {"prompt": "x"})
