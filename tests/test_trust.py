"""A stranger's run is safe to look at, and a stranger's recipe says what it brings along before it is run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from run_parts import ToyTarget, rewrite, toy_data
from typer.testing import CliRunner

import promptopt
from promptopt import cli
from promptopt.errors import UserError
from promptopt.recipe.build import build, factory_of, hints_of
from promptopt.recipe.elsewhere import FUNCTIONS, lines
from promptopt.registry import TABLE, load
from promptopt.targets.http import Http
from promptopt.trust import ALLOW, own_parts

RECIPE = """
start = "answer {}"
target = "run_parts:ToyTarget"
data = "run_parts:toy_data"
budget = 30
finalists = 3

[optimizer]
name = "hill-climb"
iterations = 4
k = 3
per_call = 4
proposer = {name = "lexical", phrases = ["clear", "short", "exact", "calm", "brief", "honest"]}
"""
HTTP = {
    "name": "http",
    "url": "http://127.0.0.1:9/run?x={prompt}",
    "headers": {"Authorization": "Bearer ${SECRET_OF_TESTS}"},
}


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    result = CliRunner().invoke(cli.app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; what ``--allow-env`` sets is taken back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ALLOW, "")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Path:
    promptopt.optimize(start="answer {}", target=ToyTarget(), data=toy_data(), budget=30, finalists=3, run="out")
    return folder / "out"


def doctored(run: Path, **recipe: object) -> None:
    """Have the ledger of a run name other parts, as a stranger may."""
    ledger = run / "ledger.jsonl"
    manifest, *rest = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    for event in (manifest, *rest):
        del event["crc"]
    manifest["recipe"] |= recipe
    rewrite(ledger, [manifest, *rest])


# ── Looking at a run ──────────────────────────────────────────────────────────────────────────────────────────────

EVIL = """
from pathlib import Path
from promptopt.core import Dataset

Path("was_imported").touch()

def data() -> Dataset:
    Path("was_called").touch()
    return Dataset(name="evil", train=())
"""


@pytest.mark.parametrize("data", [{"name": "os:system", "command": "touch was_called"}, "evil_of_tests:data"])
def test_looking_at_a_strangers_run_runs_nothing(run: Path, data: object, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.parent / "evil_of_tests.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(run.parent))
    doctored(run, data=data)
    for command in (["report"], ["report", "--export", "tables"], ["show"], ["show", "--cases"], ["compare", "out"]):
        code, *_ = invoke(*command, "out")
        assert code == 0
    assert "code from elsewhere" in (run / "report.html").read_text()
    assert not list(run.parent.glob("was_*"))


def test_trust_is_given_by_an_option(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doctored(run, data="run_parts:toy_data")
    invoke("report", "out")
    assert "code from elsewhere" in (run / "report.html").read_text()
    invoke("report", "out", "--trust")
    page = (run / "report.html").read_text()
    assert "code from elsewhere" not in page
    assert "The examples are not shown" not in page


def test_our_own_parts_are_built_for_a_report_all_the_same() -> None:
    with own_parts():
        assert build("datasets", "digits", where="data").test
        with pytest.raises(UserError, match=r"^metric: function is 'operator:eq', which is code from elsewhere"):
            build("metrics", {"name": "function", "function": "operator:eq"}, where="metric")


# ── What is called at all ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", TABLE)
@pytest.mark.parametrize("name", ["os:system", "os:getcwd", "builtins:dict", "builtins:eval", "subprocess:run"])
def test_what_makes_no_part_of_the_kind_is_not_called(kind: str, name: str) -> None:
    with pytest.raises(UserError, match=f"^x: '{name}' makes no part of {kind}"):
        build(kind, {"name": name}, where="x")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("models", "promptopt.testing:ScriptedModel"),
        ("targets", "run_parts:ToyTarget"),
        ("datasets", "run_parts:toy_data"),
        ("scorers", "run_parts:Words"),
        ("metrics", "promptopt.metrics.text:ExactMatch"),
        ("metrics", "promptopt.metrics.text:instruction_induction"),
    ],
)
def test_parts_of_ones_own_are(kind: str, name: str) -> None:
    assert callable(factory_of(kind, name))


# ── What a recipe brings along ────────────────────────────────────────────────────────────────────────────────────


def test_run_and_check_name_code_from_elsewhere_before_it_is_loaded(folder: Path) -> None:
    named = "Code from elsewhere is run, which may do whatever you may: target run_parts:ToyTarget; data run_parts:toy_"
    for options in (["--check"], ["run=out"]):
        code, _, err = invoke("run", "recipe.toml", *options)
        assert (code, err.startswith(named)) == (0, True)
    code, _, err = invoke("resume", "out")
    assert (code, err.startswith(named)) == (0, True)


def test_resume_names_also_what_a_ledger_says_that_the_run_was_taken_up_with(run: Path) -> None:
    ledger = run / "ledger.jsonl"
    events = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    for event in events:
        del event["crc"]
    extended = {"target": "no_such_module_of_tests:Target", "data": "run_parts:toy_data"}
    rewrite(ledger, [*events, {"event": "resume", "extended": extended, "time": events[0]["time"]}])
    result = CliRunner().invoke(cli.app, ["resume", "out"])
    assert isinstance(result.exception, UserError)
    assert "cannot load 'no_such_module_of_tests:Target'" in str(result.exception)
    assert "target no_such_module_of_tests:Target" in result.stderr


def test_code_is_named_also_where_it_cannot_be_loaded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="cannot load 'no_such_module_of_tests:Name'"):
        cli.run(Path("recipe.toml"), ["target=no_such_module_of_tests:Name"], check=True)
    assert "target no_such_module_of_tests:Name" in capsys.readouterr().err


def test_plug_ins_and_parts_within_parts_are_named() -> None:
    recipe = {
        "target": {"name": "chat", "model": {"name": "mine:Model", "helper": {"name": "mine:Other"}}},
        "metric": {"name": "function", "function": "mine:metric"},
        "optimizer": {"name": "hill-climb", "proposer": {"name": "chat", "model": "mine:Model"}},
        "transfer": {"there": "mine:Target", "films": {"name": "dspy-program", "program": "mine:Films"}},
    }
    (line,) = lines([recipe])
    for place in (
        "target.model mine:Model",
        "target.model.name mine:Other",
        "metric.function mine:metric",
        "optimizer.proposer.model mine:Model",
        "transfer.there mine:Target",
        "transfer.films.program mine:Films",
    ):
        assert place.replace("target.model.name", "target.model.helper.name") in line


@pytest.mark.parametrize("place", ["évil:f", "mine:not a name", "my-mine:f", "mine:f:g"])
def test_functions_are_named_whatever_their_modules_are_called(place: str) -> None:
    measure = {"name": "own", "function": place, "edges": [1]}
    recipe = {
        "target": {"name": "function", "function": place},
        "metric": {"name": "similarity", "encoder": place},
        "optimizer": {"name": "map-elites", "measures": [measure], "proposer": "lexical"},
    }
    (line,) = lines([recipe])
    for where in ("target.function", "metric.encoder", "optimizer.measures.function"):
        assert f"{where} {place}" in line


def test_every_option_that_takes_a_function_is_known() -> None:
    parts = [load(kind, name) for kind, names in TABLE.items() for name in names]
    hints = [one for part in parts for one in hints_of(part).items()]
    functions = {option for option, hint in hints if "Callable" in str(hint) and option != "return"}
    assert functions | {"program"} == {*FUNCTIONS}  # a DSPy program can be annotated only where DSPy is installed


def test_variables_are_named_with_where_they_go() -> None:
    model = {"name": "openai", "model": "m", "base_url": "https://elsewhere.example/v1"}
    said = lines([{"target": HTTP, "scorer": {"name": "judge-duel", "model": model}}])
    assert said == [
        "Environment variables are read: OPENAI_API_KEY, sent to elsewhere.example; SECRET_OF_TESTS, sent to 127.0.0.1."
    ]


def test_a_recipe_of_our_own_parts_says_nothing() -> None:
    assert lines([{"target": "clip", "data": {"name": "digits"}, "optimizer": "bayes", "budget": 3}]) == []


# ── Variables ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_recipe_reads_only_variables_that_the_user_allows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_TESTS", "s3cret-of-tests")
    recipe = folder / "http.toml"
    recipe.write_text(
        'start = "a"\ndata = "run_parts:toy_data"\n[optimizer]\nname = "random-search"\n[optimizer.pool]\n'
        'name = "list"\nprompts = ["b"]\n[target]\nname = "http"\nurl = "http://127.0.0.1:9/?q={prompt}"\n'
        'headers = {Authorization = "Bearer ${SECRET_OF_TESTS}"}\n'
    )
    with pytest.raises(UserError, match=r"^target reads the environment variable SECRET_OF_TESTS.* --allow-env SECRET"):
        invoke("run", str(recipe), "--check")
    assert invoke("run", str(recipe), "--check", "--allow-env", "SECRET_OF_TESTS")[0] == 0
    assert os.environ[ALLOW].strip(",") == "SECRET_OF_TESTS"


def test_from_python_an_argument_allows_them(folder: Path) -> None:
    table = {**HTTP}
    with pytest.raises(UserError, match="allow_env"):
        promptopt.optimize(start="a", target=table, data=toy_data(), budget=5, run=None)
    with pytest.raises(UserError, match="SECRET_OF_TESTS, which is not set"):
        promptopt.optimize(
            start="a",
            target=table,
            data=toy_data(),
            optimizer={"name": "bayes", "phrases": ["b", "c"]},
            budget=50,
            run="out",
            allow_env=["SECRET_OF_TESTS"],
        )
    assert Http(**{key: value for key, value in HTTP.items() if key != "name"})  # type: ignore[arg-type]


def test_no_recipe_allows_itself_anything(folder: Path) -> None:
    with pytest.raises(UserError, match="allow_env cannot stand in a recipe"):
        invoke("run", "recipe.toml", "--check", 'allow_env=["HOME"]')


def test_a_function_of_the_users_own_need_not_say_what_it_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unsaid_of_tests.py").write_text("def make():\n    import run_parts\n\n    return run_parts.Words()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert type(build("scorers", "unsaid_of_tests:make", where="scorer")).__name__ == "Words"
    with pytest.raises(UserError, match="makes no part of scorers"):
        build("scorers", "subprocess:run", where="scorer")
