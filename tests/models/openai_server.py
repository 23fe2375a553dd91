"""A server on 127.0.0.1, and the wire format of ``POST /v1/chat/completions``."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One HTTP response. ``fault`` is what goes wrong with the connection instead of, or while, sending it."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


RESET = Answer(fault="reset")
HANG = Answer(fault="hang")
TRICKLE = Answer(fault="trickle")  # a head that never ends
ENDLESS = Answer(fault="endless")  # a body that never ends
SOON = {"retry-after-ms": "10"}


def choice(text: str | None, *, finish: str | None = "stop", refusal: str | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}


def completion(*choices: str | dict[str, Any], usage: tuple[int, int] | None = (12, 5)) -> Answer:
    """A chat completion."""
    body: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "m"}
    body["choices"] = [
        {**(choice(one) if isinstance(one, str) else one), "index": index} for index, one in enumerate(choices)
    ]
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Answer(body)


def events(*events: Any, named: bool = False, end: str = "") -> Answer:
    """Server-sent events; with ``named``, each under its own ``type``."""
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    names = [f"event: {event['type']}\n" if named and isinstance(event, dict) else "" for event in events]
    body = "".join(f"{name}data: {text}\n\n" for name, text in zip(names, texts, strict=True)) + end
    return Answer(body.encode(), headers={"content-type": "text/event-stream"})


def failure(status: int, message: str, *, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
    """An error object with a request id."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": None, **fields}
    return Answer({"error": error}, status, {"x-request-id": "req_7", **(headers or {})})


@dataclass(frozen=True)
class Received:
    path: str
    key: str
    body: dict[str, Any]


Script = Callable[[Received], Answer]


class Server(ThreadingHTTPServer):
    """Answers from a list, in order, or from a function of the request; ``requests`` holds what came in."""

    daemon_threads = True

    def __init__(self, script: Sequence[Answer] | Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        answers = iter([] if callable(script) else script)
        self.script: Script = script if callable(script) else lambda request: next(answers)
        self.requests: list[Received] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")
        request = Received(self.path, key, body)
        with self.server.lock:
            self.server.requests.append(request)
            answer = self.server.script(request)
        if answer.fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif answer.fault == "hang":
            self.server.closing.wait(30)
            self.close_connection = True
        elif answer.fault in ("trickle", "endless"):
            send_on(self, answer.fault, self.server.closing)
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(content)), **answer.headers}
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if answer.fault == "truncated" else content)
        self.close_connection = answer.fault == "truncated"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def send_on(handler: BaseHTTPRequestHandler, fault: str, closing: threading.Event) -> None:
    """Send an endless head or body, until nobody takes it any more."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + b"\r\n" * (fault == "endless"))
    try:
        while not closing.wait(0.02 if fault == "trickle" else 0):
            handler.wfile.write(b"x: y\r\n" if fault == "trickle" else b" " * 65_536)
    except OSError:
        return


@contextmanager
def serving(*answers: Answer, script: Script | None = None) -> Iterator[Server]:
    """A server that runs while the block does."""
    with Server(script or answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
