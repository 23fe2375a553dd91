"""Names: our table, strangers' entry points, and package.module:Name."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import promptopt
from promptopt.errors import UnknownName, UserError
from promptopt.registry import TABLE, listed, load, table

OURS = [(kind, name) for kind, names in TABLE.items() for name in names]

PLUGIN = """
from promptopt.core import Rate, Rating

class Length:
    question = Rate

    def __init__(self, *, sign: int = 1):
        self.sign = sign

    def answer(self, questions, /):
        return [Rating(float(self.sign * len(q.prompt.text))) for q in questions]
"""


def distribution(folder: Path, name: str, entry_points: str, modules: dict[str, str]) -> None:
    """What an installer leaves behind for a distribution."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    distribution(
        tmp_path,
        "stranger-parts",
        "[promptopt.scorers]\nlength = stranger_parts:Length\nbroken = stranger_missing:Thing\n"
        "gone = stranger_parts:Gone\n[promptopt.optimizers]\nhill-climb = stranger_parts:Length\n",
        {"stranger_parts": PLUGIN},
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


# ── Ours ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("kind", "name"), OURS)
def test_every_name_of_ours_resolves(kind: str, name: str) -> None:
    factory = load(kind, name)
    function = factory.__init__ if inspect.isclass(factory) else factory  # type: ignore[misc]
    hints = typing.get_type_hints(function)
    for parameter in inspect.signature(factory).parameters.values():
        assert parameter.kind is parameter.KEYWORD_ONLY, f"{name}: {parameter.name} must be keyword-only"
        assert parameter.name in hints, f"{name}: {parameter.name} has no annotation to check a recipe with"
    assert factory.__doc__


def test_the_command_lists_every_kind() -> None:
    from promptopt.cli import Kind

    assert [kind.value for kind in Kind] == sorted(TABLE, key=list(Kind).index)
    assert set(Kind) == set(TABLE)


# ── Strangers' ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_entry_point_is_a_name_like_any_other(stranger: Path) -> None:
    result = promptopt.optimize(
        start="aaaa",
        scorer={"name": "length", "sign": -1},
        optimizer={"name": "random-search", "pool": {"name": "list", "prompts": ["bbb", "ccccc"]}},
        run=None,
    )
    assert result.best == "bbb"
    found = [(one.name, one.path, one.distribution) for one in listed("scorers")]
    assert ("length", "stranger_parts:Length", "stranger-parts") in found
    assert found[0][2] == "promptopt-toolkit"


def test_an_entry_point_is_not_imported_before_it_is_named(stranger: Path) -> None:
    sys.modules.pop("stranger_parts", None)
    listed("scorers")
    load("scorers", "bradley-terry")
    assert "stranger_parts" not in sys.modules
    load("scorers", "length")
    assert "stranger_parts" in sys.modules


def test_a_stranger_does_not_replace_our_names(stranger: Path) -> None:
    assert load("optimizers", "hill-climb").__module__ == "promptopt.optimizers.hill_climb"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", r"my\.scorer: cannot load 'stranger_missing:Thing': No module named 'stranger_missing'"),
        ("gone", r"my\.scorer: cannot load 'stranger_parts:Gone': .*no attribute 'Gone'"),
        ("lenght", r"my\.scorer: unknown scorer 'lenght'\. Did you mean 'length'\? Allowed: .*bradley-terry"),
    ],
)
def test_a_broken_entry_point_says_where(stranger: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load("scorers", name, where="my.scorer")


def test_two_claims_to_a_name_have_to_be_told_apart(stranger: Path) -> None:
    distribution(stranger, "other-parts", "[promptopt.scorers]\nlength = other_parts:Length\n", {"other_parts": PLUGIN})
    with pytest.raises(
        UserError,
        match=r"'length' is claimed by .*stranger_parts:Length of stranger-parts.*Write one of them as package",
    ):
        load("scorers", "length")
    assert load("scorers", "other_parts:Length").__module__ == "other_parts"


# ── package.module:Name ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["os:nothing", "no.such.module:Name", ":Name", "os:", "..x:Name", "os:sep", "os:path"])
def test_a_wrong_path_says_where(path: str) -> None:
    with pytest.raises(UserError, match=r"^here: cannot load"):
        load("scorers", path, where="here")


def test_a_module_that_breaks_while_it_is_imported_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks_on_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        load("scorers", "breaks_on_import:Name")


def test_kinds_are_named(stranger: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown kind of part 'scorer'\. Did you mean 'scorers'"):
        listed("scorer")


# ── Missing packages ──────────────────────────────────────────────────────────────────────────────────────────────

WITHOUT = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
from promptopt.cli import main
sys.argv = ["promptopt", "run", {recipe!r}]
main()
"""

OPTIONAL = {"torch", "torchvision", "open_clip", "transformers", "openai", "anthropic", "sklearn", "PIL", "safetensors"}


@pytest.mark.parametrize(
    ("lines", "extra"),
    [
        ('target = {name = "clip", classes = ["a", "b"]}\ndata = "run_parts:toy_data"', "clip"),
        ('data = "digits"\nscorer = "run_parts:Words"', "clip"),
        (
            'scorer = "run_parts:Words"\n[optimizer]\nname = "hill-climb"\n[optimizer.proposer]\nname = "chat"\n'
            'model = {name = "openai", model = "m", base_url = "http://127.0.0.1:9"}',
            "openai",
        ),
    ],
)
def test_a_missing_package_is_one_line_that_installs_it(tmp_path: Path, lines: str, extra: str) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'start = "a {{}}"\nrun = ""\n{lines}')
    script = WITHOUT.format(blocked=OPTIONAL, recipe=str(recipe))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    named = ("Code from elsewhere is run", "Environment variables are read")
    assert len([line for line in done.stderr.strip().splitlines() if not line.startswith(named)]) == 1
    assert f'pip install "promptopt-toolkit[{extra}]"' in done.stderr


@pytest.mark.parametrize("kind", TABLE)
def test_the_columns_of_a_listing_never_run_together(kind: str) -> None:
    lines = table(kind)
    assert [line.split()[:2] for line in lines] == [[one.name, one.path] for one in listed(kind)]
    starts = {(line.index(one.path), line.index("(")) for line, one in zip(lines, listed(kind), strict=True)}
    assert len(starts) == 1
