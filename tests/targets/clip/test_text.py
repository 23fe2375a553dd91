"""The fast text encoder against the models' own encode_text."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("open_clip")

import open_clip
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor

from promptopt.targets.clip.text import Beginnings, TextEncoder, in_batches

from ..conftest import CONTEXT, TEXT, VISION, shaken

TEXTS = [
    "a photo of a dog",
    "a photo of a cat",
    "a photo of a cat, in the dark",
    "a photo of a cat",
    "dog",
    "",
    "  A   PHOTO of a\tDog ",
    "caf\u00e9 \u2014 \u201cna\u00efve\u201d \U0001f600",
    "this &amp; that &lt;end_of_text&gt;",
    "the <end_of_text> in the middle of a text",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "it's 1234 o'clock!?",
]


def reference(model: Any, rows: Tensor) -> Tensor:
    with torch.inference_mode():
        return F.normalize(model.encode_text(rows, normalize=False), dim=-1)


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max().item()


def custom(config: dict[str, Any], **text: Any) -> Any:
    return open_clip.CustomTextCLIP(**{**config, "text_cfg": {**config["text_cfg"], **text}})


def native(config: dict[str, Any], **text: Any) -> Any:
    return open_clip.CLIP(**{**config, "text_cfg": {**config["text_cfg"], **text}})


def coca(config: dict[str, Any]) -> Any:
    text = {**config["text_cfg"], "context_length": CONTEXT, "embed_cls": True, "output_tokens": True}
    vision = {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    decoder = {"context_length": CONTEXT, "vocab_size": text["vocab_size"], "width": 24, "layers": 1, "heads": 2}
    return open_clip.CoCa(embed_dim=24, multimodal_cfg=decoder, text_cfg=text, vision_cfg=vision)


ARCHITECTURES: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "CLIP": ("shared", native),
    "CLIP, QuickGELU": ("shared", lambda c: open_clip.CLIP(**c, quick_gelu=True)),
    "CLIP, layer scale, biased projection": ("shared", lambda c: native(c, ls_init_value=0.5, proj_bias=True)),
    "CLIP, no projection": ("shared", lambda c: native({**c, "embed_dim": TEXT["width"]}, proj_type="none")),
    "CLIP, last": ("whole", lambda c: native(c, pool_type="last")),
    "CLIP, bidirectional": ("whole", lambda c: native(c, no_causal_mask=True)),
    "CLIP, own attention": ("whole", lambda c: native(c, qk_norm=True, block_type="custom", scale_fc=True)),
    "custom text, argmax": ("shared", custom),
    "custom text, eos": ("shared", lambda c: custom(c, pool_type="eos", eos_id=c["text_cfg"]["vocab_size"] - 1)),
    "custom text, missing eos": ("shared", lambda c: custom(c, pool_type="eos", eos_id=77)),
    "custom text, last": ("whole", lambda c: custom(c, pool_type="last")),
    "custom text, first": ("whole", lambda c: custom(c, pool_type="first")),
    "custom text, bidirectional argmax": ("whole", lambda c: custom(c, no_causal_mask=True)),
    "SigLIP": ("whole", lambda c: custom({**c, "init_logit_bias": -10}, pool_type="last", no_causal_mask=True)),
    "CoCa": ("whole", coca),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_features_are_those_of_encode_text(name: str, config: dict[str, Any], tokenizer: SimpleTokenizer) -> None:
    way, build = ARCHITECTURES[name]
    model = shaken(build(config))
    encoder = TextEncoder(model, tokenizer, batch_size=5)
    found, expected = encoder.encode(TEXTS), reference(model, tokenizer(TEXTS))
    assert encoder.way == way
    assert relative(found, expected) < 1e-5
    if "last" not in name and "first" not in name and name != "custom text, missing eos":
        assert relative(expected[:1], expected[1:2]) > 1e-2  # so that a mix-up of texts would show


def test_features_of_a_hugging_face_tower(config: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = hugging_face_tokenizer(tmp_path)
    transformers.RobertaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, pad_token_id=1
    ).save_pretrained(tmp_path)
    text = {"hf_model_name": str(tmp_path), "hf_model_pretrained": False, "context_length": CONTEXT}
    model = shaken(open_clip.CustomTextCLIP(embed_dim=24, vision_cfg=VISION, text_cfg=text))
    texts = ["red blue", "red", "red blue green", "red"]
    encoder = TextEncoder(model, tokenizer, batch_size=2)
    assert encoder.way == "whole"
    assert relative(encoder.encode(texts), reference(model, tokenizer(texts))) < 1e-5
    assert encoder.lengths(["red", "red blue green", " ".join(["red"] * 20)]) == [3, 5, 22]
    tokenizer.tokenizer.pad_token = "</s>"  # as SigLIP's, which ends and pads with the same token
    tokenizer.strip_sep_token = True
    assert encoder.lengths(["red", "red blue green", " ".join(["red"] * 20)]) == [3, 5, 22]


def test_a_causal_tower_with_another_tokenizer(config: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    tokenizer = hugging_face_tokenizer(tmp_path)
    model = shaken(native(config, pool_type="eos", eos_id=2))
    texts = ["red blue", "red", "red blue green", " ".join(["blue"] * 30)]
    encoder = TextEncoder(model, tokenizer)
    assert encoder.way == "shared"
    assert relative(encoder.encode(texts), reference(model, tokenizer(texts))) < 1e-5


def hugging_face_tokenizer(folder: Path) -> HFTokenizer:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "<pad>", "</s>", "<unk>", "red", "blue", "green"]
    fast = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=fast, **special).save_pretrained(folder)
    return HFTokenizer(str(folder), context_length=CONTEXT)


def test_neither_order_nor_company_nor_batch_size_matters(config: dict[str, Any], tokenizer: SimpleTokenizer) -> None:
    model = shaken(native(config))
    alone = torch.cat([TextEncoder(model, tokenizer).encode([text]) for text in TEXTS])
    order = list(range(len(TEXTS)))
    random.Random(0).shuffle(order)
    for batch_size in (1, 3, 100):
        found = TextEncoder(model, tokenizer, batch_size=batch_size).encode([TEXTS[i] for i in order])
        assert relative(found, alone[order]) < 1e-5


def test_common_beginnings_are_encoded_once() -> None:
    tree = Beginnings.of([(1, 2, 9), (1, 2, 3, 9), (1, 2, 4, 9), (5, 9)], torch.device("cpu"))
    assert tree.token.tolist() == [1, 2, 9, 3, 9, 4, 9, 5, 9]
    assert tree.depth.tolist() == [0, 1, 2, 2, 3, 2, 3, 0, 1]
    assert tree.node.tolist() == [[0, 1, 2, 0], [0, 1, 3, 4], [0, 1, 5, 6], [7, 8, 0, 0]]
    assert tree.node.flatten()[tree.first].tolist() == list(range(9))
    assert tree.last.tolist() == [2, 3, 3, 1]
    assert tree.inside.sum(dim=1).tolist() == [3, 4, 4, 2]


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple), min_size=1, max_size=12, unique=True))
def test_a_tree_holds_every_row(rows: list[tuple[int, ...]]) -> None:
    rows = sorted(rows)
    tree = Beginnings.of(rows, torch.device("cpu"))
    read = [tuple(tree.token[tree.node[i, : len(row)]].tolist()) for i, row in enumerate(rows)]
    assert read == rows
    assert len(tree.token) == len({row[: n + 1] for row in rows for n in range(len(row))})


FULL_VOCABULARY = SimpleTokenizer(context_length=CONTEXT)
ENCODER = TextEncoder(open_clip.CLIP(8, VISION, {**TEXT, "width": 8, "heads": 1}), FULL_VOCABULARY)


@settings(max_examples=300)
@given(st.lists(st.text(max_size=30) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)))
def test_tokens_are_those_of_the_tokenizer(texts: list[str]) -> None:
    expected_rows = FULL_VOCABULARY(texts).tolist() if texts else []
    for row, expected in zip(ENCODER._rows(texts), expected_rows, strict=True):
        assert list(row) == expected[: expected.index(max(expected)) + 1]


def test_lengths_count_start_and_end(config: dict[str, Any], tokenizer: SimpleTokenizer) -> None:
    encoder = TextEncoder(shaken(native(config)), tokenizer)
    assert encoder.lengths(["", "a", "a a", "a a \u00e9"]) == [2, 3, 4, 2 + len(tokenizer.encode("a a \u00e9"))]
    assert encoder.context == CONTEXT


class Crowded:
    """Encodes numbers, but at most ``room`` at once."""

    def __init__(self, room: int, error: str = "CUDA out of memory. Tried to allocate 2 GiB") -> None:
        self.room = room
        self.error = error
        self.sizes: list[int] = []

    def __call__(self, batch: Sequence[int]) -> Tensor:
        self.sizes.append(len(batch))
        if len(batch) > self.room:
            raise RuntimeError(self.error)
        return torch.tensor(batch)


def test_the_batch_is_halved_on_out_of_memory() -> None:
    encode = Crowded(3)
    parts = list(in_batches(range(20), encode, batch_size=16))
    assert torch.cat([part for part, _ in parts]).tolist() == list(range(20))
    assert encode.sizes == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    assert {size for _, size in parts} == {2}


def test_other_errors_and_a_full_memory_get_out() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        list(in_batches(range(4), Crowded(1, "shape mismatch"), batch_size=4))
    with pytest.raises(RuntimeError, match="out of memory"):
        list(in_batches(range(4), Crowded(0), batch_size=4))


def test_an_encoder_remembers_the_smaller_batch(config: dict[str, Any], tokenizer: SimpleTokenizer) -> None:
    model = shaken(custom(config, pool_type="last"))
    expected, sizes, own = reference(model, tokenizer(TEXTS)), [], model.encode_text

    def crowded(rows: Tensor, normalize: bool) -> Tensor:
        sizes.append(len(rows))
        if len(rows) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        result: Tensor = own(rows, normalize=normalize)
        return result

    model.encode_text = crowded
    encoder = TextEncoder(model, tokenizer, batch_size=8)
    assert relative(encoder.encode(TEXTS), expected) < 1e-5
    assert sizes == [8, 4, 4, 3]
    sizes.clear()
    encoder.encode(TEXTS)
    assert sizes == [4, 4, 3]
