"""What is built is what stands in the tree, under the right name; the links at the root are for browsing only."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINKS = ("optimizers", "scorers")
COMPILES = "smollm2"
"""The extra that needs a compiler, and so is no part of ``all``."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist built from a copy of the tree, and a wheel built from that sdist."""
    copy = tmp_path_factory.mktemp("tree") / "promptopt"
    dist = tmp_path_factory.mktemp("dist")
    unneeded = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__", "node_modules")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=unneeded)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dist


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (file,) = built.glob("*.whl")
    return zipfile.ZipFile(file)


def files_in_tree() -> set[str]:
    """Modules and data of the package."""
    return without_caches(
        path.relative_to(ROOT).as_posix() for path in (ROOT / "promptopt").rglob("*") if path.is_file()
    )


def without_caches(names: Iterable[str]) -> set[str]:
    return {name for name in names if "__pycache__" not in name and not name.endswith((".pyc", "/.DS_Store"))}


@pytest.mark.study
def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == files_in_tree()


def test_the_data_files_are_there(wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    assert {"promptopt/py.typed", "promptopt/embedded/demo.toml", "promptopt/embedded/phrases.toml"} <= inside
    for ending in (".safetensors", ".json", ".gz"):
        assert [name for name in inside if name.startswith("promptopt/embedded/clip/") and name.endswith(ending)]


def test_the_data_files_have_the_content_of_the_tree(wheel: zipfile.ZipFile) -> None:
    for name in wheel.namelist():
        if name.startswith("promptopt/embedded/"):
            assert wheel.read(name) == (ROOT / name).read_bytes(), name


def test_the_sdist_holds_the_package_and_not_the_links(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if not member.isdir()}
    assert {name for name in names if name.startswith("promptopt/")} == files_in_tree()
    assert not [name for name in names if name.startswith(LINKS)]
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names


def test_the_wheel_is_small(built: Path) -> None:
    (file,) = built.glob("*.whl")
    assert file.stat().st_size < 6_000_000


def test_names(wheel: zipfile.ZipFile) -> None:
    (info,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert metadata["Name"] == "promptopt-toolkit"
    assert metadata["License-Expression"] == "MIT"
    entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "[console_scripts]\npromptopt = promptopt.cli:main" in entry_points
    assert wheel.read(f"{info}/top_level.txt").decode().split() == ["promptopt"]


def test_the_core_has_few_dependencies_and_every_extra_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(project["dependencies"]) <= 10
    extras = project["optional-dependencies"]
    assert {"openai", "anthropic", "clip", "local", "sweep", "dspy", "web", "all", "test"} <= set(extras)
    (everything,) = extras["all"]
    assert set(everything.partition("[")[2].rstrip("]").split(",")) == set(extras) - {"all", "site", "test", COMPILES}


@pytest.mark.parametrize("name", LINKS)
def test_the_links_at_the_root_point_into_the_package(name: str) -> None:
    assert (ROOT / name).is_symlink()
    assert (ROOT / name).readlink() == Path("promptopt") / name


@pytest.mark.parametrize("name", LINKS)
def test_a_link_cannot_be_imported(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    assert "relative import" in done.stderr


def test_the_constraints_are_names_and_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    names = [line.partition("==")[0] for line in pins]
    assert len(pins) > 50
    assert all(line.count("==") == 1 and not set(line) & set("@/: ") for line in pins)
    assert len(names) == len({name.casefold() for name in names})
    assert "promptopt-toolkit" not in names
