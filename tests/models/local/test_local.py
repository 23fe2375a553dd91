"""A local model against plain transformers, alone, in company and behind a server."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
import transformers
from PIL import Image
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from promptopt.core import Completion, Example, Failed, Message, Picture, Prompt, Request, Usage
from promptopt.errors import ModelError, UserError
from promptopt.models.local import Local
from promptopt.models.local.batches import Batches, BatchWriter, RequestedReply
from promptopt.models.openai import OpenAI
from promptopt.models.wrappers import wrap
from promptopt.targets.vlm import VlmClassifier
from promptopt.testing import FakeSetup

from ..tiny_lm import CONTEXT, save_llama, save_llava

TEXTS = ["Hello", "What is this? " * 4, "x", "Name three colours.", "", "{}", "a\tb", "Repeat: " + "ab" * 40]
SERVER = [name for name in ("fastapi", "uvicorn", "accelerate") if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes folders, without a trace in the global random generator."""

    def save(make: Callable[..., Path] = save_llama, **options: Any) -> Path:
        with torch.random.fork_rng(devices=[]):
            return make(tmp_path_factory.mktemp("models") / "tiny", **options)

    return save


@pytest.fixture(scope="session")
def folder(saved: Callable[..., Path]) -> Path:
    return saved()


@pytest.fixture(scope="session")
def seeing(saved: Callable[..., Path]) -> Path:
    return saved(save_llava)


def user(text: str, *pictures: Picture) -> list[Message]:
    return [Message("user", text, pictures)]


def picture(colour: tuple[int, int, int]) -> Picture:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(file, "PNG")
    return Picture(file.getvalue())


def texts(completion: Completion) -> list[str]:
    return [reply.text for reply in completion.replies]


def plain(folder: Path, messages: Sequence[Message], *, max_tokens: int) -> tuple[str, int, int]:
    """Text, tokens read and tokens written, by transformers alone."""
    words, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    turns = [{"role": message.role, "content": message.text} for message in messages]
    inputs = words.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    (ids,) = model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
    read = inputs["input_ids"].shape[1]
    return words.decode(ids[read:], skip_special_tokens=True), read, len(ids) - read


# ── Greedy ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", TEXTS)
def test_a_greedy_reply_is_that_of_transformers_to_the_token(folder: Path, text: str) -> None:
    messages = [Message("system", "Be short."), *user(text)]
    done = Local(model=folder, max_tokens=24).complete(Request(messages, temperature=0.0))
    said, read, written = plain(folder, messages, max_tokens=24)
    assert (texts(done), done.usage) == ([said], Usage(1, read, written))
    assert done.replies[0].finish == ("length" if written == 24 and said != "" else "stop")
    assert said


def test_tokens_are_counted_by_its_tokenizer(folder: Path) -> None:
    ids = AutoTokenizer.from_pretrained(folder)(TEXTS[0], add_special_tokens=False).input_ids
    assert Local(model=folder).count_tokens(TEXTS[0]) == len(ids) > 0


def test_replies_end_by_themselves_or_at_the_limit(folder: Path) -> None:
    model = Local(model=folder, max_tokens=24)
    ends = Counter(model.complete(Request(user(text), temperature=0.0)).replies[0].finish for text in TEXTS)
    assert set(ends) == {"stop", "length"}
    for text in TEXTS:
        whole, cut = (Local(model=folder, max_tokens=m).complete(Request(user(text), temperature=0.0)) for m in (24, 3))
        assert cut.usage.output_tokens <= 3
        assert texts(whole)[0].startswith(texts(cut)[0])


def test_a_request_may_end_replies_sooner(folder: Path) -> None:
    model = Local(model=folder, max_tokens=24)
    whole = [texts(model.complete(Request(user(text), temperature=0.0)))[0] for text in TEXTS]
    asked = [Request(user(text), temperature=0.0, stop=[said[2:4]]) for text, said in zip(TEXTS, whole, strict=True)]
    with ThreadPoolExecutor(len(TEXTS)) as pool:
        stopped = list(pool.map(model.complete, asked))
    assert [texts(one)[0] for one in stopped] == [said[: said.index(said[2:4])] for said in whole]
    assert {one.replies[0].finish for one in stopped} == {"stop"}
    assert sum(one.usage.output_tokens for one in stopped) < 12 * len(TEXTS)
    [short] = model.complete(Request(user(TEXTS[0]), temperature=0.0, max_tokens=3)).replies
    assert whole[0].startswith(short.text)
    assert short.finish == "length"
    assert model.at_most(Request(user("x"), n=2, max_tokens=3)).output_tokens == 6
    assert model.at_most(Request(user("x"), max_tokens=100)).output_tokens == 24


def test_callers_share_batches_and_get_what_they_would_get_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [Local(model=folder, max_tokens=24).complete(Request(user(text), temperature=0.0)) for text in TEXTS]
    sizes: list[int] = []
    write = BatchWriter.write

    def slowly(self: BatchWriter, batch: Sequence[RequestedReply]) -> list[list[int]]:
        sizes.append(len(batch))
        time.sleep(0.05)
        return write(self, batch)

    monkeypatch.setattr(BatchWriter, "write", slowly)
    model = Local(model=folder, max_tokens=24, batch_size=5)
    model.complete(Request(user("load"), temperature=0.0))
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: model.complete(Request(user(text), temperature=0.0)), TEXTS * 3))
    assert together == alone * 3
    assert sum(sizes) == 1 + 3 * len(TEXTS)
    assert 1 < max(sizes) <= 5


@pytest.mark.parametrize(("architecture", "reads"), [("RwkvConfig", True), ("MambaConfig", False)])
def test_conversations_of_unequal_length_are_padded_only_where_padding_is_not_read(
    folder: Path, tmp_path: Path, architecture: str, reads: bool
) -> None:
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").unlink()
    config = getattr(transformers, architecture)(vocab_size=200, hidden_size=32, num_hidden_layers=2, eos_token_id=2)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        whole = AutoModelForCausalLM.from_config(config)
        for parameter in whole.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
        whole.save_pretrained(tmp_path / "other")
    model = Local(model=tmp_path / "other", max_tokens=4)
    assert model._batches.writer.reads_padding() is reads
    assert not model._batches.writer._shares
    inputs = [model._reader.encode(user(text)) for text in ("Hello", "Name three colours.")]
    rows = [RequestedReply(one, 0.0, None, 4) for one in inputs]
    alone = [model._batches.writer.write([one])[0] for one in rows]
    assert model._batches.write(rows) == alone


def test_what_conversations_begin_with_alike_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = Message("system", "Be short, be kind, and be careful.")
    asked = [Request([system, *user(text)], temperature=0.0) for text in TEXTS]
    alone = [Local(model=folder, max_tokens=24).complete(request) for request in asked]
    model = Local(model=folder, max_tokens=24, batch_size=len(asked))
    rows = [RequestedReply(model._reader.encode(request.messages), 0.0, None, 24) for request in asked]
    writer, fed = model._batches.writer, []
    assert writer._shares
    embeddings = model._weights.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda module, given, out: fed.append(tuple(given[0].shape)))
    together = [model._reader.decode(ids) for ids in writer.write(rows)]
    hook.remove()
    assert together == [texts(one)[0] for one in alone]
    longest = max(row.inputs["input_ids"].shape[1] for row in rows)
    beginning = fed[0][1]
    assert beginning > len(system.text)
    assert fed[:2] == [(1, beginning), (len(rows), longest - beginning)]
    monkeypatch.setitem(writer.__dict__, "_shares", False)
    assert [model._reader.decode(ids) for ids in writer.write(rows)] == together


# ── Drawn ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_seed_gives_the_same_replies_whatever_n_and_company(folder: Path) -> None:
    model = Local(model=folder, max_tokens=12)

    def ask(seed: int | None, n: int = 3, text: str = "Hello") -> list[str]:
        return texts(model.complete(Request(user(text), n=n, temperature=1.0, seed=seed)))

    first = ask(0)
    assert len(set(first)) == 3
    assert ask(0) == first == ask(0, n=5)[:3]
    assert ask(1) != first
    assert ask(None) != ask(None)
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda i: ask(0) if i % 2 else ask(i, text=TEXTS[i]), range(6)))[1::2] == [first] * 3
    assert texts(Local(model=folder, max_tokens=12).complete(Request(user("Hello"), n=3, seed=0))) == first


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_draws_follow_the_model_s_distribution(folder: Path, temperature: float) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    words = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = model(**words("<user>Hello<assistant>", return_tensors="pt")).logits[0, -1].double()
    n = 3000
    expected: Counter[str] = Counter()
    for token, probability in enumerate(torch.softmax(logits / temperature, dim=0).tolist()):
        expected[words.decode([token], skip_special_tokens=True)] += n * probability
    asked = Local(model=folder, max_tokens=1, batch_size=n)
    drawn = Counter(texts(asked.complete(Request(user("Hello"), n=n, seed=7, temperature=temperature))))
    often = [text for text, times in expected.items() if times >= 5]
    assert len(often) > 1
    observed, wanted = [drawn[text] for text in often], [expected[text] for text in often]
    rest = n - sum(observed), n - sum(wanted)
    assert abs(rest[0] - rest[1]) < 5 + 5 * max(rest[1], 0) ** 0.5
    assert chisquare(observed, np.array(wanted) * sum(observed) / sum(wanted)).pvalue > 0.001


def test_the_model_s_own_cuts_hold(saved: Callable[..., Path]) -> None:
    def first_tokens(**settings: Any) -> set[str]:
        model = Local(model=saved(**settings), max_tokens=1, batch_size=200)
        return set(texts(model.complete(Request(user("Hello"), n=200, temperature=3.0, seed=0))))

    assert len(first_tokens()) > 10
    assert len(first_tokens(top_k=2, do_sample=True)) == 2
    assert 1 <= len(first_tokens(top_p=0.2, do_sample=True)) < 10


def test_global_generators_and_threads_are_left_alone(folder: Path) -> None:
    state, threads, numpy_state = torch.get_rng_state(), torch.get_num_threads(), str(np.random.get_state())
    Local(model=folder, max_tokens=5).complete(Request(user("Hello"), n=2, seed=None))
    assert torch.equal(state, torch.get_rng_state())
    assert (threads, numpy_state) == (torch.get_num_threads(), str(np.random.get_state()))
    assert torch.is_grad_enabled()


# ── What is sent ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_template_messages_are_plain_text(saved: Callable[..., Path], folder: Path) -> None:
    bare = saved(template=None)
    messages = [Message("system", "One."), Message("user", "Two")]
    for model in (Local(model=bare, max_tokens=5), Local(model=folder, max_tokens=5, chat_template=False)):
        assert model.complete(Request(messages, temperature=0.0)).usage.input_tokens == len("One.\n\nTwo")
    with pytest.raises(UserError, match="has none"):
        Local(model=bare, chat_template=True).at_most(Request(messages))


def test_template_options_reach_the_template(folder: Path) -> None:
    model = Local(model=folder, max_tokens=5, template_options={"suffix": "abc"})
    assert model.at_most(Request(user("x"), n=3)) == Usage(1, len("x") + 2 + 3, 15)
    assert model.complete(Request(user("x"), temperature=0.0)).usage.input_tokens == 6


def test_a_template_that_refuses_is_a_final_no(saved: Callable[..., Path]) -> None:
    refusing = saved(template="{% if messages[0].role == 'system' %}{{ raise_exception('No system.') }}{% endif %}x")
    with pytest.raises(ModelError, match=r"chat template refuses .*No system\."):
        Local(model=refusing).complete(Request([Message("system", "Be short."), *user("Hello")]))
    with pytest.raises(ModelError, match="empty"):
        Local(model=refusing, chat_template=False).complete(Request(user("")))


def test_a_conversation_that_does_not_fit_is_a_final_no(folder: Path) -> None:
    model = Local(model=folder, max_tokens=10)
    fits = "x" * (CONTEXT - 10 - 2)
    assert model.complete(Request(user(fits), temperature=0.0)).usage.input_tokens == CONTEXT - 10
    with pytest.raises(ModelError, match=rf"{CONTEXT - 9} tokens .* 10 \(max_tokens\) .* {CONTEXT} tokens"):
        model.complete(Request(user(fits + "x")))


def test_half_a_surrogate_pair_is_read_as_a_question_mark(folder: Path) -> None:
    model = Local(model=folder, max_tokens=9)
    broken, mended = (model.complete(Request(user(text), temperature=0.0)) for text in ("a\ud800b", "a?b"))
    assert broken == mended


# ── Pictures ──────────────────────────────────────────────────────────────────────────────────────────────────────

COLOURS = [(255, 0, 0), (0, 0, 255), (0, 0, 0), (40, 200, 10)]


def test_pictures_reach_the_model(seeing: Path) -> None:
    processor = AutoProcessor.from_pretrained(seeing)
    reference = AutoModelForImageTextToText.from_pretrained(seeing)
    model = Local(model=seeing, max_tokens=12)
    replies = []
    for colour in COLOURS:
        image = Image.open(io.BytesIO(picture(colour).data)).convert("RGB")
        inputs = processor(text="<user><image>What?<assistant>", images=image, return_tensors="pt")
        (ids,) = reference.generate(**inputs, max_new_tokens=12, do_sample=False)
        read = inputs["input_ids"].shape[1]
        done = model.complete(Request(user("What?", picture(colour)), temperature=0.0))
        assert texts(done) == [processor.decode(ids[read:], skip_special_tokens=True)]
        assert done.usage == Usage(1, read, len(ids) - read)
        replies += texts(done)
    assert len(set(replies)) > 1


def test_pictures_and_texts_side_by_side(seeing: Path) -> None:
    model = Local(model=seeing, max_tokens=12)
    asked = [user("What?", picture(colour)) for colour in COLOURS] + [user("What?"), user("And this one?")]
    asked += [user("Which?", picture(COLOURS[0]), picture(COLOURS[1])), user("Longer text?", picture(COLOURS[2]))]
    alone = [model.complete(Request(messages, temperature=0.0)) for messages in asked]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda messages: model.complete(Request(messages, temperature=0.0)), asked)) == alone


def test_a_model_that_does_not_see_says_so(folder: Path) -> None:
    with pytest.raises(UserError, match="takes no pictures"):
        Local(model=folder).complete(Request(user("What?", picture(COLOURS[0]))))


def test_a_local_model_classifies_images(seeing: Path) -> None:
    setup = FakeSetup()
    target = VlmClassifier(model=Local(model=seeing, max_tokens=4), classes=["cat", "dog"])
    target.begin(setup)
    examples = [Example(str(i), Image.new("RGB", (20, 20), colour), "cat") for i, colour in enumerate(COLOURS)]
    outputs = target.run(Prompt("a photo of a {}"), examples)
    assert all(isinstance(output, Failed) for output in outputs)  # random weights name no class
    assert sum(setup.counts.values()) == 4


# ── Batches ───────────────────────────────────────────────────────────────────────────────────────────────────────


class FakeWriter:
    """Writes the first id of each row; has room for ``room`` rows."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []
        self.error: Exception | None = None

    def write(self, batch: Sequence[RequestedReply]) -> list[list[int]]:
        self.sizes.append(len(batch))
        if self.error:
            raise self.error
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [[int(row.inputs["input_ids"][0, 0])] for row in batch]


def row(value: int) -> RequestedReply:
    return RequestedReply({"input_ids": torch.tensor([[value]]), "attention_mask": torch.tensor([[1]])}, 0.0, None, 1)


def test_a_batch_that_does_not_fit_is_halved() -> None:
    writer: Any = FakeWriter(room=3)
    batches = Batches(writer, size=16)
    assert batches.write([row(i) for i in range(10)]) == [[i] for i in range(10)]
    assert writer.sizes == [10, 5, 2, 2, 2, 2, 2]
    writer.room = 0
    with pytest.raises(ModelError, match="not even one reply"):
        batches.write([row(1)])


def test_what_is_written_again_is_drawn_as_at_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Local(model=folder, max_tokens=12).complete(Request(user("Hello"), n=4, seed=0))
    write, sizes = BatchWriter.write, []

    def short_of_memory(self: BatchWriter, batch: Sequence[RequestedReply]) -> list[list[int]]:
        written = write(self, batch)
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return written

    monkeypatch.setattr(BatchWriter, "write", short_of_memory)
    assert Local(model=folder, max_tokens=12).complete(Request(user("Hello"), n=4, seed=0)) == first
    assert sizes == [4, 2, 2]


def test_an_error_reaches_every_caller_of_the_batch_and_the_next_ones_go_on() -> None:
    writer: Any = FakeWriter(room=99)
    batches = Batches(writer, size=16)
    writer.error = RuntimeError("broken")
    barrier = threading.Barrier(4)

    def ask(i: int) -> str:
        barrier.wait()
        try:
            return str(batches.write([row(i)]))
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == ["broken"] * 4
    writer.error = None
    assert batches.write([row(5)]) == [[5]]


def test_who_is_served_does_not_wait_for_the_next_batch() -> None:
    writer: Any = FakeWriter(room=99)
    batches = Batches(writer, size=1)
    held, go = threading.Event(), threading.Event()
    write = writer.write

    def holding(batch: Sequence[RequestedReply]) -> list[list[int]]:
        if len(writer.sizes) == 2:
            held.set()
            assert go.wait(30)
        return list(write(batch))

    writer.write = holding
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(batches.write, [row(i)]) for i in range(3)]
        assert held.wait(30)
        until = time.monotonic() + 30
        while sum(future.done() for future in futures) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert sum(future.done() for future in futures) == 2
        go.set()
        assert [future.result() for future in futures] == [[[0]], [[1]], [[2]]]


# ── Loading ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_arguments_are_checked(tmp_path: Path, folder: Path) -> None:
    for options in ({"max_tokens": 0}, {"batch_size": 0}, {"model": tmp_path / "none"}, {"model": "./no/such/folder"}):
        with pytest.raises(UserError):
            Local(**{"model": folder, **options})
    with pytest.raises(UserError, match="cannot load"):
        Local(model=tmp_path).at_most(Request(user("x")))
    with pytest.raises(UserError, match="cannot load"):
        Local(model=folder, device="abacus").complete(Request(user("x")))


def test_pickled_weights_are_refused(saved: Callable[..., Path]) -> None:
    pickled = saved()
    torch.save(AutoModelForCausalLM.from_pretrained(pickled).state_dict(), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(UserError, match="safetensors"):
        Local(model=pickled).complete(Request(user("x")))


def test_a_model_s_own_code_is_not_run(saved: Callable[..., Path]) -> None:
    coded = saved()
    config = json.loads((coded / "config.json").read_text())
    config |= {"model_type": "planted", "auto_map": {"AutoConfig": "planted.C", "AutoModelForCausalLM": "planted.M"}}
    (coded / "config.json").write_text(json.dumps(config))
    (coded / "planted.py").write_text(f"open({str(coded / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="cannot load"):
        Local(model=coded).complete(Request(user("x")))
    assert not (coded / "ran").exists()


def test_name_and_identity(folder: Path, saved: Callable[..., Path]) -> None:
    assert Local(model=folder).name == Local(model=str(folder)).name == "local:tiny"
    assert Local(model="some/model").name == "local:some/model"
    same, other = Local(model=folder).identity, Local(model=saved(seed=1)).identity
    assert same == Local(model=folder).identity != other
    assert same != Local(model=folder, max_tokens=7).identity
    json.dumps(same)


def test_replies_can_be_cached(folder: Path) -> None:
    first, second = (
        wrap(Local(model=folder, max_tokens=24)).complete(Request(user("Hello"), temperature=0.0)) for _ in range(2)
    )
    assert first.replies == second.replies
    assert (first.usage.calls, second.usage) == (1, Usage())


def test_importing_it_loads_nothing_heavy() -> None:
    use = "import sys; from promptopt.models.local import Local; Local(model='a/b').name"
    code = f"{use}; print({{'torch', 'transformers'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ── Behind a server ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``transformers serve`` with the same weights; its base URL."""
    if SERVER:
        pytest.skip(f"transformers serve needs {', '.join(SERVER)}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    command += ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, env=env)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/health", server, log)
        yield f"{url}/v1"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server does not answer:\n{log.read_text()}")


@pytest.mark.study
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_weights_behind_transformers_serve_say_the_same(folder: Path, served: str, stream: bool) -> None:
    local = Local(model=folder, max_tokens=24)
    hosted = OpenAI(model=str(folder), base_url=served, max_tokens=24, stream=stream, timeout=120.0, retries=0)
    for text in TEXTS:
        messages = [Message("system", "Be short."), *user(text)]
        here, there = (model.complete(Request(messages, temperature=0.0)) for model in (local, hosted))
        assert texts(there) == texts(here)
        assert there.usage == here.usage
        assert texts(here) != [""]
