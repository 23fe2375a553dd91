"""How fast, and how politely, calls to a chat model are fanned out.

Two servers on 127.0.0.1 speak the wire format of ``POST /v1/chat/completions``, each in a process of its own:

fast     takes everything and answers after 200 ms. 1,000 calls with 64 in flight take 3.2 s at the least.
limited  allows 20 calls a second and refuses the rest with 429 and ``retry-after``: a bucket that holds one second's
         worth. Steady state is what comes after the first seconds (``--settle``), while the rate is being found.

The same calls are made through promptopt's stack, through a bare pool of threads over the same model, and, where they
are installed, through DSPy (``dspy.Parallel``) and promptolution (``APILLM``); ``--others`` names a Python that has
these. Every way runs in a process of its own, which reports its own CPU time. What was refused, the server counts.

    python benchmarks/llm_throughput.py [--quick] [--others PYTHON]

Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

IN_FLIGHT = 64
LATENCY = 0.2  # seconds
RATE = 20.0  # calls a second that the limited server allows
IDEAL = math.ceil(1_000 / IN_FLIGHT) * LATENCY
PACKAGES = {"promptopt": "promptopt", "threads": "promptopt", "dspy": "dspy", "promptolution": "promptolution"}


# ── The server ────────────────────────────────────────────────────────────────────────────────────────────────────

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13},
}
REFUSAL = {"error": {"message": "Rate limit reached", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}


def response(status: str, body: Any, *headers: str) -> bytes:
    content = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(content)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


class Tally:
    """What a server has seen, and the bucket that decides what it allows."""

    def __init__(self, *, rate: float, latency: float) -> None:
        self.rate, self.latency = rate, latency
        self.tokens, self.filled = rate, time.monotonic()
        self.in_flight = self.peak = 0
        self.events: list[tuple[float, bool]] = []  # when, and whether it was allowed

    def allows(self) -> bool:
        now = time.monotonic()
        self.tokens = min(self.rate, self.tokens + (now - self.filled) * self.rate) if self.rate else math.inf
        self.filled = now
        allowed = self.tokens >= 1
        self.tokens -= allowed
        self.events.append((now, allowed))
        return allowed


class Connection(asyncio.Protocol):
    """One kept-alive connection; requests on it come one after another."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.data = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, rest = self.data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        if end and len(rest) >= length:
            self.data = rest[length:]
            self.answer(head)

    def answer(self, head: bytes) -> None:
        if head.startswith(b"GET"):
            self.transport.write(response("200 OK", {"events": self.tally.events, "peak": self.tally.peak}))
        elif self.tally.allows():
            self.tally.in_flight += 1
            self.tally.peak = max(self.tally.peak, self.tally.in_flight)
            asyncio.get_running_loop().call_later(self.tally.latency, self.finish)
        else:
            self.transport.write(response("429 Too Many Requests", REFUSAL, "retry-after: 1"))

    def finish(self) -> None:
        self.tally.in_flight -= 1
        self.transport.write(response("200 OK", REPLY))


async def serve(*, rate: float, latency: float) -> None:
    """Serve until the process is ended; the port is the first line of the output."""
    tally = Tally(rate=rate, latency=latency)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(tally), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(*, rate: float = 0.0, latency: float = LATENCY) -> Iterator[str]:
    """The base address of a server in a process of its own."""
    command = [sys.executable, __file__, "--serve", json.dumps({"rate": rate, "latency": latency})]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


# ── The ways to call it ───────────────────────────────────────────────────────────────────────────────────────────

Ask = Callable[[Sequence[str]], int]
"""Makes one call for each prompt and returns how many of them failed."""


def promptopt_way(url: str) -> Ask:
    """The stack as a run builds it, the cache on disk included; no prompt comes twice."""
    from promptopt.core import Message, Request
    from promptopt.fanout import fan_out
    from promptopt.models.openai import OpenAI
    from promptopt.models.wrappers import wrap

    model = wrap(OpenAI(model="m", base_url=url), cache=True, most=IN_FLIGHT)

    def call(prompt: str) -> bool:
        return not model.complete(Request([Message("user", prompt)])).replies[0].text

    return lambda prompts: sum(fan_out(call, prompts, workers=IN_FLIGHT))


def threads_way(url: str) -> Ask:
    """The bare model in a pool of threads: what the SDK's own retries make of it."""
    from concurrent.futures import ThreadPoolExecutor

    from promptopt.core import Message, Request
    from promptopt.errors import ModelError
    from promptopt.models.openai import OpenAI

    model = OpenAI(model="m", base_url=url)

    def call(prompt: str) -> bool:
        try:
            return not model.complete(Request([Message("user", prompt)])).replies[0].text
        except ModelError:
            return True

    def ask(prompts: Sequence[str]) -> int:
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            return sum(pool.map(call, prompts))

    return ask


def dspy_way(url: str) -> Ask:
    """``dspy.Parallel`` over ``dspy.LM``, its cache off."""
    import dspy

    lm = dspy.LM("openai/m", api_base=url, api_key="none", cache=False)

    def ask(prompts: Sequence[str]) -> int:
        parallel = dspy.Parallel(num_threads=IN_FLIGHT, max_errors=len(prompts) + 1, disable_progress_bar=True)
        replies = parallel([(lm, {"prompt": prompt}) for prompt in prompts])
        return sum(not isinstance(reply, list) for reply in replies)

    return ask


def promptolution_way(url: str) -> Ask:
    """``APILLM.get_response`` on all prompts; it gives no replies at all if one call fails."""
    from promptolution.llms import APILLM

    llm = APILLM(api_url=url, model_id="m", api_key="none", max_concurrent_calls=IN_FLIGHT)

    def ask(prompts: Sequence[str]) -> int:
        try:
            return sum(not reply for reply in llm.get_response(list(prompts)))
        except RuntimeError:
            return len(prompts)

    return ask


WAYS = {"promptopt": promptopt_way, "threads": threads_way, "dspy": dspy_way, "promptolution": promptolution_way}


def client(way: str, url: str, calls: int) -> None:
    """Make the calls and report. Importing and one first call are not timed."""
    logging.disable(logging.CRITICAL)
    with TemporaryDirectory() as folder:
        os.environ.update(OPENAI_API_KEY="none", NO_PROXY="127.0.0.1", PROMPTOPT_CACHE=folder)
        ask = WAYS[way](url)
        ask(["first"])
        began, cpu = time.monotonic(), time.process_time()
        failed = ask([f"prompt {number}" for number in range(calls)])
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    print(json.dumps({"began": began, "seconds": seconds, "cpu": cpu, "failed": failed}), flush=True)


# ── The measurement ───────────────────────────────────────────────────────────────────────────────────────────────


def measure(way: str, python: str, calls: int, *, rate: float = 0.0, settle: float = 0.0) -> dict[str, Any]:
    """One way against one server."""
    with serving(rate=rate) as url:
        command = [python, __file__, "--client", way, url, str(calls)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        with urllib.request.urlopen(f"{url}/tally") as answer:
            tally = json.load(answer)
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    began = report.pop("began")
    events = [(at - began, allowed) for at, allowed in tally["events"] if at >= began]
    return report | {
        "peak": tally["peak"],
        "rejected": share(not allowed for at, allowed in events if at < settle),
        "rejected_steady": share(not allowed for at, allowed in events if at >= settle),
        "allowed_a_second": sum(allowed for at, allowed in events if at >= settle)
        / max(1e-9, report["seconds"] - settle),
    }


def share(flags: Iterable[bool]) -> float:
    """The share of flags that are set; 0 if there are none."""
    values = list(flags)
    return sum(values) / max(1, len(values))


def has(python: str, package: str) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def compare(way: str, python: str, *, repeats: int, calls: int, settle: float) -> dict[str, dict[str, Any]]:
    """One way against both servers; of the fast one the best repeat, with all of them beside it."""
    runs = [measure(way, python, 1_000) for _ in range(repeats)]
    seconds = [run["seconds"] for run in runs]
    fast = min(runs, key=lambda run: float(run["seconds"]))
    fast |= {"all": seconds, "over_ideal": min(seconds) / IDEAL, "median_over_ideal": median(seconds) / IDEAL}
    return {"fast": fast, "limited": measure(way, python, calls, rate=RATE, settle=settle)}


def row(way: str, fast: dict[str, Any], limited: dict[str, Any]) -> str:
    return (
        f"{way:<14}{fast['seconds']:>9.2f}{fast['over_ideal']:>9.3f}{fast['median_over_ideal']:>9.3f}"
        f"{fast['cpu']:>13.2f}{fast['failed']:>8}  |{limited['seconds']:>9.1f}{limited['rejected']:>16.1%}"
        f"{limited['rejected_steady']:>16.1%}{limited['allowed_a_second']:>9.1f}{limited['failed']:>8}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", default=sys.executable, metavar="PYTHON", help="a Python that has the others")
    parser.add_argument("--quick", action="store_true", help="one repeat, and a third of the calls")
    parser.add_argument("--settle", type=float, default=10.0, help="seconds until the steady state")
    parser.add_argument("--only", choices=WAYS, nargs="+", default=list(WAYS), help="some of the ways")
    given = parser.parse_args()
    repeats, calls = (1, 400) if given.quick else (3, 1_200)
    result: dict[str, Any] = {"ideal": IDEAL, "load": [os.getloadavg()[0]], "ways": {}}
    print(f"fast: 1,000 calls, {IN_FLIGHT} in flight, ideal {IDEAL:.1f} s; best and median of {repeats}")
    print(f"limited: {calls:,} calls, {RATE:.0f} a second allowed; steady state from {given.settle:.0f} s on")
    print(f"{'way':<14}{'seconds':>9}{'/ ideal':>9}{'median':>9}{'CPU ms/call':>13}{'failed':>8}", end="  |")
    print(f"{'seconds':>9}{'refused before':>16}{'refused steady':>16}{'calls/s':>9}{'failed':>8}")
    for way in given.only:
        python = sys.executable if PACKAGES[way] == "promptopt" else given.others
        if not has(python, PACKAGES[way]):
            print(f"{way:<14}skipped: {PACKAGES[way]} is not installed for {python}")
            continue
        result["ways"][way] = measured = compare(way, python, repeats=repeats, calls=calls, settle=given.settle)
        print(row(way, **measured), flush=True)
    result["load"].append(os.getloadavg()[0])
    print(json.dumps(result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(**json.loads(sys.argv[2])))
    elif sys.argv[1:2] == ["--client"]:
        client(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
