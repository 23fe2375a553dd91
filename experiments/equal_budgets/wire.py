"""Target and proposer behind one OpenAI-compatible address on this machine, with one budget of calls for both.

The model ``target`` answers as in a search of promptopt, ``proposer`` writes; each reply is a call. Once the budget is
spent every request is refused (403, which clients do not try again), and it is written down how each prompt did on the
training examples, so that a package that ends with an error has a best prompt so far.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from searches import Cell

from promptopt.core import Message, Request

AHEAD = 8  # examples that are computed together


class Refused(Exception):
    """There is no budget, or the request cannot be answered; ``args`` are an HTTP status and a sentence."""


class Desk:
    """Answers requests for one cell.

    Attributes:
        target, proposer: calls so far.
        scores: by prefix, whether the answer to each training example was right.
        spent: whether a request was refused since the budget was spent.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.target = self.proposer = 0
        self.scores: dict[str, dict[str, bool]] = {}
        self.spent = False
        self._train = {one.id for one in cell.data.train}
        self._lock = threading.Lock()

    def reply(self, asked: dict[str, Any]) -> list[str]:
        """The texts of the replies to a request.

        Raises:
            Refused: there is no budget for it, or it shows no training example.
        """
        messages = [Message(one["role"], _text(one["content"])) for one in asked["messages"]]
        n = int(asked.get("n") or 1)
        with self._lock:
            if self.target + self.proposer + n > self.cell.calls:
                self.spent = True
                raise Refused(403, "the budget of calls is spent")
            if asked["model"] == "target":
                self.target += 1
                return [self._answer(messages)]
            self.proposer += n
            seed = asked.get("seed") or 1_000 * self.cell.seed + self.proposer
            temperature = float(asked.get("temperature") or 1.0)
            request = Request(messages, n=n, temperature=temperature, seed=seed)
            return [one.text for one in self.cell.writer.complete(request).replies]

    def _answer(self, messages: list[Message]) -> str:
        answers = self.cell.answers
        try:
            prefix, example = answers.read(messages)
        except KeyError as error:
            raise Refused(400, f"no training example stands at the end: {error}") from error
        if example.id not in self._train:
            raise Refused(400, "only training examples can be asked about")
        if answers.problem_with(prefix):
            said = ""
        else:
            place = self.cell.data.train.index(example)
            if (prefix, example.id) not in answers.known:
                answers.prepare(prefix, self.cell.data.train[place : place + AHEAD])
            said = answers.answer(prefix, example)
        self.scores.setdefault(prefix, {})[example.id] = said == str(example.label)
        return said

    @property
    def best(self) -> str:
        """The first prefix with the most right answers among those that all training examples were asked with."""
        whole = {prefix: sum(found.values()) for prefix, found in self.scores.items() if len(found) == len(self._train)}
        return max(whole, key=lambda prefix: whole[prefix], default=self.cell.task.start)


def _text(content: Any) -> str:
    """Of a message whose content may be a list of parts."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class Server(ThreadingHTTPServer):
    """One address for all cells, one after the other."""

    daemon_threads = True
    desk: Desk


class Handler(BaseHTTPRequestHandler):
    """POST /v1/chat/completions."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            texts = self.server.desk.reply(asked)
        except Refused as error:
            status, said = error.args
            self.send(status, {"error": {"message": said, "type": "refused", "code": status}})
            return
        choices = [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 1, "completion_tokens": len(texts), "total_tokens": 1 + len(texts)}
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": asked["model"]}
        self.send(200, {**head, "choices": choices, "usage": usage})

    def send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@contextmanager
def served() -> Iterator[Server]:
    """The server, at ``server.server_port`` of 127.0.0.1, until the block ends."""
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
