"""Hostile outputs at every built-in metric, at the readers of prompts and verdicts: never an exception, never long.

The outputs are the same in every run; ``pytest --hypothesis-profile=long tests/test_hostile.py`` throws more.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from promptopt.core import Example, Mark
from promptopt.metrics.answers import MultipleChoice, Numeric
from promptopt.metrics.classification import Accuracy, LogProbability, Margin
from promptopt.metrics.code import Code
from promptopt.metrics.schema import JsonSchema
from promptopt.metrics.similarity import Similarity
from promptopt.metrics.text import (
    Contains,
    ExactMatch,
    Match,
    Regex,
    SetF1,
    SetMatch,
    TokenF1,
    instruction_induction,
)
from promptopt.optimizers.proposers.parse import parse_prompts
from promptopt.scorers.cases import cases
from promptopt.scorers.judge.parse import read
from promptopt.scorers.marking import Marking

pytest.importorskip("jsonschema")
pytest.importorskip("regex")

SECONDS = 20  # of this process's own time, so that a busy machine misses nothing
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$defs": {
        "tree": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/tree"}}, {"$ref": "#/$defs/leaf"}]},
        "leaf": {"not": {"const": "leaf"}},
    },
    "type": ["object", "array", "number"],
    "multipleOf": 0.1,
    "items": {"$ref": "#"},
    "uniqueItems": True,
    "patternProperties": {"^(a|aa)+$": {"type": "number"}},
    "additionalProperties": {"oneOf": [{"$ref": "#/$defs/tree"}, {"pattern": "^(a|aa)+$"}, {"multipleOf": 3}]},
}


def counts(texts: Any) -> Any:
    """An encoder: how often each vowel stands in a text."""
    return np.array([[text.count(vowel) for vowel in "aeiou"] for text in texts], dtype=np.float64)


METRICS: dict[str, tuple[Any, Any]] = {  # each with a label
    "accuracy": (Accuracy(classes=["yes", "no"]), "yes"),
    "log-probability": (LogProbability(classes=["yes", "no"]), "yes"),
    "margin": (Margin(classes=["yes", "no"]), "yes"),
    "exact-match": (ExactMatch(), ["yes", "a"]),
    "match": (Match(), ["yes", "a"]),
    "contains": (Contains(), ["yes", "a", "("]),
    "set-match": (SetMatch(), ["yes", "a"]),
    "set-f1": (SetF1(), ["yes", "a"]),
    "token-f1": (TokenF1(), ["yes", "a"]),
    "instruction-induction": (instruction_induction(task="synonyms"), ["yes", "a"]),
    "numeric": (Numeric(), ["1", "-1e9"]),
    "multiple-choice": (MultipleChoice(), ["(B)", "A"]),
    "regex": (Regex(pattern=r"^(a|aa)+$", seconds=0.05), "a"),
    "regex with group": (Regex(pattern=r"answer: *(.*?) *$", group=1, seconds=0.05), "a"),
    "json-schema": (JsonSchema(schema=SCHEMA, seconds=0.05), None),
    "similarity": (Similarity(encoder=counts), ["yes", "a"]),
}
ROWS = ("log-probability", "margin")

ATOMS = (
    *"aA1-$\n{[(*`\"'“\\\r\x00\x1b\u2028\ud800İß²٣",
    *("1,", "1,111", "1e", "1.1", "1e999", "####", "#### 1", "$ -", "9" * 4400 + " "),
    *("answer is ", "answer: B ", "\\boxed{", "\\text{", "(A) ", "A or B ", "not (", "**A**"),
    *("```\n", "```json\n", "[1,", '{"a":', '{"aa": 1e400, ', "[[", "{}", "{} ", "[{}, ", "\\u0000", "1e400", "NaN"),
    *("- ", "1. ", "Prompt 1: ", "<think>", "</think>", "Here are ", ": ", "[the class name] ", "(score "),
    *('{"critique":', '{"rating": "good", ', "rating: ", "not good ", "or ", "the ", " and ", "Sentence 1:"),
)
ENDS = ("", "!", "}", "]", '"}', "\n{}", "\n```", '\n{"rating": "good"}')


def repeated() -> st.SearchStrategy[str]:
    """A few atoms, one of them many times over."""
    few = st.lists(st.sampled_from(ATOMS), max_size=4).map("".join)
    many = st.builds(lambda atom, n: (atom * n)[:n], st.sampled_from(ATOMS), st.sampled_from([10, 999, 20_000]))
    return st.builds(lambda *parts: "".join(parts), few, many, few, st.sampled_from(ENDS))


def in_json() -> st.SearchStrategy[Any]:
    numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([10**400, math.inf, -math.inf, math.nan]))
    leaves = st.one_of(st.none(), st.booleans(), numbers, st.text(st.characters(), max_size=20), repeated())
    names = st.one_of(st.text(max_size=3), st.sampled_from(["a", "aa", "a" * 60 + "!"]))
    return st.recursive(leaves, lambda inner: st.one_of(st.lists(inner), st.dictionaries(names, inner)), max_leaves=20)


def texts() -> st.SearchStrategy[str]:
    written = in_json().map(lambda value: json.dumps(value)[:50_000])
    return st.one_of(repeated(), written, st.text(st.characters(), max_size=200))


@contextmanager
def in_time() -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < SECONDS


def assert_marked(metric: Any, outputs: list[Any], label: Any) -> None:
    examples = [Example(str(number), None, label) for number in range(len(outputs))]
    with in_time():
        marks = metric(outputs, examples)
        marking = Marking.of(metric, outputs, examples, failed="worst")
        told = cases(outputs, examples, marking)
    assert len(marks) == len(outputs)
    assert all(mark is None or isinstance(mark, Mark | int | float) for mark in marks)
    assert not any(len(mark.feedback) > 200 or "\n" in mark.feedback for mark in marks if isinstance(mark, Mark))
    assert not np.isinf(marking.values).any()
    assert len(told) == len(outputs)


@given(st.one_of(texts(), in_json()))
@example("\ud800" * 999)  # written in six characters each
@example('{"\\n": null}')  # the path of what is wrong breaks a line
@settings(derandomize=True, database=None)
def test_every_metric_marks_every_output(output: Any) -> None:
    for name, (metric, label) in METRICS.items():
        note(name)
        usual = [0.0, -1.0] if name in ROWS else "yes"  # a target that gives no row at all is refused
        assert_marked(metric, [usual, output], label)


@given(texts(), st.booleans())
@settings(derandomize=True, database=None)
def test_every_reply_is_read(reply: str, truncated: bool) -> None:
    with in_time():
        found = parse_prompts(reply, problem_with=lambda text: None if "{}" in text else "no {}", truncated=truncated)
        said = read(reply, key="rating", words=("very good", "good", "poor"))
    assert all("{}" in prompt for prompt in found)
    assert said is None or said.word in ("very good", "good", "poor")


@pytest.mark.parametrize("atom", ["{", '{"a":', '{"critique":', "\\boxed{", '{"a": "{'])
def test_a_verdict_is_read_in_time_where_many_objects_begin(atom: str) -> None:
    ending = '\nso {"critique": "x", "rating": "good"}'
    with in_time():
        assert read(atom * (200_000 // len(atom)) + "\n}", key="rating", words=("good", "poor")) is None
        said = read(atom * (200_000 // len(atom)) + ending, key="rating", words=("good", "poor"))
    assert said is not None
    assert said.word == "good"


NEST = 5_000
PROGRAMS = [
    "(" * NEST,
    "x = " + "-" * NEST + "1",
    "x = " + "[" * NEST + "]" * NEST,
    "x = " + "9" * NEST,
    "x = 10 ** 10 ** 10",
    "\ud800",
    "\x00" * NEST,
    "def f(): return f()\nf()",
    "import os\nfor _ in range(1200):\n    os.mkdir('a'); os.chdir('a')",
    "import os\nos.mkdir('a'); os.chmod('a', 0); os.chmod('.', 0)",
    "import os\nfor number in range(3, 50):\n    try: os.write(number, b'\\n' * 10**7)\n    except OSError: pass",
    "import os\nfor number in range(3, 50):\n    try: os.ftruncate(number, 0)\n    except OSError: pass\n1 / 0",
    "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
    "raise type('\\ud800\\n' * 1000, (BaseException,), {})",
    "class E(Exception):\n    def __str__(self): raise self\nraise E",
    "import json, os, traceback\njson.dumps = os.write = traceback.walk_tb = None\n1 / 0",
    "while True: pass",
    "import signal, os\nos.kill(os.getpid(), signal.SIGSTOP)",
]


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
@pytest.mark.filterwarnings("ignore:code under test runs without:RuntimeWarning")
def test_code_is_run_whatever_it_does() -> None:
    assert_marked(Code(seconds=1, workers=4, megabytes=256), [*PROGRAMS, {}, [], 5], "assert True")
