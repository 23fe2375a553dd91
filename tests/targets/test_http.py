"""Any HTTP endpoint as a target, against a server on this machine."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image
from typer.testing import CliRunner

import promptopt
from promptopt import bodies, retries
from promptopt.api import prepare
from promptopt.cli import app
from promptopt.core import Example, Failed, Missing, Picture, Prompt
from promptopt.errors import ModelError, UnknownName, UserError
from promptopt.metrics.text import ExactMatch
from promptopt.optimizers import RandomSearch
from promptopt.optimizers.pools.listed import ListPool
from promptopt.recipe.build import build
from promptopt.record.ledger import Ledger
from promptopt.run.budget import Budget
from promptopt.run.estimate import estimate
from promptopt.run.loop import Run
from promptopt.scorers import MetricScorer
from promptopt.targets.http import Http, endpoint
from promptopt.targets.pictures import Pictures
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import TargetContract

pytest.importorskip("httpx2")

KEY = "sk-planted-0123456789abcdef"
EXAMPLES = [Example(f"e/{i}", f"input {i}", f"INPUT {i}") for i in range(4)]
P = Prompt("Answer.")
BODY = {"messages": [{"role": "system", "content": "{prompt}"}, {"role": "user", "content": "{input}"}], "n": 1}
OUTPUT = "choices.0.text"


@dataclass(frozen=True)
class Answer:
    """A response. ``fault`` is ``reset``, ``hang`` or ``cut``, and happens instead of, or while, sending it."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


Script = Callable[[Request], Answer]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1/answer"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, json.loads(content) if content else None)
        with self.server.lock:
            self.server.requests.append(request)
            answer = self.server.script(request)
        if answer.fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif answer.fault == "hang":
            self.server.closing.wait(30)
        elif answer.fault in ("trickle", "endless"):
            self._send_on(answer.fault)
        else:
            self._send(answer)
        self.close_connection = self.close_connection or bool(answer.fault)

    do_GET = do_PUT = do_POST

    def _send(self, answer: Answer) -> None:
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"content-length": str(len(content)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if answer.fault == "cut" else content)

    def _send_on(self, fault: str) -> None:
        """Send a head or a body that does not end."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"\r\n" * (fault == "endless"))
        try:
            while not self.server.closing.wait(0.02 if fault == "trickle" else 0):
                self.wfile.write(b"x: y\r\n" if fault == "trickle" else b" " * 65_536)
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def serving(*answers: Answer, script: Script | None = None) -> Iterator[Server]:
    """A server that answers from a list, in order, or from a function of the request."""
    listed = iter(answers)
    with Server(script or (lambda request: next(listed))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def said(text: Any) -> Answer:
    return Answer({"choices": [{"text": text}]})


def shout(request: Request) -> Answer:
    return said(request.body["messages"][1]["content"].upper())


def begun(server: Server, **options: Any) -> tuple[Http, FakeSetup]:
    given = {"url": server.url, "body": BODY, "output": OUTPUT, "timeout": 5.0, "retries": 2, "workers": 1, **options}
    target, setup = Http(**given), FakeSetup()
    target.begin(setup)
    return target, setup


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class TestHttp(TargetContract):
    prompts = ("Answer.", "Say it.")
    server: ClassVar[Server]

    @pytest.fixture(autouse=True)
    def _serve(self) -> Iterator[None]:
        with serving(script=shout) as server:
            type(self).server = server
            yield

    def make(self) -> Http:
        return Http(url=self.server.url, body=BODY, output=OUTPUT)

    def examples(self) -> Sequence[Example]:
        return EXAMPLES


# ── What is sent ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_prompt_and_input_are_put_into_the_body_as_data() -> None:
    prompt, example = Prompt('{input} "\n\ud800'), Example("e", "{prompt} é", "y")
    with serving(said("yes")) as server:
        target, setup = begun(server)
        assert target.run(prompt, [example]) == ["yes"]
    [request] = server.requests
    assert (request.method, request.path) == ("POST", "/v1/answer")
    assert request.headers["content-type"] == "application/json"
    contents = [message["content"] for message in request.body["messages"]]
    assert (contents, request.body["n"]) == (['{input} "\n\ud800', "{prompt} é"], 1)
    assert setup.roles == ["target"]


def test_fields_of_a_dict_and_an_address_with_placeholders() -> None:
    with serving(Answer(b"plain text")) as server:
        url = server.url + "/{topic}?q={prompt}"
        target, _ = begun(server, url=url, body=None, output=None, method="GET")
        assert target.run(Prompt("a b/&é"), [Example("e", {"topic": "../x"}, "y")]) == ["plain text"]
    [request] = server.requests
    assert (request.method, request.path, request.body) == ("GET", "/v1/answer/..%2Fx?q=a%20b%2F%26%C3%A9", None)


def test_headers_are_filled_from_the_environment_when_a_request_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Authorization": "Bearer ${MY_KEY}", "X-Team": "red"}
    with serving(script=shout) as server:
        target, _ = begun(server, headers=headers)
        monkeypatch.setenv("MY_KEY", f" {KEY}\n")
        target.run(P, EXAMPLES[:1])
        monkeypatch.delenv("MY_KEY")
        with pytest.raises(UserError, match="needs the environment variable MY_KEY, which is not set"):
            target.run(P, EXAMPLES[:1])
    [request] = server.requests
    assert (request.headers["authorization"], request.headers["x-team"]) == (f"Bearer {KEY}", "red")


def test_calls_are_made_side_by_side() -> None:
    barrier = threading.Barrier(4, timeout=5)

    def script(request: Request) -> Answer:
        server.lock.release()
        try:
            barrier.wait()
        finally:
            server.lock.acquire()
        return shout(request)

    with serving(script=script) as server:
        target, _ = begun(server, workers=4)
        assert target.run(P, EXAMPLES) == [example.label for example in EXAMPLES]


# ── What comes back ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("output", "body", "found"),
    [
        ("a.b.1", {"a": {"b": ["x", "y"]}}, "y"),
        ("/a~1b/0", {"a/b": ["x"]}, "x"),
        ("/a.b", {"a.b": 3}, 3),
        ("", {"label": "cat"}, {"label": "cat"}),
        (None, {"a": 1}, '{"a": 1}'),
        ("scores", {"scores": [0.25, 0.75]}, [0.25, 0.75]),
    ],
)
def test_where_the_output_stands(output: str | None, body: Any, found: Any) -> None:
    with serving(Answer(body)) as server:
        assert begun(server, output=output)[0].run(P, EXAMPLES[:1]) == [found]


def test_answers_without_an_output_are_counted_and_failed() -> None:
    answers = [said("yes"), said(None), Answer({"error": "busy"}), Answer(b"<html>"), said(" ")]
    with serving(*answers) as server:
        target, setup = begun(server)
        missing = Failed("no output in the answer")
        assert target.run(P, [*EXAMPLES, EXAMPLES[0]]) == ["yes", missing, missing, missing, Failed("empty")]
    assert setup.counts == {"unreadable replies": 3, "empty replies": 1}


def test_a_wrong_output_path_ends_the_run_with_the_first_prompt() -> None:
    with serving(script=lambda request: Answer({"choices": [{"txt": "yes"}]})) as server:
        target, _ = begun(server)
        with pytest.raises(UserError, match=r"there is no 'text' in \{\"txt\": \"yes\"\}"):
            list(target.run_batch([P, P], EXAMPLES[:2]))


def test_a_prompt_without_any_output_is_no_error_once_one_was_understood() -> None:
    with serving(said("yes"), said(None)) as server:
        target, _ = begun(server)
        assert list(target.run_batch([P, P], EXAMPLES[:1])) == [["yes"], [Failed("no output in the answer")]]


# ── Errors ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "trouble",
    [
        Answer("busy", 429, {"retry-after": "0.01"}),
        Answer("busy", 429, {"retry-after": format_datetime(datetime.now(UTC) - timedelta(seconds=5))}),
        Answer("busy", 429, {"retry-after": "soon"}),
        Answer("busy", 429),
        Answer("slow", 408),
        Answer("in use", 409),
        Answer("broken", 500),
        Answer("overloaded", 503),
        Answer(fault="reset"),
        Answer("x" * 1000, fault="cut"),
    ],
    ids=["retry-after", "date", "nonsense", "429", "408", "409", "500", "503", "reset", "cut"],
)
def test_transient_errors_are_tried_again(trouble: Answer) -> None:
    with serving(trouble, trouble, said("yes")) as server:
        assert begun(server)[0].run(P, EXAMPLES[:1]) == ["yes"]
    assert len(server.requests) == 3


def test_retry_after_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    with serving(Answer("", 429, {"retry-after": "7"}), Answer("", 503), said("yes")) as server:
        begun(server)[0].run(P, EXAMPLES[:1])
    assert waits == [7.0, 0.002]


def refused(server: Server, **options: Any) -> str:
    """The error's message; neither it nor its traceback holds the key."""
    target, _ = begun(server, headers={"Authorization": "Bearer ${MY_KEY}"}, **options)
    with pytest.raises(ModelError) as caught:
        target.run(P, EXAMPLES[:1])
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def lost(server: Server, **options: Any) -> str:
    """Why there is no output for outside reasons; the key does not stand in it."""
    target, _ = begun(server, headers={"Authorization": "Bearer ${MY_KEY}"}, **options)
    (output,) = target.run(P, EXAMPLES[:1])
    assert isinstance(output, Missing)
    assert KEY not in output.reason
    return output.reason


def test_an_output_is_kept_without_the_key_that_the_server_repeats(key: str) -> None:
    with serving(said({"you": [f"sent {key}", 1]}), Answer(f"plain {key}")) as server:
        headers = {"Authorization": "Bearer ${MY_KEY}"}
        target, _ = begun(server, headers=headers)
        assert target.run(P, EXAMPLES[:1]) == [{"you": ["sent ${MY_KEY}", 1]}]
        target, _ = begun(server, headers=headers, output=None)
        assert target.run(P, EXAMPLES[:1]) == ['"plain ${MY_KEY}"']


def test_what_a_terminal_would_act_upon_is_written_out_in_refusals(key: str) -> None:
    with serving(Answer({"error": "x"}, 404), Answer(b"no \x1b]0;owned\x07", 404)) as server:
        assert "404" in refused(server)
        assert r"no \x1b]0;owned\x07" in refused(server)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MY_KEY", KEY)
    return KEY


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("status", [401, 403, 404, 405, 302])
def test_a_final_no_comes_at_once_with_the_server_s_words(status: int) -> None:
    with serving(Answer({"error": "no such thing"}, status, {"x-request-id": "req_7"})) as server:
        message = refused(server)
    assert message.startswith(f"http:127.0.0.1:{server.server_address[1]}/v1/answer: {status} ")
    assert '{"error": "no such thing"}' in message
    assert "[request req_7]" in message


@pytest.mark.parametrize("status", [400, 413, 414, 422])
def test_what_is_refused_for_what_was_sent_has_failed(status: int, key: str) -> None:
    answers = [Answer({"error": f"no cats, {key}"}, status, {"x-request-id": "req_7"}), said("yes")]
    with serving(*answers) as server:
        target, setup = begun(server, headers={"Authorization": "Bearer ${MY_KEY}"})
        refusal, output = target.run(P, EXAMPLES[:2])
    assert output == "yes"
    assert isinstance(refusal, Failed)
    assert refusal.reason.startswith(f"HTTP {status}: ")
    assert '{"error": "no cats, ${MY_KEY}"} [request req_7]' in refusal.reason
    assert setup.counts == {f"HTTP {status}": 1}


def test_a_first_prompt_that_is_refused_does_not_end_the_run() -> None:
    with serving(Answer("no", 400), said("yes")) as server:
        target, _ = begun(server)
        assert [outputs[0] for outputs in target.run_batch([P, P], EXAMPLES[:1])][1] == "yes"


def test_what_outlasts_the_retries_is_unscored_where_others_came_through() -> None:
    with serving(script=lambda r: Answer("busy", 503) if "input 1" in json.dumps(r.body) else shout(r)) as server:
        target, setup = begun(server)
        first, lost, third = target.run(P, EXAMPLES[:3])
    assert (first, third) == ("INPUT 0", "INPUT 2")
    assert isinstance(lost, Missing)
    assert re.fullmatch(r"requests lost after all retries: http:.* 503 .*busy.*\(after 2 retries\)", lost.reason)
    assert setup.counts == {"requests lost after all retries": 1}


def test_a_server_that_is_down_ends_the_run_before_everything_was_tried() -> None:
    many = [Example(str(i), f"input {i}", "") for i in range(100)]
    with serving(script=lambda request: Answer("busy", 503)) as server:
        target = Http(url=server.url, body=BODY, output=OUTPUT, retries=0)
        scorer = MetricScorer(target=target, metric=ExactMatch(), examples=many)
        search = Run(RandomSearch(pool=ListPool(prompts=["p"])), scorer, start=[P])
        with pytest.raises(ModelError, match=r"503.*\(10 calls in a row failed\)"):
            search.search()
    assert 10 <= len(server.requests) <= 10 + 8


@pytest.mark.usefixtures("key")
def test_what_outlasts_the_retries() -> None:
    with serving(script=lambda request: Answer("still broken", 500)) as server:
        assert "still broken" in (message := lost(server))
    assert message.endswith("(after 2 retries)")
    assert len(server.requests) == 3


@pytest.mark.usefixtures("key")
def test_a_hang_and_no_server() -> None:
    with serving(Answer(fault="hang")) as server:
        assert "ReadTimeout" in lost(server, timeout=0.2, retries=0)
    assert "ConnectError" in lost(server, retries=1)


@pytest.mark.usefixtures("key")
def test_an_attempt_is_over_in_time_whatever_comes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MARGIN", 0.1)
    with serving(Answer(fault="trickle")) as server:
        assert "timed out: no whole answer within 0.3 s" in lost(server, timeout=0.3, retries=0)
    monkeypatch.setattr(retries, "MARGIN", 30.0)
    with serving(Answer(fault="endless")) as server:
        assert "timed out: the answer was still coming in" in lost(server, timeout=0.1, retries=0)


@pytest.mark.usefixtures("key")
def test_an_answer_without_an_end_is_read_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LARGEST", 300_000)
    with serving(Answer(fault="endless")) as server:
        assert "the answer is longer than 300,000 bytes" in lost(server)
    assert len(server.requests) == 1


@pytest.mark.usefixtures("key")
def test_a_server_that_asks_for_too_long_a_wait_is_given_up() -> None:
    with serving(Answer("come back", 429, {"retry-after": "3600"})) as server:
        assert "it asks to wait 3600 s" in lost(server)
    assert len(server.requests) == 1


def test_a_server_s_message_is_bounded_and_the_key_is_cut_from_it(key: str) -> None:
    text = "x" * (endpoint.SHOWN - 10) + f" your key {key} " + "y" * 10_000
    with serving(Answer({"error": text}, 401)) as server:
        message = refused(server)
    assert len(message) < endpoint.SHOWN + 100
    assert key[:6] not in message


@pytest.mark.parametrize("rest", ["\nX-Other: 1", "é", "\x7f"])
def test_a_key_that_cannot_be_a_header_is_not_shown(monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    monkeypatch.setenv("MY_KEY", f"{KEY}{rest}")
    with serving() as server:
        target, _ = begun(server, headers={"Authorization": "Bearer ${MY_KEY}"})
        with pytest.raises(UserError, match="MY_KEY holds something else than printable ASCII") as caught:
            target.run(P, EXAMPLES[:1])
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert not server.requests


def test_a_key_echoed_in_an_answer_without_output_is_not_shown(key: str) -> None:
    with serving(Answer({"seen": key})) as server:
        target, _ = begun(server, headers={"Authorization": "Bearer ${MY_KEY}"})
        with pytest.raises(UserError, match=r"\$\{MY_KEY\}") as caught:
            target.run(P, EXAMPLES[:1])
    assert KEY not in str(caught.value)


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────


def search(server: Server, folder: Path, *, calls: int) -> Run:
    target = Http(url=server.url, body=BODY, output=OUTPUT, headers={"Authorization": "Bearer ${MY_KEY}"})
    run = Run(
        RandomSearch(pool=ListPool(prompts=[f"Answer {i}." for i in range(5)]), batch=1),
        MetricScorer(target=target, metric=ExactMatch(), examples=EXAMPLES),
        start=[P],
        budget=Budget(calls=calls),
        ledger=Ledger(folder),
    )
    if not run.ledger.past:
        run.ledger.append({"event": "start"})
    run.search()
    run.ledger.close()
    return run


def test_calls_are_billed_recorded_and_not_made_again(tmp_path: Path, key: str) -> None:
    with serving(script=shout) as server:
        first = search(server, tmp_path, calls=10)
        assert first.meter.usage.calls == len(server.requests) <= 10
        resumed = search(server, tmp_path, calls=100)
        assert resumed.meter.usage.calls == len(server.requests) == 24
    assert {step.answer.value for step in resumed.steps} == {1.0}
    assert key not in (tmp_path / "ledger.jsonl").read_text(encoding="utf-8")


def test_requests_have_a_price_and_the_budget_counts_it(tmp_path: Path) -> None:
    with serving(script=lambda r: Answer("no cats", 400) if "Answer 1" in json.dumps(r.body) else shout(r)) as server:
        run = Run(
            RandomSearch(pool=ListPool(prompts=[f"Answer {i}." for i in range(5)]), batch=1),
            MetricScorer(
                target=Http(url=server.url, body=BODY, output=OUTPUT, price=0.04),
                metric=ExactMatch(),
                examples=EXAMPLES,
            ),
            start=[P],
            budget=Budget(dollars=0.5),
        )
        assert run.search() == "budget: dollars"
        assert len(server.requests) == 12
    assert run.meter.usage.dollars == pytest.approx(0.48)


def large_picture() -> bytes:
    """A PNG of a megabyte."""
    file = io.BytesIO()
    Image.new("RGB", (600, 600), "red").save(file, "PNG", compress_level=0)
    return file.getvalue()


PNG = large_picture()


class OneColour:
    """1 for a picture, and its bytes are as they were sent."""

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | None]:
        return [None if output is None else float(output == Picture(PNG)) for output in outputs]


def paint(server: Server, folder: Path, *, calls: int) -> Run:
    target = Pictures(target=Http(url=server.url, body={"prompt": "{prompt} {input}"}, output="data.0.b64_json"))
    run = Run(
        RandomSearch(pool=ListPool(prompts=[f"Paint {i}." for i in range(3)]), batch=1),
        MetricScorer(target=target, metric=OneColour(), examples=EXAMPLES[:2]),
        start=[P],
        budget=Budget(calls=calls),
        ledger=Ledger(folder),
        cases=True,
    )
    if not run.ledger.past:
        run.ledger.append({"event": "start"})
    run.search()
    run.ledger.close()
    return run


def test_pictures_stand_beside_the_ledger_and_one_refusal_ends_nothing(tmp_path: Path) -> None:
    def script(request: Request) -> Answer:
        if "Paint 1" in request.body["prompt"]:
            return Answer({"error": "content policy"}, 400)
        return Answer({"data": [{"b64_json": base64.b64encode(PNG).decode()}]})

    with serving(script=script) as server:
        paint(server, tmp_path, calls=5)
        first = len(server.requests)
        resumed = paint(server, tmp_path, calls=100)
        assert (first, len(server.requests)) == (5, 8)
    assert [step.answer.value for step in resumed.steps] == [1.0, 1.0, 0.0, 1.0]
    assert (tmp_path / "ledger.jsonl").stat().st_size < 20_000
    (picture,) = (tmp_path / "pictures").iterdir()
    assert picture.read_bytes() == PNG
    refused = resumed.steps[2].answer.cases[0]
    assert refused.reason.startswith("HTTP 400: Bad Request")
    assert resumed.steps[3].answer.cases[0].output == f"pictures/{picture.name}"


def test_requests_for_pictures_have_a_price_and_the_budget_counts_it(tmp_path: Path) -> None:
    with serving(script=lambda request: Answer({"data": [{"b64_json": base64.b64encode(PNG).decode()}]})) as server:
        target: dict[str, Any] = {
            "name": "pictures",
            "target": {
                "name": "http",
                "url": server.url,
                "body": {"prompt": "{prompt} {input}"},
                "output": "data.0.b64_json",
                "price": 0.04,
            },
        }
        result = promptopt.optimize(
            start="Paint.",
            target=target,
            data=EXAMPLES[:2],
            metric=lambda output, example: float(output == Picture(PNG)),
            optimizer={"name": "random-search", "pool": {"name": "list", "prompts": [f"Paint {i}." for i in range(9)]}},
            budget=Budget(dollars=0.3),
            verdict=False,
            run=tmp_path,
        )
        n = len(server.requests)
    assert n == 7
    assert (result.stop_reason, result.costs.calls) == ("budget: dollars", n)
    assert result.costs.dollars == pytest.approx(0.04 * n)
    assert f"${0.04 * n:.2f}" in CliRunner().invoke(app, ["show", str(tmp_path)]).output


@pytest.mark.parametrize("pictures", [False, True])
def test_the_estimate_is_the_price_of_the_requests(pictures: bool) -> None:
    target: dict[str, Any] = {"name": "http", "url": "http://127.0.0.1:1", "body": {"text": "{prompt} {input}"}}
    target |= {"price": 0.04}
    arguments = {
        "start": "Paint.",
        "target": {"name": "pictures", "target": target} if pictures else target,
        "data": [(f"input {n}", "") for n in range(6)],
        "metric": lambda output, example: 1.0,
        "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": ["Paint 1.", "Paint 2."]}},
        "budget": 5,
        "shorten": 0,
        "run": None,
    }
    share = estimate(prepare(arguments)).shares["target"]
    assert share.expected.calls == 5 * 3 + 2 * 3
    assert share.expected.dollars == share.at_most.dollars == pytest.approx(21 * 0.04)


# ── Mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "ftp://example.org"}, "allowed is an http:// or https:// address"),
        ({"url": "example.org/v1"}, "allowed is an http:// or https:// address"),
        ({"url": "https://me:secret@example.org"}, "send it in a header"),
        ({"body": {"text": "{input}"}}, "the prompt is never sent"),
        ({"headers": {"authorization": f"Bearer {KEY}"}}, "headers.authorization holds a key"),
        ({"timeout": 0.0}, "timeout is 0.0"),
        ({"retries": -1}, "retries is -1"),
        ({"workers": 0}, "workers is 0"),
        ({"price": -1.0}, "price is -1.0"),
        ({"method": "FETCH"}, "target.method is 'FETCH'"),
        ({"headers": {"x": "é"}}, "the header 'x' holds something else than printable ASCII"),
        ({"headers": {"x": 1}}, "target.headers is"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    spec = {"name": "promptopt.targets.http:Http", "url": "https://example.org", "body": BODY, **options}
    with pytest.raises(UserError, match=message) as caught:
        build("targets", spec, where="target")
    assert KEY not in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_a_field_that_is_not_there() -> None:
    with serving() as server:
        target, _ = begun(server, body={"text": "{prompt} {question}"})
        with pytest.raises(UnknownName, match="unknown placeholder 'question'"):
            target.run(P, EXAMPLES)
