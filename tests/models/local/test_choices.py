"""How likely a local model's replies are, against a plain forward pass for each; and that weights are loaded once."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

import torch
from PIL import Image
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from promptopt.core import Chooses, Example, Message, Picture, Prompt, Request, Usage
from promptopt.errors import ModelError, UserError
from promptopt.models.local import Local
from promptopt.models.local.choices import ChoiceReader, RequestedChoice, read_by
from promptopt.models.local.reader import Reader
from promptopt.models.wrappers import wrap
from promptopt.targets.local_lm import LocalLM
from promptopt.testing import ScriptedModel

from ..tiny_lm import CONTEXT, save_llama
from .test_local import folder, saved, seeing, user  # noqa: F401

OPTIONS = ["a", "very poor", "very good", "x", "excellent"]
TALK = [Message("system", "judge this"), Message("user", "some output")]


def plain(model: Any, before: Sequence[int], option: Sequence[int], **seen: Any) -> float:
    """The option's log-probability, from a forward pass of its own over everything."""
    ids = torch.tensor([[*before, *option]])
    with torch.no_grad():
        logs = model(input_ids=ids, attention_mask=torch.ones_like(ids), **seen).logits[0].log_softmax(-1)
    return sum(float(logs[len(before) - 1 + j, token]) for j, token in enumerate(option))


@pytest.mark.parametrize("template", [True, False])
def test_options_have_the_probability_of_a_plain_forward_pass(folder: Path, template: bool) -> None:  # noqa: F811
    words = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    text = "<system>judge this<user>some output<assistant>" if template else "judge this\n\nsome output\n\n"
    before = words(text, add_special_tokens=False).input_ids
    wanted = [plain(model, before, words(option, add_special_tokens=False).input_ids) for option in OPTIONS]
    local = Local(model=folder, chat_template=template)
    choice = local.choose(TALK, OPTIONS)
    assert choice.log_probabilities == pytest.approx(wanted, abs=1e-4)
    assert len({round(one, 3) for one in wanted}) == len(OPTIONS)
    assert choice.usage == local.at_most_to_choose(TALK, OPTIONS) == Usage(1, len(before) + sum(map(len, OPTIONS)), 0)


def test_conversations_are_read_together_as_each_alone(folder: Path) -> None:  # noqa: F811
    """Of several lengths, with a beginning in common or without, and with options of several tokens."""
    model, words = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    local, fed = Local(model=folder), []
    writer = local._writer
    reader = ChoiceReader(local._weights, writer)
    read_once = writer.read_once
    writer.read_once = lambda ids, shared: fed.append(shared) or read_once(ids, shared)  # type: ignore[method-assign]
    alike = [
        user(f"judge this output in one word please: {text}") for text in ("good", "very very poor", "x", "", "a b")
    ]
    for talks in (alike, [user("some"), user("judge this output"), user("very good output")], [user("some output")]):
        batch = [RequestedChoice(*local._continued(talk, OPTIONS)) for talk in talks]
        assert len({one.kind for one in batch}) == 1
        for one, found in zip(batch, reader.write(batch), strict=True):
            before = one.inputs["input_ids"][0].tolist()
            wanted = [plain(model, before, words(option, add_special_tokens=False).input_ids) for option in OPTIONS]
            assert found == pytest.approx(wanted, abs=1e-5)
    assert max(fed) >= 8


def test_callers_from_several_threads_share_a_batch(folder: Path) -> None:  # noqa: F811
    local, sizes = Local(model=folder, batch_size=4), []
    talks = [user(f"judge output {i}") for i in range(9)]
    alone = [Local(model=folder, batch_size=1).choose(talk, OPTIONS) for talk in talks]
    choices, here = local._choices, threading.Barrier(2, timeout=60)
    write = choices.writer.write

    def counted(batch: Sequence[Any]) -> list[list[float]]:
        sizes.append(len(batch))
        if len(sizes) == 1:
            here.wait()  # the first has come, alone
            here.wait()  # and all others wait
        return write(batch)

    choices.writer.write = counted  # type: ignore[method-assign]
    with ThreadPoolExecutor(len(talks)) as pool:
        asked = [pool.submit(local.choose, talks[0], OPTIONS)]
        here.wait()
        asked += [pool.submit(local.choose, talk, OPTIONS) for talk in talks[1:]]
        while len(choices._waiting) < len(talks) - 1 and not any(one.done() for one in asked):
            time.sleep(0.001)
        here.wait()
        found = [one.result() for one in asked]
    for one, other in zip(found, alone, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)
        assert one.usage == other.usage
    assert sizes == [1, 4, 4]


def test_a_picture_counts(seeing: Path) -> None:  # noqa: F811
    import io

    logs = []
    processor, model = AutoProcessor.from_pretrained(seeing), AutoModelForImageTextToText.from_pretrained(seeing)
    for colour in ("red", "blue"):
        file = io.BytesIO()
        image = Image.new("RGB", (16, 16), colour)
        image.save(file, "PNG")
        logs.append(
            Local(model=seeing).choose(user("which?", Picture(file.getvalue())), ["cat", "dog"]).log_probabilities
        )
        inputs = processor(text="<user><image>which?<assistant>", images=image, return_tensors="pt")
        wanted = [
            plain(
                model,
                inputs["input_ids"][0].tolist(),
                processor.tokenizer(option, add_special_tokens=False).input_ids,
                pixel_values=inputs["pixel_values"],
            )
            for option in ("cat", "dog")
        ]
        assert logs[-1] == pytest.approx(wanted, abs=1e-4)
    assert logs[0] != pytest.approx(logs[1], abs=1e-4)


def test_options_share_the_rows_that_are_fed() -> None:
    assert read_by([(1,), (2,), (3,)]) == [()]
    assert read_by([(1,), (2, 3)]) == [(2,)]
    assert sorted(read_by([(1, 4), (2, 3), (2, 5), (2, 3, 6)])) == [(1,), (2, 3)]


def test_what_the_tokenizer_merges_at_the_seam_is_read_as_it_stands(tmp_path: Path) -> None:
    """The last letter of the conversation and the first of an option are one token: both options are compared from
    before that letter.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {one: i for i, one in enumerate(["<end>", "<unk>", "\n", "a", "b", "c", "\nb"])}
    bpe = Tokenizer(BPE(vocabulary, [("\n", "b")], unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>", eos_token="<end>").save_pretrained(tmp_path)
    with torch.random.fork_rng(devices=[]):
        config = LlamaConfig(
            vocab_size=7,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            bos_token_id=None,
            eos_token_id=0,
        )
        LlamaForCausalLM(config).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    logs = Local(model=tmp_path).choose(user("a"), ["b", "c"]).log_probabilities
    assert logs == pytest.approx([plain(model, [3, 2], [6]), plain(model, [3, 2], [2, 5])], abs=1e-4)


def test_what_cannot_be_chosen_among_is_refused(folder: Path) -> None:  # noqa: F811
    with pytest.raises(UserError, match="options are"):
        Local(model=folder).choose(TALK, ["good", ""])
    with pytest.raises(UserError, match="options are"):
        Local(model=folder).choose(TALK, [])
    with pytest.raises(ModelError, match=f"more than the {CONTEXT} tokens"):
        Local(model=folder).choose(user("x" * CONTEXT), ["good"])


def test_wrapped_models_choose_if_they_can(folder: Path) -> None:  # noqa: F811
    stack = wrap(Local(model=folder))
    assert isinstance(stack, Chooses)
    assert stack.choose(TALK, OPTIONS) == Local(model=folder).choose(TALK, OPTIONS)
    other = wrap(ScriptedModel(["x"]))
    assert isinstance(other, Chooses)
    with pytest.raises(UserError, match="does not say how likely"):
        other.choose(TALK, OPTIONS)


# ── Loaded once ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is loaded."""
    gc.collect()
    found: list[str] = []
    load = Reader._load

    def counted(self: Reader, **how: Any) -> Any:
        found.append(f"{self._model} {how['dtype']}")
        return load(self, **how)

    monkeypatch.setattr(Reader, "_load", counted)
    return found


def test_one_model_named_by_target_proposer_and_judge_is_loaded_once(
    saved: Callable[..., Path],  # noqa: F811
    loads: list[str],
) -> None:
    where = saved(seed=3)
    models = [Local(model=where, max_tokens=3), Local(model=str(where), max_tokens=4, device="cpu")]
    target = LocalLM(model=where, chat_template=False, max_tokens=2)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda model: model.complete(Request(user("hello"))), models * 2))
        list(pool.map(lambda model: model.choose(TALK, OPTIONS), models * 2))
    target.run(Prompt("say"), [Example("1", "hello", "x")])
    assert len(loads) == 1
    Local(model=where, dtype="bfloat16").choose(TALK, OPTIONS)
    assert len(loads) == 2


def test_weights_go_with_the_last_of_their_users(saved: Callable[..., Path], loads: list[str]) -> None:  # noqa: F811
    where = saved(seed=4)
    model = Local(model=where)
    model.choose(TALK, OPTIONS)
    del model
    gc.collect()
    Local(model=where).choose(TALK, OPTIONS)
    assert len(loads) == 2


def test_a_folder_that_changed_is_another_model(saved: Callable[..., Path], loads: list[str]) -> None:  # noqa: F811
    where = saved(seed=5)
    first = Local(model=where)
    before = first.choose(TALK, OPTIONS)
    with torch.random.fork_rng(devices=[]):
        save_llama(where, seed=6)
    assert Local(model=where).choose(TALK, OPTIONS) != before
    assert len(loads) == 2


def test_who_shares_a_model_draws_as_who_has_it_alone(saved: Callable[..., Path]) -> None:  # noqa: F811
    where = saved(seed=7, top_k=2, do_sample=True)
    alone = [Local(model=where, max_tokens=6).complete(Request(user("go"), n=8, seed=1))]
    first, second = Local(model=where, max_tokens=2), Local(model=where, max_tokens=6)
    first.complete(Request(user("go"), n=8, seed=1))
    assert second.complete(Request(user("go"), n=8, seed=1)) == alone[0]
