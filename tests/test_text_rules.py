"""A prompt of rules, searched from end to end without an LLM: the answer is never worse formed than the start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from promptopt import cli, optimize
from promptopt.core import Example
from promptopt.errors import UserError
from promptopt.vocabulary.blocks import bare
from promptopt.vocabulary.units import Units

RULES = """You answer the customers of a shop. Read the whole message first.

Rules:
1. Never promise refunds.
2. Answer in the language of the customer.
3. Ask for the order number (e.g. "A-12. B") where it is missing.
4. Keep replies below five lines.
5. Hand over to a person where you are not sure.

Message: {input}"""
PHRASES = [
    "Name the next step.",
    "Quote the policy. Give its section.",
    "Thank the customer.",
    "Do not guess.",
    "End with a question.",
    "Write in plain words.",
]
HELPFUL = {"Name the next step.", "Quote the policy. Give its section."}


def replies(prompt: str, example: Example) -> str:
    """A scripted target: it does what helps if it is told so, and is confused by what does not."""
    told = sum(phrase in prompt for phrase in HELPFUL)
    confused = sum(phrase in prompt for phrase in PHRASES if phrase not in HELPFUL)
    return "good" if told * 3 - confused >= int(str(example.input)[-1]) else "bad"


def search(optimizer: dict[str, Any], *, seed: int, folder: Path) -> Any:
    path = folder / "rows.jsonl"
    if not path.exists():
        rows = [{"input": f"message {i}", "label": "good"} for i in range(40)]
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return optimize(
        start=RULES,
        target={"name": "function", "function": replies},
        data={"name": "table", "path": str(path), "train": 20, "test": 20},
        metric="exact-match",
        optimizer=optimizer,
        budget=60,
        seed=seed,
        run=None,
    )


@pytest.mark.parametrize("keep", ["rules", "structure"])
def test_over_ten_seeds_all_sentences_are_whole_and_the_rules_survive(tmp_path: Path, keep: str) -> None:
    allowed = {bare(unit) for unit in Units(PHRASES, start=[RULES]).split(RULES)} | set(PHRASES)
    rules = {bare(line) for line in RULES.splitlines()[3:8]}
    proposer = {"name": "lexical", "phrases": PHRASES, "keep": keep}
    gains = []
    for seed in range(10):
        result = search({"name": "hill-climb", "proposer": proposer}, seed=seed, folder=tmp_path)
        for candidate in result.candidates:
            text = candidate.prompt.text
            units = [bare(unit) for unit in Units(PHRASES, start=[RULES]).split(text)]
            assert set(units) <= allowed
            assert len(set(units)) == len(units)
            assert text.endswith("\n\nMessage: {input}")
            numbers = [line.partition(".")[0] for line in text.splitlines() if line[:1].isdigit()]
            assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
            if keep == "rules":
                assert [unit for unit in units if unit in rules] == [bare(line) for line in RULES.splitlines()[3:8]]
        gains.append(result.verdict.difference)
    assert min(gains) >= 0
    assert sum(gains) / len(gains) > 0.2


TASK = """
start = "Answer the customer's question politely."
data = {{name = "table", path = "{rows}", train = 4, test = 4}}
target = {{name = "function", function = "builtins:max"}}
metric = "exact-match"
{optimizer}
"""


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ('optimizer = "hill-climb"', "Give phrases = [...]"),
        ('optimizer = {name = "racing", optimizer = "hill-climb"}', "Give phrases = [...]"),
        ('optimizer = {name = "random-search", pool = "grammar"}', "the pool grammar makes CLIP templates with {}"),
    ],
)
def test_the_check_says_what_to_give_for_texts(
    optimizer: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(json.dumps({"input": str(i), "label": "x"}) for i in range(8))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(TASK.format(rows="rows.jsonl", optimizer=optimizer), encoding="utf-8")
    for arguments in (["run", "recipe.toml", "--check"], ["run", "recipe.toml"]):
        result = CliRunner().invoke(cli.app, arguments)
        assert isinstance(result.exception, UserError)  # the command says it without a traceback and exits with 2
        assert message in str(result.exception)
    assert not (tmp_path / "runs").exists()


def test_python_is_told_too() -> None:
    with pytest.raises(UserError, match=r"Give phrases = \[\.\.\.\]"):
        optimize(start="Answer politely.", score=len, optimizer="hill-climb", run=None)
