"""Train the embedded LM on its generated corpus, on a CPU.

    python experiments/embedded_lm/train.py --seed 0 --out DIR

writes a folder that ``AutoModelForCausalLM.from_pretrained`` loads. The number of steps is fixed, so that a seed and a
number of threads give the same weights again on the same machine and versions. ``--smoke`` trains a few steps of a
smaller model to see that all of it runs.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from corpus import EXTRACTOR, Corpus, Document
from safetensors.torch import load_file, save_file
from tokenizer import ASSISTANT, CONTEXT_LENGTH, build
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

STEPS = 2600
BATCH = 64
CHUNK = 16  # batches that are sorted by length together
PEAK_RATE = 2e-3
WARM_UP = 150
HEAVY = 0.5  # share of the steps, from the first, in which documents reason more
INSTRUCTION_WEIGHT = 0.3  # its words are hard to foresee and would drown the rest
MAX_NEW_TOKENS = 64

Row = tuple[list[int], list[float]]  # tokens and what each counts in the loss


@dataclass(frozen=True)
class Settings:
    """The command line."""

    out: Path
    seed: int
    threads: int
    steps: int
    smoke: bool


def model_config(tokenizer: PreTrainedTokenizerFast, *, smoke: bool) -> LlamaConfig:
    """Llama, four layers of width 128."""
    width, layers = (32, 1) if smoke else (128, 4)
    return LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=5 * width // 2, num_hidden_layers=layers,
        num_attention_heads=width // 32, num_key_value_heads=width // 32, max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, dtype="float32",
    )  # fmt: skip


# ── Documents as tokens ───────────────────────────────────────────────────────────────────────────────────────────


class Encoder:
    """Documents to rows. Questions, instructions that were enriched and the extractor are read but not learnt."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, seed: int) -> None:
        self._tokenizer, self._rng = tokenizer, np.random.default_rng([seed, 78])
        self._assistant = tokenizer.convert_tokens_to_ids(ASSISTANT)
        self._extractor = self._ids([EXTRACTOR])[0]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        return found

    def rows(self, documents: list[Document]) -> list[Row]:
        """One row per document, in order."""
        parts = zip(*(self._ids([getattr(d, part) for d in documents]) for part in
                      ("question", "instruction", "reasoning", "written")), strict=True)  # fmt: skip
        return [self._row(d, *ids) for d, ids in zip(documents, parts, strict=True)]

    def _row(self, d: Document, question: list[int], said: list[int], reasoning: list[int], answer: list[int]) -> Row:
        eos = [self._tokenizer.eos_token_id]
        kept = bool(self._rng.integers(2))  # the end of the reasoning may be cut off before the extractor
        segments = [
            ([self._tokenizer.bos_token_id, *question], 0.0),
            (said, INSTRUCTION_WEIGHT * d.natural),
            ([self._assistant], INSTRUCTION_WEIGHT * d.natural),
            (reasoning + (eos if kept else []), 1.0),
            (self._extractor, 0.0),
            (answer + eos, 1.0),
        ]
        return [i for ids, _ in segments for i in ids], [w for ids, w in segments for _ in ids]


def batches(corpus: Corpus, encoder: Encoder, *, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """``(BATCH, length)`` tokens and their weights in the loss, rows of like length together."""
    order = np.random.default_rng(0)
    for first in range(0, steps, CHUNK):
        heavy = first < HEAVY * steps
        rows = encoder.rows([corpus.document(heavy=heavy) for _ in range(BATCH * CHUNK)])
        rows.sort(key=lambda row: len(row[0]))
        for i in order.permutation(CHUNK)[: steps - first]:
            chosen = rows[i * BATCH : (i + 1) * BATCH]
            yield (
                pad_sequence([torch.tensor(ids) for ids, _ in chosen], batch_first=True),
                pad_sequence([torch.tensor(weights) for _, weights in chosen], batch_first=True),
            )


# ── Training ──────────────────────────────────────────────────────────────────────────────────────────────────────


def make_optimizer(model: LlamaForCausalLM) -> torch.optim.AdamW:
    """AdamW; weight decay for matrices only."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to 3% of the peak."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return PEAK_RATE * min(1, (step + 1) / WARM_UP) * (0.03 + 0.97 * cosine)


def loss_of(model: LlamaForCausalLM, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean cross-entropy of the next tokens."""
    hidden = model.model(input_ids=tokens).last_hidden_state[:, :-1]
    counts = weights[:, 1:] > 0
    losses = F.cross_entropy(model.lm_head(hidden[counts]), tokens[:, 1:][counts], reduction="none")
    chosen = weights[:, 1:][counts]
    return (losses * chosen).sum() / chosen.sum()


def fit(model: LlamaForCausalLM, data: Iterator[tuple[torch.Tensor, torch.Tensor]], *, steps: int) -> None:
    """Train, printing the smoothed loss."""
    optimizer, start, smooth, seen = make_optimizer(model), time.perf_counter(), math.nan, 0
    model.train()
    for step, (tokens, weights) in enumerate(data):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        loss = loss_of(model, tokens, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += int(tokens.numel())
        smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            wall = time.perf_counter() - start
            print(f"step {step + 1} loss {smooth:.4f} tokens {seen / 1e6:.2f} M wall {wall:.0f} s", flush=True)
    model.eval()


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """A Hugging Face folder; the weights lie there as fp16, the configuration has them loaded as fp32."""
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=MAX_NEW_TOKENS, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    weights = out / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    for path in out.iterdir():
        path.chmod(0o644)  # save_file leaves it readable for its owner alone


def train(settings: Settings) -> None:
    """Generate, train, save."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)  # this script is the program: the global stream initializes the weights
    tokenizer = build()
    model = LlamaForCausalLM(model_config(tokenizer, smoke=settings.smoke))
    print(f"{len(tokenizer)} tokens, {sum(p.numel() for p in model.parameters())} parameters", flush=True)
    data = batches(Corpus(seed=settings.seed), Encoder(tokenizer, seed=settings.seed), steps=settings.steps)
    fit(model, data, steps=settings.steps)
    settings.out.mkdir(parents=True, exist_ok=True)
    save(model, tokenizer, settings.out)


def parse() -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the embedded LM.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=None, help=f"{STEPS}; 3 with --smoke")
    parser.add_argument("--smoke", action="store_true", help="a few steps of a smaller model")
    given = parser.parse_args()
    steps = given.steps if given.steps is not None else 3 if given.smoke else STEPS
    return Settings(given.out, given.seed, given.threads, steps, given.smoke)


def main() -> None:
    """Train, and say what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    settings = parse()
    train(settings)
    size = (settings.out / "model.safetensors").stat().st_size
    took = f"wall {time.perf_counter() - wall:.0f} s, cpu {time.process_time() - cpu:.0f} s"
    print(f"seed {settings.seed}: {took}, {settings.threads} threads, weights {size} bytes")


if __name__ == "__main__":
    main()
