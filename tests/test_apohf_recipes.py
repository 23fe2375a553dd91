"""The uses of APOHF in ``experiments/``: the recipes are in order, and small versions of them find what is good."""

from __future__ import annotations

import base64
import io
import json
import threading
import tomllib
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from promptopt.cli import app

pytestmark = pytest.mark.study

ROOT = Path(__file__).resolve().parents[1]
INSTRUCTIONS = "experiments/apohf_instructions/recipe.toml"
RELEASED = "experiments/apohf_instructions/released.toml"
RESPONSES = "experiments/apohf_responses/recipe.toml"
QUERIES = "experiments/apohf_responses/queries.toml"
TEMPLATES = "experiments/apohf_templates/recipe.toml"
PICTURES = "experiments/apohf_templates/pictures.toml"
NEEDS = {TEMPLATES: ("open_clip", "starlette"), PICTURES: ("starlette", "httpx2"), QUERIES: ("starlette",)}
SIMULATED = '{name = "bradley-terry", scale = 20.0}'


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OPENAI_API_KEY", "none")  # recipes that name a hosted model are checked for its key


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


@pytest.mark.parametrize("recipe", [INSTRUCTIONS, RESPONSES, QUERIES, TEMPLATES, PICTURES])
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


# ── As released ───────────────────────────────────────────────────────────────────────────────────────────────────


def tasks(root: Path) -> str:
    """The examples of this repository as a task of instruction induction."""
    pairs = [json.loads(line) for line in (ROOT / "experiments/apohf_instructions/examples.jsonl").open()]
    for folder, half in (("induce", pairs[:20]), ("execute", pairs[20:])):
        (root / folder).mkdir(parents=True)
        examples = {str(i): {"input": one["input"], "output": one["label"]} for i, one in enumerate(half, 1)}
        text = json.dumps({"metadata": {"num_examples": len(half)}, "examples": examples})
        (root / folder / "antonyms.json").write_text(text, encoding="utf-8")
    return f"data.root={root}"


def encoder(folder: Path) -> str:
    """A small sentence encoder with random weights, in the place of the paper's."""
    models = pytest.importorskip("sentence_transformers.models")
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds

    torch.manual_seed(0)
    words = {"[UNK]": 0, "[PAD]": 1, **{chr(97 + i): i + 2 for i in range(26)}}
    tokenizer = Tokenizer(kinds.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    bert = transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **size))
    bert.save_pretrained(folder / "bert")
    fast.save_pretrained(folder / "bert")
    word = models.Transformer(str(folder / "bert"), max_seq_length=64)
    SentenceTransformer(modules=[word, models.Pooling(16)]).save(str(folder / "encoder"))
    return f"optimizer.embedder.model={folder / 'encoder'}"


def test_the_released_recipe_is_in_order_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the encoder, whose weights are not here."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    run(RELEASED, tasks(tmp_path / "data"), encoder(tmp_path), "data.test=20", "--check")
    recipe = tomllib.loads((ROOT / RELEASED).read_text(encoding="utf-8"))
    optimizer, scorer = recipe["optimizer"], recipe["scorer"]
    assert {key: optimizer[key] for key in ("fit", "norm", "lam", "nu", "n_init", "pool_size")} == {
        "fit": "released",
        "norm": "diagonal",
        "lam": 0.1,
        "nu": 1.0,
        "n_init": 5,
        "pool_size": 200,
    }
    assert optimizer["embedder"] == {"name": "sentence-transformers", "model": "all-mpnet-base-v2"}
    assert scorer == {"name": "bradley-terry", "standardise": 50, "scale": 10.0}
    assert recipe["budget"]["questions"] == 150


def test_the_released_recipe_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptopt.optimizers.apohf.STEPS", 50)
    models = ("optimizer.pool.model=recipe_parts:writer", "target.model=recipe_parts:follower")
    small = ("data.test=20", "budget.questions=12", "optimizer.embedder=ngrams")
    found = result(RELEASED, tmp_path / "run", tasks(tmp_path / "data"), *models, *small)
    stages = Counter(event["stage"] for event in events(tmp_path / "run", "answer"))
    assert stages["search"] == found["questions"] == 12
    assert 5 < stages["calibration"] <= 20
    assert found["verdict"] is not None


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


def test_replies_to_ten_queries(tmp_path: Path) -> None:
    scorer = '{name = "bradley-terry", scale = 2.0, scorer = "recipe_parts:Sincere"}'
    models = ("optimizer.pool.model=recipe_parts:talker", "optimizer.pool.per_query=5")
    found = result(QUERIES, tmp_path, *models, f"scorer={scorer}", "budget.questions=30")
    queries = tomllib.loads((ROOT / QUERIES).read_text(encoding="utf-8"))["optimizer"]["pool"]["queries"]
    sheet = [part.partition("\n\n") for part in found["best"]["prompt"].split("\n\n---\n\n")]
    assert [query for query, _, _ in sheet] == queries
    assert all("sorry" in reply or "Thank you" in reply for _, _, reply in sheet)
    duels = events(tmp_path, "answer")
    assert all(duel["origin"][0]["query"] == duel["origin"][1]["query"] for duel in duels)
    assert len({duel["origin"][0]["query"] for duel in duels}) == 10


def test_templates_for_the_embedded_clip(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    found = result(TEMPLATES, tmp_path, f"scorer={SIMULATED}", "budget.questions=25", "data.shots=8")
    assert found["best"]["test"] > found["start"]["test"] + 0.1
    assert found["verdict"]["significant"]


# ── Pictures ──────────────────────────────────────────────────────────────────────────────────────────────────────


class ImageService(BaseHTTPRequestHandler):
    """Draws brighter pictures for longer styles; each is a PNG of one pixel with its brightness behind the end."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        style = asked["prompt"].partition(", ")[2]
        drawn = io.BytesIO()
        Image.new("L", (1, 1)).save(drawn, "PNG")
        data = drawn.getvalue() + b" " + str(len(style) / 40).encode()
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
    met = {event[side] for event in events(tmp_path, "answer") for side in ("a", "b")}
    assert roles == {"target": len(met) * 2}  # the simulated annotator rates each prompt once
    assert len(met) < 2 * 25
    assert not found["counts"]
