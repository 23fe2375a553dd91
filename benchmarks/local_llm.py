"""Replies a second of a real LLM on this machine: `chat` with `local`, and `local-lm`, against plain `generate`.

    python benchmarks/local_llm.py                       # SmolLM2, 20 prompts x 64 examples
    python benchmarks/local_llm.py --prompts 2 --examples 32
    python benchmarks/local_llm.py --model FOLDER --rounds 1

Every prompt is asked for every example. Plain is what one writes first: batches of 16 in the order in which they come,
padded on the left, each with a call of `generate` until all its rows have ended. With the package xllamacpp, the server
of llama.cpp is asked through the `openai` model too: it works with the file's own 4-bit blocks, so its replies may
differ; how many agree is shown. `local` is given 64 workers and batches of 64. The ways take turns, round by round,
and the medians are compared. Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from transformers.utils import logging

from promptopt.core import ChatModel, Example, Message, Prompt, Request
from promptopt.models.local import Local
from promptopt.models.local.reader import Reader, located
from promptopt.targets.chat import ChatTarget
from promptopt.targets.local_lm import LocalLM

SIZE, LARGER, LONGEST = 16, 64, 16
BEGINNINGS = ("Read the review", "You are a careful critic. Look at the customer's words", "Look closely at the text")
ENDS = ("and answer with one word: positive or negative.", "and say how the writer feels, in one word.")
MIDDLES = (", think about the tone,", " below", ", whatever it is about,", " without haste")
THINGS = ("The soup", "This phone", "The hotel room", "Their new record", "The second season", "My old bicycle")
VERDICTS = (
    "was wonderful",
    "broke after two days",
    "made me smile",
    "was cold and far too salty",
    "is worth its price",
)
REASONS = (
    "and I will be back.",
    "although everybody had praised it to me before.",
    "so I want my money back!",
    "again.",
)


def prompts(n: int) -> list[Prompt]:
    """Instructions as people write them."""
    texts = [" ".join(("".join(one[:2]), one[2])) for one in itertools.product(BEGINNINGS, MIDDLES, ENDS)]
    return [Prompt(text) for text in random.Random(0).sample(texts, n)]


def examples(n: int) -> list[Example]:
    """Short reviews; what is measured does not depend on their labels."""
    texts = random.Random(1).sample([" ".join(one) for one in itertools.product(THINGS, VERDICTS, REASONS)], n)
    return [Example(str(i), text, "positive") for i, text in enumerate(texts)]


def plain(model: Any, reader: Reader, texts: Sequence[str]) -> list[list[int]]:
    """Tokens that `generate` writes behind each text, in batches as they come."""
    words, written = reader.tokenizer, []
    for start in range(0, len(texts), SIZE):
        rows = [words(text, add_special_tokens=False).input_ids for text in texts[start : start + SIZE]]
        longest = max(map(len, rows))
        ids = torch.tensor([[reader.pad] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=LONGEST, do_sample=False, pad_token_id=reader.pad
            )
        written += out[:, longest:].tolist()
    return written


def served(model: str, *, threads: int) -> tuple[Any, Any]:
    """The server of llama.cpp on this machine and a model that asks it."""
    import xllamacpp

    from promptopt.models.openai import OpenAI

    params = xllamacpp.CommonParams()
    params.model.path, params.n_parallel, params.n_ctx = located(model)[0], SIZE, SIZE * 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    url = f"{server.listening_address}/v1"
    os.environ.setdefault("OPENAI_API_KEY", "none")
    return server, OpenAI(model="local", base_url=url, max_tokens=LONGEST)


def replies(model: ChatModel, conversations: Sequence[Sequence[Message]]) -> list[str]:
    """What a chat model replies, asked as the target `chat` asks it: as many requests at a time as fit into a batch."""

    def ask(messages: Sequence[Message]) -> str:
        return str(model.complete(Request(messages, temperature=0.0)).replies[0].text).strip()

    with ThreadPoolExecutor(LARGER) as pool:
        return list(pool.map(ask, conversations))


def ways(options: argparse.Namespace) -> dict[str, Callable[[], list[str]]]:
    """Every way to get the replies, by name."""
    asked, on = prompts(options.prompts), examples(options.examples)
    pairs = [(prompt.text, example.input) for prompt in asked for example in on]
    path, _ = located(options.model)
    reader = Reader(path, chat_template=None, template_options={})
    model = reader.load_weights(dtype="auto", device="cpu")
    local = Local(model=options.model, max_tokens=LONGEST, batch_size=LARGER)
    chat = ChatTarget(model=local)
    conversations = [chat.messages(prompt, example) for prompt in asked for example in on]
    turns = [reader.framed([(one.role, one.text) for one in messages]) for messages in conversations]
    lm = LocalLM(model=options.model, max_tokens=0, answer_tokens=LONGEST, extractor="")
    documents = [reader.framed([("user", f"{shown}\n{text}")]) for text, shown in pairs]
    ends = reader.tokenizer.eos_token_id

    def said(texts: Sequence[str]) -> list[str]:
        found = []
        for ids in plain(model, reader, texts):
            found.append(reader.decode(ids[: ids.index(ends)] if ends in ids else ids).strip())
        return found

    def first_lines(texts: Sequence[str]) -> list[str]:
        return [(text.splitlines() or [""])[0].strip() for text in texts]

    found: dict[str, Callable[[], list[str]]] = {
        "chat: plain generate": lambda: said(turns),
        "chat: local": lambda: replies(local, conversations),
        "local-lm: plain generate": lambda: first_lines(said(documents)),
        "local-lm": lambda: [str(one) for row in lm.run_batch(asked, on) for one in row],
    }
    if path.endswith(".gguf") and importlib.util.find_spec("xllamacpp"):
        server, hosted = served(options.model, threads=options.threads)
        found["chat: llama.cpp's server"] = lambda kept=server: replies(hosted, conversations)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    found = ways(options)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    outputs: dict[str, list[str]] = {}
    for _ in range(options.rounds):
        for name, way in found.items():
            begun = time.perf_counter()
            outputs[name] = way()
            seconds[name].append(time.perf_counter() - begun)
    rows = []
    print(f"{'way':<26}{'seconds':>9}{'replies/s':>11}{'times plain':>13}{'same text':>11}")
    for name in found:
        against = "local-lm: plain generate" if name.startswith("local-lm") else "chat: plain generate"
        took = statistics.median(seconds[name])
        same = sum(a == b for a, b in zip(outputs[name], outputs[against], strict=True)) / len(outputs[name])
        row = [took, len(outputs[name]) / took, statistics.median(seconds[against]) / took, same]
        rows.append([name, *row])
        print(f"{name:<26}{row[0]:>9.1f}{row[1]:>11.2f}{row[2]:>13.2f}{row[3]:>11.3f}", flush=True)
    print(json.dumps({"threads": options.threads, "rows": rows}))


if __name__ == "__main__":
    main()
