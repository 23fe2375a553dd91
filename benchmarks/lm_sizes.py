"""What a local LM takes as it grows: memory and time from a million to 500 million weights.

    python benchmarks/lm_sizes.py                        # 1, 10, 50, 135 and 500 million; some five minutes
    python benchmarks/lm_sizes.py --sizes 1 10 --threads 2

The weights are random, so nothing is downloaded; neither time nor memory depends on what weights say, only how much is
written, so replies are made to have all their tokens. Every size has a process of its own, in fp32 on the CPU:

    labels    one prompt on 64 questions by likelihood, two labels (``local-lm``, nothing kept from another prompt)
    replies   16 questions, 16 tokens each (``local`` in one batch)
    gradient  of a token in the middle of the prompt on 16 questions (``greater``), and a forward pass of the same ones

Time is the processor's, memory the process's peak above what it held before the model was loaded. Prints a table, and
last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import promptopt

EMBEDDED = Path(promptopt.__file__).parent / "embedded" / "lm"
START = "Please think about the question and give the answer."
SHAPES: dict[int, dict[str, int]] = {  # by millions of weights; the last two are SmolLM2's and Qwen2.5's
    1: {"width": 128, "inner": 352, "layers": 4, "heads": 4, "shared": 4, "words": 2_000},
    10: {"width": 256, "inner": 704, "layers": 8, "heads": 4, "shared": 4, "words": 16_384},
    50: {"width": 512, "inner": 1408, "layers": 8, "heads": 8, "shared": 8, "words": 49_152},
    135: {"width": 576, "inner": 1536, "layers": 30, "heads": 9, "shared": 3, "words": 49_152},
    500: {"width": 896, "inner": 4864, "layers": 24, "heads": 14, "shared": 2, "words": 151_936},
}
LABELLED, WRITTEN, TOKENS = 64, 16, 16
MIB = 2**20


def random_lm(folder: str, shape: Mapping[str, int]) -> int:
    """Save a Llama with random weights, and the embedded LM's tokenizer with made-up words. Gives its size."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    words = AutoTokenizer.from_pretrained(EMBEDDED)
    words.save_pretrained(folder)
    file = Path(folder, "tokenizer.json")
    parts = json.loads(file.read_text("utf-8"))
    known: dict[str, int] = parts["model"]["vocab"]
    known |= {f"w{i}": i for i in range(len(known), shape["words"])}
    file.write_text(json.dumps(parts), "utf-8")
    config = LlamaConfig(
        hidden_size=shape["width"],
        intermediate_size=shape["inner"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["shared"],
        vocab_size=shape["words"],
        tie_word_embeddings=True,
        bos_token_id=words.bos_token_id,
        eos_token_id=shape["words"] - 1,  # which nothing writes
        pad_token_id=words.pad_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return sum(one.numel() for one in model.parameters())


# ── In a process of its own ───────────────────────────────────────────────────────────────────────────────────────


def held(name: str) -> float:
    """MiB of this process: ``VmRSS`` now, ``VmHWM`` at the most."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def measured(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds of the processor, and the most that is held meanwhile."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak begins anew
    before = time.process_time()
    work()
    return {"seconds": round(time.process_time() - before, 3), "MiB": held("VmHWM")}


def one_size(folder: str, threads: int) -> dict[str, Any]:
    """All measurements of one model."""
    import torch
    from transformers.utils import logging

    from promptopt.core import Message, Prompt, Request
    from promptopt.data.reasoning import reasoning
    from promptopt.models.local import Local
    from promptopt.targets.local_lm import LocalLM

    torch.set_num_threads(threads)
    logging.disable_progress_bar()
    examples = reasoning(task="boolean", train=LABELLED, dev=0, test=0).train
    few = examples[:WRITTEN]
    before = held("VmRSS")
    lm = LocalLM(model=folder, answers="likelihood", labels=sorted({str(one.label) for one in examples}))
    chat = Local(model=folder, max_tokens=TOKENS, batch_size=WRITTEN, chat_template=False)
    lm.run(Prompt("Warm up."), examples[:1])
    chat.complete(Request([Message("user", "Warm up.")], temperature=0.0, max_tokens=1))
    found: dict[str, Any] = {"loaded": {"seconds": 0.0, "MiB": held("VmRSS")}}

    def counted(name: str, work: Callable[[], Any]) -> None:
        tokens = lm.work["tokens"]
        found[name] = measured(work) | {"tokens": lm.work["tokens"] - tokens}

    counted("labels", lambda: lm.run(Prompt(START), examples))
    texts = [f"{one.input}\n{START}" for one in few]
    counted("replies", lambda: replies(chat, texts))
    place = len(lm.tokens(START)) // 2
    counted("gradient", lambda: lm.step(START, place, few, with_reasoning=False))
    pages = [*lm._whole(START, place, few, with_reasoning=False).values()]
    backbone, _ = lm._weights
    longest = max(len(page.ids) for page in pages)
    ids = torch.tensor([[*page.ids, *[0] * (longest - len(page.ids))] for page in pages])
    with torch.no_grad():
        counted("forward", lambda: backbone.read(backbone.embed(ids)))
    for row in found.values():
        row["MiB"] = round(row["MiB"] - before, 1)
    return found


def replies(chat: Any, texts: list[str]) -> None:
    """Write to all, in one batch."""
    from promptopt.models.local.batches import RequestedReply

    inputs = [chat._reader.tokenizer(text, return_tensors="pt") for text in texts]
    rows = [{name: one[name] for name in ("input_ids", "attention_mask")} for one in inputs]
    written = chat._batches.write([RequestedReply(row, 0.0, None, TOKENS) for row in rows])
    assert all(len(one) == TOKENS for one in written)


# ── All sizes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def in_a_process(size: int, threads: int) -> dict[str, Any]:
    """A model is made here or there, saved, and measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--folder", folder, "--threads", str(threads)]
        weights = int(subprocess.run([*command, "--make", str(size)], check=True, capture_output=True).stdout)
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return {"size": size, "weights": weights, **found}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = [
        "weights",
        "as fp32, MiB",
        "loaded",
        f"labels, {LABELLED} questions",
        f"replies, {WRITTEN} x {TOKENS} tokens",
    ]
    head += [f"gradient, {WRITTEN} questions", "gradient by forward pass"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [f"{row['weights'] / 1e6:.1f}M", f"{row['weights'] * 4 / MIB:,.0f}", f"{row['loaded']['MiB']:,.0f} MiB"]
        cells += [f"{row[k]['seconds']:.2f} s, {row[k]['MiB']:,.0f} MiB" for k in ("labels", "replies", "gradient")]
        cells.append(f"{row['gradient']['seconds'] / row['forward']['seconds']:.1f}")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        print(random_lm(options.folder, SHAPES[options.make]))
    elif options.folder:
        print(json.dumps(one_size(options.folder, options.threads)))
    else:
        rows = [in_a_process(size, options.threads) for size in options.sizes]
        print(table(rows))
        print(json.dumps({"benchmark": "lm_sizes", "threads": options.threads, "rows": rows}))


if __name__ == "__main__":
    main()
