"""Replies on disk: what makes two calls the same, what is kept, what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from promptopt.core import Message, Picture, Reply, Request, Usage
from promptopt.errors import ModelError, UserError
from promptopt.models.openai import OpenAI
from promptopt.models.wrappers import cache
from promptopt.models.wrappers.cache import CachedModel
from promptopt.testing import ScriptedModel

from ..openai_server import completion, serving

KEY = "sk-planted-0123456789abcdef"
HELLO = [Message("system", "Be short."), Message("user", "Hello")]


class Model(ScriptedModel):
    """Says 0, 1, 2 ...; every reply costs a dollar a call."""

    def __init__(self, *script: str | Reply, name: str = "m", identity: Mapping[str, Any] | None = None) -> None:
        super().__init__(script or [str(i) for i in range(100)], name=name, dollars=1.0)
        self.identity = identity or {}


def texts(model: CachedModel, *, n: int = 1, **asked: Any) -> list[str]:
    return [reply.text for reply in model.complete(Request(HELLO, n=n, **asked)).replies]


# ── Hits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_run_gets_the_same_reply_for_nothing(tmp_path: Path) -> None:
    first = CachedModel(Model(), folder=tmp_path).complete(Request(HELLO, seed=0))
    again = Model()
    assert (
        CachedModel(again, folder=tmp_path).complete(Request(HELLO, seed=0)).replies == first.replies == (Reply("0"),)
    )
    assert CachedModel(again, folder=tmp_path).complete(Request(HELLO, seed=0)).usage == Usage(calls=0)
    assert first.usage.dollars == 1.0
    assert again.calls == []


@pytest.mark.parametrize("asked", [{"seed": 0}, {"temperature": 0.0}, {}], ids=str)
def test_three_samples_after_one_buy_two_more(tmp_path: Path, asked: dict[str, Any]) -> None:
    assert texts(CachedModel(Model(), folder=tmp_path), **asked) == ["0"]
    inner = Model("one", "two")
    assert texts(CachedModel(inner, folder=tmp_path), n=3, **asked) == ["0", "one", "two"]
    assert [call.n for call in inner.calls] == [2]
    unused = Model()
    assert texts(CachedModel(unused, folder=tmp_path), n=2, **asked) == ["0", "one"]
    assert unused.calls == []


def test_further_samples_are_bought_with_another_seed(tmp_path: Path) -> None:
    inner = Model()
    model = CachedModel(inner, folder=tmp_path)
    for n in (1, 2, 4):
        texts(model, n=n, seed=7)
    seeds = [call.seed for call in inner.calls]
    assert seeds[0] == 7
    assert len(set(seeds)) == 3
    assert all(seed is not None and 0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("asked", [{"seed": 0}, {"temperature": 0.0}], ids=str)
def test_a_seeded_or_greedy_call_that_comes_again_is_answered_alike(tmp_path: Path, asked: dict[str, Any]) -> None:
    model = CachedModel(Model(), folder=tmp_path)
    assert [texts(model, **asked) for _ in range(3)] == [["0"]] * 3


def test_any_other_call_that_comes_again_is_a_further_sample_and_the_next_run_gets_the_same_ones(
    tmp_path: Path,
) -> None:
    for model in (CachedModel(Model(), folder=tmp_path), CachedModel(Model("unused"), folder=tmp_path)):
        assert [texts(model), texts(model, n=2), texts(model)] == [["0"], ["1", "2"], ["3"]]


def test_a_call_that_a_ledger_replays_is_a_sample_handed_out(tmp_path: Path) -> None:
    model = CachedModel(Model(), folder=tmp_path)
    assert [texts(model), texts(model)] == [["0"], ["1"]]
    resumed = CachedModel(Model("unused"), folder=tmp_path)
    resumed.skip(Request(HELLO))
    assert texts(resumed) == ["1"]


# ── The key ───────────────────────────────────────────────────────────────────────────────────────────────────────

PICTURE = Picture(b"one")


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"seed": None},
        {"temperature": 0.5},
        {"schema": {"type": "object"}},
        {"messages": [Message("user", "Be short."), Message("user", "Hello")]},
        {"messages": [Message("system", "Be short."), Message("user", "Hello!")]},
        {"messages": [HELLO[0], Message("user", "Hello", (PICTURE,))]},
        {"model": Model("other", name="other")},
        {"model": Model("other", identity={"max_tokens": 5})},
        {"model": Model("other", identity={"base_url": "http://127.0.0.1:1/v1"})},
    ],
)
def test_every_parameter_counts(tmp_path: Path, other: dict[str, Any]) -> None:
    CachedModel(Model(), folder=tmp_path).complete(Request(HELLO, seed=0))
    model = other.pop("model", Model("other"))
    asked = {"seed": 0, "messages": HELLO} | other
    replies = CachedModel(model, folder=tmp_path).complete(Request(**asked)).replies
    assert replies == (Reply("other"),)


def test_another_picture_is_another_question(tmp_path: Path) -> None:
    model = CachedModel(Model(), folder=tmp_path)
    shown = [[Message("user", "What is it?", (Picture(data),))] for data in (b"one", b"two", b"one")]
    assert [model.complete(Request(messages, seed=0)).replies[0].text for messages in shown] == ["0", "1", "0"]


def test_the_order_of_an_identity_does_not_count(tmp_path: Path) -> None:
    texts(CachedModel(Model(identity={"a": 1, "b": 2}), folder=tmp_path), seed=0)
    assert texts(CachedModel(Model("unused", identity={"b": 2, "a": 1}), folder=tmp_path), seed=0) == ["0"]


def test_a_model_without_an_identity_cannot_be_cached(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="scripted does not say"):
        CachedModel(ScriptedModel([]), folder=tmp_path)


# ── What is kept ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reply", [Reply("I cannot", "refusal"), Reply("It is", "length"), Reply(""), Reply(" \n")])
def test_an_incomplete_reply_is_bought_again(tmp_path: Path, reply: Reply) -> None:
    model = CachedModel(Model("whole", reply, "last"), folder=tmp_path)
    assert model.complete(Request(HELLO, n=3, seed=0)).replies == (Reply("whole"), reply, Reply("last"))
    again = Model("now")
    assert texts(CachedModel(again, folder=tmp_path), n=3, seed=0) == ["whole", "now", "last"]
    assert [call.n for call in again.calls] == [1]


def test_any_text_comes_back_as_it_was(tmp_path: Path) -> None:
    text = "„Grüße“ 😀 \x00 \ud800 line\r\nline"
    texts(CachedModel(Model(text), folder=tmp_path), seed=0)
    assert texts(CachedModel(Model("unused"), folder=tmp_path), seed=0) == [text]


def test_a_failed_call_leaves_nothing(tmp_path: Path) -> None:
    class Broken(Model):
        def complete(self, *args: Any, **asked: Any) -> Any:
            raise ModelError("no such model")

    with pytest.raises(ModelError):
        texts(CachedModel(Broken(), folder=tmp_path), seed=0)
    assert texts(CachedModel(Model(), folder=tmp_path), seed=0) == ["0"]


def test_no_key_and_no_question_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Named(OpenAI):
        identity: Mapping[str, Any] = {"base_url": f"http://user:{KEY}@127.0.0.1/v1"}

    with serving(completion("a reply")) as server:
        CachedModel(Named(model="m", base_url=server.url), folder=tmp_path).complete(Request(HELLO))
        assert server.requests[0].key == KEY
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"a reply" in written
    assert KEY.encode() not in written
    assert b"Be short" not in written


# ── Costs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_recall_gives_what_is_there_and_buys_nothing(tmp_path: Path) -> None:
    inner = Model()
    model = CachedModel(inner, folder=tmp_path)
    assert model.recall(Request(HELLO, seed=0)) is None
    assert texts(model, n=2, seed=0) == ["0", "1"]
    found = model.recall(Request(HELLO, n=2, seed=0))
    assert found
    assert (found.replies, found.usage) == ((Reply("0"), Reply("1")), Usage())
    assert model.recall(Request(HELLO, n=3, seed=0)) is None
    assert len(inner.calls) == 1


def test_recall_hands_out_each_sample_once(tmp_path: Path) -> None:
    texts(CachedModel(Model(), folder=tmp_path), n=2)
    model = CachedModel(Model("new"), folder=tmp_path)
    assert model.recall(Request(HELLO, n=3)) is None
    first, second = model.recall(Request(HELLO)), model.recall(Request(HELLO))
    assert first
    assert second
    assert (first.replies, second.replies) == ((Reply("0"),), (Reply("1"),))
    assert model.recall(Request(HELLO)) is None
    assert texts(model) == ["new"]


def test_only_what_is_bought_is_billed_and_the_bound_covers_it(tmp_path: Path) -> None:
    model = CachedModel(Model("a", "b" * 40), folder=tmp_path)
    texts(model, seed=0)
    completion = model.complete(Request(HELLO, n=2, seed=0))
    assert completion.usage == Usage(1, 5, 10, 1.0)
    assert model.at_most(Request(HELLO, n=2)) == Model().at_most(Request(HELLO, n=2))
    assert model.name == "m"


# ── Looking and clearing ──────────────────────────────────────────────────────────────────────────────────────────


def test_info_and_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path / "cache"))
    assert cache.info() == f"0 replies, 0.0 MB: {tmp_path / 'cache' / 'replies.sqlite'}"
    model = CachedModel(Model())
    texts(model, n=3)
    assert cache.info().startswith("3 replies, 0.0 MB")
    assert cache.clear().startswith("Removed 3 replies")
    assert cache.info().startswith("0 replies")
    assert texts(CachedModel(Model("new"))) == ["new"]
