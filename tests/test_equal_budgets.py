"""The comparison at equal calls: its searches keep to the budget, its server counts, its page says what was found."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gepa")

from typer.testing import CliRunner

from promptopt.cli import app
from promptopt.core import Message, Request

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "equal_budgets"
PARTS = ("problems", "writers", "searches", "tables", "wire", "run", "reflect")


@pytest.fixture(scope="module")
def study() -> Iterator[SimpleNamespace]:
    """The scripts of the study, which find each other by their short names."""
    before = {name: sys.modules.pop(name, None) for name in PARTS}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENT))
        found: dict[str, ModuleType] = {name: importlib.import_module(name) for name in PARTS}
    yield SimpleNamespace(**found)
    for name, old in before.items():
        sys.modules.pop(name, None)
        if old is not None:
            sys.modules[name] = old


def cell(study: SimpleNamespace, calls: int = 240) -> Any:
    """A draw of the made-up task, with the scripted proposer."""
    task = study.run.quick()["colours"]
    writer = study.writers.Writer(study.writers.Scripted(task))
    return study.searches.Cell(task, task.data(0), study.problems.Answers(task), writer, 0, calls)


def options(study: SimpleNamespace, **given: Any) -> argparse.Namespace:
    usual = {"store": None, "originals": None, "proposers": ["scripted"], "searches": list(study.searches.OURS)}
    return argparse.Namespace(**{**usual, "seeds": [0], "calls": 240, **given})


@pytest.mark.study
def test_every_search_keeps_to_the_budget_and_none_ends_below_its_start(study: SimpleNamespace) -> None:
    lines = list(study.run.results(options(study), study.run.quick(), []))
    assert [line["search"] for line in lines] == list(study.searches.OURS)
    for line in lines:
        assert 20 <= line["target_calls"] + line["proposer_calls"] <= 240, line
        assert line["test"] > line["start"] == 0.0, line
    assert study.run.report(lines).count("\n| gepa |") == 2


def test_what_is_known_is_not_computed_again(study: SimpleNamespace, tmp_path: Path) -> None:
    task = study.run.quick()["colours"]
    one = study.problems.Answers(task, tmp_path)
    assert one.right("Say red. It is red.", task.examples) == 0.25
    again = study.problems.Answers(task, tmp_path)
    assert again.right("Say red. It is red.", task.examples) == 0.25
    assert (one.computed, again.computed) == (len(task.examples), 0)


def test_a_conversation_and_one_text_are_the_same_prompt(study: SimpleNamespace) -> None:
    task = study.run.quick()["colours"]
    answers = study.problems.Answers(task)
    shown, asked = (task.asked(one) for one in task.examples[:2])
    turns = [Message("system", "Look."), Message("user", shown), Message("assistant", "red"), Message("user", asked)]
    whole = Message("user", f"Look.\n{shown} red\n\n{asked}")
    assert answers.read(turns) == answers.read([whole]) == (f"Look.\n{shown} red", task.examples[1])


def test_draws_are_balanced_and_differ_by_seed(study: SimpleNamespace) -> None:
    task = study.run.quick()["colours"]
    data = task.data(3)
    assert sorted(one.label for one in data.train) == sorted(5 * ["red", "green", "blue", "grey"])
    assert {one.id for one in data.train} | {one.id for one in data.test} == {one.id for one in task.examples}
    assert len(data.train) + len(data.test) == len(task.examples)
    assert data != task.data(4)


def test_the_scripted_proposer_answers_in_the_form_that_is_asked_for(study: SimpleNamespace) -> None:
    task = study.run.quick()["colours"]
    script = study.writers.Scripted(task)

    def reply(text: str) -> str:
        [one] = script.complete(Request([Message("user", text)], seed=1)).replies
        return str(one.text)

    assert reply('Write 3 new instructions. Each line starting with "- ".').count("\n- ") == 2
    assert reply("Give it in ``` blocks.").startswith("```\n")
    assert reply("Put it between <prompt> and </prompt>.").startswith("<prompt>")
    fields = "starting with the field `[[ ## proposed_instruction ## ]]`, and then ending with `[[ ## completed ## ]]`"
    assert reply(fields).startswith("[[ ## proposed_instruction ## ]]\n")


def test_the_scripted_proposer_learns_from_cases_that_it_is_shown(study: SimpleNamespace) -> None:
    task = study.run.quick()["colours"]
    script, rng = study.writers.Scripted(task), np.random.default_rng(0)
    shown = "Instruction:\nName the colour.\nRight answer 1:\ngrey\nPut it between <prompt> and </prompt>."
    written = [script.reply(shown, rng) for _ in range(20)]
    assert any("What is ey is grey." in one for one in written)
    assert not any("is red" in one for one in written)


def test_the_server_counts_and_refuses_once_the_budget_is_spent(study: SimpleNamespace) -> None:
    one = cell(study, calls=23)
    with study.wire.served() as server:
        server.desk = study.wire.Desk(one)

        def ask(model: str, text: str, **more: Any) -> str:
            body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
            url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
            asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
            with urllib.request.urlopen(asked) as answer:
                return str(json.load(answer)["choices"][0]["message"]["content"])

        def status(model: str, text: str, **more: Any) -> int:
            with pytest.raises(urllib.error.HTTPError) as error:
                ask(model, text, **more)
            with error.value as refused:
                return int(refused.code)

        right = [ask("target", f"It is red.\n{one.task.asked(asked)}") for asked in one.data.train]
        assert right == [asked.label if asked.label == "red" else "none" for asked in one.data.train]
        assert status("proposer", "Write one.", n=4) == 403
        assert server.desk.spent
        assert ask("proposer", "Write one.", n=3)
        assert (server.desk.target, server.desk.proposer) == (20, 3)
        assert status("target", one.task.asked(one.data.train[0])) == 403
        assert server.desk.best == "It is red."


def test_only_training_examples_can_be_asked_about(study: SimpleNamespace) -> None:
    one = cell(study)
    desk = study.wire.Desk(one)
    for text in (one.task.asked(one.data.test[0]), "no example"):
        with pytest.raises(study.wire.Refused) as refused:
            desk.reply({"model": "target", "messages": [{"role": "user", "content": f"Look.\n{text}"}]})
        assert refused.value.args[0] == 400


def test_differences_are_paired_by_task_and_seed(study: SimpleNamespace) -> None:
    other = {"tokens": 9, "target_calls": 200, "proposer_calls": 40, "ended": "budget: calls"}
    lines = [
        {"task": "category", "proposer": "scripted", "search": name, "seed": seed, "start": 0.5, "test": test, **other}
        for name, mean in (("gepa", 0.7), ("protegi", 0.6))
        for seed, test in enumerate(mean + np.arange(5) / 10)
    ]
    tables = study.tables.report(lines)
    assert "| gepa against protegi | 5 | 10.0 (10.0 to 10.0, t) |  |  |" in tables
    assert study.tables.shown(list(np.full(10, 0.2))) == "20.0 (20.0 to 20.0)"


def test_the_page_says_what_the_results_say(study: SimpleNamespace) -> None:
    lines = [json.loads(line) for line in (EXPERIMENT / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    page = (EXPERIMENT / "README.md").read_text(encoding="utf-8")
    assert study.tables.report(lines) in page
    assert all(line["target_calls"] + line["proposer_calls"] <= line["calls"] for line in lines)


def test_the_recipe_for_those_with_a_key_is_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    for name in ("gepa", "behaviour"):
        done = CliRunner().invoke(app, ["run", str(EXPERIMENT / "recipe.toml"), f"optimizer.name={name}", "--check"])
        assert done.exit_code == 0, done.output
