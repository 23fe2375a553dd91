"""KVCache of tokens with their keys and values: cut, picked, put together and continued, against whole models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GPTNeoXConfig,
    Phi3Config,
    Qwen2Config,
)

from promptopt.targets.local_lm.backbone import Backbone
from promptopt.targets.local_lm.kv_cache import KVCache, common

from ..tiny_lms import CONFIGS, SIZES

pytestmark = pytest.mark.filterwarnings("error:.*past_key_values:FutureWarning")  # as it was once called

TEXT = {**SIZES, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
PLAIN = {name: value for name, value in TEXT.items() if name != "head_dim"}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def seeing_gemma3() -> Any:
    vision = {**VISION, "image_size": 28, "patch_size": 14}
    tokens = {"image_token_index": 49, "boi_token_index": 47, "eoi_token_index": 48, "mm_tokens_per_image": 4}
    text = {**TEXT, "sliding_window": 6, "query_pre_attn_scalar": 8}
    return Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, **tokens))


def causal(config: Any) -> Any:
    return AutoModelForCausalLM.from_config(config)


MODELS: dict[str, Callable[[], Any]] = {
    **{kind: lambda kind=kind: causal(CONFIGS[kind](vocab_size=50, eos_token_id=2)) for kind in CONFIGS},
    "qwen2": lambda: causal(Qwen2Config(**PLAIN)),
    "phi3": lambda: causal(Phi3Config(**PLAIN)),
    "gpt-neox": lambda: causal(GPTNeoXConfig(**{**PLAIN, "hidden_size": 32})),
    "gemma3 that sees": seeing_gemma3,
}


def model(name: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MODELS[name]().eval()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_rows_that_were_cut_picked_and_put_together_go_on_like_whole_ones(name: str) -> None:
    whole = model(name)
    backbone = Backbone(whole)
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, 40, size=size).tolist() for size in (30, 17, 24)]
    wanted = [whole(input_ids=torch.tensor([text]), use_cache=False).logits[0] for text in texts]

    def right(rows: KVCache, numbers: list[int], ends: list[int]) -> None:
        starts = rows.lengths.tolist()
        hidden = rows.feed([texts[i][a:b] for i, a, b in zip(numbers, starts, ends, strict=True)])
        for row, i, a, b in zip(hidden, numbers, starts, ends, strict=True):
            torch.testing.assert_close(backbone.logits(row[: b - a]), wanted[i][a:b].float(), rtol=1e-4, atol=1e-4)

    rows = KVCache.empty(backbone, 3)
    right(rows, [0, 1, 2], [12, 5, 1])
    rows.truncate([10, 5, 1])
    right(rows, [0, 1, 2], [14, 5, 9])  # one of them gets nothing
    rows = rows.select([2, 0, 0, 1])
    right(rows, [2, 0, 0, 1], [12, 15, 20, 17])
    other = KVCache.empty(backbone, 1)
    right(other, [1], [16])
    rows.truncate([12, 3, 20, 1])
    rows = KVCache.together([rows, other])
    right(rows, [2, 0, 0, 1, 1], [24, 30, 30, 17, 17])


def test_work_is_counted() -> None:
    backbone = Backbone(model("llama"))
    rows = KVCache.empty(backbone, 2)
    rows.feed([[3, 4, 5], [6]])
    rows.feed([[7], [8]])
    assert backbone.work == {"forwards": 2, "tokens": 8}


def test_what_rows_begin_with_alike() -> None:
    assert common([(1, 2, 3), (1, 2), (1, 2, 4)]) == 2
    assert common([(1, 2, 3), (9,), (1, 2, 3)]) == 0
    assert common([(1, 2)]) == 2
