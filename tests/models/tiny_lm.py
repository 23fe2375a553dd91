"""Tiny models with random weights, saved as ordinary Hugging Face folders."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

SPECIAL = ["<pad>", "<unk>", "<end>", "<system>", "<user>", "<assistant>", "<image>"]
PAD, UNKNOWN, END, *_, IMAGE = range(len(SPECIAL))
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>{{ suffix }}"
SEEING_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{% for part in m.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}<assistant>"
)
CONTEXT = 512


def tokenizer(*, template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """A token for each printable ASCII character."""
    characters = [*SPECIAL, *string.printable]
    model = WordLevel({token: i for i, token in enumerate(characters)}, unk_token="<unk>")
    fast = Tokenizer(model)
    fast.pre_tokenizer = Split("", "isolated")
    fast.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        additional_special_tokens=SPECIAL[3:],
        chat_template=template,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def text_config(size: int) -> dict[str, Any]:
    return {
        "vocab_size": size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "pad_token_id": PAD,
        "eos_token_id": END,
        "bos_token_id": None,
    }


def shaken(model: Any, *, seed: int) -> Any:
    """The model with random weights, large enough that replies vary, drawn without the global generator."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
            else:
                parameter.copy_(1 + 0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def save_llama(folder: Path, *, seed: int = 0, template: str | None = TEMPLATE, **settings: Any) -> Path:
    """A Llama of 30,000 parameters. ``settings`` go into its ``generation_config.json``."""
    words = tokenizer(template=template)
    model = shaken(LlamaForCausalLM(LlamaConfig(**text_config(len(words)))), seed=seed)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def save_llava(folder: Path, *, seed: int = 0) -> Path:
    """A Llava that sees pictures of 16 x 16 as four tokens."""
    words = tokenizer(template=None)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    text = LlamaConfig(**text_config(len(words)))
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE, image_seq_length=4)
    model = shaken(LlavaForConditionalGeneration(config), seed=seed)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = END, PAD
    size = {"height": 16, "width": 16}
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size=size, crop_size=size),
        tokenizer=words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=SEEING_TEMPLATE,
    ).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder
