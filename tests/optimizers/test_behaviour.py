"""Behaviour optimization: steps that the target takes, and which of them is corrected [Ma2024]."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from promptopt.core import Case, Example, Message, Prompt, Rate, Rating
from promptopt.errors import UserError
from promptopt.optimizers import Behaviour
from promptopt.optimizers.behaviour import HEAD, NO_CASES, Steps
from promptopt.testing import FakeSetup, ScriptedModel
from promptopt.testing.contracts import OptimizerContract

sys.path.insert(0, str(Path(__file__).parent))  # the contract runs this file in a fresh process
from word_llm import quoted_in, words_for

FRUITS = "apple bread cheese dates eggs figs".split()
EXAMPLES = [Example(f"e{i}", fruit, f"*{fruit.upper()}*") for i, fruit in enumerate(FRUITS)]


def told(question: Rate, quality: Any) -> Rating:
    """A rating with cases that are wrong."""
    cases = tuple(Case(example.id, "?", 0.0) for example in EXAMPLES) if question.cases else ()
    return Rating(quality(question.prompt), cases=cases)


def steps(messages: Sequence[Message]) -> str:
    words = words_for(messages)
    return f"- step 1: {words}" if "numbered steps" in messages[-1].text else f"- Say {words}.\n- Write it."


class TestBehaviour(OptimizerContract):
    start = ("be brief",)

    def make(self) -> Behaviour:
        return Behaviour(model=ScriptedModel(steps), examples=EXAMPLES)

    def _answer(self, question: Any) -> Any:
        return told(question, self.quality)


class TestWithoutCases(OptimizerContract):
    start = ("be brief", "be clear")

    def make(self) -> Behaviour:
        return Behaviour(model=ScriptedModel(steps), examples=EXAMPLES)


# ── A target that does what steps say ─────────────────────────────────────────────────────────────────────────────


def writes(prompt: str, word: str) -> str:
    """What a target writes that takes each step literally; the last line is its answer."""
    lines, answer = [], word
    for number, step in re.findall(r"^(\d+)\. (.*)$", prompt, re.MULTILINE):
        answer = answer.upper() if "capital" in step else answer
        answer = f"*{answer}*" if "star" in step else answer
        lines.append(f"{number}. {answer}")
    return "\n".join([*lines, answer])


def rated(question: Rate) -> Rating:
    cases = []
    for example in EXAMPLES:
        output = writes(question.prompt.text, example.input)
        cases.append(Case(example.id, output, float(output.splitlines()[-1] == example.label)))
    return Rating(sum(case.value for case in cases) / len(cases), cases=tuple(cases) if question.cases else ())


def corrects(messages: Sequence[Message]) -> str:
    """Drafts plain steps; corrects the first one whose written outcome the right answer shows to be wrong."""
    shown = dict(quoted_in(messages[-1].text))
    if "Steps" not in shown:
        return "- Read the word.\n- Write the word down."
    output, right = shown["Output 1"], shown["Right answer 1"]
    if output.partition("\n")[0].removeprefix("1. ") != right.strip("*"):
        return "- step 1: Read the word and write it in capitals."
    return "- step 2: Put a star before and behind the word." if "star" not in shown["Steps"] else "- Think again."


def search(model: ScriptedModel, *, rate: Any = rated, **options: Any) -> tuple[Behaviour, list[list[Rate]], FakeSetup]:
    optimizer, setup = Behaviour(model=model, examples=EXAMPLES, **options), FakeSetup(start=["Repeat the word."])
    optimizer.begin(setup)
    asked = []
    while batch := optimizer.ask():
        asked.append(list(batch))
        optimizer.tell([(question, rate(question)) for question in batch])
    return optimizer, asked, setup


def test_the_step_that_failed_is_corrected_until_all_is_right() -> None:
    model = ScriptedModel(corrects)
    optimizer, asked, setup = search(model, drafts=1, corrections=1)
    texts = [question.prompt.text for batch in asked for question in batch]
    assert texts[0] == "Repeat the word."
    assert texts[1] == (
        f"Repeat the word.\n\n{HEAD}\n1. Read the word.\n2. Write the word down.\n"
        "Then write the answer alone in a last line."
    )
    assert texts[2] == texts[1].replace("Read the word.", "Read the word and write it in capitals.")
    assert texts[3] == texts[2].replace("Write the word down.", "Put a star before and behind the word.")
    assert len(texts) == 4
    assert optimizer.best().text == texts[3]
    assert all(question.cases for batch in asked for question in batch)
    assert setup.roles == ["proposer"]


def test_what_the_llm_is_shown_of_wrong_cases() -> None:
    model = ScriptedModel(corrects)
    search(model, drafts=2, corrections=3, errors=2, rounds=1)
    draft, *_, correction = [quoted_in(call.messages[0].text) for call in model.calls]
    assert draft[0] == ("Instruction", "Repeat the word.")
    assert [title for title, _ in draft[1:]] == ["Input 1", "Output 1", "Input 2", "Output 2"]
    assert [title for title, _ in correction] == ["Steps"] + [
        f"{title} {number}" for number in (1, 2) for title in ("Input", "Output", "Right answer")
    ]
    shown = dict(correction)
    assert shown["Right answer 1"] == f"*{shown['Input 1'].upper()}*"
    assert shown["Output 1"] == "\n".join([f"1. {shown['Input 1']}", f"2. {shown['Input 1']}", shown["Input 1"]])


def test_right_cases_are_not_shown_and_without_wrong_ones_it_ends() -> None:
    def half(question: Rate) -> Rating:
        return Rating(0.5, cases=tuple(Case(e.id, "out", float(i > 0)) for i, e in enumerate(EXAMPLES)))

    model = ScriptedModel(corrects)
    search(model, rate=half, drafts=1, corrections=1, rounds=1)
    assert [text for title, text in quoted_in(model.calls[-1].messages[0].text) if "Input" in title] == ["apple"]
    model = ScriptedModel(corrects)
    search(model, rate=half, drafts=1, perfect=0.0)
    assert len(model.calls) == 1


def test_without_cases_it_says_that_it_drafted_only() -> None:
    _, asked, setup = search(ScriptedModel(corrects), rate=lambda question: Rating(0.5))
    assert [len(batch) for batch in asked] == [1, 1]
    assert setup.notes == [NO_CASES]


@pytest.mark.parametrize(
    ("correction", "wanted"),
    [
        ("step 2: B", ("a", "B")),
        ("2: B", ("a", "B")),
        ("Step 1. A\n  anew", ("A anew", "b")),
        ("c", ("a", "b", "c")),
        ("step 3: c", None),
        ("step 0: c", None),
        ("", None),
    ],
)
def test_a_correction_changes_one_step(correction: str, wanted: tuple[str, ...] | None) -> None:
    corrected = Steps("Do it.", ("a", "b"), "End.").corrected(correction)
    assert (corrected and corrected.steps) == wanted
    assert corrected is None or (corrected.task, corrected.ending) == ("Do it.", "End.")


def test_steps_do_not_grow_without_end() -> None:
    assert Steps("", ("a",) * 20, "").corrected("more") is None
    assert Steps("", ("a",), "").text == f"{HEAD}\n1. a"


def test_replies_that_bring_nothing_end_it() -> None:
    model = ScriptedModel(lambda messages: "- a\n- b" if "right." in messages[0].text[:200] else "- step 9: c")
    _, asked, _ = search(model, corrections=3)
    assert [len(batch) for batch in asked] == [1, 1]
    assert len(model.calls) == 2 + 2 * 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"drafts": 0}, "drafts is 0; allowed is 1 or more"),
        ({"rounds": -1}, "rounds is -1"),
        ({"corrections": 0}, "corrections is 0"),
        ({"errors": 0}, "errors is 0"),
        ({"perfect": float("nan")}, "perfect is nan; allowed is a number"),
        ({"temperature": -1}, "temperature is -1"),
        ({"examples": []}, "there are no training examples"),
        ({"examples": [EXAMPLES[0]] * 2}, "two training examples have the same id"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Behaviour(**{"model": ScriptedModel([]), "examples": EXAMPLES, **options})


def test_it_is_not_for_templates() -> None:
    optimizer = Behaviour(model=ScriptedModel([]), examples=EXAMPLES)
    with pytest.raises(UserError, match="prompts are templates"):
        optimizer.check(FakeSetup(start=["a {}"], problem_with=lambda text: None if "{}" in text else "no {}"))
    optimizer.check(FakeSetup(start=[Prompt("be brief").text]))
