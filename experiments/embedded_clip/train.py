"""Train the embedded CLIP from rendered images alone, on a CPU.

    python experiments/embedded_clip/train.py --seed 0 --out DIR

writes what ``open_clip.create_model("local-dir:DIR")`` loads, and ``bpe.txt.gz`` for its tokenizer. The number of steps
is fixed, so that a seed and a number of threads give the same weights again on the same machine and versions.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from captions import Captioner, phrases
from open_clip.loss import ClipLoss
from render import WORDS, Rendered, render
from safetensors.torch import save_file
from tokenizer import CONTEXT_LENGTH, WordCache, build, words_of

N_IMAGES = 130_000
STEPS = 1300
BATCH = 384
PEAK_RATE = 2e-3
WARM_UP = 100
MARGIN = 2  # pixels by which a batch may be shifted
MERGE_SAMPLE = 20_000  # captions whose words must be in the vocabulary


@dataclass(frozen=True)
class Settings:
    """The command line."""

    out: Path
    seed: int
    threads: int
    steps: int
    images: int


def model_config(vocab_size: int) -> dict[str, Any]:
    """The two towers: a ResNet for 32 x 32 pixels and a causal transformer for 24 tokens."""
    return {
        "embed_dim": 64,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "image_size": 32, "patch_size": None},
        "text_cfg": {"context_length": CONTEXT_LENGTH, "vocab_size": vocab_size, "width": 64, "heads": 4, "layers": 2},
    }


def preprocess_config() -> dict[str, Any]:
    """Pixels to -1..1."""
    return {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}


class Batches:
    """Endless batches of images and fresh captions, every image once per pass."""

    def __init__(self, data: Rendered, words: WordCache, captioner: Captioner, *, seed: int) -> None:
        self._images, self._attributes = torch.from_numpy(data.images), data.attributes
        self._words, self._captioner = words, captioner
        self._rng = torch.Generator().manual_seed(seed)
        self._order = torch.empty(0, dtype=torch.long)

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """``(BATCH, 3, 32, 32)`` pixels and ``(BATCH, CONTEXT_LENGTH)`` tokens."""
        if len(self._order) < BATCH:
            self._order = torch.randperm(len(self._attributes), generator=self._rng)
        chosen, self._order = self._order[:BATCH], self._order[BATCH:]
        pixels = self._images[chosen].permute(0, 3, 1, 2).float() / 127.5 - 1
        return self._shifted(pixels).contiguous(memory_format=torch.channels_last), self._tokens(chosen.tolist())

    def _shifted(self, pixels: torch.Tensor) -> torch.Tensor:
        x, y = torch.randint(0, 2 * MARGIN + 1, (2,), generator=self._rng).tolist()
        padded = F.pad(pixels, [MARGIN] * 4, mode="replicate")
        return padded[:, :, y : y + pixels.shape[2], x : x + pixels.shape[3]]

    def _tokens(self, chosen: list[int]) -> torch.Tensor:
        tokens = torch.zeros(len(chosen), CONTEXT_LENGTH, dtype=torch.long)
        for row, index in enumerate(chosen):
            ids = self._words(self._captioner(self._attributes[index]))
            tokens[row, : len(ids)] = torch.tensor(ids)
        return tokens


def make_optimizer(model: torch.nn.Module) -> torch.optim.AdamW:
    """AdamW; weight decay for matrices and kernels only."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        (decayed if parameter.ndim >= 2 and "embedding" not in name else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to 2% of the peak."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return PEAK_RATE * min(1, (step + 1) / WARM_UP) * (0.02 + 0.98 * cosine)


def fit(model: open_clip.CLIP, batches: Batches, *, steps: int) -> None:
    """Contrastive training, printing the smoothed loss."""
    optimizer, start, smooth = make_optimizer(model), time.perf_counter(), math.nan
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        loss = train_step(model, optimizer, *batches.next())
        smooth = loss if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} loss {smooth:.3f} wall {time.perf_counter() - start:.0f} s", flush=True)
    model.eval()


def train_step(
    model: open_clip.CLIP, optimizer: torch.optim.Optimizer, pixels: torch.Tensor, tokens: torch.Tensor
) -> float:
    """One update; the loss before it."""
    images, texts = model.encode_image(pixels, normalize=True), model.encode_text(tokens, normalize=True)
    loss = ClipLoss()(images, texts, model.logit_scale.exp())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, math.log(100))
    return float(loss.detach())


def save(model: open_clip.CLIP, config: dict[str, Any], out: Path) -> None:
    """Half-precision weights and the configuration that open_clip reads."""
    weights = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    path = out / "open_clip_model.safetensors"
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    path.chmod(0o644)  # save_file leaves it readable for its owner alone
    content = {"model_cfg": config, "preprocess_cfg": preprocess_config()}
    (out / "open_clip_config.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def train(settings: Settings) -> None:
    """Render, train, save."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)  # this script is the program: the global stream initializes the weights
    settings.out.mkdir(parents=True, exist_ok=True)
    data = render(settings.images, seed=settings.seed)
    print(f"rendered {settings.images} images", flush=True)
    captioner = Captioner(random.Random(settings.seed))
    listed = [phrase for slot in phrases().values() for phrase in slot]
    spoken = [captioner(seen) for seen in data.attributes[:MERGE_SAMPLE]]
    tokenizer = build(settings.out / "bpe.txt.gz", sorted(words_of([*listed, *spoken, *WORDS])))
    config = model_config(tokenizer.vocab_size)
    model = open_clip.CLIP(**config)
    model.visual.to(memory_format=torch.channels_last)  # a quarter less time on a CPU
    fit(model, Batches(data, WordCache(tokenizer), captioner, seed=settings.seed), steps=settings.steps)
    save(model, config, settings.out)


def parse() -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the embedded CLIP.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--images", type=int, default=N_IMAGES, help="images to render")
    return Settings(**vars(parser.parse_args()))


def main() -> None:
    """Train, and say what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    settings = parse()
    train(settings)
    size = (settings.out / "open_clip_model.safetensors").stat().st_size
    took = f"wall {time.perf_counter() - wall:.0f} s, cpu {time.process_time() - cpu:.0f} s"
    print(f"seed {settings.seed}: {took}, {settings.threads} threads, weights {size} bytes")


if __name__ == "__main__":
    main()
