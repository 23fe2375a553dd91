"""What holds for every provider, streamed or not: through the real SDKs, against a server on this machine."""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import promptopt
from promptopt import bodies, retries
from promptopt.core import Message, Reply, Request, Usage
from promptopt.errors import MissingExtra, ModelError, Rejected, Unanswered, UserError
from promptopt.models.wrappers.cache import CachedModel
from promptopt.report.show import show

from ..openai_server import ENDLESS, HANG, RESET, SOON, TRICKLE, Answer, Received, Server, events, failure, serving
from ..wires import CHAT_STREAM, KEY, PICTURE, WIRES, Wire, chat_chunk, chat_usage, hearing

HELLO = [Message("system", "Be short."), Message("user", "Hello")]
STREAMS = [wire for wire in WIRES if wire.cut]
every_wire = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.id)
every_stream = pytest.mark.parametrize("wire", STREAMS, ids=lambda wire: wire.id)


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.01)


def refused(wire: Wire, server: Server, **options: Any) -> str:
    """The error's message; neither it nor its traceback holds the key."""
    with pytest.raises(ModelError) as caught:
        wire.model(server, **options).complete(Request(HELLO))
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


# ── Replies ───────────────────────────────────────────────────────────────────────────────────────────────────────


@every_wire
def test_a_reply_and_what_it_costs(wire: Wire) -> None:
    with serving(wire.reply("Hello there", tokens=(1_000, 200))) as server:
        chat = wire.model(server, prices={"input": 2.0, "output": 10.0}, max_tokens=77)
        done = chat.complete(Request(HELLO, temperature=0.5))
    assert (done.replies, done.usage) == ((Reply("Hello there"),), Usage(1, 1_000, 200, 0.004))
    [request] = server.requests
    assert (request.path, request.key) == (wire.path, KEY)
    assert (request.body["temperature"], request.body.get("stream", False)) == (0.5, wire in STREAMS)
    assert 77 in (request.body.get("max_tokens"), request.body.get("max_output_tokens"))


@every_wire
def test_several_replies(wire: Wire) -> None:
    with serving(*[wire.reply(text) for text in "abc"]) as server:
        done = wire.model(server).complete(Request(HELLO, n=3))
    assert ([reply.text for reply in done.replies], done.usage) == (["a", "b", "c"], Usage(3, 36, 15))


@every_wire
def test_an_answer_without_replies_is_an_empty_reply_that_was_paid_for(wire: Wire) -> None:
    with serving(wire.empty) as server:
        done = wire.model(server).complete(Request(HELLO))
    assert (done.replies, done.usage) == ((Reply(""),), Usage(1, 12, 5))


@every_wire
def test_pictures_stand_before_the_text(wire: Wire) -> None:
    with serving(wire.reply("A cat"), wire.reply("A cat")) as server:
        chat = wire.model(server)
        chat.complete(Request([Message("user", "What is it?", (PICTURE, PICTURE))]))
        chat.complete(Request([Message("user", "", (PICTURE,))]))
    first, second = (request.body.get("messages") or request.body["input"] for request in server.requests)
    assert first[0]["content"][:2] == [wire.picture] * 2
    assert first[0]["content"][2]["text"] == "What is it?"
    assert second[0]["content"] == [wire.picture]


@every_wire
def test_a_picture_is_within_the_bound(wire: Wire) -> None:
    with serving() as server:
        chat = wire.model(server, picture_tokens=3_000)
        with_picture, without = (chat.at_most(Request([Message("user", "x", p)])) for p in ((PICTURE,), ()))
        assert with_picture.input_tokens - without.input_tokens == 3_000


@every_wire
def test_a_schema_is_sent_the_providers_own_way(wire: Wire) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    with serving(wire.reply('{"a": "b"}')) as server:
        wire.model(server).complete(Request(HELLO, schema={**schema, "additionalProperties": False}))
    body = server.requests[0].body
    form = (
        body.get("response_format", {}).get("json_schema")
        or body.get("text", {}).get("format")
        or body.get("output_config", {}).get("format")
    )
    assert form["schema"] == {**schema, "additionalProperties": False}
    assert "tools" not in body


@every_wire
def test_a_request_may_end_replies_sooner(wire: Wire) -> None:
    with serving(*[wire.reply("one END two STOP three")] * 4) as server:
        chat = wire.model(server, max_tokens=20)
        asked = Request(HELLO, stop=["STOP", "END", "\n"], max_tokens=7)
        assert chat.complete(asked).replies == (Reply("one "),)
        assert chat.at_most(asked).output_tokens == 7
        chat.complete(Request(HELLO, max_tokens=70))
    sent, longer = (request.body for request in server.requests)
    stops = {"chat": ["STOP", "END", "\n"], "anthropic": ["STOP", "END"], "responses": None}[wire.id.partition("-")[0]]
    assert sent.get("stop", sent.get("stop_sequences")) == stops
    limits = ("max_tokens", "max_output_tokens", "max_completion_tokens")
    assert [next(body[name] for name in limits if name in body) for body in (sent, longer)] == [7, 20]


def picky(wire: Wire, *unknown: str) -> Callable[[Received], Answer]:
    """A server that refuses these fields."""

    def script(request: Received) -> Answer:
        for name in unknown:
            if name in request.body:
                return wire.failure(400, f"Unsupported parameter: '{name}' is not supported with this model.")
        return wire.reply("Hi")

    return script


@every_wire
@pytest.mark.parametrize("what", ["schema", "temperature"])
def test_what_a_server_does_not_take_is_left_out_from_then_on_with_a_warning(wire: Wire, what: str) -> None:
    named = {"/v1/chat/completions": "response_format", "/v1/responses": "text", "/v1/messages": "output_config"}
    field = named[wire.path] if what == "schema" else what
    with serving(script=picky(wire, field)) as server:
        chat = wire.model(server)
        with pytest.warns(UserWarning, match=f"takes no {what}.*is not supported with this model"):
            assert chat.complete(Request(HELLO, schema={"type": "object"})).replies == (Reply("Hi"),)
        chat.complete(Request(HELLO, schema={"type": "object"}))
    assert [field in request.body for request in server.requests] == [True, False, False]


@every_wire
def test_a_value_that_a_server_dislikes_is_an_error(wire: Wire) -> None:
    said = "temperature: must be at most 2, got 9."
    with serving(wire.failure(400, said)) as server, pytest.raises(ModelError, match="must be at most 2"):
        wire.model(server).complete(Request(HELLO, temperature=9.0))


# ── Errors: what the user sees ────────────────────────────────────────────────────────────────────────────────────


@every_wire
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, f"This model takes 8 tokens, and {KEY} has more."),
        (401, f"Incorrect API key provided: {KEY}."),
        (404, "The model `m` does not exist."),
    ],
)
def test_final_errors_are_not_retried_and_carry_message_and_request_id(wire: Wire, status: int, said: str) -> None:
    with serving(wire.failure(status, said)) as server:
        shown = refused(wire, server)
    assert shown.startswith(f"{wire.make.provider}:m: {said.replace(KEY, '[key]')} (HTTP {status}) [request req_7]")
    assert {401: wire.key_variable, 404: "base_url"}.get(status, "") in shown
    assert len(server.requests) == 1


@every_wire
def test_what_a_terminal_would_act_upon_is_written_out_in_errors(wire: Wire) -> None:
    with serving(wire.failure(404, "no \x1b]0;owned\x07 model\u202e")) as server:
        shown = refused(wire, server)
    assert r"no \x1b]0;owned\x07 model\u202e" in shown
    assert not {*shown} & {"\x1b", "\x07", "\u202e"}


@every_wire
def test_a_reply_is_kept_without_the_key_that_it_repeats(wire: Wire) -> None:
    with serving(wire.reply(f"You sent {KEY}.")) as server:
        done = wire.model(server).complete(Request(HELLO))
    assert done.replies == (Reply("You sent [key]."),)


@every_wire
@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, "This is too long.", Rejected),
        (413, "This is too large.", Rejected),
        (422, "This cannot be read.", Rejected),
        (400, "Your credit balance is too low to access the API.", ModelError),
        (401, "Incorrect API key provided.", ModelError),
        (402, "Payment required.", ModelError),
        (403, "Not for you.", ModelError),
        (404, "The model `m` does not exist.", ModelError),
        (429, "Slow down.", Unanswered),
        (500, "Oops.", Unanswered),
        (529, "Overloaded.", Unanswered),
    ],
)
def test_an_error_is_of_one_request_or_of_all(wire: Wire, status: int, said: str, kind: type[ModelError]) -> None:
    with serving(wire.failure(status, said)) as server, pytest.raises(ModelError) as caught:
        wire.model(server, retries=0).complete(Request(HELLO))
    assert type(caught.value) is kind


@every_wire
def test_a_lost_connection_is_of_one_request(wire: Wire) -> None:
    with serving(RESET) as server, pytest.raises(Unanswered):
        wire.model(server, retries=0).complete(Request(HELLO))


@every_stream
def test_a_broken_stream_is_of_one_request(wire: Wire) -> None:
    assert wire.cut
    with serving(wire.cut) as server, pytest.raises(Unanswered):
        wire.model(server, retries=0).complete(Request(HELLO))


def test_a_used_up_quota_is_final_whatever_the_status() -> None:
    answer = failure(429, "You exceeded your current quota.", type="insufficient_quota", code="insufficient_quota")
    with serving(answer) as server, pytest.raises(ModelError) as caught:
        WIRES[0].model(server, retries=4).complete(Request(HELLO))
    assert type(caught.value) is ModelError
    assert len(server.requests) == 1


def test_a_server_that_says_that_another_try_is_no_use_is_asked_once() -> None:
    answer = failure(429, "Slow down.", headers={"x-should-retry": "false"})
    with serving(answer) as server, pytest.raises(ModelError):
        WIRES[0].model(server, retries=4).complete(Request(HELLO))
    assert len(server.requests) == 1


TRANSIENT: dict[str, Callable[[Wire], Answer]] = {
    "429": lambda wire: wire.failure(429, "slow down"),
    "429 with retry-after": lambda wire: wire.failure(429, "slow down", headers={"retry-after": "0.02"}),
    "500": lambda wire: wire.failure(500, "oops", headers=SOON),
    "503": lambda wire: wire.failure(503, "overloaded", headers=SOON),
    "reset": lambda wire: RESET,
    "truncated": lambda wire: Answer(wire.reply("lost").body, headers=wire.reply("").headers, fault="truncated"),
}


@every_wire
@pytest.mark.parametrize("fault", TRANSIENT)
def test_transient_errors_are_retried_and_only_the_answer_is_billed(wire: Wire, fault: str) -> None:
    with serving(TRANSIENT[fault](wire), wire.reply("Hi")) as server:
        done = wire.model(server, retries=1).complete(Request(HELLO))
    assert (done.replies, done.usage) == ((Reply("Hi"),), Usage(1, 12, 5))
    assert len(server.requests) == 2


@every_wire
def test_a_transient_error_that_lasts_is_final_after_the_retries(wire: Wire) -> None:
    with serving(*[wire.failure(429, "slow down", headers=SOON)] * 3) as server:
        assert "slow down (HTTP 429, after 2 retries) [request req_7]" in refused(wire, server)
    assert len(server.requests) == 3


@every_wire
def test_a_server_that_hangs_times_out(wire: Wire) -> None:
    with serving(HANG) as server:
        assert "timed out" in refused(wire, server, timeout=0.2, retries=0)


@every_wire
def test_an_attempt_is_over_in_time_whatever_comes_in(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MARGIN", 0.1)
    monkeypatch.setattr("promptopt.models.hosted.STREAMED", 1)
    with serving(TRICKLE) as server:
        assert "timed out: no whole answer within 0.3 s" in refused(wire, server, timeout=0.3, retries=0)


@every_wire
def test_an_answer_without_an_end_is_read_to_a_bound(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LARGEST", 300_000)
    with serving(ENDLESS) as server, pytest.raises(Unanswered, match="the answer is longer than 300,000 bytes"):
        wire.model(server, retries=4).complete(Request(HELLO))
    assert len(server.requests) == 1


@every_wire
def test_a_compressed_answer_is_not_unpacked(wire: Wire) -> None:
    bomb = Answer(gzip.compress(b" " * 10_000_000), headers={"content-encoding": "gzip"})
    with serving(bomb) as server, pytest.raises(Unanswered, match="the answer is compressed"):
        wire.model(server, retries=4).complete(Request(HELLO))
    assert len(server.requests) == 1


@every_wire
def test_a_server_that_hung_once_is_asked_again(wire: Wire) -> None:
    with serving(HANG, wire.reply("Hi")) as server:
        assert wire.model(server, timeout=0.3, retries=1).complete(Request(HELLO)).replies == (Reply("Hi"),)


@every_wire
def test_no_server_at_all_is_said_with_the_reason(wire: Wire) -> None:
    with serving() as server:
        pass
    assert "refused" in refused(wire, server, retries=0)


@every_wire
def test_invalid_json_is_an_error(wire: Wire) -> None:
    bad = b'data: {"choices": [{"mess\n\n' if wire in STREAMS else b'{"choices": [{"mess'
    headers = wire.reply("").headers
    if wire in STREAMS:
        bad = b"event: message_start\n" * (wire.make.provider == "anthropic") + bad
    with serving(Answer(bad, headers=headers)) as server:
        assert "cannot be read" in refused(wire, server)
    assert len(server.requests) == 1


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire not in STREAMS], ids=lambda wire: wire.id)
@pytest.mark.parametrize(
    "answer",
    [Answer(b"<html>Welcome</html>", headers={"content-type": "text/html"}), Answer({"object": "list"}), Answer([1])],
    ids=["web page", "another object", "a list"],
)
def test_what_is_no_reply_is_an_error(wire: Wire, answer: Answer) -> None:
    with serving(answer) as server:
        assert "the server's answer cannot be read: it is not a" in refused(wire, server)


@every_stream
@pytest.mark.parametrize("fault", ["late_error", "cut"])
def test_a_broken_stream_is_asked_for_again(wire: Wire, fault: str) -> None:
    broken: Answer = getattr(wire, fault)
    with serving(broken, wire.reply("Hello there")) as server:
        done = wire.model(server).complete(Request(HELLO))
    assert (done.replies, done.usage) == ((Reply("Hello there"),), Usage(1, 12, 5))
    assert len(server.requests) == 2


@every_stream
def test_a_stream_that_keeps_breaking_is_an_error(wire: Wire) -> None:
    assert wire.late_error
    with serving(*[wire.late_error] * 3) as server:
        assert "overloaded (after 2 retries)" in refused(wire, server)


@every_wire
def test_a_missing_package_is_one_line(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, wire.make.provider, None)
    with serving() as server, pytest.raises(MissingExtra, match=rf"promptopt-toolkit\[{wire.make.provider}\]"):
        wire.model(server).complete(Request(HELLO))
    with serving() as server, pytest.raises(MissingExtra, match=rf"promptopt-toolkit\[{wire.make.provider}\]"):
        wire.model(server).check_key()  # what --check asks


# ── Throttling ────────────────────────────────────────────────────────────────────────────────────────────────────


@every_wire
def test_whoever_asks_hears_of_every_refusal_for_lack_of_room(wire: Wire) -> None:
    answers = [
        wire.failure(503, "overloaded"),
        wire.failure(429, "slow down", headers={"retry-after": "0.02"}),
        wire.failure(529, "overloaded", headers=SOON),
        wire.failure(500, "oops", headers=SOON),
    ]
    with serving(*answers, wire.reply("Hi")) as server, hearing() as heard:
        wire.model(server, retries=4).complete(Request(HELLO))
    assert heard == [None, 0.02, 0.01]


@every_stream
def test_an_overload_within_a_stream_is_heard_too(wire: Wire) -> None:
    assert wire.late_error
    with serving(wire.late_error, wire.reply("Hi")) as server, hearing() as heard:
        wire.model(server).complete(Request(HELLO))
    assert heard == [None]


# ── Runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def score(text: str) -> float:
    return len(set(text)) / 100


def search(wire: Wire, server: Server, folder: Path) -> Any:
    proposer = {"name": "chat", "model": wire.spec(server, prices={"input": 1.0, "output": 1.0})}
    climb = {"name": "hill-climb", "proposer": proposer, "restarts": 1, "resets": 1, "iterations": 3, "per_call": 1}
    return promptopt.optimize(start="Sort it", score=score, optimizer=climb, run=folder)


def answers_with(wire: Wire, texts: list[str], *, failing: Callable[[], Answer | None]) -> Callable[[Received], Answer]:
    """A server that proposes these texts in turn, unless ``failing`` has something else to send."""
    left = iter(texts)
    return lambda request: failing() or wire.reply(f"- {next(left)}")


@every_wire
def test_a_failed_run_goes_on_where_it_stopped_and_the_key_stands_nowhere(
    wire: Wire, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path / "cache"))
    texts = ["Sort the words", "Sort the words by name", "Sort the quick brown fox"]
    folder = tmp_path / "run"
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    faults = iter([None, wire.failure(401, f"Incorrect API key provided: {KEY}.")])
    with serving(script=answers_with(wire, texts, failing=lambda: next(faults, None))) as server:
        with pytest.raises(ModelError) as caught:
            search(wire, server, folder)
        shown = str(caught.value) + "".join(caught.value.__notes__)
        assert '"event": "failed"' in (folder / "ledger.jsonl").read_text()
        assert len(server.requests) == 2
        resumed = promptopt.resume(folder, score=score)
        assert len(server.requests) == 4
    with serving(script=answers_with(wire, texts, failing=lambda: None)) as server:
        whole = search(wire, server, tmp_path / "whole")
    assert (resumed.best, resumed.costs.calls, resumed.costs.dollars) == (texts[-1], 3, pytest.approx(51e-6))
    assert [c.prompt for c in resumed.candidates] == [c.prompt for c in whole.candidates]
    assert (whole.costs.calls, whole.costs.input_tokens) == (resumed.costs.calls, resumed.costs.input_tokens)
    written = "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    assert "[key]" in written
    seen = shown_by(folder) + written + shown + caplog.text + repr(resumed) + resumed.to_json()
    assert "401" in caplog.text
    assert KEY not in seen
    assert KEY[3:] not in seen


def shown_by(folder: Path) -> str:
    """What ``promptopt show`` prints."""
    console = Console(width=200)
    with console.capture() as captured:
        show(folder, console)
    return captured.get()


# ── Keys and use ──────────────────────────────────────────────────────────────────────────────────────────────────


@every_wire
def test_a_server_of_ones_own_needs_no_key(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(wire.key_variable)
    with serving(wire.reply("Hi")) as server:
        wire.model(server).complete(Request(HELLO))
    assert server.requests[0].key == "none"


@every_wire
def test_the_provider_itself_wants_a_key(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(wire.key_variable)
    with serving() as server, pytest.raises(UserError, match=wire.key_variable):
        wire.model(server, base_url=None).complete(Request(HELLO))


@every_wire
def test_white_space_around_the_key_is_no_part_of_it(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wire.key_variable, KEY + "\n")
    with serving(wire.reply("Hi")) as server:
        wire.model(server).complete(Request(HELLO))
    assert server.requests[0].key == KEY


@every_wire
def test_a_key_that_cannot_be_sent_is_not_shown(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wire.key_variable, "sk-planted-ключ")
    with serving() as server, pytest.raises(UserError, match=wire.key_variable) as caught:
        wire.model(server).complete(Request(HELLO))
    assert "sk-planted" not in "".join(traceback.format_exception(caught.value))


@every_wire
def test_the_key_stands_in_nothing_that_is_shown(wire: Wire) -> None:
    with serving(wire.reply("Hi")) as server:
        chat = wire.model(server)
        chat.complete(Request(HELLO))
        assert KEY not in f"{chat!r} {chat.name} {chat.notes}"


@every_wire
def test_the_key_stands_in_no_cache(wire: Wire, tmp_path: Path) -> None:
    with serving(wire.reply("Hi")) as server:
        cached = CachedModel(wire.model(server), folder=tmp_path)
        assert [cached.complete(Request(HELLO, seed=0)).replies for _ in range(2)] == [(Reply("Hi"),)] * 2
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in content for content in files)


@every_wire
def test_a_key_in_a_recipe_is_refused(wire: Wire) -> None:
    with serving() as server, pytest.raises(UserError, match=wire.key_variable):
        wire.model(server, extra={"api_key": "x"})


@every_wire
@pytest.mark.parametrize("n", [1, 3])
def test_no_call_costs_more_than_it_could(wire: Wire, n: int) -> None:
    """With a server that counts every byte and role as a token and uses its limit up."""

    def greedy(request: Received) -> Answer:
        turns = request.body.get("messages") or request.body["input"]
        texts = [turn["content"] for turn in turns] + [request.body.get("system", "")]
        form = request.body.get("response_format") or request.body.get("text") or request.body.get("output_config")
        read = sum(len(text.encode()) + 12 for text in texts) + 40 + (len(str(SCHEMA)) if form else 0)
        return wire.reply("x", tokens=(read, 50))

    with serving(script=greedy) as server:
        chat = wire.model(server, max_tokens=50, prices={"input": 3.0, "output": 15.0})
        messages = [*HELLO, Message("assistant", "漢字 и 🙂" * 20), Message("user", "")]
        for schema in (None, SCHEMA):
            bound, used = (
                chat.at_most(Request(messages, n=n, schema=schema)),
                chat.complete(Request(messages, n=n, schema=schema)).usage,
            )
            assert used.calls == bound.calls == n
            assert used.input_tokens <= bound.input_tokens
            assert used.output_tokens == bound.output_tokens == 50 * n
            assert 0 < used.dollars <= bound.dollars


SCHEMA = {"type": "object", "properties": {"verdict": {"enum": ["a", "b"]}}, "required": ["verdict"]}


@every_wire
def test_what_makes_replies_differ_is_said(wire: Wire) -> None:
    with serving() as server:
        chat = wire.model(server)
        others = [wire.model(server, max_tokens=3), wire.model(server, extra={"top_p": 0.5}), wire.model(server)]
        assert [other.identity == chat.identity for other in others] == [False, False, True]
        assert server.root in json.dumps(chat.identity)


@every_wire
def test_threads_share_one_model(wire: Wire) -> None:
    def echo(request: Received) -> Answer:
        return wire.reply((request.body.get("messages") or request.body["input"])[0]["content"])

    with serving(script=echo) as server:
        chat = wire.model(server)
        with ThreadPoolExecutor(8) as pool:
            done = pool.map(lambda i: chat.complete(Request([Message("user", f"{i}")])).replies[0].text, range(40))
            assert list(done) == [f"{i}" for i in range(40)]


@pytest.mark.parametrize("name", ["openai:OpenAI", "anthropic:Anthropic"])
def test_nothing_is_imported_before_the_first_call(name: str) -> None:
    module, attribute = name.split(":")
    code = (
        f"import sys; from promptopt.core import Message, Request; from promptopt.models.{module} import {attribute}\n"
        f"model = {attribute}(model='m'); model.at_most(Request([Message('user', 'x')]))\n"
        "print([name for name in ('openai', 'anthropic', 'httpx', 'httpx2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@every_wire
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": " "}, "model"),
        ({"base_url": "localhost:8000"}, "http"),
        ({"base_url": "http://me:secret@localhost"}, "^base_url holds a key or a password itself"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"timeout": 0.0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"picture_tokens": 0}, "picture_tokens"),
        ({"extra": {"temperature": 2}}, "extra: temperature"),
        ({"prices": {"input": 1.0}}, "output"),
    ],
)
def test_wrong_arguments_are_the_users_mistake(wire: Wire, options: dict[str, Any], message: str) -> None:
    with serving() as server, pytest.raises(UserError, match=message):
        wire.model(server, **options)


# ── Streams of OpenAI's ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_asks_for_its_usage_unless_the_server_refuses() -> None:
    with serving(script=picky(CHAT_STREAM, "stream_options")) as server:
        assert CHAT_STREAM.model(server).complete(Request(HELLO)).replies == (Reply("Hi"),)
    asked = [request.body.get("stream_options") for request in server.requests]
    assert asked == [{"include_usage": True}, None]


def test_a_server_that_reports_no_usage_in_a_stream_is_counted_by_calls() -> None:
    chunks = [chat_chunk("Hi"), chat_chunk(end="stop")]
    with serving(events(*chunks)) as server, pytest.warns(UserWarning, match="reports no token usage"):
        assert CHAT_STREAM.model(server).complete(Request(HELLO)).usage == Usage(1, 0, 0)


def test_several_streamed_choices_are_told_apart() -> None:
    chunks = [
        chat_chunk("a", index=1),
        chat_chunk("b"),
        chat_chunk("c", index=1),
        chat_chunk(end="length"),
        chat_chunk(None, refusal="No", index=2),
        chat_chunk(end="stop", index=1),
        chat_chunk(end="stop", index=2),
    ]
    with serving(events(*chunks, chat_usage((4, 3)))) as server:
        done = CHAT_STREAM.model(server).complete(Request(HELLO, n=3))
    assert done.replies == (Reply("b", "length"), Reply("ac"), Reply("No", "refusal"))
    assert done.usage == Usage(1, 4, 3)


def test_a_mistake_that_a_server_reports_within_a_stream_is_final() -> None:
    late = {"error": {"message": "max_tokens is too large", "type": "BadRequestError", "code": 400}}
    with serving(events(chat_chunk("Hel"), late)) as server:
        assert "max_tokens is too large" in refused(CHAT_STREAM, server)
    assert len(server.requests) == 1
