"""100 people answering duels at once on one machine: is an answer lost or counted twice, and how long till the next?

    python benchmarks/duel_page.py [--annotators 100] [--seconds 20] [--strangers 0]

A run with a real optimizer serves the page in a process of its own; the annotators are HTTP clients in another one, on
the same machine. First they think between answers (0.5 to 2 s, drawn), then not at all. The time is what passes between
sending an answer and holding the next duel, looking again included where none was ready. Every answer that a client was
told is kept must be in the ledger once, and nothing else. With ``--strangers`` so many others, in a process of their
own, each hold a connection open that says nothing, half a request or half a body, and open another as soon as it is
closed. Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

TOKEN = "0123456789abcdef"
HOWS = (
    "briefly",
    "at length",
    "step by step",
    "in one word",
    "as a teacher",
    "as a list",
    "with an example",
    "with care",
)
TONES = "kindly", "formally", "with humour", "plainly", "boldly"
POOL = [f"Answer the question {how}, {tone}." for how in HOWS for tone in TONES]
SERVER = """
import json, sys, promptopt
port, token, folder, pool, optimizer = sys.argv[1:]
human = {"name": "promptopt.scorers.human:Human", "where": "browser", "port": int(port), "token": token}
budget = {"seconds": 3600.0}
promptopt.optimize(start=json.loads(pool), optimizer=optimizer, scorer=human, budget=budget, run=folder)
"""
STRANGERS = """
import itertools, select, socket, sys
port, number = map(int, sys.argv[1:])
sends = itertools.cycle([
    b"", b"GET / HTT", b"\\0\\r\\n\\r\\n",
    b"POST /answer HTTP/1.1\\r\\nContent-Length: 99\\r\\n\\r\\n{",
])
waiting, opened = select.poll(), {}
while True:
    while len(opened) < number:
        try:
            one = socket.create_connection(("127.0.0.1", port), timeout=5)
            one.sendall(next(sends))
        except OSError:
            continue
        opened[one.fileno()] = one
        waiting.register(one, select.POLLIN)
    for file, _ in waiting.poll(1000):
        waiting.unregister(file)
        opened.pop(file).close()
"""


class Annotator(threading.Thread):
    """Answers until told to stop, with so much thought."""

    def __init__(self, port: int, name: str, thought: tuple[float, float], until: float) -> None:
        super().__init__(daemon=True)
        self.annotator, self.thought, self.until = name, thought, until
        self.kept: list[tuple[str, int, int]] = []
        self.milliseconds: list[float] = []
        self.random = random.Random(name)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.cookie = ""

    def post(self, path: str, **body: object) -> dict:
        self.connection.request(
            "POST",
            path,
            json.dumps({"name": self.annotator, **body}),
            {"Content-Type": "application/json", "Cookie": self.cookie},
        )
        response = self.connection.getresponse()
        data = response.read()
        assert response.status == 200, data
        return json.loads(data)

    def next_duel(self, state: dict) -> dict:
        while not state["duel"] and time.monotonic() < self.until:
            time.sleep(0.05)
            state = self.post("/look")
        return state

    def run(self) -> None:
        self.connection.request("GET", f"/?token={TOKEN}")
        response = self.connection.getresponse()
        response.read()
        self.cookie = response.headers["set-cookie"].partition(";")[0]
        state = self.next_duel(self.post("/look"))
        while state["duel"] and time.monotonic() < self.until:
            time.sleep(self.random.uniform(*self.thought))
            duel = state["duel"]
            choice = self.random.choice(["left", "right", "tie"])
            before = time.perf_counter()
            state = self.post("/answer", duel=duel["key"], again=duel["again"], choice=choice)
            if state["kept"]:
                self.kept.append((self.annotator, duel["key"], duel["again"]))
            state = self.next_duel(state)
            if state["duel"]:
                self.milliseconds.append((time.perf_counter() - before) * 1e3)


def recorded(folder: Path) -> list[tuple[str, int, int]]:
    """Who answered which duel for the how-manieth time, as the ledger has it."""
    found: list[tuple[str, int, int]] = []
    events = map(json.loads, (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines())
    for event in events:
        if event["event"] == "answer" and event["details"]["by"]:
            name = next(reversed(event["details"]["by"]))
            times = sum(one[:2] == (name, event["n"]) for one in found)
            found.append((name, event["n"], times))
    return found


def measure(
    annotators: int, thought: tuple[float, float], *, seconds: float, optimizer: str, strangers: int
) -> dict[str, object]:
    """One run."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        folder = Path(name) / "run"
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-c", SERVER, str(port), TOKEN, str(folder), json.dumps(POOL), optimizer]
        crowd: subprocess.Popen[bytes] | None = None
        server = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
        try:
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            others = [sys.executable, "-c", STRANGERS, str(port), str(strangers)]
            crowd = subprocess.Popen(others) if strangers else None
            until = time.monotonic() + seconds
            people = [Annotator(port, f"n{i}", thought, until) for i in range(annotators)]
            for one in people:
                one.start()
            for one in people:
                one.join(seconds + 90)
        finally:
            if crowd:
                crowd.kill()
                crowd.wait()
            server.kill()
            server.wait()
        kept = sorted(answer for one in people for answer in one.kept)
        held = sorted(recorded(folder))
    times = np.array([value for one in people for value in one.milliseconds])
    return {
        "annotators": annotators,
        "strangers": strangers,
        "thought_s": thought,
        "answers": len(kept),
        "per_second": round(len(kept) / seconds, 1),
        "lost": len(set(kept) - set(held)),
        "counted_twice": len(held) - len(set(held)),
        "not_acknowledged": len(set(held) - set(kept)),
        **{f"p{p}_ms": round(float(np.percentile(times, p)), 1) for p in (50, 95, 99)},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--annotators", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--optimizer", default="promptopt.optimizers.apohf:Apohf")
    parser.add_argument("--strangers", type=int, default=0)
    given = parser.parse_args()
    options = {"seconds": given.seconds, "optimizer": given.optimizer, "strangers": given.strangers}
    rows = [measure(given.annotators, thought, **options) for thought in ((0.5, 2.0), (0.0, 0.0))]
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    print(json.dumps({"benchmark": "duel_page", "optimizer": given.optimizer, "runs": rows}))


if __name__ == "__main__":
    main()
