"""Replies as LLMs write them, and any text at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.optimizers.proposers.parse import parse_last, parse_prompts

TWO = ["a photo of a {}", "a blurry sketch of the {}"]


def template(text: str) -> str | None:
    """As CLIP's target: one placeholder."""
    return None if text.count("{}") == 1 else "needs one {}"


def anything(text: str) -> str | None:
    return None


@pytest.mark.parametrize(
    "reply",
    [
        "- a photo of a {}\n- a blurry sketch of the {}",
        "* a photo of a {}\n* a blurry sketch of the {}",
        "• a photo of a {}\r\n• a blurry sketch of the {}\r\n",
        "1. a photo of a {}\n2. a blurry sketch of the {}",
        "1) a photo of a {}\n2) a blurry sketch of the {}",
        "(1) a photo of a {}\n(2) a blurry sketch of the {}",
        " 9. a photo of a {}\n10. a blurry sketch of the {}",
        "**1.** a photo of a {}\n**2.** a blurry sketch of the {}",
        "1. **a photo of a {}**\n2. **a blurry sketch of the {}**",
        "### 1. a photo of a {}\n### 2. a blurry sketch of the {}",
        '- "a photo of a {}"\n- "a blurry sketch of the {}"',
        "- 'a photo of a {}'\n- 'a blurry sketch of the {}'",
        "- “a photo of a {}”\n- „a blurry sketch of the {}“",
        "- «a photo of a {}»\n- `a blurry sketch of the {}`",
        "- **“a photo of a {}”**\n- `'a blurry sketch of the {}'`",
        "Here are two templates with one {}:\n\n- a photo of a {}\n- a blurry sketch of the {}\n\nEnjoy!",
        "Sure!\na photo of a {}\na blurry sketch of the {}",
        "```\na photo of a {}\na blurry sketch of the {}\n```",
        "Sure, with {} kept:\n```text\n- a photo of a {}\n- a blurry sketch of the {}\n```\nThese keep {} in place.",
        "Sure, with {} kept\n```text\na photo of a {}\na blurry sketch of the {}\n```\nThese keep {} in place.",
        '["a photo of a {}", "a blurry sketch of the {}"]',
        '```json\n["a photo of a {}",\n "a blurry sketch of the {}"]\n```\n- I varied the style of {}.',
        '{"templates": ["a photo of a {}", "a blurry sketch of the {}"], "why": "variety"}',
        '{"1": "a photo of a {}", "2": "a blurry sketch of the {}"}',
        '[{"id": 1, "template": "a photo of a {}"}, {"id": 2, "text": "a blurry sketch of the {}"}]',
        'Here you go: ["a photo of a {}", "a blurry sketch of the {}"] Good luck!',
        '[\n  "a photo of a {}",\n  "a blurry sketch of the {}",\n',
        "Template 1: a photo of a {}\nTemplate 2: a blurry sketch of the {}",
        "- **Template:** a photo of a {}\n- Prompt 2: a blurry sketch of the {}",
        "1. **Plain**: a photo of a {}\n2. **Rough sketch:** a blurry sketch of the {}",
        '1. "a photo of a {}" - plain and short\n2. **a blurry sketch of the {}** (adds a style)',
        "- a photo of a {} — short, {} last\n- a blurry sketch of the {}: keeps {} as it is",
        "1. a photo of a {}\n   - Why: {} comes last\n2. a blurry sketch of the {}\n   - Why: style of {}",
        "- a photo of a {class}\n- a blurry sketch of the {class_name}",
        "- a photo of a <class>\n- a blurry sketch of the [CLASS]",
        "- a photo of a {{class}}\n- a blurry sketch of the \\{\\}",
        "- a photo of a { }\n- a blurry sketch of the <Class Name>",
        "- a photo of a {} (score 0.75)\n- a blurry sketch of the {} (score: .5)",
        "<think>- a bad photo of a {}\nno</think>\n- a photo of a {}\n- a blurry sketch of the {}",
        "- a photo of a {}\n- a photo of a {}\n- no placeholder\n- a blurry sketch of the {}\n- {} and {}",
    ],
)
def test_templates_are_found_in_any_dress(reply: str) -> None:
    assert parse_prompts(reply, problem_with=template) == TWO


@pytest.mark.parametrize(
    ("reply", "prompts"),
    [
        ("- Think step by step.\n- It's simple: answer", ["Think step by step.", "It's simple: answer"]),
        ("Think step by step.", ["Think step by step."]),
        ('"Think step by step."', ["Think step by step."]),
        ('- "1. One thing."\n- "2. Another."', ["One thing.", "Another."]),
        ("- 1. One thing.\n- 2) Another.", ["One thing.", "Another."]),
        ('["1. One thing.", "(2) Another."]', ["One thing.", "Another."]),
        ("- **1. One thing.**", ["One thing."]),
        ("- 1. Read it. 2. Answer.", ["1. Read it. 2. Answer."]),
        ("- 3.5 is the limit", ["3.5 is the limit"]),
        ("- 2. 3 words", ["2. 3 words"]),
        ("- 'It's a dog's life', they say", ["'It's a dog's life', they say"]),
        ("- 'it's a dog'", ["it's a dog"]),
        ('- Say "yes" or "no"', ['Say "yes" or "no"']),
        ('- "yes" or "no"', ['"yes" or "no"']),
        ("- use {class} as it is", ["use {class} as it is"]),
        ("- first — then second", ["first — then second"]),
        ("I'm sorry, but I can't help with that.", []),
        ("Here are some ideas:", []),
        ("<think>- what would work", []),
        ("", []),
        ("[]", ["[]"]),
    ],
)
def test_instructions_stay_as_they_are_written(reply: str, prompts: list[str]) -> None:
    assert parse_prompts(reply, problem_with=anything) == prompts


def test_a_placeholder_is_mended_only_where_the_target_cannot_take_the_line() -> None:
    assert parse_prompts("- a {class} beside a {}", problem_with=template) == ["a {class} beside a {}"]


@pytest.mark.parametrize(
    "reply",
    [
        "- one\n- two\n- thr",
        '{"prompts": ["one", "two", "thr',
        '{\n"prompts": [\n"one",\n"two",\n"thr',
        'Here:\n```json\n["one", "two",',
    ],
)
def test_of_a_truncated_reply_whole_entries_count(reply: str) -> None:
    assert parse_prompts(reply, problem_with=anything, truncated=True) == ["one", "two"]


def test_of_a_truncated_reply_plain_lines_do_not_count() -> None:
    assert parse_prompts("one\ntwo\nthr", problem_with=anything, truncated=True) == []


def test_a_bullet_within_json_is_none_of_the_prompt() -> None:
    assert parse_prompts('{"prompts": ["- one", "two"]}', problem_with=anything) == ["one", "two"]


WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCÄéß漢0123456789,.;!?%&/{}$@~='-", min_size=1, max_size=12)
PROMPTS = st.lists(
    st.lists(WORDS, min_size=1, max_size=8)
    .map(" ".join)
    .filter(lambda text: text[0].isalpha() and text[-1] not in "'"),
    min_size=1,
    max_size=12,
    unique=True,
)


@given(
    PROMPTS,
    st.sampled_from(["- ", "* ", "• ", "{n}. ", "{n}) ", "  - "]),
    st.sampled_from(["", "Sure, here you are:\n\n"]),
)
def test_every_bullet_of_a_well_formed_reply_comes_back_exactly(prompts: list[str], marker: str, preamble: str) -> None:
    reply = preamble + "\n".join(marker.replace("{n}", str(n)) + prompt for n, prompt in enumerate(prompts, 1))
    assert parse_prompts(reply, problem_with=anything) == prompts


@given(PROMPTS, st.sampled_from([None, 2]))
def test_every_entry_of_a_json_list_comes_back_exactly(prompts: list[str], indent: int | None) -> None:
    assert parse_prompts(json.dumps(prompts, indent=indent), problem_with=anything) == prompts


PIECES = st.lists(
    st.sampled_from(
        ["- ", "1. ", "\n", '"', "**", "```", "{", "}", "[", "]", "<", "think>", "</think>", "{class}", ":"]
    )
    | st.text(max_size=5)
).map("".join)


@given(PIECES | st.text())
def test_no_text_makes_it_raise_and_what_it_finds_has_no_problem(reply: str) -> None:
    for check in (template, anything):
        found = parse_prompts(reply, problem_with=check)
        assert all(check(prompt) is None and prompt == prompt.strip() != "" for prompt in found)
        assert len(found) == len(set(found))


@pytest.mark.parametrize(
    "reply",
    [
        "[" * 100_000,
        "prompt" + " " * 200_000,
        "```" * 60_000,
        '"' * 100_000,
        "- " * 60_000,
        "1" * 10_000,
        '["\\ud800"]',
    ],
)
def test_hostile_replies_cost_little(reply: str) -> None:
    for prompt in parse_prompts(reply, problem_with=anything):
        prompt.encode()


@pytest.mark.parametrize(
    "reply",
    [
        "1. First.\n2. <prompt>the old one</prompt> becomes\n<prompt>\nbe brief\n</prompt>",
        "<think><prompt>not this</prompt></think><PROMPT>be brief</PROMPT> That is it.",
        "<prompt>open <prompt>be brief</prompt>",
        '{"steps": "<prompt> is a tag", "prompt": "be brief"}',
        "- a step\n- be brief",
        "be brief",
    ],
)
def test_the_prompt_that_a_reply_ends_with(reply: str) -> None:
    assert parse_last(reply, problem_with=anything) == ["be brief"]


def test_a_reply_that_was_cut_off_never_came_to_its_prompt() -> None:
    assert parse_last("<prompt>the old one</prompt> becomes", problem_with=anything, truncated=True) == []
    assert parse_last("<prompt>no placeholder</prompt>", problem_with=template) == []
    assert parse_last("<prompt>a photo of a {class}</prompt>", problem_with=template) == ["a photo of a {}"]
