"""``promptopt export``: what it writes is loaded by the library it is for, and says what the run's target was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import promptopt
from promptopt import demonstrations, parts
from promptopt.cli import app
from promptopt.demonstrations import Demonstration
from promptopt.errors import UnknownName, UserError
from promptopt.report.export import FORMATS, exported

from ..models.openai_server import completion, serving

HOSTILE = "Say \"{input}\" {{ x }} {% if %} \\ ''' \n{team} ünï\u2028 %s"
SHOWN = demonstrations.text_of([Demonstration("list/1"), Demonstration("list/2", 'so: "b" {input}')])
PROMPTS = {
    "one text": HOSTILE,
    "parts": parts.text_of({"system": f"Be brief. {HOSTILE}", "instruction": "Which team?"}),
    "demonstrations": parts.text_of({"instruction": "Which team?", "demonstrations": SHOWN}),
}
Ran = tuple[Path, list[dict[str, str]]]


@pytest.fixture(params=PROMPTS)
def ran(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """A run's folder, and the messages that were sent with its best prompt for the first test example."""
    return run(tmp_path, monkeypatch, PROMPTS[request.param])


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, prompt: str, *, fields: bool = False, **target: Any) -> Ran:
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    def example(n: int) -> dict[str, Any]:
        text = f"letter {n}"
        return {"id": f"list/{n}", "input": {"from": "Ada", "text": text} if fields else text, "label": "ab"[n % 2]}

    with serving(script=lambda _: completion("a")) as server:
        result = promptopt.optimize(
            start=prompt,
            data={"name": "list", "examples": [example(n) for n in range(6)], "test": 3, "seed": 1},
            target={
                "name": "chat",
                "model": {"name": "openai", "model": "gpt-x", "base_url": server.url, "max_tokens": 7},
                **target,
            },
            optimizer={"name": "random-search", "pool": {"name": "list", "prompts": [prompt]}},
            metric="match",
            budget=2,
            run=folder / "run",
        )
    assert result.best == prompt
    return folder / "run", server.requests[-1].body["messages"]


def asked(messages: list[dict[str, str]]) -> str:
    """What stands behind ``Input:`` in the last message."""
    return messages[-1]["content"].partition("Input: ")[2].partition("\nOutput:")[0]


def written(folder: Path, to: str, names: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The names that an export in Python defines."""
    defined: dict[str, Any] = dict(names or {})
    exec(compile(exported(folder, to), to, "exec"), defined)
    return defined


# ── What is sent ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_python_says_what_the_run_was_sent(ran: Ran) -> None:
    folder, sent = ran
    defined = written(folder, "python")
    assert defined["messages"](asked(sent)) == sent
    assert defined["PROMPT"] in PROMPTS.values()
    assert defined["MODEL"] == "gpt-x"


def test_openai_takes_the_body_and_sends_the_same(ran: Ran) -> None:
    openai = pytest.importorskip("openai")
    folder, sent = ran
    body = json.loads(exported(folder, "openai"))
    body["messages"] = filled(body["messages"], lambda name: "{{" + name + "}}", asked(sent))
    with serving(completion("a")) as server:
        openai.OpenAI(api_key="none", base_url=server.url).chat.completions.create(**body)
    assert server.requests[0].body["messages"] == sent
    assert (body["model"], body["temperature"], body["max_completion_tokens"]) == ("gpt-x", 0.0, 7)


def filled(messages: list[dict[str, str]], write: Callable[[str], str], text: str) -> list[dict[str, str]]:
    """The last placeholder of each turn of the user replaced; earlier ones are the prompt's own."""
    last = messages[-1]["content"]
    before, found, after = last.rpartition(write("input"))
    assert found
    return [*messages[:-1], {**messages[-1], "content": before + text + after}]


def test_langchain_loads_it_and_sends_the_same(ran: Ran) -> None:
    pytest.importorskip("langchain_core")
    folder, sent = ran
    roles = {"system": "system", "human": "user", "ai": "assistant"}
    told = written(folder, "langchain")["prompt"].invoke({"input": asked(sent)}).to_messages()
    assert [{"role": roles[one.type], "content": one.content} for one in told] == sent


def test_promptfoo_is_given_chat_messages_that_its_templates_leave_alone(ran: Ran) -> None:
    jinja2 = pytest.importorskip("jinja2")  # of Nunjucks' tags and delimiters
    folder, sent = ran
    config = json.loads(exported(folder, "promptfoo"))
    said = [
        {**one, "content": jinja2.Template(one["content"], keep_trailing_newline=True).render(input=asked(sent))}
        for one in json.loads(config["prompts"][0])
    ]
    assert said == sent
    assert config["providers"][0]["id"] == "openai:chat:gpt-x"
    assert config["tests"] == [{"vars": {"input": "your input"}}]


def test_dspy_has_the_instruction_and_the_demonstrations(ran: Ran) -> None:
    dspy = pytest.importorskip("dspy")
    program = written(ran[0], "dspy")["program"]
    assert isinstance(program, dspy.Predict)
    prompt = json.loads((ran[0] / "result.json").read_text(encoding="utf-8"))["best"]["prompt"]
    named = parts.parts_of(prompt)
    told = [text for name, text in named.items() if name != "demonstrations"]
    assert program.signature.instructions == ("\n\n".join(told) if named else prompt)
    if "demonstrations" in named:
        assert [(one.input, one.output) for one in program.demos] == [
            ("letter 1", "b"),
            ("letter 2", 'so: "b" {input}'),
        ]


# ── Other targets, other inputs ───────────────────────────────────────────────────────────────────────────────────


def test_fields_of_an_input_are_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, sent = run(tmp_path, monkeypatch, "Which?", fields=True, template="{prompt}|{text}|{from}")
    text = sent[-1]["content"].split("|")[1]
    assert written(folder, "python")["messages"](from_="Ada", text=text) == sent


def test_what_is_no_chat_model_is_python_alone(tmp_path: Path) -> None:
    promptopt.optimize(start="a", score=len, optimizer=_drop(), budget=3, run=tmp_path / "run")
    assert written(tmp_path / "run", "python")["PROMPT"] == "a"
    with pytest.raises(UserError, match=r"langchain is for chat models. Allowed: python"):
        exported(tmp_path / "run", "langchain")


def _drop() -> Any:
    return {"name": "random-search", "pool": {"name": "list", "prompts": ["a"]}}


def test_the_command_writes_a_file_and_knows_its_formats(tmp_path: Path) -> None:
    promptopt.optimize(start="a", score=len, optimizer=_drop(), budget=3, run=tmp_path / "run")
    words = ["export", str(tmp_path / "run"), "--out", str(tmp_path / "prompt.py")]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert (tmp_path / "prompt.py").read_text(encoding="utf-8") == exported(tmp_path / "run", "python")
    with pytest.raises(UnknownName, match=f"Allowed: {', '.join(sorted(FORMATS))}"):
        exported(tmp_path / "run", "yaml")


def test_nothing_of_the_prompt_is_run_or_printed_as_it_is(tmp_path: Path) -> None:
    hostile = "'''\"\"\"\\'; raise SystemExit #\x1b[31m\u202e\r\n"
    optimizer = {"name": "random-search", "pool": {"name": "list", "prompts": [hostile]}}
    promptopt.optimize(start=hostile, score=len, optimizer=optimizer, budget=3, run=tmp_path / "run")
    text = exported(tmp_path / "run", "python")
    assert written(tmp_path / "run", "python")["PROMPT"] == hostile
    assert text.isascii()
    assert "\x1b" not in text
