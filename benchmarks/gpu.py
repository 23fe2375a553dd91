"""What a CUDA device makes of all of it: half precision, a full memory, several models on one card, and speed.

    python benchmarks/gpu.py                     # ViT-L-14 at 1,000 classes, a Llama of a billion weights
    python benchmarks/gpu.py --quick             # the same paths on small models; runs on a CPU too
    python benchmarks/gpu.py --only clip memory

The weights are random, so nothing is downloaded; time and memory don't depend on what weights say. Every speed is a
ratio to plain code in the same run. Parts:

    clip      templates through ``Clip`` against ``encode_text`` of every text at full context, both under autocast; how
              far half precision moves features from fp32
    memory    the memory that a process may use is limited, and batches far too large for it are asked for: what size
              they end at, and whether the outputs are still those of small batches. On a CPU the failure is made up
    together  a CLIP, a local LM as target and a chat model on one card: memory after each, and outputs with and without
              the others
    greater   steps of GReaTer on the LM, as in ``greater_step.py``

Prints tables, and last one JSON line.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clip_scoring
import greater_step
import numpy as np
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from promptopt.core import Example, Message, Prompt, Request
from promptopt.data.digits import CLASSES, digits
from promptopt.data.reasoning import reasoning
from promptopt.models.local import Local
from promptopt.targets.clip import Clip
from promptopt.targets.clip.text import CausalTower, TextEncoder
from promptopt.targets.local_lm import LocalLM
from promptopt.targets.local_lm.generate import DocumentWriter

START = "Please answer the question."
LLAMA = {  # 1.5 billion weights, the shape of Llama 3.2 1B with an output layer of its own, and a small one
    False: {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "vocab_size": 128_256},
    True: {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "vocab_size": 1_024},
}
HEADS = {False: (32, 8), True: (4, 2)}
GIB = 2**30

Row = dict[str, Any]


# ── The machine ───────────────────────────────────────────────────────────────────────────────────────────────────


def now() -> float:
    """Seconds, once the device has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(do: Callable[[], Any], *, times: int = 3) -> float:
    """The least of several."""
    found = []
    for _ in range(times):
        before = now()
        do()
        found.append(now() - before)
    return min(found)


def allocated() -> float | None:
    """GiB on the device; None on a CPU."""
    return torch.cuda.memory_allocated() / GIB if torch.cuda.is_available() else None


def forget() -> None:
    """Give back what nothing holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def little_memory(more: float, owner: Any, method: str, room: int, size: Callable[..., int]) -> Iterator[None]:
    """Let the process use so many GiB beside what it has; on a CPU a method fails where it is given too much.

    Args:
        more: GiB.
        room: on a CPU, the largest ``size`` of the method's arguments that still fits.
    """
    if torch.cuda.is_available():
        forget()
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + more * GIB) / whole))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return
    own = getattr(owner, method)

    def crowded(*args: Any, **kwargs: Any) -> Any:
        if size(*args, **kwargs) > room:
            raise torch.OutOfMemoryError("out of memory, made up by the benchmark")
        return own(*args, **kwargs)

    setattr(owner, method, crowded)
    try:
        yield
    finally:
        setattr(owner, method, own)


# ── The parts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def clip(options: Namespace) -> list[Row]:
    """Speed and rounding of text features."""
    architecture, n_classes, n_templates = ("embedded", 10, 8) if options.quick else ("ViT-L-14", 1_000, 16)
    classes = clip_scoring.class_names(n_classes)
    texts = [line.replace("{}", name) for line in clip_scoring.templates(n_templates) for name in classes]
    target = open_clip_model(architecture, classes)
    model, tokenizer = target.model, target.tokenizer
    device = model.logit_scale.device

    def plain() -> torch.Tensor:
        half = device.type == "cuda"
        with torch.inference_mode(), torch.autocast(device.type, enabled=half):
            parts = [texts[i : i + 512] for i in range(0, len(texts), 512)]
            return torch.cat([model.encode_text(tokenizer(part).to(device), normalize=True).float() for part in parts])

    def ours() -> torch.Tensor:
        return TextEncoder(model, tokenizer).encode(texts)

    expected, found = plain(), ours()
    slow, fast = seconds(plain), seconds(ours)
    with torch.inference_mode():
        some = texts[:: max(1, len(texts) // 256)]
        exact = model.encode_text(tokenizer(some).to(device), normalize=True)
    rounded = TextEncoder(model, tokenizer).encode(some)
    return [
        {
            "model": architecture,
            "texts": len(texts),
            "plain texts/s": len(texts) / slow,
            "ours texts/s": len(texts) / fast,
            "times plain": slow / fast,
            "largest difference to plain": float((found - expected).norm(dim=1).max()),
            "largest difference to fp32": float((rounded - exact).norm(dim=1).max()),
        }
    ]


def memory(options: Namespace) -> list[Row]:
    """Batches that are too large for the memory there is."""
    rows = []
    target = open_clip_model("embedded" if options.quick else "ViT-B-32", ["x"])
    texts = clip_scoring.templates(90) * (1 if options.quick else 50)
    texts = [f"{text} {i}" for i, text in enumerate(texts)]
    expected = TextEncoder(target.model, target.tokenizer, batch_size=16).encode(texts)
    encoder = TextEncoder(target.model, target.tokenizer, batch_size=1 << 16)
    with little_memory(0.25, CausalTower, "encode", 16, lambda self, tree: len(tree.last)):
        found = encoder.encode(texts)
    apart = float((found - expected).norm(dim=1).max())
    rows.append({"what": "CLIP texts", "asked at once": 1 << 16, "ended at": encoder._batch_size, "difference": apart})
    examples = reasoning(task="arithmetic", train=8 if options.quick else 256, dev=0, test=0).train
    few, many = lm(options, batch_size=2), lm(options, batch_size=4096)
    expected_losses = few.losses([START], examples)
    with little_memory(0.25, DocumentWriter, "complete", 3, lambda self, documents, *rest: len(documents)):
        losses = many.losses([START], examples)
    apart = float(np.abs(losses - expected_losses).max())
    rows.append({"what": "LM documents", "asked at once": 4096, "ended at": many._batch_size, "difference": apart})
    return rows


def together(options: Namespace) -> list[Row]:
    """Three models on one card."""
    request = Request([Message("user", "What is 2 + 2?")], temperature=0.0, max_tokens=8)
    images, examples = digits(seed=0).test[:16], reasoning(task="arithmetic", train=4, dev=0, test=0).train
    makes: dict[str, Callable[[], Callable[[], Any]]] = {
        "clip": lambda: scored(open_clip_model("embedded" if options.quick else "ViT-B-32", CLASSES), images),
        "local-lm": lambda: (lambda target: lambda: target.losses([START], examples))(lm(options)),
        "chat, local": lambda: (lambda m: lambda: m.complete(request).replies)(Local(model=options.folder)),
    }
    rows, uses = [], {}
    for name, make in makes.items():
        uses[name] = make()
        alone = uses[name]()
        rows.append({"model": name, "GiB after it": allocated(), "output": alone})
    for row in rows:  # once more, now that all are there
        again = np.asarray(uses[row["model"]]())
        row["same with the others"] = bool(np.array_equal(np.asarray(row.pop("output")), again))
    return rows


def open_clip_model(architecture: str, classes: Sequence[str]) -> Clip:
    """A CLIP with random weights, or the embedded one."""
    weights = None if architecture == "embedded" else "random"
    return Clip(classes=classes, model=architecture, pretrained=weights, cache=None)


def scored(target: Clip, images: Sequence[Example]) -> Callable[[], Any]:
    """What gives a target's outputs for images."""
    return lambda: np.stack([np.asarray(row) for row in target.run(Prompt("a photo of a {}"), images)])


def greater(options: Namespace) -> list[Row]:
    """Seconds of a step, by part, and of the plain loop."""
    few = Namespace(
        model=options.folder,
        task="arithmetic",
        device="auto",
        dtype=options.dtype,
        max_tokens=40,
        steps=2,
        loop_steps=1,
    )
    ways = {name: greater_step.WAYS[name] for name in ("all speed-ups", "none of them")}
    greater_step.WAYS = ways
    found = greater_step.measured(few, examples=8 if options.quick else 32, mu=3)
    fastest = found["all speed-ups"]["step"]
    return [{"way": way, **row, "times": row["step"] / fastest} for way, row in found.items()]


def lm(options: Namespace, **more: Any) -> LocalLM:
    """The random LM as a target."""
    return LocalLM(model=options.folder, dtype=options.dtype, max_tokens=8, **more)


def random_lm(folder: str, *, small: bool, dtype: torch.dtype) -> None:
    """Save a Llama with random weights, and the embedded LM's tokenizer with made-up words to fill its vocabulary."""
    words = AutoTokenizer.from_pretrained(greater_step.EMBEDDED)
    words.save_pretrained(folder)
    file = Path(folder, "tokenizer.json")
    parts = json.loads(file.read_text("utf-8"))
    known: dict[str, int] = parts["model"]["vocab"]
    known |= {f"w{i}": i for i in range(len(known), LLAMA[small]["vocab_size"])}
    file.write_text(json.dumps(parts), "utf-8")
    heads, shared = HEADS[small]
    ids = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    config = LlamaConfig(
        **LLAMA[small], **ids, num_attention_heads=heads, num_key_value_heads=shared, tie_word_embeddings=False
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)


def show(name: str, rows: Sequence[Row]) -> None:
    """A table, a line a row."""
    print(f"\n{name}")
    for row in rows:
        cells = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()]
        print("  " + ", ".join(cells), flush=True)


PARTS: dict[str, Callable[[Namespace], list[Row]]] = {
    "clip": clip,
    "memory": memory,
    "together": together,
    "greater": greater,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small models")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    cuda = torch.cuda.is_available()
    if not cuda and not options.quick:
        raise SystemExit("there is no CUDA device here; --quick runs the same paths on small models on a CPU.")
    device = torch.cuda.get_device_name(0) if cuda else "CPU"
    options.dtype = "bfloat16" if cuda else "float32"
    logging.disable_progress_bar()
    print(f"{device}, torch {torch.__version__}")
    results = {}
    with tempfile.TemporaryDirectory() as options.folder:
        random_lm(options.folder, small=options.quick, dtype=getattr(torch, options.dtype))
        for name in options.only:
            results[name] = PARTS[name](options)
            show(name, results[name])
            forget()
    print(json.dumps({"benchmark": "gpu", "device": device, "quick": options.quick, "results": results}))


if __name__ == "__main__":
    main()
