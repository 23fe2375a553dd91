"""A ``dspy.LM``, through DSPy's own engine and through litellm, against a server on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import promptopt
from promptopt import retries
from promptopt.core import Message, Reply, Request, Usage
from promptopt.errors import MissingExtra, ModelError, Rejected, Unanswered, UserError
from promptopt.models.dspy import DSPy

from .openai_server import HANG, RESET, SOON, TRICKLE, Answer, Server, choice, completion, failure, serving
from .wires import CHAT_PICTURE, KEY, PICTURE, hearing

HELLO = [Message("system", "Be short."), Message("user", "Hello")]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # its table of prices comes from the network otherwise
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.01)
    warnings.filterwarnings("ignore", category=ResourceWarning)


@pytest.fixture(params=["auto", "litellm"])
def engine(request: pytest.FixtureRequest) -> str:
    pytest.importorskip("dspy")
    name: str = request.param
    return name


def model(server: Server, engine: str = "auto", *, num_retries: int = 2, **options: Any) -> DSPy:
    settings = {"api_base": server.url, "engine": engine, "num_retries": num_retries, "timeout": 5.0}
    return DSPy(model="openai/m", options=settings, **options)


def hands_headers_on(engine: str) -> bool:
    """Whether an error brings the answer's headers along, the request's id and the wait: litellm since 1.109."""
    return engine == "auto" or tuple(map(int, metadata.version("litellm").split(".")[:2])) >= (1, 109)


def refused(server: Server, engine: str, **options: Any) -> str:
    """The error's message; neither it nor its traceback holds the key."""
    with pytest.raises(ModelError) as caught:
        model(server, engine, **options).complete(Request(HELLO))
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_a_reply_is_kept_without_the_key_that_it_repeats(engine: str) -> None:
    with serving(completion(f"You sent {KEY}.", usage=(1, 2))) as server:
        assert model(server, engine).complete(Request(HELLO)).replies == (Reply("You sent [key]."),)


def test_a_reply_and_what_it_costs(engine: str) -> None:
    with serving(completion("Hi", usage=(1_000, 200))) as server:
        chat = model(server, engine, prices={"input": 2.0, "output": 10.0}, max_tokens=77)
        done = chat.complete(
            Request([Message("user", "What is it?", (PICTURE,))], temperature=0.5, seed=0, schema=SCHEMA)
        )
    assert (done.replies, done.usage) == ((Reply("Hi"),), Usage(1, 1_000, 200, 0.004))
    [request] = server.requests
    assert (request.path, request.key) == ("/v1/chat/completions", KEY)
    body = request.body
    assert body["messages"] == [{"role": "user", "content": [CHAT_PICTURE, {"type": "text", "text": "What is it?"}]}]
    assert (body["model"], body["temperature"], body["seed"]) == ("m", 0.5, 0)
    assert 77 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA


def test_each_reply_is_a_request_with_its_own_seed_and_none_is_cached(engine: str) -> None:
    with serving(*[completion("a"), completion("b")] * 2) as server:
        chat = model(server, engine)
        for _ in range(2):
            done = chat.complete(Request(HELLO, n=2, seed=5))
            assert ([reply.text for reply in done.replies], done.usage) == (["a", "b"], Usage(2, 24, 10))
    assert [request.body["seed"] for request in server.requests] == [5, 6, 5, 6]


def test_replies_of_an_engine_of_ones_own_are_not_looked_up() -> None:
    dspy = pytest.importorskip("dspy")
    assert DSPy(model=dspy.LM("openai/m", temperature=0.5)).identity is not None
    assert DSPy(model=dspy.utils.DummyLM([{"answer": "yes"}])).identity is None


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (choice("cut of", finish="length"), Reply("cut of", "length")),
        (choice("", finish="content_filter"), Reply("", "refusal")),
        (choice(None), Reply("")),
    ],
)
def test_what_a_choice_means(engine: str, sent: dict[str, Any], reply: Reply) -> None:
    with serving(completion(sent)) as server:
        assert model(server, engine).complete(Request(HELLO)).replies == (reply,)


def test_a_refusal_in_words_reaches_us_through_dspys_engine() -> None:
    pytest.importorskip("dspy")
    with serving(completion(choice(None, refusal="I will not."))) as server:
        assert model(server).complete(Request(HELLO)).replies == (Reply("I will not.", "refusal"),)


def test_an_empty_list_of_choices_is_an_empty_reply_that_was_paid_for(engine: str) -> None:
    with serving(completion()) as server:
        done = model(server, engine).complete(Request(HELLO))
    assert (done.replies, done.usage) == ((Reply(""),), Usage(1, 12, 5))


def test_missing_usage_counts_the_call_and_warns(engine: str) -> None:
    with serving(completion("Hi", usage=None)) as server, pytest.warns(UserWarning, match="reports no token usage"):
        assert model(server, engine).complete(Request(HELLO)).usage == Usage(1, 0, 0)


@pytest.mark.parametrize(
    ("status", "said"),
    [(400, "This is too long."), (401, f"Incorrect API key provided: {KEY}."), (404, "The model `m` does not exist.")],
)
def test_final_errors_are_not_retried_and_carry_the_message(engine: str, status: int, said: str) -> None:
    with serving(failure(status, said)) as server:
        shown = refused(server, engine)
    assert said.replace(KEY, "[key]") in shown
    assert f"HTTP {status}" in shown
    assert ("[request req_7]" in shown) == hands_headers_on(engine)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "transient",
    [
        failure(429, "slow down", headers=SOON),
        failure(429, "slow down"),
        failure(500, "oops", headers=SOON),
        failure(503, "overloaded", headers=SOON),
        RESET,
        Answer(completion("lost").body, fault="truncated"),
    ],
    ids=["429 with retry-after", "429", "500", "503", "reset", "truncated"],
)
def test_transient_errors_are_retried_and_only_the_answer_is_billed(engine: str, transient: Answer) -> None:
    with serving(transient, completion("Hi")) as server:
        done = model(server, engine, num_retries=1).complete(Request(HELLO))
    assert (done.replies, done.usage) == ((Reply("Hi"),), Usage(1, 12, 5))
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, "This is too long.", Rejected),
        (401, "Incorrect API key provided.", ModelError),
        (404, "The model `m` does not exist.", ModelError),
        (429, "Slow down.", Unanswered),
        (500, "Oops.", Unanswered),
    ],
)
def test_an_error_is_of_one_request_or_of_all(engine: str, status: int, said: str, kind: type[ModelError]) -> None:
    with serving(failure(status, said)) as server, pytest.raises(ModelError) as caught:
        model(server, engine, num_retries=0).complete(Request(HELLO))
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("name", "options", "missing"),
    [
        ("openai/m", {}, "OPENAI_API_KEY"),
        ("openai/m", {"api_base": "http://127.0.0.1:9/v1"}, "OPENAI_API_KEY"),
        ("anthropic/m", {}, "ANTHROPIC_API_KEY"),
        ("gemini/m", {}, "GEMINI_API_KEY or GOOGLE_API_KEY"),
        ("ollama_chat/m", {}, None),
        ("mistral/m", {}, None),  # DSPy leaves it to litellm
        ("openai/m", {"engine": "litellm"}, None),
    ],
)
def test_a_missing_key_is_told_beforehand(
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], missing: str | None
) -> None:
    pytest.importorskip("dspy")
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    chat = DSPy(model=name, options=options)
    if missing is None:
        chat.check_key()
        return
    with pytest.raises(UserError, match=f"^dspy:{name} needs a key: set the environment variable {missing}.$"):
        chat.check_key()
    monkeypatch.setenv(missing.split(" or ")[-1], KEY)
    chat.check_key()


def test_the_key_of_an_lm_is_known() -> None:
    dspy = pytest.importorskip("dspy")
    DSPy(model=dspy.LM("groq/m", api_key=KEY)).check_key()


def test_a_transient_error_that_lasts_is_final_after_the_retries(engine: str) -> None:
    with serving(*[failure(429, "slow down", headers=SOON)] * 3) as server:
        assert "slow down (HTTP 429, after 2 retries)" in refused(server, engine)


def test_a_provider_that_asks_for_too_long_a_wait_is_given_up(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hands_headers_on(engine):
        pytest.skip("this litellm does not say how long")
    slept, sleep = [], time.sleep
    monkeypatch.setattr("time.sleep", lambda seconds: slept.append(seconds) if seconds > 60 else sleep(seconds))
    with serving(*[failure(429, "slow down", headers={"retry-after": "3600"})] * 3) as server:
        assert "(HTTP 429, after 0 retries; it asks to wait 3600 s)" in refused(server, engine)
    assert slept == []


def test_a_server_that_hangs_times_out(engine: str) -> None:
    with serving(HANG) as server:
        chat = DSPy(
            model="openai/m", options={"api_base": server.url, "engine": engine, "num_retries": 0, "timeout": 0.2}
        )
        with pytest.raises(ModelError, match=r"(?i)timed? ?out"):
            chat.complete(Request(HELLO))


def test_an_attempt_is_over_in_time_whatever_comes_in(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MARGIN", 0.1)
    with serving(TRICKLE) as server:
        settings = {"api_base": server.url, "engine": engine, "num_retries": 0, "timeout": 0.5}
        with pytest.raises(Unanswered, match=r"timed out: no whole answer within 0.5 s"):
            DSPy(model="openai/m", options=settings).complete(Request(HELLO))


def test_invalid_json_is_an_error(engine: str) -> None:
    with serving(Answer(b'{"choices": [{"mess')) as server:
        assert "Unterminated string" in refused(server, engine, num_retries=0)


def test_whoever_asks_hears_of_every_refusal_for_lack_of_room(engine: str) -> None:
    slow = failure(429, "slow down", headers={"retry-after": "0.02"})
    with serving(slow, failure(500, "oops"), failure(503, "full"), completion("Hi")) as server, hearing() as heard:
        model(server, engine, num_retries=3).complete(Request(HELLO))
    assert heard == [0.02 if hands_headers_on(engine) else None, None]


@pytest.mark.parametrize(("field", "what"), [("seed", "seed"), ("response_format", "schema")])
def test_what_a_provider_does_not_take_is_left_out_from_then_on_with_a_warning(
    engine: str, field: str, what: str
) -> None:
    def script(request: Any) -> Answer:
        return failure(400, f"'{field}' is not supported") if field in request.body else completion("Hi")

    with serving(script=script) as server:
        chat = model(server, engine)
        with pytest.warns(UserWarning, match=f"takes no {what}"):
            chat.complete(Request(HELLO, seed=1, schema=SCHEMA))
        chat.complete(Request(HELLO, seed=1, schema=SCHEMA))
    assert [field in request.body for request in server.requests] == [True, False, False]


def test_an_lm_is_taken_as_it_is_and_left_as_it_was() -> None:
    dspy = pytest.importorskip("dspy")
    with serving(completion("a"), completion("b")) as server:
        lm = dspy.LM("openai/m", api_base=server.url, api_key="sk-another-0123456789", max_tokens=33, top_p=0.5)
        chat = DSPy(model=lm)
        shared = len(dspy.clients.base_lm.GLOBAL_HISTORY)
        assert [chat.complete(Request(HELLO)).replies[0].text for _ in range(2)] == ["a", "b"]
        assert (lm.cache, lm.num_retries, lm.history) == (True, 3, [])
        assert len(dspy.clients.base_lm.GLOBAL_HISTORY) == shared
        assert dspy.settings.lm is None
        assert "sk-another" not in f"{chat!r} {chat.name} {chat.identity}"
    body = server.requests[0].body
    assert (server.requests[0].key, body["top_p"]) == ("sk-another-0123456789", 0.5)
    assert body.get("max_tokens", body.get("max_completion_tokens")) == 33
    assert chat.at_most(Request(HELLO, n=2)).output_tokens == 66


def test_a_key_of_the_lm_stands_in_no_error() -> None:
    dspy = pytest.importorskip("dspy")
    with serving(failure(401, "Incorrect API key: sk-another-0123456789")) as server:
        lm = dspy.LM("openai/m", api_base=server.url, api_key="sk-another-0123456789")
        with pytest.raises(ModelError, match=r"Incorrect API key: \[key\]") as caught:
            DSPy(model=lm).complete(Request(HELLO))
    assert "sk-another" not in "".join(traceback.format_exception(caught.value))


def test_a_setting_that_cannot_be_sent_is_the_users_mistake() -> None:
    pytest.importorskip("dspy")
    chat = DSPy(model="openai/m", options={"api_base": "http://127.0.0.1:9", "stop": 3})
    with pytest.raises(UserError, match="DSPy cannot send this request"):
        chat.complete(Request(HELLO))


def test_a_failed_run_goes_on_where_it_stopped_and_the_key_stands_nowhere(
    engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("", "LiteLLM", "openai", "dspy", "httpx", "httpcore"):
        caplog.set_level("DEBUG", logger=name)
    texts = iter(["Sort the words", "Sort the words by name", "Sort the quick brown fox"])
    faults = iter([None, failure(401, f"Incorrect API key provided: {KEY}.")])

    def script(request: Any) -> Answer:
        return next(faults, None) or completion(f"- {next(texts)}")

    def score(text: str) -> float:
        return len(set(text)) / 100

    with serving(script=script) as server:
        options = {"api_base": server.url, "engine": engine, "num_retries": 0}
        spec = {"name": "promptopt.models.dspy:DSPy", "model": "openai/m", "options": options}
        climb = {
            "name": "hill-climb",
            "proposer": {"name": "chat", "model": spec},
            "restarts": 1,
            "resets": 1,
            "iterations": 3,
            "per_call": 1,
        }
        with pytest.raises(ModelError) as caught:
            promptopt.optimize(start="Sort it", score=score, optimizer=climb, run=tmp_path / "run")
        resumed = promptopt.resume(tmp_path / "run", score=score)
    assert (resumed.best, resumed.costs.calls, len(server.requests)) == ("Sort the quick brown fox", 3, 4)
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "[key]" in written
    assert KEY not in written + str(caught.value) + resumed.to_json() + caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": " "}, "allowed is a name"),
        ({"model": 3}, "allowed is a name"),
        ({"model": "openai/m", "options": {"api_key": "x"}}, "from the environment only"),
        ({"model": "openai/m", "prices": {"input": 1.0}}, "output"),
    ],
)
def test_wrong_arguments_are_the_users_mistake(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DSPy(**arguments)


def test_nothing_is_imported_before_the_first_call() -> None:
    code = (
        "import sys; from promptopt.core import Message, Request; from promptopt.models.dspy import DSPy\n"
        "model = DSPy(model='openai/m'); model.at_most(Request([Message('user', 'x')]))\n"
        "print([name for name in ('dspy', 'litellm', 'openai') if name in sys.modules])"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dspy", None)
    with pytest.raises(MissingExtra, match=r"promptopt-toolkit\[dspy\]"):
        DSPy(model="openai/m").complete(Request(HELLO))
