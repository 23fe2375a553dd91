"""Tiny causal LMs with random weights and small tokenizers, saved as ordinary Hugging Face folders."""

from __future__ import annotations

import atexit
import re
import shutil
import string
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from promptopt.core import Example
from promptopt.targets.local_lm import LocalLM
from promptopt.targets.local_lm.speedups import Speedups

SPEEDUPS = tuple(field.name for field in fields(Speedups))
CONTEXT = 256
SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>", "<|end|>", "<|assistant|>"]
CHAT = (
    "{{ '<s>' }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TEXTS = [
    "What is 3 + 4? Think step by step. Therefore, the final answer is $7",
    "Tom has 12 apples and eats 5. How many apples are left? Use proper logic and give the correct answer.",
    "First add the numbers, then take away 1. So 10 + 2 = 12. The answer is 12.\nAnswer the question carefully.",
    "Is the sky blue? yes. Is grass red? no.\nTherefore, the final answer is $yes\nTherefore, the final answer is $no",
    "Let us think. Please consider the problem and find the result, 0 1 2 3 4 5 6 7 8 9 8 7 6 5 4 3 2 1 0.",
]
EXAMPLES = [
    Example("a", "What is 3 + 4?", "7"),
    Example("b", "Tom has 12 apples and eats 5. How many apples are left?", "7"),
    Example("c", "Is the sky blue?", "yes"),
    Example(
        "d", "Therefore, the final answer is $5\nIs that right? Consider the problem, and Tom, and the apples.", "no"
    ),
    Example("e", "2+2", "4 apples"),
    Example("f", "First add 10 and 2, then take away 1.", "11"),
]


def byte_level() -> PreTrainedTokenizerFast:
    """As Llama 3, Qwen and GPT-2 have it: bytes, merges, spaces at the beginning of words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return _fast(tokenizer)


def sentencepiece() -> PreTrainedTokenizerFast:
    """As Gemma and Llama 2 have it: pieces with a mark for spaces, one before the first word."""
    words = Counter(word for text in TEXTS for word in re.findall(r" ?[\w']+|[^\w\s]", text))
    parts = Counter(part for word, n in words.items() for part in (word, word[:3], word[-3:]) for _ in range(n))
    pieces = {part.replace(" ", "▁"): -20.0 / n for part, n in sorted(parts.items()) if len(part) > 1}
    letters = dict.fromkeys(["▁", "\n", *string.ascii_letters, *string.digits, *string.punctuation], -30.0)
    scores = {**dict.fromkeys(SPECIAL, 0.0), **letters, **pieces}
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), unk_id=0))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=True)
    begin = [("<s>", tokenizer.token_to_id("<s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=begin)
    return _fast(tokenizer)


def _fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=SPECIAL[3:],
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
}
CONFIGS: dict[str, Callable[..., Any]] = {
    "llama": lambda **more: LlamaConfig(**SIZES, **more),
    "gemma2": lambda **more: Gemma2Config(
        **SIZES,
        **more,
        sliding_window=8,
        query_pre_attn_scalar=8,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=8.0,
    ),
    "qwen3": lambda **more: Qwen3Config(**SIZES, **more, tie_word_embeddings=True),
    "mistral": lambda **more: MistralConfig(**SIZES, **more, sliding_window=12),
    "gpt2": lambda **more: GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, **more),
    "phi": lambda **more: PhiConfig(**{**SIZES, "num_key_value_heads": 4}, **more),
    "gemma3": lambda **more: Gemma3TextConfig(**SIZES, **more, sliding_window=8, query_pre_attn_scalar=8),
}
STATES: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8}
LINEAR: dict[str, Any] = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
EXPERTS: dict[str, Any] = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
PLAIN = {name: value for name, value in SIZES.items() if name != "head_dim"}
REREAD: dict[str, Callable[..., Any]] = {
    "mamba": lambda **more: transformers.MambaConfig(hidden_size=32, state_size=8, num_hidden_layers=2, **more),
    "mamba2": lambda **more: transformers.Mamba2Config(
        hidden_size=32, state_size=8, num_hidden_layers=2, num_heads=8, head_dim=8, n_groups=1, chunk_size=8, **more
    ),
    "rwkv": lambda **more: transformers.RwkvConfig(hidden_size=32, num_hidden_layers=2, context_length=CONTEXT, **more),
    "qwen3.5": lambda **more: transformers.Qwen3_5TextConfig(**SIZES, **LINEAR, **more),
    "qwen3-next": lambda **more: transformers.Qwen3NextConfig(
        **SIZES, **LINEAR, **EXPERTS, shared_expert_intermediate_size=16, **more
    ),
    "lfm2": lambda **more: transformers.Lfm2Config(
        **PLAIN, layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False, **more
    ),
    "jamba": lambda **more: transformers.JambaConfig(
        **PLAIN, num_experts=2, attn_layer_period=2, attn_layer_offset=1, mamba_d_state=8, **more
    ),
    "falcon-h1": lambda **more: transformers.FalconH1Config(
        **SIZES,
        **{**STATES, "mamba_n_heads": 4},
        mamba_d_ssm=32,
        embedding_multiplier=5.6,
        lm_head_multiplier=0.5,
        **more,
    ),
    "recurrent-gemma": lambda **more: transformers.RecurrentGemmaConfig(
        **{**SIZES, "num_key_value_heads": 1},
        lru_width=32,
        attention_window_size=8,
        block_types=["recurrent", "attention"],
        **more,
    ),
    "bamba": lambda **more: transformers.BambaConfig(**PLAIN, **STATES, attn_layer_indices=[1], **more),
    "granite-hybrid": lambda **more: transformers.GraniteMoeHybridConfig(
        **PLAIN,
        **STATES,
        layer_types=["mamba", "attention"],
        num_local_experts=0,
        shared_intermediate_size=48,
        logits_scaling=3.0,
        **more,
    ),
}
"""Models that remember by a state, or have a cache that cannot be cut: they are read again as a whole."""
SCALED: dict[str, Callable[..., Any]] = {
    "cohere": lambda **more: transformers.CohereConfig(**PLAIN, **more),
    "cohere2": lambda **more: transformers.Cohere2Config(
        **SIZES, sliding_window=8, layer_types=["sliding_attention", "full_attention"], **more
    ),
    "granite": lambda **more: transformers.GraniteConfig(
        **PLAIN, logits_scaling=3.0, embedding_multiplier=2.0, residual_multiplier=0.5, **more
    ),
}
"""Models that scale their logits."""
REFUSED: dict[str, Callable[..., Any]] = {
    "gemma3n": lambda **more: transformers.Gemma3nTextConfig(
        **{**SIZES, "intermediate_size": 48},
        vocab_size_per_layer_input=more["vocab_size"],
        hidden_size_per_layer_input=8,
        laurel_rank=4,
        num_kv_shared_layers=0,
        activation_sparsity_pattern=[0.0] * 2,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
        **more,
    ),
    "llama4": lambda **more: transformers.Llama4TextConfig(
        **SIZES, num_local_experts=2, intermediate_size_mlp=48, **more
    ),
}
FAMILIES = {**CONFIGS, **REREAD, **SCALED, **REFUSED}
FIVE = ("llama", "gemma2", "qwen3", "mistral", "gpt2")
TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level": byte_level,
    "sentencepiece": sentencepiece,
}


@cache
def saved(kind: str, tokenizer: str, *, chat: bool = False, **more: Any) -> Path:
    """The folder of a model, made once a session, without a trace in the global random generator."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-lm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with torch.random.fork_rng(devices=[]):
        return save(folder / kind, kind, TOKENIZERS[tokenizer](), chat=chat, **more)


def slowed(lm: LocalLM, *off: str) -> LocalLM:
    """A target that has loaded nothing yet, with speed-ups turned off."""
    assert lm._loaded is None
    lm._speedups = Speedups(**dict.fromkeys(off, False))
    return lm


def save(
    folder: Path, kind: str, words: PreTrainedTokenizerFast, *, seed: int = 0, chat: bool = False, **more: Any
) -> Path:
    """A model of a kind, with large random weights so that what it writes varies.

    Every 17th token ends a text, so that some texts are short.
    """
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    config = FAMILIES[kind](vocab_size=len(words), **ends, **more)
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                entering = any(part in name for part in ("embed", "wte", "wpe"))
                scale = (0.15 if kind.startswith("gemma") else 1.0) if entering else 0.35
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
            else:
                centre = 0.0 if kind.startswith("gemma") or name.endswith("bias") else 1.0
                parameter.copy_(centre + 0.1 * torch.randn(parameter.shape, generator=generator))
    model.tie_weights()
    model.generation_config.eos_token_id = [2, SPECIAL.index("<|end|>"), *range(10, len(words), 17)]
    model.save_pretrained(folder)
    words.chat_template = CHAT if chat else None
    words.save_pretrained(folder)
    return folder
