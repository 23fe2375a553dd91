"""What an import costs: little, and nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = "torch torchvision transformers open_clip openai anthropic optuna dspy sklearn pandas matplotlib".split()
HEAVY += ["scipy", "tenacity"]
LOADED = f"import json, sys; print(json.dumps(sorted(set(sys.modules) & set({HEAVY!r}))))"


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import promptopt",
        "import promptopt; promptopt.optimize, promptopt.Budget, promptopt.Result",
        "import promptopt.optimizers, promptopt.scorers, promptopt.testing",
        "from promptopt.cli import app; from typer.testing import CliRunner; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0",
        "from promptopt.cli import app; from typer.testing import CliRunner; "
        "assert CliRunner().invoke(app, ['list']).exit_code == 0",
        "import promptopt; promptopt.optimize(start='a', score=len, run=None, budget=3, "
        "optimizer=promptopt.optimizers.HillClimb(proposer=promptopt.optimizers.LexicalProposer(phrases=['b'])))",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    if ".optimizers." in code:
        code = "import promptopt.optimizers; " + code
    assert json.loads(python(f"{code}\n{LOADED}").splitlines()[-1]) == []


def test_the_bare_import_loads_next_to_nothing() -> None:
    loaded = python("import sys; before = set(sys.modules); import promptopt; print(*(set(sys.modules) - before))")
    assert not {"numpy", "pydantic", "rich", "typer", "filelock"}.intersection(loaded.split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_command_itself_loads_next_to_nothing(option: str) -> None:
    code = f"import sys; sys.argv = ['promptopt', {option!r}]; from promptopt import cli\ntry:\n    cli.main()\n"
    loaded = python(code + "except SystemExit:\n    print(*sys.modules)").splitlines()[-1]
    assert not {"numpy", "pydantic"}.intersection(loaded.split())
