"""``promptopt export``: the prompt that a run found, as code or a config file of the library it is to be used with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import Path
from typing import Any

from .. import demonstrations as demos
from ..core import Completion, Example, Message, Prompt, Request, Usage
from ..errors import UnknownName, UserError
from ..parts import parts_of
from ..record.freeze import recipe_in_force
from ..record.story import Story
from ..targets.chat import ChatTarget
from ..targets.placeholders import names
from ..text import plain
from .front import held_out
from .outcomes import examples_of

__all__ = ["FORMATS", "exported"]

OPEN, CLOSE = "\ue000", "\ue001"  # around the name of what is asked, until a format writes it its own way
ASKED = re.compile(f"{OPEN}([^{CLOSE}]+){CLOSE}")


@dataclass(frozen=True)
class Found:
    """What a run found.

    Attributes:
        prompt: the best prompt's text.
        about: a line on where it comes from and what it reached.
        target: the recipe's target, with its name.
        messages: what the target ``chat`` sends; none for other targets.
        fields: what is filled into them.
        demonstrations: inputs and answers that are shown.
    """

    prompt: str
    about: str
    target: Mapping[str, Any]
    messages: Sequence[Message]
    fields: Sequence[str]
    demonstrations: Sequence[tuple[Any, str]]

    @property
    def model(self) -> Mapping[str, Any]:
        """The chat model's table in the recipe, with its name."""
        return _table(self.target.get("model"))

    @property
    def model_name(self) -> str:
        """The provider's name for it."""
        return str(self.model.get("model", "YOUR-MODEL"))

    def said(self, write: Callable[[str], str], escape: Callable[[str], str] = str) -> list[dict[str, str]]:
        """The messages as tables, with what is asked written by ``write`` and everything else by ``escape``."""

        def text(given: str) -> str:
            pieces = ASKED.split(given)  # every second one is the name of a field
            return "".join(write(piece) if n % 2 else escape(piece) for n, piece in enumerate(pieces))

        return [{"role": one.role, "content": text(one.text)} for one in self.messages]


def exported(folder: Path, to: str) -> str:
    """What a user pastes into code or a config file.

    Args:
        folder: of the run.
        to: a key of ``FORMATS``.

    Raises:
        UnknownName: there is no such format.
        UserError: there is no run in the folder, or its target is none that the format has.
    """
    if to not in FORMATS:
        raise UnknownName("format", to, FORMATS)
    found = _found(Story.read(folder), folder)
    if to != "python" and not found.messages:
        raise UserError(
            f"{folder} prompted {found.target.get('name') or 'nothing'}, and {to} is for chat models. Allowed: python."
        )
    return FORMATS[to](found)


# ── What was found ────────────────────────────────────────────────────────────────────────────────────────────────


def _found(story: Story, folder: Path) -> Found:
    recipe = recipe_in_force(story.events)
    target = _table(recipe.get("target"))
    reached = f": {held_out(story.verdict)}" if story.verdict else ""
    about = plain(f"Found by promptopt, {folder.name}{reached}.")
    if target.get("name") != "chat":
        return Found(story.best, about, target, (), (), ())
    prompt = Prompt(story.best)
    shown = demos.of_prompt(story.best) or target.get("demonstrations")
    data, why = examples_of(story, recipe, trust=False) if shown else (None, "")
    if shown and data is None:
        raise UserError(f"{folder}: the examples that its best prompt shows cannot be had: {why}")
    examples = data.train if data else ()
    chat = _chat(target, examples, story.manifest["seed"])
    asked, fields = _asked(recipe, chat)
    messages = chat.messages(prompt, asked)
    turns = [one for one in messages if one.role != "system"][:-1]
    by_id = {one.id: one for one in examples}
    inputs = [by_id[one.example].input for one in demos.of_prompt(story.best)]
    inputs = inputs or [one.text for one in turns[::2]]
    pairs = [(given, turn.text) for given, turn in zip(inputs, turns[1::2], strict=True)]
    return Found(story.best, about, target, messages, fields, pairs)


def _chat(target: Mapping[str, Any], examples: Sequence[Example], seed: int) -> ChatTarget:
    """The target as the run had it, with nobody to ask."""
    options = {key: value for key, value in target.items() if key in ("template", "demonstrations")}
    return ChatTarget(model=_Nobody(), examples=examples, seed=int(target.get("seed", seed)), **options)


def _asked(recipe: Mapping[str, Any], chat: ChatTarget) -> tuple[Example, list[str]]:
    """An example that stands for whatever will be asked, and the names of what is filled in."""
    named = sorted(names(chat.template) - {"prompt"})
    columns = _table(recipe.get("data")).get("input", "input")
    if named == ["input"] and not isinstance(columns, list):
        return Example("asked", _blank("input"), None), ["input"]
    fields = [str(one) for one in columns] if isinstance(columns, list) else named
    return Example("asked", {name: _blank(name) for name in fields}, None), fields


def _blank(name: str) -> str:
    return f"{OPEN}{name}{CLOSE}"


def _table(spec: Any) -> dict[str, Any]:
    return dict(spec) if isinstance(spec, Mapping) else {"name": spec}


class _Nobody:
    """In a model's place where nothing is asked."""

    name = "nobody"

    def complete(self, request: Request, /) -> Completion:
        raise AssertionError("an export asks nothing")

    def at_most(self, request: Request, /) -> Usage:
        raise AssertionError("an export asks nothing")


# ── As it is used elsewhere ───────────────────────────────────────────────────────────────────────────────────────


def _python(found: Found) -> str:
    parts = parts_of(found.prompt)
    lines = [f"# {found.about}", f"PROMPT = {_literal(found.prompt)}"]
    lines += [f"PARTS = {_literal(parts)}"] if parts else []
    if found.messages:
        given = ", ".join(f"{_identifier(name)}: str" for name in found.fields)
        lines += [
            f"MODEL = {_literal(found.model_name)}",
            "",
            "",
            f"def messages({given}) -> list[dict[str, str]]:",
            f'    """What to send to the chat model{_settings(found)}."""',
            "    return [",
            *(f"        {line}," for line in _calls(found)),
            "    ]",
        ]
    return "\n".join(lines) + "\n"


def _calls(found: Found) -> Iterator[str]:
    """Each message as an expression of Python that joins texts and what is asked."""
    for one in found.messages:
        pieces = [_identifier(p) if n % 2 else _literal(p) for n, p in enumerate(ASKED.split(one.text)) if p or n % 2]
        yield f'{{"role": {_literal(one.role)}, "content": {" + ".join(pieces) or _literal("")}}}'


def _settings(found: Found) -> str:
    temperature = found.target.get("temperature", 0.0)
    return f", at temperature {temperature}"


def _openai(found: Found) -> str:
    body = {
        "model": found.model_name,
        "messages": found.said(lambda name: f"{{{{{name}}}}}"),
        "temperature": found.target.get("temperature", 0.0),
        "max_completion_tokens": found.model.get("max_tokens", 1024),
    }
    return _json(body)


def _promptfoo(found: Found) -> str:
    provider = found.model.get("name")
    kind = {"openai": "openai:chat", "anthropic": "anthropic:messages"}.get(str(provider), str(provider))
    said = json.dumps(found.said(lambda name: f"{{{{{name}}}}}", _raw), ensure_ascii=False)
    config = {
        "description": found.about,
        "prompts": [said],
        "providers": [
            {"id": f"{kind}:{found.model_name}", "config": {"temperature": found.target.get("temperature", 0.0)}}
        ],
        "tests": [{"vars": {name: f"your {name}" for name in found.fields}}],
    }
    return _json(config)


def _raw(text: str) -> str:
    """A text in which Nunjucks finds nothing to fill in."""
    return f"{{% raw %}}{text}{{% endraw %}}" if re.search("{[{%#]", text) else text


def _langchain(found: Found) -> str:
    roles = {"system": "system", "user": "human", "assistant": "ai"}
    said = found.said(lambda name: f"{{{name}}}", lambda text: text.replace("{", "{{").replace("}", "}}"))
    turns = "\n".join(f"        ({_literal(roles[one['role']])}, {_literal(one['content'])})," for one in said)
    return f"""\
# {found.about}
from langchain_core.prompts import ChatPromptTemplate

prompt = ChatPromptTemplate.from_messages(
    [
{turns}
    ]
)
# prompt | your_model{_settings(found)}; it was found with {plain(found.model_name)}
"""


def _dspy(found: Found) -> str:
    parts = parts_of(found.prompt)
    said = "\n\n".join(filter(None, [parts.get("system"), parts.get("instruction")])) if parts else found.prompt
    signature = f"{', '.join(map(_identifier, found.fields))} -> output"
    shown = []
    for given, answer in found.demonstrations:
        inputs = given if isinstance(given, Mapping) else {"input": given}
        pairs = ", ".join(f"{_identifier(name)}={_literal(value)}" for name, value in inputs.items())
        shown.append(f"    dspy.Example({pairs}, output={_literal(answer)}),")
    listed = "\n".join(["program.demos = [", *shown, "]"]) if shown else ""
    return f"""\
# {found.about}
# DSPy's adapters write fields and headings of their own around it: what the model is sent differs from what was tried.
import dspy

program = dspy.Predict(dspy.Signature({_literal(signature)}, {_literal(said)}))
{listed}
"""


def _identifier(name: str) -> str:
    name = re.sub(r"\W|^(?=\d)", "_", name)
    return f"{name}_" if iskeyword(name) else name


def _literal(value: Any) -> str:
    """As Python writes it, in printable ASCII."""
    return ascii(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


FORMATS: Mapping[str, Callable[[Found], str]] = {
    "python": _python,
    "openai": _openai,
    "promptfoo": _promptfoo,
    "langchain": _langchain,
    "dspy": _dspy,
}
"""What a prompt can be exported to."""
