"""The rules of CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "promptopt"
MODULES = sorted(PACKAGE.rglob("*.py"))
TEXT = {".md", ".py", ".toml", ".txt", ".yaml", ".yml", ".svg", ".json", ""}
UNTRACKED = {".git", ".venv", "venv", "build", "dist", "runs", "__pycache__", ".mypy_cache", ".ruff_cache"}
UNTRACKED |= {".pytest_cache", ".hypothesis"}
PIP = re.compile(r"pip3? install[^\n`&;|]*?\bpromptopt\b(?!-toolkit)")


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the repository."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if UNTRACKED & set(parts) or any(part.endswith(".egg-info") for part in parts):
            continue
        if path.is_file() and not path.is_symlink() and path.suffix in TEXT and path.stat().st_size < 2_000_000:
            yield path, path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every import of a module, those inside functions too: the absolute name, and the level it was written with."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield module, node.level
            yield from ((f"{module}.{alias.name}", node.level) for alias in node.names)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_the_finder_of_imports_sees_through_levels() -> None:
    found = set(imports(PACKAGE / "optimizers" / "proposers" / "chat.py"))
    assert ("promptopt.core.ChatModel", 3) in found
    assert ("promptopt.optimizers.proposers.asking", 1) in found


def test_nobody_is_told_to_install_the_other_promptopt() -> None:
    bad = " ".join(["pip", "install", "promptopt"])
    assert PIP.search(bad)
    assert PIP.search(bad.replace("promptopt", "-U 'promptopt[all]'"))
    assert not PIP.search(f'{bad}-toolkit "promptopt-toolkit[clip]"')
    assert not PIP.search('pip install -e ".[all]" && promptopt demo')
    assert not [str(path.relative_to(ROOT)) for path, text in texts() if PIP.search(text)]


def test_no_module_is_called_utils() -> None:
    files = [path for path, _ in texts() if path.suffix == ".py"]
    assert len(files) > len(MODULES)
    assert not [path for path in files if path.stem.strip("_") in ("util", "utils", "helpers")]


ROOMS = """
    core errors checks trust credentials exports stats text parts demonstrations loading quiet fanout replies
    retries bodies store attachments pictures registry vocabulary drawing models record run targets embedders metrics
    data optimizers scorers recipe doctor api mlflow dspy baselines inversion report trackers testing sweep cli __main__
""".split()  # each may know those before it, and no other


def room(name: str) -> str:
    """The folder or file at the top of the package that a module stands in."""
    return [*name.split("."), "__init__"][1]


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in MODULES}
    assert len(folders) > 20
    assert not [folder.name for folder in folders if not (folder / "__init__.py").exists()]


def test_every_room_has_a_place() -> None:
    assert {room(name_of(path)) for path in MODULES} == {*ROOMS, "__init__"}


@pytest.mark.parametrize("path", [p for p in MODULES if p != PACKAGE / "__init__.py"], ids=name_of)
def test_arrows_run_one_way(path: Path) -> None:
    here = ROOMS.index(room(name_of(path)))
    known = {room(name) for name, _ in imports(path) if name.startswith("promptopt.")}
    assert not known - {*ROOMS[: here + 1]}


def test_the_check_of_arrows_finds_a_wrong_one() -> None:
    assert ROOMS.index("sweep") > ROOMS.index("report") > ROOMS.index("scorers") > ROOMS.index("run")
    assert room("promptopt.scorers.human.desk") == "scorers"
    assert "record" in {room(name) for name, _ in imports(PACKAGE / "run" / "recorder.py") if "promptopt." in name}


def for_types(path: Path) -> set[str]:
    """What a module imports for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alone = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    lines = {node.lineno for one in alone for node in ast.walk(one) if isinstance(node, ast.ImportFrom)}
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.lineno in lines}


def test_no_two_modules_import_each_other() -> None:
    names = {name_of(path): path for path in MODULES if path.name != "__init__.py"}
    known = {name: {one for one, _ in imports(path) if one in names and one != name} for name, path in names.items()}
    circles = [(one, other) for one in known for other in known[one] if one in known[other]]
    allowed = [("promptopt.run.recorder", "promptopt.run.setup"), ("promptopt.run.setup", "promptopt.run.recorder")]
    assert circles == allowed  # the second for type checkers alone
    assert "from .recorder import Recorder" in for_types(PACKAGE / "run" / "setup.py")


OWN_WORDING = re.compile(r"; allowed is|at least \d|; give \d or more|more than 0|positive number")


def own_checks(text: str) -> list[str]:
    """The errors about an argument's range that a module words itself."""
    raised = [ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Raise)]
    return [one for one in raised if one.startswith("raise UserError(") and OWN_WORDING.search(one)]


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "checks.py"], ids=name_of)
def test_arguments_are_checked_in_one_place(path: Path) -> None:
    assert not own_checks(path.read_text(encoding="utf-8"))


def test_the_finder_of_checks_finds_one() -> None:
    assert own_checks((PACKAGE / "checks.py").read_text(encoding="utf-8"))
    assert own_checks('if k < 1:\n    raise UserError(f"k is {k}; give at least 1.")')
    assert not own_checks('at_least(1, k=k)\nraise UserError("there is no run.")')


def test_core_imports_nothing_of_ours() -> None:
    found = [name for path in (PACKAGE / "core").glob("*.py") for name, _ in imports(path)]
    assert not [name for name in found if inside(name, "promptopt") and not inside(name, "promptopt.core")]


@pytest.mark.parametrize(("one", "other"), [("optimizers", "scorers"), ("scorers", "optimizers")])
def test_optimizers_and_scorers_do_not_know_each_other(one: str, other: str) -> None:
    files = [path for path in MODULES if inside(name_of(path), f"promptopt.{one}")]
    assert files
    wrong = [(path.name, name) for path in files for name, _ in imports(path) if inside(name, f"promptopt.{other}")]
    assert not wrong


@pytest.mark.parametrize("package", ["optimizers", "scorers"])
def test_imports_inside_the_linked_packages_are_relative(package: str) -> None:
    files = [path for path in MODULES if inside(name_of(path), f"promptopt.{package}")]
    ours = [(path.name, name, level) for path in files for name, level in imports(path) if inside(name, "promptopt")]
    assert ours
    assert not [one for one in ours if one[2] == 0]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_is_public_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [
        node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    ]
    assert not [node.name for node in public if not ast.get_docstring(node)]
    assert ast.get_docstring(tree)
