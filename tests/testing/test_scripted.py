"""The fakes that other tests stand on."""

from __future__ import annotations

import pytest

from promptopt.core import ChatModel, Message, Prompt, Reply, Request, Setup, Usage
from promptopt.testing import FakeSetup, ScriptedModel

HELLO = [Message("user", "12345678"), Message("assistant", "1")]


def test_replies_come_in_order_and_cost_what_they_are_long() -> None:
    model: ChatModel = ScriptedModel(["one", Reply("", "refusal"), "three"], dollars=0.5)
    done = model.complete(Request(HELLO, n=2, temperature=0.0, seed=7))
    assert done.replies == (Reply("one"), Reply("", "refusal"))
    assert done.usage == Usage(1, 3, 1, 0.5)
    assert isinstance(model, ScriptedModel)
    assert model.calls == [Request(HELLO, 2, 0.0, 7)]
    assert model.complete(Request(HELLO)).replies == (Reply("three"),)


def test_a_function_sees_the_conversation() -> None:
    model = ScriptedModel(lambda messages: messages[-1].text.upper())
    assert model.complete(Request([Message("user", "hi")], n=2)).replies == (Reply("HI"), Reply("HI"))


def test_a_script_that_runs_out_fails_the_test() -> None:
    model = ScriptedModel(["one"])
    model.complete(Request(HELLO))
    with pytest.raises(AssertionError, match="no reply for call 2"):
        model.complete(Request(HELLO))


def test_the_bound_holds_or_the_test_fails() -> None:
    model = ScriptedModel(["x" * 12, "x" * 13], max_tokens=3)
    assert model.at_most(Request(HELLO)) == model.complete(Request(HELLO)).usage == Usage(1, 3, 3)
    with pytest.raises(AssertionError, match="more than max_tokens=3"):
        model.complete(Request(HELLO))


def test_one_text_is_no_script() -> None:
    with pytest.raises(TypeError, match="not one text"):
        ScriptedModel("one")


def test_a_setup_has_streams_by_seed_and_key_and_remembers_what_it_was_told() -> None:
    fake = FakeSetup(start=["a"], seed=0, problem_with=lambda text: "no" if text == "b" else None)
    setup: Setup = fake
    draws = {key: setup.rng(*key).integers(2**31) for key in [(), (0,), (1,), (1, 2)]}
    assert len(set(draws.values())) == 4
    assert draws[(1,)] == FakeSetup(seed=0).rng(1).integers(2**31) != FakeSetup(seed=1).rng(1).integers(2**31)
    assert (setup.start, setup.problem_with(Prompt("b"))) == ((Prompt("a"),), "no")
    model = ScriptedModel([])
    assert setup.model(model, role="judge") is model
    setup.count("oddities", 2)
    setup.note("said")
    setup.note("said")
    assert (fake.roles, fake.counts, fake.notes) == (["judge"], {"oddities": 2}, ["said"])
