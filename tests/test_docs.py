"""Every code block of the README and the docs is run.

What a block is follows from its language and its first line:

======== =============================================================================================================
python   is executed; the blocks of a page share one namespace and one temporary folder
bash     is run by bash, command by command; set-up commands (git clone, pip install ...) are compared with what
         ``.ci/run`` and ``pyproject.toml`` say instead
toml     is built as a recipe by ``promptopt.api.prepare``
json     is one ledger event a line, with the same keys as the events of that kind that the page's own runs wrote
text     is what the block before it printed
======== =============================================================================================================

A python or toml block that begins with a comment like ``# folder/name.py`` is a file: it is written to that place, a
recipe is built as well, and a file of tests is run by pytest. ``<!-- needs: ... -->`` above a recipe names weights or
data that are not here: its keys, names and types are checked, but nothing is loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import pytest
import warm

from promptopt import registry
from promptopt.api import optimize, prepare
from promptopt.errors import UnknownName
from promptopt.optimizers import HillClimb
from promptopt.optimizers.apohf import Apohf
from promptopt.optimizers.greater import Greater
from promptopt.optimizers.proposers.chat import ChatProposer
from promptopt.recipe import build
from promptopt.scorers import BradleyTerry
from promptopt.sweep import check as check_sweep

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
FENCE = re.compile(r"^(?:<!-- needs: (?P<needs>.+?) -->\n\n?)?```(?P<language>.*)\n(?P<text>(?:.*\n)*?)```$", re.M)
FILE = re.compile(r"# ([\w./-]+\.(?:py|toml))$", re.M)
SET_UP = re.compile(r"git clone |cd |python3 -m venv |\. |pip install |pytest$|ruff |mypy$|pre-commit |\.ci/run$")
OFFERED = dict.fromkeys(("classes", "seed", "examples", "data", "scorer", "target"))
ALONE = set("ape behaviour demonstrations evoprompt gepa iad map-elites mipro opro protegi".split())  # in papers.md


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line of its fence, its language, its text and what it needs that is not here."""

    page: Path
    line: int
    language: str
    text: str
    needs: str

    @property
    def file(self) -> str | None:
        """Where it is to be written, if it says so."""
        found = FILE.match(self.text)
        return found and found[1]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, m.start("language")) + 1, m["language"], m["text"], m["needs"] or "")
        for m in FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


# ── Running a page ────────────────────────────────────────────────────────────────────────────────────────────────


class Page:
    """Runs the blocks of a page, in order, in one folder and one namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "page"}
        self.printed = ""
        self.installed = False

    def run(self, block: Block) -> None:
        runners = {"python": self._python, "bash": self._bash, "toml": self._toml, "json": _json, "text": self._text}
        assert block.language in runners, f"a block needs a language that can be run: {', '.join(runners)}"
        assert not block.needs or block.language == "toml", "only a recipe can be checked without what it needs"
        if block.file:
            self._write(block, block.file)
        runners[block.language](block)

    def _write(self, block: Block, name: str) -> None:
        path = self.folder / name
        if name.startswith("promptopt/") and not (self.folder / "promptopt").exists():
            shutil.copytree(ROOT / "promptopt", self.folder / "promptopt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def _python(self, block: Block) -> None:
        code = compile("\n" * block.line + block.text, str(block.page), "exec")
        if not block.file:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, self.names)
            self.printed = out.getvalue()
        elif Path(block.file).name.startswith("test_"):
            self._shell(f"python -m pytest -q -p no:cacheprovider {block.file}")

    def _bash(self, block: Block) -> None:
        commands = [one for line in block.text.splitlines() for one in re.split(r" && ", line.partition(" # ")[0])]
        for command in map(str.strip, commands):
            if SET_UP.match(command):
                _check_set_up(command)
            elif command:
                self._shell(command)

    def _shell(self, command: str) -> None:
        if re.search(r"\bjq\b", command) and not shutil.which("jq"):
            pytest.skip("jq is not installed here")
        places = [str(_warm_commands()), str(Path(sys.executable).parent), os.environ["PATH"]]
        env = {**os.environ, "PATH": os.pathsep.join(places)}
        env.pop("PYTEST_ADDOPTS", None)
        if self.installed:
            env["PYTHONPATH"] = os.pathsep.join([str(self.folder), *filter(None, [env.get("PYTHONPATH")])])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        self.printed = done.stdout

    def _toml(self, block: Block) -> None:
        table = tomllib.loads(block.text)
        if block.file == "pyproject.toml":
            self._register(table)
        elif "sweep" in table:
            check_sweep(table)
        elif block.needs:
            check_names(table)
        else:
            prepare(table)

    def _register(self, project: Mapping[str, Any]) -> None:
        """What ``pip install`` would leave behind for the entry points of a plug-in."""
        entry_points = [
            line
            for group, entries in project["project"]["entry-points"].items()
            for line in [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
        ]
        info = self.folder / f"{project['project']['name'].replace('-', '_')}-{project['project']['version']}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: 1\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text("\n".join(entry_points), encoding="utf-8")
        self.installed = True

    def _text(self, block: Block) -> None:
        printed = [line.rstrip() for line in self.printed.splitlines()]
        assert printed == [line.rstrip() for line in block.text.splitlines()]


@cache
def _warm_commands() -> Path:
    """A folder with ``python`` and the installed ``promptopt`` without the seconds that their imports take."""
    folder = Path(tempfile.mkdtemp(dir=os.environ[warm.FOLDER]))
    for name, words in {"python": [], "promptopt": [str(Path(sys.executable).parent / "promptopt")]}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join([*warm.python(), *words])} "$@"\n', encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def _json(block: Block) -> None:
    """Ledger events: the same keys as in a ledger of the page's own."""
    ledgers = [file.read_text(encoding="utf-8") for file in Path("runs").glob("*/ledger.jsonl")]
    written = {(one["event"], frozenset(one)) for text in ledgers for one in map(json.loads, text.splitlines())}
    for line in block.text.splitlines():
        event = json.loads(line)
        assert (event["event"], frozenset(event)) in written, line


def _check_set_up(command: str) -> None:
    if not command.startswith("pip install"):
        return
    words = shlex.split(command)
    assert words[2] == "-e", "the package is on no index: install it from a clone"
    asked = re.fullmatch(r"\.(?:\[(.+)\])?", words[3])
    assert asked
    assert set((asked[1] or "all").split(",")) <= set(extras())


def extras() -> list[str]:
    """The extras that the package has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["optional-dependencies"])


def check_names(recipe: Mapping[str, Any]) -> None:
    """Check a recipe's keys, names and types all the way down; build nothing."""
    options = build.bind(optimize, recipe, where="recipe")
    for key, kind in build.PARTS.items():
        if key in options:
            _check_part(kind, options[key], where=key)


def _check_part(kind: str, spec: Any, *, where: str) -> None:
    spec = {"name": spec} if isinstance(spec, str) else spec
    factory = registry.load(kind, spec["name"], where=where)
    given = {key: value for key, value in spec.items() if key != "name"}
    parts = build.parts_of(factory)
    for key, value in build.bind(factory, given, where=where, given=OFFERED).items():
        if key in parts:
            _check_part(parts[key], value, where=f"{where}.{key}")


# ── The tests ─────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder and import from it; afterwards forget what was imported from there."""
    before = Path.cwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder / ".cache")}):
            yield
    finally:
        os.chdir(before)
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(folder)):
                del sys.modules[name]


@cache
def outcomes(page: Path) -> dict[int, BaseException | None]:
    """What came of each block of a page, by line: None, or what was raised."""
    came_of: dict[int, BaseException | None] = {}
    with tempfile.TemporaryDirectory() as name, inside(Path(name)):
        runner = Page(Path(name))
        for block in blocks_of(page):
            try:
                runner.run(block)
                came_of[block.line] = None
            except (Exception, pytest.skip.Exception) as error:
                came_of[block.line] = error
    return came_of


LONG = {"README.md", "recipes.md", "sweeps.md"}  # pages whose commands start many processes with CLIP


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, marks=[pytest.mark.study] * (block.page.name in LONG)) for block in BLOCKS],
    ids=lambda b: f"{b.page.relative_to(ROOT)}:{b.line}-{b.language}",
)
def test_block(block: Block) -> None:
    if error := outcomes(block.page)[block.line]:
        raise error


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fence_belongs_to_a_block(page: Path) -> None:
    fences = sum(line.lstrip().startswith(("```", "~~~")) for line in page.read_text(encoding="utf-8").splitlines())
    assert fences == 2 * len(blocks_of(page))


def test_an_unknown_language_fails(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("```\nls\n```\n\n```rust\nfn main() {}\n```\n", encoding="utf-8")
    blocks = blocks_of(tmp_path / "page.md")
    assert [block.language for block in blocks] == ["", "rust"]
    for block in blocks:
        with pytest.raises(AssertionError, match="language"):
            Page(tmp_path).run(block)


def test_a_recipe_that_needs_something_is_still_checked(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        '<!-- needs: weights -->\n```toml\nstart = "{}"\n[optimizer]\nname = "random-search"\n'
        '[optimizer.pool]\nname = "grammar"\nadjectivs = 1\n```\n',
        encoding="utf-8",
    )
    (block,) = blocks_of(tmp_path / "page.md")
    assert block.needs == "weights"
    with pytest.raises(UnknownName, match="adjectives"):
        Page(tmp_path).run(block)


def test_ci_runs_the_command_of_the_readme() -> None:
    command = 'pip install -e ".[all,test]" && pytest'
    for name in ("README.md", ".ci/run"):
        assert command in (ROOT / name).read_text(encoding="utf-8"), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_table_of_defaults_agrees_with_the_code() -> None:
    _, *sections = re.split(r"^## (.*)$", (ROOT / "docs" / "papers.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    defaults = {
        **inspect.signature(Apohf).parameters,
        **inspect.signature(Greater).parameters,
        **inspect.signature(HillClimb).parameters,
        "temperature": inspect.signature(ChatProposer).parameters["temperature"],
        **{name: inspect.signature(ChatProposer).parameters[name] for name in ("conversation", "wording", "random")},
        **{name: inspect.signature(BradleyTerry).parameters[name] for name in ("scale", "standardise")},
    }
    seen = 0
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        part = title.partition(" [")[0]
        known = inspect.signature(registry.load("optimizers", part)).parameters if part in ALONE else defaults
        for name, ours in re.findall(r"^\| `(\w+)` \|.*\| `([^`|]+)` \|", text, re.M):
            assert str(known[name].default) == ours, f"{title}: {name}"
            seen += 1
    assert seen >= 10


def test_what_works_today_is_registered_and_what_is_planned_is_not() -> None:
    rows = re.findall(r"^\| `([\w-]+)`(.*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    works = {name for name, rest in rows if "not there yet" not in rest}
    kinds = ("optimizers", "scorers", "targets")
    assert works == {name for kind in kinds for name in registry.TABLE[kind]}


def test_every_extra_is_explained() -> None:
    _, _, after = (ROOT / "README.md").read_text(encoding="utf-8").partition("| extra | for |\n|---|---|\n")
    explained = [name for row in after.partition("\n\n")[0].splitlines() for name in row.split("|")[1].split(",")]
    assert {name.strip() for name in explained} - {"none of them"} == set(extras())


def test_the_picture_shows_the_demo_and_loads_nothing() -> None:
    svg = (ROOT / "docs" / "images" / "demo.svg").read_text(encoding="utf-8")
    shown = " ".join("".join(ElementTree.fromstring(svg).itertext()).replace("\xa0", " ").split())
    for text in ("promptopt demo", "Start: a photo of a {}", "Best:", "a significant gain", "Record: runs/"):
        assert text in shown
    assert not re.search(r"(?:url\(|href=)[\"']?http", svg)
