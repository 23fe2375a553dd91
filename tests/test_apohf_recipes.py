"""The uses of APOHF in ``experiments/``: the recipes are in order, and small versions of them find what is good."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from promptopt.cli import app

ROOT = Path(__file__).resolve().parents[1]
INSTRUCTIONS = "experiments/apohf_instructions/recipe.toml"
RESPONSES = "experiments/apohf_responses/recipe.toml"
TEMPLATES = "experiments/apohf_templates/recipe.toml"
PICTURES = "experiments/apohf_templates/pictures.toml"
NEEDS = {TEMPLATES: ("open_clip", "starlette"), PICTURES: ("starlette", "httpx2")}
SIMULATED = '{name = "bradley-terry", scale = 20.0}'


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["run", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def result(recipe: str, folder: Path, *overrides: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(recipe, "--json", f"run={folder}", *overrides))
    return found


def events(folder: Path, event: str) -> list[dict[str, Any]]:
    every = map(json.loads, (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines())
    return [one for one in every if one["event"] == event]


@pytest.mark.parametrize("recipe", [INSTRUCTIONS, RESPONSES, TEMPLATES, PICTURES])
def test_the_recipe_is_in_order(recipe: str) -> None:
    for package in NEEDS.get(recipe, ()):
        pytest.importorskip(package)
    run(recipe, "--check")


def test_instructions_that_an_llm_wrote(tmp_path: Path) -> None:
    models = ("optimizer.pool.pool.model=recipe_parts:writer", "target.model=recipe_parts:follower")
    found = result(INSTRUCTIONS, tmp_path, *models, f"scorer={SIMULATED}", "budget.questions=15")
    assert "opposite" in found["best"]["prompt"]
    assert found["best"]["test"] == 1
    assert found["start"]["test"] == 0
    roles = Counter(event["role"] for event in events(tmp_path, "call"))
    assert roles["proposer"] == 5 + 5  # five lists, and five calls that brought nothing new
    assert roles["target"] > 0


def test_the_judge_that_stands_as_a_comment_is_in_order(tmp_path: Path) -> None:
    text = (ROOT / INSTRUCTIONS).read_text(encoding="utf-8")
    comment = text.partition("person:\n")[2].partition("\n\n")[0].replace("# ", "")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text.partition("[scorer]")[0] + comment + "\n[budget]\nquestions = 5\n", encoding="utf-8")
    assert "judge-duel" in comment
    run(str(recipe), "--check")


def test_responses_to_one_query(tmp_path: Path) -> None:
    scorer = '{name = "bradley-terry", scale = 2.0, scorer = "recipe_parts:Sincere"}'
    models = ("optimizer.pool.model=recipe_parts:talker", "optimizer.pool_size=30")
    found = result(RESPONSES, tmp_path, *models, f"scorer={scorer}", "budget.questions=30")
    assert abs(found["best"]["prompt"].count("sorry") - 10) <= 2
    assert len(events(tmp_path, "call")) == 4  # 8 replies a call


def test_templates_for_the_embedded_clip(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    found = result(TEMPLATES, tmp_path, f"scorer={SIMULATED}", "budget.questions=25", "data.shots=8")
    assert found["best"]["test"] > found["start"]["test"] + 0.1
    assert found["verdict"]["significant"]


# ── Pictures ──────────────────────────────────────────────────────────────────────────────────────────────────────


class ImageService(BaseHTTPRequestHandler):
    """Draws brighter pictures for longer styles; each is a PNG's head and its brightness."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        style = asked["prompt"].partition(", ")[2]
        data = b"\x89PNG\r\n\x1a\n " + str(len(style) / 40).encode()
        body = json.dumps({"data": [{"b64_json": base64.b64encode(data).decode()}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Not into the tests' output."""


@pytest.fixture
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), ImageService)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/images/generations"
    server.shutdown()
    server.server_close()
    thread.join()


def test_styles_for_an_image_service(service: str, tmp_path: Path) -> None:
    pytest.importorskip("httpx2")
    metric = 'metric={name = "function", function = "recipe_parts:brightness"}'
    small = ("data.train=2", "budget.questions=25", "budget.calls=200")
    found = result(PICTURES, tmp_path, f"target.target.url={service}", f"scorer={SIMULATED}", metric, *small)
    assert len(found["best"]["prompt"]) >= 28
    roles = Counter(event["role"] for event in events(tmp_path, "call"))
    assert roles == {"target": 25 * 2 * 2}  # the simulated annotator keeps no pictures
    assert not found["counts"]
