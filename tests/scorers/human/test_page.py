"""The page's server: who gets in, what is kept, and what is sent."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

TESTS = Path(__file__).parents[2]
sys.path.insert(0, str(TESTS))

from human_parts import RED, TOKEN, Client, Served, free_port, paints, served, speaks, start  # noqa: E402

from promptopt.core import Example  # noqa: E402
from promptopt.errors import UserError  # noqa: E402
from promptopt.scorers.human.page import connections  # noqa: E402
from promptopt.scorers.human.page.address import Address  # noqa: E402
from promptopt.scorers.human.page.connections import LINES, PER, Few  # noqa: E402
from promptopt.targets.function import Function  # noqa: E402

EXAMPLES = [Example(f"e{i}", f"question {i}", None) for i in range(4)]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, target=Function(function=speaks), examples=EXAMPLES) as one:
        yield one


def test_an_answer_is_on_the_disk_when_it_is_acknowledged_and_the_next_duel_comes_with_it(run: Served) -> None:
    ada = Client(run, "ada")
    state = ada.look()
    for n in range(3):
        assert len(state["duel"]["rows"]) == 3
        state = ada.answer(state, "left")
        assert state["kept"]
        assert len(run.answers) == n + 1
        assert state["mine"] == n + 1
        state = state if state["duel"] else ada.look()
    assert (state["answered"], state["budget"]) == (3, 50)


def test_the_page_tells_nothing_of_what_the_search_thinks(run: Served) -> None:
    """Whoever knows the best so far is led by it; the optimizer of this run believes 0.63, and 12 more duels."""
    ada = Client(run, "ada")
    state = ada.answer(ada.look(), "left")
    assert not {"best", "confidence", "more", "belief"} & state.keys()
    assert "0.63" not in json.dumps(state)
    assert b"best" not in ada.request("GET", "/")[2].lower()


def test_a_skip_is_no_answer(run: Served) -> None:
    ada = Client(run, "ada")
    state = ada.answer(ada.look(), "unknown")
    assert (state["answered"], state["mine"]) == (0, 0)
    state = ada.answer(state if state["duel"] else ada.look(), "tie")
    assert (state["answered"], state["mine"]) == (1, 1)
    state = ada.post("/undo", duel=1)
    assert (ada.answer(state, "unknown")["answered"]) == 0
    assert len(run.answers) == 3


def test_the_page_has_an_icon(run: Served) -> None:
    ada = Client(run, "ada")
    page = ada.request("GET", "/")[2].decode()
    icon = page.partition('rel="icon" href="')[2].partition('"')[0]
    status, headers, body = ada.request("GET", f"/{icon}")
    assert (status, headers["content-type"]) == (200, "image/svg+xml")
    assert body.startswith(b"<svg")


def test_a_retried_answer_counts_once(run: Served) -> None:
    ada = Client(run, "ada")
    state = ada.look()
    assert [ada.answer(state, "tie")["kept"] for _ in range(3)] == [True] * 3
    assert len(run.answers) == 1


def test_undo_over_the_wire(run: Served) -> None:
    ada = Client(run, "ada")
    first = ada.look()
    ada.answer(first, "tie")
    undone = ada.post("/undo", duel=first["duel"]["key"])
    assert undone["duel"] == {**first["duel"], "again": 1}
    ada.answer(undone, "unknown")
    assert [(a["n"], a["winner"]) for a in run.answers] == [(0, "tie"), (0, "unknown")]


def test_two_annotators_see_different_duels_and_leaving_gives_back(run: Served) -> None:
    ada, bob = Client(run, "ada"), Client(run, "bob")
    one, other = ada.look(), bob.look()
    assert one["duel"]["key"] != other["duel"]["key"]
    ada.post("/leave")
    cyd = Client(run, "cyd").look()
    assert cyd["duel"]["key"] == one["duel"]["key"]


def test_pictures_are_sent_as_pictures(tmp_path: Path) -> None:
    with served(tmp_path, target=Function(function=paints), examples=EXAMPLES, n_examples=1) as run:
        ada = Client(run, "ada")
        (row,) = ada.look()["duel"]["rows"]
        (left,) = row["left"]
        status, headers, data = ada.request("GET", left["picture"])
        assert (status, headers["content-type"]) == (200, "image/png")
        assert data.startswith(RED)
        del ada.cookie
        assert ada.request("GET", left["picture"])[0] == 404


# ── Who gets in ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_gets_in_without_the_token(run: Served) -> None:
    ada = Client(run, "ada")
    assert ada.request("GET", "/?token=0123456789abcdeX")[0] == 403
    status, headers, _ = ada.request("GET", f"/?token={TOKEN}&as=ada%20b")
    assert (status, headers["location"]) == (303, "/?as=ada%20b")
    assert "HttpOnly" in headers["set-cookie"]
    assert "samesite=strict" in headers["set-cookie"].lower()
    assert TOKEN not in headers["set-cookie"]
    right, ada.cookie = ada.cookie, ada.cookie[:-1] + "x"
    for path in "/look", "/answer", "/undo", "/leave":
        assert ada.request("POST", path, {"name": "ada"})[0] == 403
    ada.cookie = right
    assert ada.request("POST", "/look", {"name": "ada"})[0] == 200


def test_other_sites_and_other_host_names_are_refused(run: Served) -> None:
    ada = Client(run, "ada")
    assert ada.request("POST", "/look", {"name": "ada"}, Origin="http://evil.example")[0] == 403
    assert ada.request("POST", "/look", {"name": "ada"}, Origin=f"http://127.0.0.1:{run.port}")[0] == 200
    assert ada.request("GET", "/", Host="evil.example")[0] == 400
    assert ada.request("GET", "/", Host=f"localhost:{run.port}")[0] == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"name": ""}, 400),
        ({"name": "x" * 41}, 400),
        ({"name": "ada", "duel": "0", "again": 0, "choice": "left"}, 400),
        ({"name": "ada", "duel": 0, "again": 0, "choice": "a"}, 400),
        ({"name": "ada", "duel": 0, "again": 0, "choice": "left", "more": 1}, 400),
        ({"name": "x" * 20_000}, 413),
    ],
)
def test_what_is_sent_is_checked(run: Served, body: dict[str, object], status: int) -> None:
    assert Client(run, "ada").request("POST", "/answer", body)[0] == status
    assert not run.answers


@pytest.mark.parametrize("name", ["ada", "ADA", " ada", "\uff41da"])
def test_a_name_belongs_to_who_took_it(run: Served, name: str) -> None:
    ada, eve = Client(run, "ada"), Client(run, "eve")
    state, own = ada.look(), eve.look()
    duel = state["duel"]
    answer = {"name": name, "duel": duel["key"], "again": 0, "choice": "tie", "ticket": duel["ticket"]}
    for path, body in ("/answer", answer), ("/look", {"name": name}), ("/undo", {"name": name}), ("/leave", answer):
        sent = body if path == "/answer" else {"name": name}
        assert eve.request("POST", path, sent)[0] == 409
    assert not run.answers
    assert ada.answer(state, "left")["kept"]
    assert eve.answer(own, "left")["kept"]


def test_a_browser_that_opens_the_link_again_keeps_its_names(run: Served) -> None:
    ada = Client(run, "ada")
    ada.look()
    _, headers, _ = ada.request("GET", f"/?token={TOKEN}")
    assert headers["set-cookie"].partition(";")[0] == ada.cookie
    assert "Max-Age" in headers["set-cookie"]


def test_only_what_was_dealt_is_answered(run: Served) -> None:
    ada, eve = Client(run, "ada"), Client(run, "eve")
    state, own = ada.look(), eve.look()["duel"]["key"]
    for key in {*range(10)} - {own}:
        body = {"name": "eve", "duel": key, "again": 0, "choice": "tie"}
        for ticket in "", state["duel"]["ticket"]:
            assert not json.loads(eve.request("POST", "/answer", {**body, "ticket": ticket})[2])["kept"]
    assert eve.request("POST", "/answer", {**body, "again": -5})[0] == 400
    assert not run.answers


def test_everybody_who_is_invited_has_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path, invite=["ada", "Bob B"]) as run:
        links = [line for line in capsys.readouterr().err.splitlines() if "Duels are answered by " in line]
        assert [line.partition(" at ")[0] for line in links] == [f"Duels are answered by {n}" for n in ("ada", "Bob B")]
        assert links[1].endswith("&as=Bob%20B")
        tokens = [line.partition("token=")[2].partition("&")[0] for line in links]
        ada, bob = (Client(run, name, token=token) for name, token in zip(("ada", "Bob B"), tokens, strict=True))
        assert ada.request("GET", f"/?token={TOKEN}")[0] == 403
        assert bob.request("POST", "/look", {"name": "ada"})[0] == 409
        assert bob.request("POST", "/look", {"name": "cyd"})[0] == 409
        assert ada.answer(ada.look(), "left")["kept"]
        assert Client(run, "ada", token=tokens[0]).look()["mine"] == 1  # from another device


@pytest.mark.parametrize("invite", [["ada", "Ada"], [""], ["a" * 41], ["a\nb"]])
def test_who_cannot_be_invited(invite: list[str]) -> None:
    with pytest.raises(UserError, match=r"invite is .*different names of 1 to 40"):
        Address("127.0.0.1", 0, public=False, token=None, invite=invite)


# ── What there is not too much of ─────────────────────────────────────────────────────────────────────────────────


def raw(run: Served, sent: bytes = b"") -> socket.socket:
    """A connection that sent this."""
    connection = socket.create_connection(("127.0.0.1", run.port), timeout=20)
    connection.sendall(sent)
    return connection


def begin(run: Served, cookie: str, *headers: str) -> bytes:
    """The head of an answer."""
    lines = ["POST /answer HTTP/1.1", f"Host: 127.0.0.1:{run.port}", f"Cookie: {cookie}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_body_without_a_length_is_not_read_beyond_the_limit(run: Served) -> None:
    ada = Client(run, "ada")
    body = json.dumps({"name": "ada", "duel": 0, "again": 0, "choice": "left"}).encode() + b" " * 20_000
    chunk = b"%x\r\n%s\r\n" % (len(body), body)
    with raw(run, begin(run, ada.cookie, "Transfer-Encoding: chunked") + chunk) as connection:  # no end is sent
        answer = connection.recv(10_000)
        while more := connection.recv(10_000):
            answer += more
    assert answer.startswith(b"HTTP/1.1 413")
    assert not run.answers


@pytest.mark.parametrize("sent", ["", "GET /", "POST"], ids=["nothing", "half a head", "half a body"])
def test_a_connection_that_stalls_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
    monkeypatch.setattr(connections, "READING", 0.2)
    with served(tmp_path) as run:
        ada = Client(run, "ada")
        half = begin(run, ada.cookie, "Content-Length: 100") + b"{"
        with raw(run, half if sent == "POST" else sent.encode()) as connection:
            assert connection.recv(1) == b""
        assert ada.look()["duel"]


def test_strangers_push_out_each_other_and_nobody_who_was_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST", 8)
    with served(tmp_path) as run:
        ada, bob = Client(run, "ada"), Client(run, "bob")
        state, other = ada.look(), bob.look()
        stalled = [raw(run) for _ in range(60)]
        assert ada.answer(state, "left")["kept"]
        assert Client(run, "cyd").look()["duel"]
        assert bob.answer(other, "left")["kept"]  # on the connections that they had
        assert stalled[0].recv(1) == b""
        for one in stalled:
            one.close()


def test_an_upload_that_breaks_off_and_nonsense_leave_no_traceback(
    run: Served, caplog: pytest.LogCaptureFixture
) -> None:
    ada = Client(run, "ada")
    for _ in range(3):
        raw(run, begin(run, ada.cookie, "Content-Length: 100") + b"{").close()
        with raw(run, b"\0\0\r\n\r\n") as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert ada.look()["duel"]
    assert "Invalid HTTP request" in caplog.text
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.WARNING]


def test_the_log_is_bounded() -> None:
    now = 0.0
    few = Few(clock=lambda: now)
    said = [few.filter(logging.makeLogRecord({"msg": "nonsense %s", "args": ("x",)})) for _ in range(1000)]
    assert sum(said) == LINES
    now = PER
    assert few.filter(logging.makeLogRecord({"msg": "again"}))


def test_every_response_forbids_scripts_from_elsewhere(run: Served) -> None:
    ada = Client(run, "ada")
    for path in "/", "/page.js", "/page.css", "/nothing":
        _, headers, _ = ada.request("GET", path)
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_an_address_of_other_machines_has_to_be_asked_for() -> None:
    for host in "0.0.0.0", "192.0.2.7", "example.org", "":
        with pytest.raises(UserError, match="--public"):
            Address(host, 0, public=False, token=None)
    assert Address("192.0.2.7", 80, public=True, token=None).hosts == ["192.0.2.7"]
    assert Address("0.0.0.0", 80, public=True, token=None).hosts == ["*"]
    one, other = (Address("127.0.0.1", 80, public=False, token=None) for _ in range(2))
    assert one.token != other.token
    assert len(one.token) == 32
    assert f"token={one.token}" in one.link


def test_a_taken_port_is_one_message(run: Served) -> None:
    with pytest.raises(UserError, match="Give another port"):
        Address("127.0.0.1", run.port, public=False, token=None).open()


# ── Ends ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_everybody_learns_that_the_run_is_over(tmp_path: Path) -> None:
    with served(tmp_path, budget=3, second_opinions=0) as run:
        ada = Client(run, "ada")
        state = ada.look()
        while not state["over"]:
            ada.answer(state, "left")
            state = ada.look()
        assert state["duel"] is None
        assert len(run.answers) == 3


@pytest.mark.study
def test_a_killed_run_goes_on_with_nothing_lost(tmp_path: Path) -> None:
    run = Served(tmp_path / "run", free_port())
    process = start(run)
    ada, bob = Client(run, "ada"), Client(run, "bob")
    one, other = ada.look(), bob.look()
    one = ada.answer(one, "tie")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process = start(run)
    try:
        ada, bob = Client(run, "ada"), Client(run, "bob")
        eve = Client(run, "eve")
        forged = {**other, "duel": {**other["duel"], "ticket": other["duel"]["ticket"][:-1] + "x"}}
        assert not eve.answer(other, "tie")["kept"]
        assert not bob.answer(forged, "tie")["kept"]
        assert bob.answer(other, "tie")["kept"]  # shown before the kill, answered after it
        state = ada.look()
        assert (state["mine"], state["undo"]) == (1, 0)
        assert [answer["n"] for answer in run.answers] == [0, other["duel"]["key"]]
        assert ada.answer(state, "left")["kept"]
    finally:
        process.kill()
        process.wait()
    assert len(run.answers) == 3


def test_twenty_at_once_lose_nothing_and_nothing_counts_twice(tmp_path: Path) -> None:
    acknowledged: list[tuple[str, int]] = []
    with served(tmp_path, budget=200, second_opinions=0.2) as run:

        def work(name: str) -> None:
            client = Client(run, name)
            while not (state := client.look())["over"]:
                if client.answer(state, "left")["kept"]:
                    acknowledged.append((name, state["duel"]["key"]))

        threads = [threading.Thread(target=work, args=(f"n{i}",)) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    recorded = [(next(reversed(answer["details"]["by"])), answer["n"]) for answer in run.answers]
    assert sorted(recorded) == sorted(acknowledged)
    assert len(set(recorded)) == len(recorded)
    assert {number for _, number in recorded} == set(range(200))
    assert json.loads((run.folder / "result.json").read_text(encoding="utf-8"))["stop_reason"] == "budget: questions"
