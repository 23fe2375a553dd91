"""Parts for runs that people answer."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import promptopt
from promptopt.core import Belief, Duel, Example, Picture, Preference, Prompt, Setup
from promptopt.scorers.human import Human

RED = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC")


class Rounds:
    """Asks for duels of neighbours in a pool, round and round; the prompt with the most wins is the best.

    Args:
        pool: the prompts.
    """

    question = Duel

    def __init__(self, pool: Sequence[str] = ("alpha", "beta", "gamma", "delta", "epsilon")) -> None:
        self._pool = [Prompt(text) for text in pool]

    def begin(self, setup: Setup, /) -> None:
        self._asked = 0
        self._winners: dict[int, Prompt | None] = {}

    def ask(self) -> list[Duel]:
        i = self._asked
        self._asked += 1
        n = len(self._pool)
        return [Duel(self._pool[i % n], self._pool[(i + 1 + i // n % (n - 1)) % n])]

    def tell(self, answered: Sequence[tuple[Duel, Preference]], /) -> None:
        for duel, preference in answered:
            self._winners[duel.number] = {"a": duel.a, "b": duel.b}.get(preference.winner)

    def best(self) -> Prompt:
        won = [winner for winner in self._winners.values() if winner]
        return max(self._pool, key=won.count)

    def belief(self) -> Belief:
        return Belief(0.63, 12)


def speaks(prompt: str, example: Example) -> str:
    """What a model would say."""
    return f"{prompt} says: {example.input}"


def speaks_html(prompt: str, example: Example) -> str:
    """What a model that means harm would say."""
    return (
        f"<b>{prompt}</b> <script>document.title = 'owned'</script> "
        f"<img src=x onerror=\"document.title = 'owned'\"> </div> & {{}} {example.input}"
    )


def paints(prompt: str, example: Example) -> Any:
    """A picture, another one for each prompt."""
    return Picture(RED + prompt.encode())


# ── A run with a page ─────────────────────────────────────────────────────────────────────────────────────────────

TOKEN = "0123456789abcdef"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Served:
    """A run that people answer in the browser."""

    folder: Path
    port: int

    @property
    def link(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={TOKEN}"

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The answers in its ledger."""
        file = self.folder / "ledger.jsonl"
        events = map(json.loads, file.read_text(encoding="utf-8").splitlines() if file.exists() else [])
        return [event for event in events if event["event"] == "answer"]


@contextmanager
def served(
    folder: Path, *, budget: int = 50, optimizer: Any = None, start: Sequence[str] = ("alpha",), **options: Any
) -> Iterator[Served]:
    """A run in a thread of this process; stopped in the end."""
    run = Served(folder / "run", free_port())
    human = Human(where="browser", port=run.port, token=TOKEN, **options)
    arguments = {"start": start, "optimizer": optimizer or Rounds(), "scorer": human, "budget": budget}
    thread = threading.Thread(target=lambda: promptopt.optimize(run=run.folder, **arguments))
    thread.start()
    try:
        until_open(run.port)
        yield run
    finally:
        with mock.patch("promptopt.scorers.human.page.server.PARTING", 0.2):
            human.close()
            thread.join(20)


def until_open(port: int, seconds: float = 30) -> None:
    """Wait until something listens there."""
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


class Client:
    """A page without a browser.

    Args:
        run: which run.
        name: the annotator's.
        token: what the link ends with.
    """

    def __init__(self, run: Served, name: str, *, token: str = TOKEN) -> None:
        self._port, self._name = run.port, name
        self._connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=30)
        status, headers, _ = self.request("GET", f"/?token={token}")
        assert (status, headers["location"]) == (303, "/")
        self.cookie = headers["set-cookie"].partition(";")[0]

    def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        cookie = {"Cookie": self.cookie} if hasattr(self, "cookie") else {}
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, data, {"Content-Type": "application/json", **cookie, **headers})
        response = self._connection.getresponse()
        return response.status, response.headers, response.read()

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        status, _, answer = self.request("POST", path, {"name": self._name, **body})
        assert status == 200, answer
        found: dict[str, Any] = json.loads(answer)
        return found

    def look(self) -> dict[str, Any]:
        """The state, once a duel is ready or the run is over."""
        until = time.monotonic() + 30
        while not (state := self.post("/look"))["duel"] and not state["over"]:
            assert time.monotonic() < until, state
            time.sleep(0.02)
        return state

    def answer(self, state: dict[str, Any], choice: str) -> dict[str, Any]:
        duel = state["duel"]
        return self.post("/answer", duel=duel["key"], again=duel["again"], ticket=duel["ticket"], choice=choice)


def start(run: Served) -> subprocess.Popen[str]:
    """The run in a process of its own."""
    code = (
        "import promptopt; from human_parts import Rounds, Human;"
        f"human = Human(where='browser', port={run.port}, token={TOKEN!r}, second_opinions=0);"
        f"promptopt.optimize(start='alpha', optimizer=Rounds(), scorer=human, budget=50, run={str(run.folder)!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)}, text=True
    )
    until_open(run.port)
    return process
