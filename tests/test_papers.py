"""The studies of the papers' tables: a smaller version of each, by the one command, and the recipes at full scale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("open_clip")

from PIL import Image
from typer.testing import CliRunner

from promptopt.cli import app

pytestmark = pytest.mark.study

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"


def pets(root: Path) -> None:
    """A data set in CoOp's layout, with one small picture of everything."""
    names = ["abyssinian", "beagle"]
    split = {part: [[f"{part}_{n}.jpg", n, name] for n, name in enumerate(names)] for part in ("train", "val", "test")}
    images = root / "oxford_pets" / "images"
    images.mkdir(parents=True)
    for rows in split.values():
        for file, _, _ in rows:
            Image.new("RGB", (8, 8)).save(images / file)
    (root / "oxford_pets" / "split_zhou_OxfordPets.json").write_text(json.dumps(split))


def test_the_recipe_at_the_papers_scale_is_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pets(tmp_path)
    (tmp_path / "captions.txt").write_text("a photo of a {}\na picture of a {}, a pet\n")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    random = [f"{target}.pretrained=random" for target in ("target", "transfer.vit-b-32", "transfer.vit-b-16")]
    here = [f"data.root={tmp_path}", f"optimizer.pool.path={tmp_path / 'captions.txt'}", *random]
    done = CliRunner().invoke(app, ["run", str(EXPERIMENTS / "liu2024" / "paper.toml"), *here, "--check"])
    assert done.exit_code == 0, done.output
    assert "HillClimb, MetricScorer, 2 + 0 + 2 examples" in done.output


def test_one_command_makes_every_table(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXPERIMENTS / "papers.py"), "--small", "--out", str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PROMPTOPT_CACHE": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    liu = (tmp_path / "liu2024.md").read_text(encoding="utf-8")
    assert "| CoOp (white-box) |" in liu
    studies = done.stdout.splitlines()
    assert len(studies) == 4
    for study in studies:
        assert " done in " in study
        assert (tmp_path / f"{study.partition(':')[0]}.md").read_text(encoding="utf-8").count("|") >= 20
