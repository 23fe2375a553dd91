"""Train a tiny LM that does what an instruction says with the letters of a word, and write the task beside it.

``python experiments/text_task/train.py FOLDER`` writes an ordinary Hugging Face folder and ``examples.jsonl``.

A document is an instruction, a word in single letters and the answer. One word of the instruction decides what the
answer is; where there are two such words either may, and where there is none any of the four answers is right. So a
vague instruction gets a vague answer, and a search has something to find.
"""

from __future__ import annotations

import argparse
import json
import random
import string
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

OPERATIONS: dict[str, Callable[[str], str]] = {
    "first initial opening starting": lambda word: word[0],
    "last final closing ending": lambda word: word[-1],
    "second next following": lambda word: word[1],
    "copy repeat same whole": lambda word: word,
}
DECISIVE = {name: operation for names, operation in OPERATIONS.items() for name in names.split()}
OTHERS = """answer the question write give say output letter of word text characters it please carefully just only now
with a in and then this what is tell me find letters return your reply should be""".split()
SPECIAL = ["<pad>", "<unk>", "<end>", "<user>", "<assistant>"]
PAD, UNKNOWN, END, *_ = range(len(SPECIAL))
TEMPLATE = "{% for message in messages %}<{{ message.role }}> {{ message.content }} {% endfor %}<assistant>"
EXAMPLES, EXAMPLES_SEED = 240, 1


def main() -> None:
    """Train, save, and say how well each operation is done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    began = time.perf_counter()
    words = tokenizer()
    model = train(words, steps=args.steps, seed=args.seed)
    model.save_pretrained(args.folder)
    words.save_pretrained(args.folder)
    write_examples(args.folder / "examples.jsonl")
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{size:,} parameters, {args.steps} steps, {time.perf_counter() - began:.0f} s: {args.folder}")


def tokenizer() -> PreTrainedTokenizerFast:
    """A token for each word and letter that is known."""
    known = list(dict.fromkeys([*SPECIAL, *string.ascii_lowercase, ":", "input", *DECISIVE, *OTHERS]))
    fast = Tokenizer(WordLevel({word: i for i, word in enumerate(known)}, unk_token="<unk>"))
    fast.normalizer = Lowercase()
    fast.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        additional_special_tokens=SPECIAL[3:],
        chat_template=TEMPLATE,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def word(rng: random.Random) -> str:
    """A word of different letters."""
    return "".join(rng.sample(string.ascii_lowercase, rng.randint(3, 6)))


def instruction(rng: random.Random) -> str:
    """No, one or two decisive words among others, in any order."""
    decisive = rng.sample(list(DECISIVE), rng.choices([0, 1, 2], [1, 8, 1])[0])
    others = ["<unk>" if rng.random() < 0.05 else rng.choice(OTHERS) for _ in range(rng.randint(1, 7))]
    return " ".join(rng.sample(decisive + others, len(decisive + others)))


def document(words: PreTrainedTokenizerFast, rng: random.Random) -> tuple[list[int], list[int]]:
    """What is read, and what is to be written."""
    said, letters = instruction(rng), word(rng)
    decisive = [DECISIVE[one] for one in said.split() if one in DECISIVE]
    answer = rng.choice(decisive or list(OPERATIONS.values()))(letters)
    asked = [{"role": "user", "content": f"{said}\n\nInput: {' '.join(letters)}\nOutput:"}]
    text = words.apply_chat_template(asked, tokenize=False)
    return words(text)["input_ids"], [*words(" ".join(answer))["input_ids"], END]


def train(words: PreTrainedTokenizerFast, *, steps: int, seed: int, batch: int = 64) -> LlamaForCausalLM:
    """AdamW at a cosine learning rate on new documents; the loss is that of the answers."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.08,  # at the usual 0.02 a model this small takes several times as many steps
        pad_token_id=PAD,
        eos_token_id=END,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        documents = [document(words, rng) for _ in range(batch)]
        longest = max(len(read) + len(written) for read, written in documents)
        ids = torch.full((batch, longest), PAD)
        labels = torch.full((batch, longest), -100)
        for row, (read, written) in enumerate(documents):
            end = len(read) + len(written)
            ids[row, :end] = torch.tensor(read + written)
            labels[row, len(read) : end] = torch.tensor(written)
        loss = model(input_ids=ids, attention_mask=(ids != PAD).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def write_examples(path: Path) -> None:
    """Words and their last letters, one JSON object a line; each word once."""
    rng = random.Random(EXAMPLES_SEED)
    known: dict[str, None] = {}
    while len(known) < EXAMPLES:
        known[word(rng)] = None
    lines = [json.dumps({"input": " ".join(one), "label": one[-1]}) for one in known]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
